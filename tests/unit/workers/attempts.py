"""One attempt of a job by a worker of the image kind: a process in its own environment, with AWS on 127.0.0.1."""

import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from tests.unit.workers.standin import StandIn

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_s3.client import S3Client

ROOT = Path(__file__).resolve().parents[3]
BUCKET = "media"


@dataclass
class Outcome:
    """How one attempt ended."""

    exit_code: int
    log: list[dict[str, Any]]
    item: dict[str, Any]
    peak_megabytes: float

    @property
    def error(self) -> tuple[str, str]:
        """Code and message of the recorded error."""
        return self.item["error"]["code"], self.item["error"]["message"]


class Account:
    """The bucket and the table, and a worker to start.

    Args:
        stand_in: what answers for S3 and DynamoDB.
        worker: the folder under workers/, which is also the module that is run.
    """

    def __init__(self, stand_in: StandIn, worker: str) -> None:
        self.stand_in = stand_in
        self.python = ROOT / ".venvs" / worker / "bin" / "python"
        self._worker = worker
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT / 'workers' / worker}:{ROOT / 'layers/switchyard'}",
            "AWS_ENDPOINT_URL": stand_in.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "JOB_ID": "job-1",
            "JOBS_TABLE": "jobs",
            "FENCE": "1",
            "AWS_BATCH_JOB_ID": "run-1",
            "S3_BUCKET": BUCKET,
        }
        settings = {
            "endpoint_url": stand_in.url,
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
            "region_name": "us-east-1",
        }
        self._s3: S3Client = boto3.client("s3", **settings)  # type: ignore[call-overload]
        self._dynamodb: DynamoDBClient = boto3.client("dynamodb", **settings)  # type: ignore[call-overload]
        self._s3.create_bucket(Bucket=BUCKET)
        self._dynamodb.create_table(
            TableName="jobs",
            KeySchema=[{"AttributeName": "jobId", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "jobId", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )

    def submit(self, job_input: Mapping[str, Any], files: Mapping[str, Path]) -> None:
        """A new job; `files` are what its bucket holds, by key. Nothing is left of the job before."""
        self.stand_in.reset()
        self.stand_in.uploads = {f"/{BUCKET}/{key}": path for key, path in files.items()}
        for name in self.results():
            self._s3.delete_object(Bucket=BUCKET, Key=f"results/job-1/{name}")
        request = json.dumps({"input": job_input})
        item = {"jobId": "job-1", "status": "SUBMITTED", "fence": 1, "request": request}
        self._dynamodb.put_item(
            TableName="jobs", Item={name: TypeSerializer().serialize(value) for name, value in item.items()}
        )

    def start(self, **changed: str) -> "subprocess.Popen[str]":
        """One attempt, under way."""
        return subprocess.Popen(
            [self.python, "-m", self._worker],
            env=self._environment | changed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: "subprocess.Popen[str]") -> Outcome:
        """Wait for its end."""
        assert process.stdout
        with ThreadPoolExecutor(1) as beside, process.stdout:
            peak = beside.submit(_peak_kilobytes, process.pid)
            output = process.stdout.read()
            process.wait()
        lines = [json.loads(line) for line in output.splitlines()]  # all of them: no library may chat
        return Outcome(process.returncode, lines, self.item(), peak.result() / 1024)

    def run(self, job_input: Mapping[str, Any], files: Mapping[str, Path], **changed: str) -> Outcome:
        """Submit and attempt."""
        self.submit(job_input, files)
        return self.finish(self.start(**changed))

    def item(self) -> dict[str, Any]:
        """The job's record."""
        item = self._dynamodb.get_item(TableName="jobs", Key={"jobId": {"S": "job-1"}})["Item"]
        return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}

    def results(self) -> set[str]:
        """The names of the result files."""
        found = self._s3.list_objects_v2(Bucket=BUCKET, Prefix="results/").get("Contents", [])
        return {entry["Key"].removeprefix("results/job-1/") for entry in found}

    def result(self, name: str) -> tuple[str, bytes]:
        """Content type and body of one."""
        answer = self._s3.get_object(Bucket=BUCKET, Key=f"results/job-1/{name}")
        return answer["ContentType"], answer["Body"].read()


def _peak_kilobytes(pid: int) -> int:
    """The most memory a process has had, looked at until it ends.

    Not what `wait4` tells, which a child inherits: it would be the size of these tests where that is larger.
    """
    peak = 0
    with suppress(FileNotFoundError, ProcessLookupError):
        while found := re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()):
            peak = int(found[1])
            time.sleep(0.01)
    return peak
