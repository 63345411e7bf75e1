"""The deployed local system for tests: sends work, steers jobs, and reads the results."""

import hashlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from boto3.dynamodb.types import TypeDeserializer

from local.stack import LocalStack
from local.view import Lane, View
from local.workers import QUEUE
from switchyard.protocol.jobs import TERMINAL
from tests.integration.job import boot_barrier, gate
from tests.integration.roads import BATCH, ROADS, Road, Start, of_batch, of_ecs
from tools.functions import Trigger, invoked_by

type Item = dict[str, Any]
"""A DynamoDB item or a JSON object."""

FUNCTIONS = tuple(function.logical_id for function in invoked_by(Trigger.QUEUE, Trigger.SCHEDULE))
"""Functions that are invoked by a queue or a schedule."""
INPUTS = (*(road.queue for road in ROADS), "TorrentQueue", "SteamQueue", "TrackQueue", "WebhookQueue")
"""The queues that functions read."""
PATIENCE = 150.0
"""Seconds a step may take on a busy machine; a second is usual."""


@dataclass(frozen=True)
class Span:
    """One run of a job, from the ledger. `end` is None while it runs, or if it was killed."""

    job_id: str
    key: str
    run_id: str
    attempt: int
    begin: float
    end: float | None


class System:
    """A test's interface to the system.

    Args:
        stack: The running system.
        gates: The folder of the files that release jobs.
        ledger: The file where jobs record their runs.
        road: The road that its work takes.
    """

    def __init__(self, stack: LocalStack, gates: Path, ledger: Path, road: Road = BATCH) -> None:
        self.stack = stack
        self.road = road
        self.view = View(stack)
        self.folders = (gates, ledger)
        self._gates = gates
        self._ledger = ledger
        self._parameters = dict(stack.parameters)
        self._older = {item["jobId"] for item in self._items()}
        self.began = time.time()

    # ---- sending work ----------------------------------------------------------------------------------------

    def key(self, name: str = "clip.mp4") -> str:
        """Returns a key that no other test uses. Over Batch, an upload to it makes a job."""
        return f"{'uploads' if self.road is BATCH else 'quiet'}/{uuid.uuid4()}/{name}"

    def upload(self, key: str | None = None, **plan: object) -> str:
        """Uploads an object with a plan for its job (see `job`), requests the job, and returns the key.

        For a Batch job, S3's notification is the request.
        """
        key = self._put(key or self.key(), plan)
        if self.road is not BATCH:
            self.send(self.message(key))
        return key

    def place(self, key: str | None = None, **plan: object) -> str:
        """Uploads like `upload`, but under `quiet/`, which S3 does not announce: for tests that send the messages."""
        return self._put(key or f"quiet/{uuid.uuid4()}/clip.mp4", plan)

    def _put(self, key: str, plan: Mapping[str, object]) -> str:
        self.stack.client("s3").put_object(
            Bucket=self.bucket, Key=key, Body=json.dumps(plan).encode(), ContentType="video/mp4"
        )
        return key

    def message(self, key: str) -> Item:
        """Returns a message that requests the object's job. Sent twice, it requests the same work."""
        if self.road is BATCH:
            return self.notification(key)
        return {
            "kind": "image-processing",
            "jobId": job_id_of(key),
            "imageUrls": [f"s3://{self.bucket}/{key}"],
            "version": "as first uploaded",
        }

    def unversioned(self, key: str) -> Item:
        """Returns a message like `message` without a version. Sent twice, it requests two runs."""
        if self.road is BATCH:
            return {"bucket": self.bucket, "key": key}
        return {name: value for name, value in self.message(key).items() if name != "version"}

    def send(self, body: object, queue: str | None = None, **attributes: str) -> str:
        """Sends a message to the road's queue or `queue`, as JSON unless it is a string, and returns its id."""
        message = self.stack.client("sqs").send_message(
            QueueUrl=self.stack.resource(queue or self.road.queue),
            MessageBody=body if isinstance(body, str) else json.dumps(body),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        )
        return str(message["MessageId"])

    def send_together(self, *bodies: object) -> None:
        """Sends messages to the road's queue in one call, so that one invocation probably gets them all."""
        self.stack.client("sqs").send_message_batch(
            QueueUrl=self.stack.resource(self.road.queue),
            Entries=[{"Id": str(number), "MessageBody": json.dumps(body)} for number, body in enumerate(bodies)],
        )

    def release(self, key: str) -> None:
        """Releases the object's job."""
        gate(self._gates, key).touch()

    @contextmanager
    def booting(self, key: str) -> Iterator[None]:
        """Keeps runs of the object's jobs from reaching the fence check while the block runs."""
        # A task does not know its object before the fence check.
        barrier = boot_barrier(self._gates, key if self.road is BATCH else job_id_of(key))
        barrier.touch()
        try:
            yield
        finally:
            barrier.unlink()

    def notification(self, key: str) -> Item:
        """Returns S3's notification for the object's current version."""
        found = self.stack.client("s3").head_object(Bucket=self.bucket, Key=key)
        return {
            "Records": [
                {
                    "eventVersion": "2.1",
                    "eventSource": "aws:s3",
                    "eventTime": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "eventName": "ObjectCreated:Put",
                    "s3": {
                        "bucket": {"name": self.bucket},
                        "object": {
                            "key": quote_plus(key, safe="/"),
                            "eTag": found["ETag"].strip('"'),
                            "versionId": found["VersionId"],
                            "sequencer": f"{time.time_ns():016X}",
                        },
                    },
                }
            ]
        }

    # ---- reading ---------------------------------------------------------------------------------------------

    @property
    def bucket(self) -> str:
        """Returns the media bucket's name."""
        return self.stack.resource("MediaBucket")

    def jobs(self, *keys: str) -> list[Item]:
        """Returns the items of JobsTable whose object is one of `keys`."""
        return [item for item in self._items() if _object_of(item) in keys]

    def _items(self) -> list[Item]:
        pages = self.stack.client("dynamodb").get_paginator("scan")
        return [
            _item(raw)
            for page in pages.paginate(TableName=self.stack.resource("JobsTable"), ConsistentRead=True)
            for raw in page["Items"]
        ]

    def job(self, key: str) -> Item | None:
        """Returns the object's only job; None if it has none.

        Raises:
            AssertionError: If there is more than one.
        """
        found = self.jobs(key)
        assert len(found) <= 1, f"{len(found)} jobs for {key}"
        return found[0] if found else None

    def wait_for(self, key: str, *statuses: str, seconds: float = PATIENCE) -> Item:
        """Waits until the object's job has one of these statuses, and returns the job.

        Raises:
            AssertionError: If it takes too long, or the job ends with another status.
        """

        def arrived() -> Item | None:
            job = self.job(key)
            if job and job["status"] in {"COMPLETED", "FAILED", "CANCELLED"}:
                assert job["status"] in statuses, f"{key} ended as {job['status']}: {job.get('error')}"
            return job if job and job["status"] in statuses else None

        return self.until(arrived, f"{key} to be {' or '.join(statuses)}", seconds=seconds)

    def completed(self, *keys: str, seconds: float = PATIENCE) -> list[Item]:
        """Waits until the jobs of these objects are all COMPLETED, and returns the jobs."""
        return [self.wait_for(key, "COMPLETED", seconds=seconds) for key in keys]

    def until[Found](
        self, look: Callable[[], Found | None], what: str, *, seconds: float = PATIENCE, every: float = 0.1
    ) -> Found:
        """Polls until `look` returns something other than None or False.

        Raises:
            AssertionError: If it takes too long.
        """
        deadline = time.monotonic() + seconds
        while True:
            found = look()
            if found is not None and found is not False:
                return found
            assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}"
            time.sleep(every)

    def runs(self, *keys: str) -> list[Span]:
        """Returns the runs that passed the fence check, of these objects' jobs or of all, in order of their begin."""
        lines = [json.loads(line) for line in self._ledger.read_text().splitlines()] if self._ledger.exists() else []
        ends: dict[tuple[str, int], float] = {}
        for line in lines:
            if line["event"] == "end":
                ends.setdefault((line["runId"], line["attempt"]), line["time"])
        return [
            Span(
                line["jobId"],
                line["key"],
                line["runId"],
                line["attempt"],
                line["time"],
                ends.get((line["runId"], line["attempt"])),
            )
            for line in lines
            if line["event"] == "begin" and (not keys or line["key"] in keys)
        ]

    def most_at_once(self, *keys: str) -> int:
        """Returns the most runs of these objects' jobs at work at the same time."""
        edges = []
        for span in self.runs(*keys):
            edges += [(span.begin, 1), (span.end or float("inf"), -1)]
        # At the same instant, an end counts before a begin.
        return max(itertools.accumulate(change for _, change in sorted(edges)), default=0)

    def submissions(self, job_id: str) -> list[Item]:
        """Returns every Batch job ever submitted for a job, as DescribeJobs shows it."""
        return [
            each
            for each in self.compute("GET", "/_compute/jobs?limit=1000")["jobs"]
            if {"name": "JOB_ID", "value": job_id} in each["container"]["environment"]
        ]

    def starts(self, job_id: str) -> list[Start]:
        """Returns every run ever started for a job on the road's target."""
        if self.road is BATCH:
            return [of_batch(each) for each in self.submissions(job_id)]
        tasks = (of_ecs(each) for each in self.compute("GET", "/_compute/tasks?limit=1000")["tasks"])
        return [each for each in tasks if each.environment.get("JOB_ID") == job_id]

    def stop(self, target_id: str) -> None:
        """Ends a run without Switchyard."""
        if self.road is BATCH:
            self.stack.client("batch").terminate_job(jobId=target_id, reason="runs too long")
        else:
            self.stack.client("ecs").stop_task(cluster=QUEUE, task=target_id, reason="runs too long")

    def lane(self) -> Lane:
        """Returns the lane's slots and waiting room."""
        return self.view.lane(self.road.lane)

    def messages(self, queue: str | None = None) -> list[Item]:
        """Takes every message out of the road's dead-letter queue, or `queue`: body, and attributes by name."""
        sqs, url = self.stack.client("sqs"), self.stack.resource(queue or self.road.dead_letters)
        taken: list[Item] = []
        while True:
            batch = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
            if not batch.get("Messages"):
                return taken
            for message in batch["Messages"]:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                attributes = message.get("MessageAttributes", {})
                taken.append(
                    {
                        "body": message["Body"],
                        "attributes": {name: value["StringValue"] for name, value in attributes.items()},
                    }
                )

    def drained(self, queue: str | None = None, *, seconds: float = PATIENCE) -> None:
        """Waits until the road's queue, or `queue`, has no message, neither visible nor in flight."""
        name = queue or self.road.queue
        self.until(lambda: self.view.queues((name,))[name] == (0, 0), f"{name} to be empty", seconds=seconds)

    def log(self, function: str) -> list[Item]:
        """Returns the JSON lines that a function has logged since the test began."""
        lines = (line.text for line in self.stack.function_log(function, since=self.began))
        return [json.loads(text) for text in lines if text.startswith("{")]

    # ---- faults ----------------------------------------------------------------------------------------------

    def fault(self, operation: str, mode: str, **more: object) -> None:
        """Adds a fault to the stand-in for Batch and ECS, until the test's end; see `local.compute.faults`."""
        self.compute("POST", "/_compute/faults", [{"operation": operation, "mode": mode, **more}])

    def fired(self, operation: str) -> int:
        """Returns how often the faults of an operation (or of "events") have hit so far."""
        faults = self.compute("GET", "/_compute/faults")["faults"]
        return sum(fault["fired"] for fault in faults if fault["operation"] == operation)

    def no_more_faults(self) -> None:
        """Removes all faults from the stand-in; it sends the events it held back."""
        self.compute("DELETE", "/_compute/faults")

    def kill_function(self, function: str) -> int:
        """Kills every running process of a function, like a crash of Lambda's host, and returns their number."""
        name = f"ministack-lambda-{self.stack.resource(function)}-"
        listed = subprocess.run(["ps", "-eww", "-o", "pid=,pgid=,args="], capture_output=True, text=True, check=True)
        killed = 0
        for line in listed.stdout.splitlines():
            pid, group, command = line.split(None, 2)
            if int(group) == self.stack.emulator.pid and name in command:
                os.kill(int(pid), signal.SIGKILL)
                killed += 1
        return killed

    def invoke(self, function: str, event: object = None) -> Item:
        """Invokes a function with the test's event and returns its answer.

        Raises:
            AssertionError: If the function raised an exception.
        """
        answer = self.stack.client("lambda").invoke(
            FunctionName=self.stack.resource(function), Payload=json.dumps(event or {}).encode()
        )
        payload: Item = json.loads(answer["Payload"].read() or b"null") or {}
        assert "FunctionError" not in answer, payload
        return payload

    def compute(self, method: str, path: str, body: object = None) -> Item:
        """Calls the stand-in for Batch and ECS for something that AWS has no call for."""
        connection = http.client.HTTPConnection("127.0.0.1", self.stack.compute.port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body).encode())
            response = connection.getresponse()
            text = response.read()
            assert response.status < 300, f"{method} {path}: {response.status} {text.decode()}"
            found = json.loads(text or b"{}")
            return found if isinstance(found, dict) else {"faults": found}
        finally:
            connection.close()

    # ---- the settings ----------------------------------------------------------------------------------------

    def deploy(self, **parameters: str) -> None:
        """Deploys the template with other parameters, until the test's end."""
        assert parameters.keys() <= self._parameters.keys(), "conftest must define the values to restore"
        self.stack.redeploy(**parameters)

    @contextmanager
    def variables(self, function: str, **changed: str) -> Iterator[None]:
        """Changes a function's environment variables while the block runs, to values the template does not allow."""
        client, name = self.stack.client("lambda"), self.stack.resource(function)
        before: Mapping[str, str] = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        client.update_function_configuration(FunctionName=name, Environment={"Variables": {**before, **changed}})
        try:
            yield
        finally:
            client.update_function_configuration(FunctionName=name, Environment={"Variables": dict(before)})

    @contextmanager
    def redelivery(self, queue: str, seconds: int) -> Iterator[None]:
        """Sets how soon a queue delivers messages again if their receiver has died, while the block runs."""
        sqs, url, name = self.stack.client("sqs"), self.stack.resource(queue), "VisibilityTimeout"
        before = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes={name: str(seconds)})
        try:
            yield
        finally:
            sqs.set_queue_attributes(QueueUrl=url, Attributes=before)

    def forget_pending(self) -> None:
        """Deletes the records of accepted jobs that will never be dispatched, because their messages are gone."""
        self._forget({"PENDING"})

    def _forget(self, statuses: AbstractSet[str], but: AbstractSet[str] = frozenset()) -> None:
        table = self.stack.resource("JobsTable")
        for item in self._items():
            if item["status"] in statuses and item["jobId"] not in but:
                self.stack.client("dynamodb").delete_item(TableName=table, Key={"jobId": {"S": item["jobId"]}})

    # ---- clean-up --------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Restores the system: no faults, every gate open, nothing left to do, the original parameters."""
        self.no_more_faults()
        for span in self.runs():
            if span.end is None:
                self.release(span.key)
        try:
            self.until(self._idle, "everything to come to rest")
        except AssertionError:
            print(f"not at rest: {self.view.queues()}, {[self.view.lane(road.lane) for road in ROADS]}")  # noqa: T201
            raise
        finally:
            if self.stack.parameters != self._parameters:
                # Last, because the emulator, unlike Lambda, ends running invocations when settings change. Their
                # messages come back, and must not find that their jobs are gone.
                self.stack.redeploy(**self._parameters)
                self.until(self._idle, "everything to come to rest again")
        for queue in (*(road.dead_letters for road in ROADS), "TorrentDeadLetterQueue", "TrackDeadLetterQueue"):
            self.messages(queue)
        self._forget(TERMINAL, but=self._older)  # every search for a job reads the whole table

    def _idle(self) -> bool:
        # Before the lanes and after them: a message may leave its queue and take a slot between the two.
        were_empty = self._queues_are_empty()
        for item in self._items():
            if item["status"] not in TERMINAL:
                self.release(_object_of(item))
        if any(lane.holders or lane.waiting for lane in (self.view.lane(road.lane) for road in ROADS)):
            return False
        return were_empty and self._queues_are_empty()

    def _queues_are_empty(self) -> bool:
        return set(self.view.queues(INPUTS).values()) == {(0, 0)}


def job_id_of(key: str) -> str:
    """Returns the job id that tests use for an object's task."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _object_of(item: Item) -> str:
    """Returns the key of the object with a job's plan."""
    request = json.loads(item.get("request", "{}"))
    [url, *_] = request.get("input", {}).get("imageUrls") or [""]
    key: str = item.get("source", {}).get("key", "")
    return key or url.removeprefix("s3://").partition("/")[2]


def environment(submission: Item) -> dict[str, str]:
    """Returns the environment that a Batch job gives its worker."""
    return {pair["name"]: pair["value"] for pair in submission["container"]["environment"]}


def _item(raw: Mapping[str, Any]) -> Item:
    read = TypeDeserializer().deserialize
    return {name: read(value) for name, value in raw.items()}
