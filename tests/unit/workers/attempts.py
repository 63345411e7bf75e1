"""Runs a worker's attempts at a job, as processes in the worker's own environment, with AWS on 127.0.0.1.

A nursery forks them, because importing a worker takes seconds. `Account.fresh` starts each from nothing instead.
"""

import copy
import json
import math
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from local.environment import bare
from tests import nursery

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_s3.client import S3Client

ROOT = Path(__file__).resolve().parents[3]
BUCKET = "media"


@dataclass
class Outcome:
    """The result of one attempt.

    Attributes:
        exit_code: Its exit code.
        log: The lines of its log.
        item: The job's record afterwards.
        peak_megabytes: Its peak memory. NaN unless the account was `fresh`, so that no limit holds for it.
    """

    exit_code: int
    log: list[dict[str, Any]]
    item: dict[str, Any]
    peak_megabytes: float

    @property
    def error(self) -> tuple[str, str]:
        """Returns code and message of the recorded error."""
        return self.item["error"]["code"], self.item["error"]["message"]


class Account:
    """The bucket and the table, and a worker to start.

    Args:
        endpoint: the endpoint for S3 and DynamoDB.
        worker: the folder under workers/, which is also the module to run.
        variables: further environment variables, beyond the job's id, fence, table and bucket.
    """

    patience: float | None = None
    """Seconds an attempt may take; None for no limit but the test's."""

    def __init__(self, endpoint: str, worker: str, **variables: str) -> None:
        self.worker = worker
        self.python = ROOT / ".venvs" / worker / "bin" / "python"
        assert self.python.exists(), "the worker's environment is missing: run `make setup`"
        self.command: tuple[str | Path, ...] = (self.python, "-m", worker)
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": ":".join(
                str(ROOT / folder)
                for folder in (f"workers/{worker}", "workers/library", "layers/switchyard", "layers/embedding")
            ),
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "JOB_ID": "job-1",
            "JOBS_TABLE": "jobs",
            "FENCE": "1",
            "S3_BUCKET": BUCKET,
            **variables,
        }
        settings = {
            "endpoint_url": endpoint,
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
            "region_name": "us-east-1",
        }
        self.s3: S3Client = boto3.client("s3", **settings)  # type: ignore[call-overload]
        self._dynamodb: DynamoDBClient = boto3.client("dynamodb", **settings)  # type: ignore[call-overload]
        self.s3.create_bucket(Bucket=BUCKET)
        self._dynamodb.create_table(
            TableName="jobs",
            KeySchema=[{"AttributeName": "jobId", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "jobId", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )

    @contextmanager
    def forking(self) -> Iterator[Self]:
        """Has a nursery run this account's attempts while the block runs."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            path = f"{ROOT}:{self._environment['PYTHONPATH']}"
            # As analyze_video/__main__.py does, which is too late once numpy has been imported.
            threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
            with nursery.serving(
                folder / "socket",
                "tests.unit.workers.forked:perform",
                env=bare(self._environment["AWS_ENDPOINT_URL"])
                | {"PYTHONPATH": path, "WORKER": self.worker, **threads},
                log=folder / "log",
                python=self.python,
            ):
                forking = copy.copy(self)
                forking.command = nursery.command(folder / "socket")
                yield forking

    def fresh(self) -> Self:
        """Returns this account, but each attempt is a new interpreter, as in a container."""
        account = copy.copy(self)
        account.command = (self.python, "-m", self.worker)
        return account

    def variables(self, **further: str) -> None:
        """Gives every later attempt further environment variables."""
        self._environment |= further

    def record(self, *, created_at: str = "2026-11-22T18:36:54.123Z", **request: object) -> None:
        """Records a new job with this request in place of the previous one."""
        item = {"jobId": "job-1", "status": "SUBMITTED", "fence": 1, "createdAt": created_at}
        if request:
            item["request"] = json.dumps(request)
        self._dynamodb.put_item(
            TableName="jobs", Item={name: TypeSerializer().serialize(value) for name, value in item.items()}
        )

    def claim(self, fence: int) -> None:
        """Has another run claim the job."""
        self._dynamodb.update_item(
            TableName="jobs",
            Key={"jobId": {"S": "job-1"}},
            UpdateExpression="SET fence = :fence REMOVE runId",
            ExpressionAttributeValues={":fence": {"N": str(fence)}},
        )

    def start(self, **changed: str) -> "subprocess.Popen[str]":
        """Starts one attempt."""
        return subprocess.Popen(
            self.command,
            env=self._environment | changed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: "subprocess.Popen[str]") -> Outcome:
        """Waits for an attempt's end and returns its outcome."""
        with ThreadPoolExecutor(1) as beside:
            fresh = self.command[0] == self.python
            peak = beside.submit(_peak_kilobytes, process.pid) if fresh else None
            try:
                output, _ = process.communicate(timeout=self.patience)
            except subprocess.TimeoutExpired:
                process.kill()  # otherwise the loop that reads its memory would never end
                raise
        lines = [json.loads(line) for line in output.splitlines()]  # all lines: libraries must print nothing
        return Outcome(process.returncode, lines, self.item(), peak.result() / 1024 if peak else math.nan)

    def item(self) -> dict[str, Any]:
        """Returns the job's record."""
        item = self._dynamodb.get_item(TableName="jobs", Key={"jobId": {"S": "job-1"}}, ConsistentRead=True)["Item"]
        return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}

    def results(self) -> set[str]:
        """Returns the names of the result files."""
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix="results/").get("Contents", [])
        return {entry["Key"].removeprefix("results/job-1/") for entry in found}

    def result(self, name: str) -> tuple[str, bytes]:
        """Returns a result file's content type and body."""
        answer = self.s3.get_object(Bucket=BUCKET, Key=f"results/job-1/{name}")
        return answer["ContentType"], answer["Body"].read()


def _peak_kilobytes(pid: int) -> int:
    """Returns a process's peak memory, read until it ends.

    `wait4` is no use: a child inherits its parent's peak, so it would report these tests' own size if that is larger.
    """
    peak = 0
    with suppress(FileNotFoundError, ProcessLookupError):
        while found := re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()):
            peak = int(found[1])
            time.sleep(0.01)
    return peak
