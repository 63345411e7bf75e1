"""The stand-in for Batch and ECS as a process that tests start, call and kill."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_batch import BatchClient
    from mypy_boto3_ecs import ECSClient

REPOSITORY = Path(__file__).parents[2]
QUEUE = CLUSTER = "switchyard-local"
TASK_ROLE = "arn:aws:iam::000000000000:role/for-tasks"
RETRIES = {
    "attempts": 3,
    "evaluateOnExit": [
        {"onStatusReason": "Host EC2*", "action": "RETRY"},
        {"onExitCode": "65", "action": "EXIT"},
        {"onExitCode": "77", "action": "EXIT"},
        {"onReason": "*", "action": "RETRY"},
    ],
}
SETTINGS: dict[str, Any] = {
    "queues": {
        QUEUE: {"maxRunning": 4},
        "single": {"maxRunning": 1},
        "parked": {"maxRunning": 0},
        "crowded": {"maxRunning": 0},
    },
    "definitions": {
        "shell": {
            "command": ["sh", "-c", "echo hello; env"],
            "environment": {"FROM": "definition", "BOTH": "definition"},
            "terminationGraceSeconds": 0.3,
        },
        "retrying": {"command": ["sh", "-c", "exit 75"], "retryStrategy": RETRIES, "terminationGraceSeconds": 5},
        "short": {"command": ["sleep", "60"], "timeoutSeconds": 1, "retryStrategy": {"attempts": 3}},
        "missing": {"command": ["/no/such/program"]},
    },
    "clusters": {
        "default": {},
        **{name: {"maxRunning": 100} for name in (CLUSTER, "named", "listed", "filtered", "paged")},
        **{name: {"maxRunning": 1} for name in ("full", "known")},
    },
    "taskDefinitions": {
        "shell": {
            "command": ["sh", "-c", "echo hello; env"],
            "environment": {"FROM": "definition", "BOTH": "definition"},
            "stopTimeout": 0.3,
        },
        "idle": {"command": ["sleep", "600"], "stopTimeout": 0.3},
        "missing": {"command": ["/no/such/program"]},
        **{f"exits-{code}": {"command": ["sh", "-c", f"exit {code}"]} for code in (0, 9, 65)},
        "trusted": {"command": ["true"], "taskRoleArn": TASK_ROLE},
    },
}

SIGNED = "AWS4-HMAC-SHA256 Credential=test/20261122/us-east-1/batch/aws4_request, SignedHeaders=host, Signature=0"

type Job = dict[str, Any]
type Json = Any


@dataclass
class StandIn:
    """A stand-in process and its state directory."""

    state: Path
    emulator: str | None = None
    options: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    http: httpx.Client = field(default_factory=httpx.Client)

    def start(self) -> "StandIn":
        """Starts or restarts the process."""
        self.state.mkdir(exist_ok=True)
        config = self.state / "config.json"
        config.write_text(json.dumps(SETTINGS))
        (self.state / "port").unlink(missing_ok=True)
        emulator = ["--emulator", self.emulator] if self.emulator else []
        with (self.state / "server.log").open("ab") as log:
            process = subprocess.Popen(
                [*self.command(), "--config", str(config), *emulator, *self.options],
                cwd=REPOSITORY,
                stdout=log,
                stderr=log,
            )
        until(lambda: (self.state / "port").exists() or process.poll() is not None)
        assert process.poll() is None, (self.state / "server.log").read_text()
        self.process = process
        self.url = f"http://127.0.0.1:{(self.state / 'port').read_text()}"
        self.http = httpx.Client(base_url=self.url, headers={"Authorization": SIGNED})
        return self

    def command(self) -> list[str]:
        """Returns the command that starts one on this state directory."""
        return [sys.executable, "-m", "local.compute", "--state", str(self.state)]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ends it by a signal and returns its exit code."""
        assert self.process is not None
        self.http.close()
        self.process.send_signal(number)
        return self.process.wait(20)

    def client(self, key: str = "test", secret: str = "test", token: str | None = None) -> "BatchClient":  # noqa: S107
        """Returns a Batch client of the stand-in, by default with the emulator's root credentials."""
        return client_of(self.url, key, secret, token)

    def ecs(self, key: str = "test", secret: str = "test", token: str | None = None) -> "ECSClient":  # noqa: S107
        """Returns an ECS client, like `client`."""
        return ecs_client_of(self.url, key, secret, token)

    def ask(self, path: str, method: str = "GET", body: Json = None) -> Json:
        """Sends a plain request with a fake signature and returns the answer."""
        return self.http.request(method, path, json=body).raise_for_status().json()

    def log(self, run_id: str, offset: int = 0) -> tuple[str, int]:
        """Returns the output of a job or task, and the offset to continue from."""
        answer = self.http.get(f"/_compute/jobs/{run_id}/log", params={"offset": offset}).raise_for_status()
        return answer.text, int(answer.headers["X-Next-Offset"])


@cache
def client_of(url: str, key: str, secret: str, token: str | None, read_timeout: float = 20) -> "BatchClient":
    return boto3.client("batch", **_options(url, key, secret, token, read_timeout))


@cache
def ecs_client_of(url: str, key: str, secret: str, token: str | None, read_timeout: float = 20) -> "ECSClient":
    return boto3.client("ecs", **_options(url, key, secret, token, read_timeout))


def _options(url: str, key: str, secret: str, token: str | None, read_timeout: float) -> dict[str, Any]:
    return {
        "endpoint_url": url,
        "region_name": "us-east-1",
        "aws_access_key_id": key,
        "aws_secret_access_key": secret,
        "aws_session_token": token,
        "config": Config(retries={"total_max_attempts": 1}, read_timeout=read_timeout),
    }


def until[T](done: Callable[[], T | None], seconds: float = 30) -> T:
    """Waits until `done` returns something true, and returns it."""
    end = time.monotonic() + seconds
    while not (result := done()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)
    return result


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """Returns code and message of the error that a call raises."""
    with pytest.raises(ClientError) as caught:
        call()
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


@dataclass
class Bus:
    """A queue that gets state changes by a rule, and the stand-in that sends them."""

    standin: StandIn
    sqs: Any
    queue: str

    def received(self, run_id: str, count: int) -> list[Json]:
        """Returns the next `count` events of a job or task, in order of arrival."""
        found: list[Json] = []

        def look() -> bool:
            answer = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", ()):
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
                event = json.loads(message["Body"])
                if event["resources"][0].endswith(f"/{run_id}"):
                    found.append(event)
            return len(found) >= count

        until(look)
        return found


def role(emulator: str, name: str, *statements: dict[str, Any]) -> tuple[str, str, str]:
    """Creates a role with these policy statements and returns its credentials."""
    root: Any = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    iam = boto3.client("iam", endpoint_url=emulator, **root)
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(_policy(trust)))["Role"]["Arn"]
    if statements:
        iam.put_role_policy(RoleName=name, PolicyName="it", PolicyDocument=json.dumps(_policy(*statements)))
    sts = boto3.client("sts", endpoint_url=emulator, **root)
    given = sts.assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    return given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]


def allowing(action: str, *resources: str) -> dict[str, Any]:
    """Returns a statement that allows the action."""
    return {"Effect": "Allow", "Action": action, "Resource": list(resources)}


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}
