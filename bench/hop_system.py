"""Deploys the local system with its measuring points, and no-op functions next to it for comparison.

Nothing polls while something is measured. The times are read afterwards from the system's own records.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any, Final
from unittest.mock import patch
from urllib.request import Request, urlopen

from local.environment import ACCOUNT, REGION, STATE, seal_this_process
from local.processes import end_like_ctrl_c, locked
from local.stack import LocalStack
from local.view import Job, View
from local.workers import QUEUE, JobDefinition
from switchyard import clock
from switchyard.messages.kinds import VIDEO
from switchyard.protocol.jobs import Source, TargetSpec, WorkRequest
from switchyard.protocol.lanes import Lane
from switchyard.protocol.ports import Claimed
from switchyard.tables.store import Store
from switchyard.targets.batch import BatchTarget

_PATIENCE: Final = 60.0
_PAUSE: Final = 0.25
"""Seconds without polling: longer than the measured work takes on a quiet machine."""
_STEP: Final = 0.05
_QUESTION: Final = "TagResource"
"""Operations that the stand-in for Batch calls on the emulator in its caller's name."""
_SOURCE: Final = "bench"
_CHANGE: Final = "Batch Job State Change"
_JOB_QUEUE: Final = f"arn:aws:batch:{REGION}:{ACCOUNT}:job-queue/{QUEUE}"
_NOTHING: Final = """
import json, sys, time

def lambda_handler(event, _context):
    entered = time.time()
    for record in event["Records"]:
        line = {"entered": entered, "sent": record["attributes"]["SentTimestamp"], "body": record["body"]}
        print(json.dumps(line), file=sys.stderr)
"""


@dataclass(frozen=True)
class Nothing:
    """A no-op function behind a queue. `bucket` announces uploads to the queue."""

    function: str
    bucket: str
    queue_arn: str


@dataclass(frozen=True)
class Way:
    """Moments of one upload or event, in epoch seconds. Unknown moments are absent."""

    moments: dict[str, float]

    def milliseconds(self, start: str, end: str) -> float:
        """Returns the time from one moment to another in ms."""
        return (self.moments[end] - self.moments[start]) * 1000


@contextmanager
def deployed() -> Iterator[System]:
    """Deploys the system with one slot for videos, on machines that never run a job, and ends it afterwards."""
    end_like_ctrl_c()
    folder = STATE / "bench"
    # Later benches use another AWS.
    with patch.dict(os.environ), locked(folder / "session.lock"):  # locked: another bench of this clone
        seal_this_process()
        stack = LocalStack(
            folder,
            parameters={"MaxConcurrentJobs": "1", "ReconcileMinutes": "60"},
            definitions={"analyze-video": JobDefinition((sys.executable, "-c", ""))},
        )
        stack.down()
        with stack.running():
            # No worker process takes CPU from the measured work. Jobs end because the bench tells Batch to end them.
            stack.restart_compute(crash=False, room=0)
            yield System(stack)


@dataclass
class System:
    """The deployed system: acts on it, and reads what happened."""

    stack: LocalStack
    view: View = field(init=False)

    def __post_init__(self) -> None:
        """Reads the stack's resources."""
        self.view = View(self.stack)

    # ---- no-op functions ---------------------------------------------------------------------------------------------

    def nothing(self, name: str) -> Nothing:
        """Deploys a no-op function behind its own queue, and the queue behind a bucket."""
        sqs, queue_arn = self.stack.client("sqs"), f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        url = sqs.create_queue(QueueName=name, Attributes={"Policy": _allows("*", "sqs:SendMessage", queue_arn)})
        role = self.stack.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=_trusts_lambda())["Role"]
        self.stack.client("iam").put_role_policy(
            RoleName=name, PolicyName="reads", PolicyDocument=_allows(None, "sqs:*", queue_arn)
        )
        self.stack.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler="app.lambda_handler",
            Role=role["Arn"],
            Code={"ZipFile": _zipped(_NOTHING)},
            MemorySize=512,
            Timeout=30,
        )
        self.stack.client("lambda").create_event_source_mapping(
            EventSourceArn=queue_arn, FunctionName=name, BatchSize=10, ScalingConfig={"MaximumConcurrency": 10}
        )
        s3 = self.stack.client("s3")
        s3.create_bucket(Bucket=name)
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        s3.put_bucket_notification_configuration(
            Bucket=name,
            NotificationConfiguration={
                "QueueConfigurations": [{"QueueArn": queue_arn, "Events": ["s3:ObjectCreated:*"]}]
            },
        )
        sqs.purge_queue(QueueUrl=url["QueueUrl"])  # S3's test message
        return Nothing(name, name, queue_arn)

    def listens(self, nothing: Nothing) -> None:
        """Routes events to the queue with a rule like ours, of another source: PutEvents refuses sources of AWS."""
        events = self.stack.client("events")
        pattern = {"source": [_SOURCE], "detail-type": [_CHANGE], "detail": {"jobQueue": [_JOB_QUEUE]}}
        events.put_rule(Name=nothing.function, EventPattern=json.dumps(pattern))
        events.put_targets(Rule=nothing.function, Targets=[{"Id": "queue", "Arn": nothing.queue_arn}])

    def witness(self, name: str) -> str:
        """Routes the ends of runs to a queue that only `told_at` reads. Returns the queue's URL."""
        sqs, events = self.stack.client("sqs"), self.stack.client("events")
        url: str = sqs.create_queue(QueueName=name)["QueueUrl"]
        detail = {"jobQueue": [_JOB_QUEUE], "status": ["FAILED"]}
        pattern = {"source": ["aws.batch"], "detail-type": [_CHANGE], "detail": detail}
        events.put_rule(Name=name, EventPattern=json.dumps(pattern))
        events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"}])
        return url

    def told_at(self, witness: str, target_id: str) -> float:
        """Returns when the witness queue got the end of a run, which is after ours did (epoch seconds)."""
        sqs = self.stack.client("sqs")

        def told() -> float | None:
            found = sqs.receive_message(
                QueueUrl=witness, MaxNumberOfMessages=10, MessageSystemAttributeNames=["SentTimestamp"]
            )
            at = None
            for message in found.get("Messages", ()):
                sqs.delete_message(QueueUrl=witness, ReceiptHandle=message["ReceiptHandle"])
                if target_id in message["Body"]:
                    at = int(message["Attributes"]["SentTimestamp"]) / 1000
            return at

        return _until(told, "the witness")

    def upload_to_nothing(self, nothing: Nothing) -> Way:
        """Uploads an object to its bucket and waits for the function."""
        key = _key()
        begun, answered = self._upload(nothing.bucket, key)
        return self._seen(nothing, key, {"begun": begun, "uploaded": answered})

    def tell_nothing(self, nothing: Nothing) -> Way:
        """Puts an event that its rule matches and waits for the function."""
        mark = str(uuid.uuid4())
        detail = json.dumps({"jobQueue": _JOB_QUEUE, "jobId": mark, "status": "FAILED"})
        begun = time.time()
        self.stack.client("events").put_events(Entries=[{"Source": _SOURCE, "DetailType": _CHANGE, "Detail": detail}])
        return self._seen(nothing, mark, {"begun": begun})

    def _seen(self, nothing: Nothing, mark: str, moments: dict[str, float]) -> Way:
        group = f"/aws/lambda/{nothing.function}"

        def noted() -> Way | None:
            for event in self._log(group, moments["begun"]):
                if event["message"].startswith("{") and mark in event["message"]:
                    line = json.loads(event["message"])
                    known = {"sent": int(line["sent"]) / 1000, "entered": line["entered"]}
                    return Way({**moments, **known, "done": event["timestamp"] / 1000})
            return None

        return _until(noted, f"{nothing.function} to be called", first=_PAUSE)

    # ---- ours --------------------------------------------------------------------------------------------------------

    def upload(self) -> tuple[str, float, float]:
        """Uploads a video. Returns its key and when the upload began and was answered."""
        key = _key()
        return key, *self._upload(self.stack.resource("MediaBucket"), key)

    def started(self, key: str, begun: float, uploaded: float) -> Way:
        """Waits for an uploaded video's job and returns the moments on the way. `run_of` returns its run."""
        run = _until(lambda: self.run_of(key), f"the job of {key}", first=_PAUSE)
        group = f"/aws/lambda/{self.stack.resource('SqsToBatchFunction')}"

        def done() -> float | None:
            ends = [event for event in self._log(group, begun) if event["message"].startswith("END ")]
            return ends[-1]["timestamp"] / 1000 if ends else None

        ended = _until(done, "the function to answer")
        job = self.job(key)
        known = {"sent": job.sent, "entered": job.claimed or 0, "taken": run["createdAt"] / 1000}
        return Way({"begun": begun, "uploaded": uploaded, **known, "done": ended})

    def job(self, key: str) -> Job:
        """Returns the job of an uploaded video."""
        return self.view.jobs_of([key])[key]

    def run_of(self, key: str) -> dict[str, Any] | None:
        """Returns its run as Batch describes it; None while it isn't among the last two."""
        named = {"name": "S3_KEY", "value": key}
        return next((run for run in self.runs(2) if named in run["container"]["environment"]), None)

    def runs(self, most: int = 1) -> list[dict[str, Any]]:
        """Returns the newest runs."""
        found: list[dict[str, Any]] = self._compute(f"/_compute/jobs?limit={most}")["jobs"]
        return found

    def batch_calls(self) -> Counter[str]:
        """Counts all calls of Batch by operation."""
        return Counter(self._compute("/_compute/health")["calls"])

    def end(self, target_id: str) -> None:
        """Terminates a run through Batch."""
        self.stack.client("batch").terminate_job(jobId=target_id, reason="the bench has seen enough of it")

    def next_start(self, target_id: str) -> Way:
        """Returns the moments from that run's end, as Batch reports it, to the next waiting job's start."""

        def follower() -> dict[str, Any] | None:
            [newest] = self.runs()
            return newest if newest["jobId"] != target_id else None

        run = _until(follower, "the next job's start", first=_PAUSE)
        before = next(each for each in self.runs(2) if each["jobId"] == target_id)
        pairs = {pair["name"]: pair["value"] for pair in run["container"]["environment"]}
        job = self.job(pairs["S3_KEY"])
        ended = before["stoppedAt"] / 1000
        return Way({"begun": ended, "entered": job.claimed or 0, "taken": run["createdAt"] / 1000})

    def settle(self, *, free: bool = True) -> None:
        """Waits until nothing is in progress; with `free` also until no slot is held."""
        sqs, queues = self.stack.client("sqs"), [self.stack.resource(name) for name in ("VideoQueue", "TrackQueue")]
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")

        def still() -> bool:
            found = (sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"] for url in queues)
            empty = not any(int(each[name]) for each in found for name in names)
            told = not self._compute("/_compute/health")["eventsWaiting"]
            return empty and told and not (free and self.view.lane(VIDEO.lane).holders)

        _until(still, "the system to come to rest")
        time.sleep(3 * _STEP)

    # ---- calls -------------------------------------------------------------------------------------------------------

    @contextmanager
    def recorded(self) -> Iterator[list[str]]:
        """Records the emulator calls that end a job and start the next, in order; the list is filled at the end.

        It ends with the write that records the start: later calls are about the next job. Calls of Batch are left out.
        """
        trail = self.stack.client("cloudtrail")
        trail.lookup_events()  # the emulator loads the service on first use
        since, calls = datetime.now(UTC), list[str]()
        self._record(on=True)
        try:
            yield calls
        finally:
            self._record(on=False)
        pages = trail.get_paginator("lookup_events").paginate()
        events = [event for page in pages for event in page["Events"] if event["EventTime"] >= since]
        who = {_caller(event) for event in events if event["EventName"] == "TransactWriteItems"}
        for event in reversed(events):  # the newest is the first
            if _caller(event) in who and event["EventName"] != _QUESTION:
                calls.append(event["EventName"])
                if calls[-1] == "UpdateItem":
                    break

    def _record(self, *, on: bool) -> None:
        setting = json.dumps({"cloudtrail._recording_enabled": str(on).lower()}).encode()
        with urlopen(Request(f"{self.stack.emulator.url}/_ministack/config", setting)):  # noqa: S310 - our own address
            pass

    # ---- reading -----------------------------------------------------------------------------------------------------

    def _upload(self, bucket: str, key: str) -> tuple[float, float]:
        begun = time.time()
        self.stack.client("s3").put_object(Bucket=bucket, Key=key, Body=b"a video" * 100, ContentType="video/mp4")
        return begun, time.time()

    def _log(self, group: str, since: float) -> list[dict[str, Any]]:
        logs = self.stack.client("logs")
        try:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=int(since * 1000))
            return [event for page in pages for event in page["events"]]
        except logs.exceptions.ResourceNotFoundException:
            return []

    def _compute(self, path: str) -> dict[str, Any]:
        connection = HTTPConnection("127.0.0.1", self.stack.compute.port, timeout=10)
        try:
            connection.request("GET", path)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()


class Bare:
    """The calls that start a job, made by boto3's default clients with the function's role, as recorded from ours.

    It also has the two reads that precede the start of a waiting job.
    """

    def __init__(self, stack: LocalStack) -> None:
        role = f"arn:aws:iam::{ACCOUNT}:role/{stack.resource('SqsToBatchRole')}"
        given = stack.client("sts").assume_role(RoleArn=role, RoleSessionName="bench")["Credentials"]
        credentials = {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["SessionToken"],
        }
        self._dynamodb, self._batch = (stack.client(name, **credentials) for name in ("dynamodb", "batch"))
        self._calls: list[dict[str, Any]] = []
        self._known = str(uuid.uuid4())
        self._room = {
            "TableName": stack.resource("LanesTable"),
            "KeyConditionExpression": "pk = :lane AND begins_with(sk, :wait)",
            "ExpressionAttributeValues": {":lane": {"S": f"LANE#{VIDEO.lane}"}, ":wait": {"S": "WAIT#"}},
            "ConsistentRead": True,
        }
        self.first_run = self._record(stack)

    def _record(self, stack: LocalStack) -> str:
        def note(params: dict[str, Any], **_: object) -> None:
            self._calls.append(json.loads(json.dumps(params)))

        for client in (self._dynamodb, self._batch):
            client.meta.events.register("provide-client-params", note)
        jobs, lanes = stack.resource("JobsTable"), stack.resource("LanesTable")
        store = Store(self._dynamodb, jobs, lanes, keep_ended_jobs=timedelta(days=30))
        target = BatchTarget(self._batch, self._batch, jobs_table=jobs, environment="local", grace_seconds=60)
        key = f"uploads/{self._known}/clip.mp4"
        request = WorkRequest(
            job_id=self._known,
            kind=VIDEO.name,
            lane=VIDEO.lane,
            target=TargetSpec("batch", QUEUE, "analyze-video"),
            source=Source(stack.resource("MediaBucket"), key, version="1", message_id=self._known),
            sent_at=clock.now(),
            video_id=self._known,
        )
        claimed = store.claim(request, None, Lane(VIDEO.lane, 1))
        if not isinstance(claimed, Claimed):
            raise RuntimeError(f"the lane isn't free: {claimed}")  # noqa: TRY004 - not a wrong type, a wrong moment
        run = target.start(claimed.job)
        store.record_start(claimed.job, run)
        for client in (self._dynamodb, self._batch):
            client.meta.events.unregister("provide-client-params", note)
        return run

    def make(self) -> tuple[str, dict[str, float]]:
        """Makes the calls for another job. Returns its run, and each call's duration in ms."""
        mine = str(uuid.uuid4())
        claim, submit, note = (json.loads(json.dumps(call).replace(self._known, mine)) for call in self._calls)
        took: dict[str, float] = {}
        self._timed(took, "TransactWriteItems", self._dynamodb.transact_write_items, claim)
        run: str = self._timed(took, "SubmitJob", self._batch.submit_job, submit)["jobId"]
        note["ExpressionAttributeValues"][":target"]["S"] = run
        self._timed(took, "UpdateItem", self._dynamodb.update_item, note)
        self._timed(took, "GetItem", self._dynamodb.get_item, {"TableName": note["TableName"], "Key": note["Key"]})
        self._timed(took, "Query", self._dynamodb.query, self._room)
        return run, took

    def _timed(
        self, took: dict[str, float], name: str, call: Callable[..., dict[str, Any]], params: Mapping[str, Any]
    ) -> dict[str, Any]:
        start = time.perf_counter()
        answer = call(**params)
        took[name] = (time.perf_counter() - start) * 1000
        return answer


def _key() -> str:
    return f"uploads/{uuid.uuid4()}/clip.mp4"


def _until[Found](look: Callable[[], Found | None], what: str, *, first: float = 0) -> Found:
    """Polls until `look` returns something, but not in the first seconds, to leave the measured work undisturbed."""
    deadline = time.monotonic() + _PATIENCE
    time.sleep(first)
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {_PATIENCE:.0f} s in vain for {what}")
        time.sleep(_STEP)


def _caller(event: dict[str, Any]) -> str:
    identity = json.loads(event["CloudTrailEvent"])["userIdentity"]
    return str(identity.get("accessKeyId", ""))


def _allows(principal: str | None, action: str, resource: str) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return json.dumps(
        {"Version": "2012-10-17", "Statement": [statement | ({"Principal": principal} if principal else {})]}
    )


def _trusts_lambda() -> str:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [trust]})


def _zipped(code: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("app.py", code)
    return archive.getvalue()
