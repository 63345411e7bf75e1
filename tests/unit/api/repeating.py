"""The routes that request work again, on one moto account with a versioned bucket."""

import inspect
import json
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3

from switchyard import clock
from switchyard.api.bulk import Bulk
from switchyard.api.cancelling import Cancelling
from switchyard.api.http import Api, ApiAuth, Handler
from switchyard.api.repeats import Repeats
from switchyard.api.submission import Submission
from switchyard.messages.envelope import Envelope
from switchyard.messages.tasks import TaskWork
from switchyard.messages.videos import VideoWork
from switchyard.protocol.cancel import Canceller
from switchyard.protocol.dispatch import Dispatcher, Outcome
from switchyard.protocol.jobs import Job, Status, TargetSpec
from switchyard.protocol.lanes import Lane
from switchyard.protocol.tracking import Tracker
from switchyard.settings import SqsToBatchSettings
from switchyard.tables.records import Records
from switchyard.tables.store import Store
from tests.conftest import Aws
from tests.fakes.dead_letters import FakeDeadLetters
from tests.fakes.target import FakeTarget
from tests.fakes.wakes import FakeWakes
from tests.rest import Answer, ask

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "media"
PATTERN = SqsToBatchSettings.variables()["VIDEO_ID_PATTERN"].default
VIDEOS = VideoWork("video", TargetSpec("batch", "queue", "definition"), PATTERN, frozenset({BUCKET}), BUCKET)  # type: ignore[arg-type]
TASKS = TaskWork(BUCKET, "cluster", {"stream-recording": "record-stream", "image-processing": "detect-objects"})
ANALYZE, RERUN, BULK = "POST /videos", "POST /jobs/{jobId}/rerun", "POST /jobs/bulk"
UUID = "6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506"
KEY = {"Idempotency-Key": "order-4711"}


class OneAtATime:
    """A client whose calls wait for each other: moto's transactions copy tables that others change meanwhile."""

    _turn = threading.Lock()

    def __init__(self, inner: object) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - it stands for anything
        real = getattr(self._inner, name)
        if not inspect.ismethod(real):
            return real

        def call(**parameters: object) -> object:
            with self._turn:
                return real(**parameters)

        return call


@dataclass
class Repeating:
    """The API's routes for jobs, the queues' functions, and a target that runs what they start."""

    aws: Aws
    s3: "S3Client" = field(default_factory=lambda: boto3.client("s3", region_name="us-east-1"))
    target: FakeTarget = field(default_factory=FakeTarget)
    dynamodb: Any = None
    sqs: Any = None

    def __post_init__(self) -> None:
        self.video_queue = self.aws.sqs.create_queue(QueueName="video")["QueueUrl"]
        self.s3.create_bucket(Bucket=BUCKET)
        self.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})

    @property
    def store(self) -> Store:
        client: Any = OneAtATime(self.dynamodb or self.aws.dynamodb)
        return Store(client, self.aws.jobs_table, self.aws.lanes_table, keep_ended_jobs=timedelta(days=30))

    @property
    def api(self) -> dict[str, Handler]:
        """The routes with clients that may be replaced."""
        dynamodb: Any = OneAtATime(self.dynamodb or self.aws.dynamodb)
        sqs = self.sqs or self.aws.sqs
        records = Records(dynamodb, self.aws.jobs_table, self.aws.lanes_table)
        submission = Submission(records, TASKS, sqs, self.aws.queue_url)
        urls = {"batch": self.video_queue, "ecs": self.aws.queue_url}
        repeats = Repeats(records, self.store, sqs, urls, VIDEOS.target, BUCKET, "uploads/", lambda: self.s3)
        routes: dict[str, Handler] = {
            ANALYZE: repeats.analyze,
            RERUN: repeats.rerun,
            "POST /process": submission.process,
            "POST /jobs": submission.record,
            "DELETE /jobs/{jobId}": Cancelling(Canceller(self.store, {"batch": self.target})).cancel,
        }
        return routes | {BULK: Bulk(routes).bulk}

    def ask(self, route: str, body: object = None, *, auth: ApiAuth = "api-key", **more: Any) -> Answer:  # noqa: ANN401 - as `event`
        return ask(Api(self.api, auth=auth), route, body, **more)

    def rerun(self, job_id: str, **more: Any) -> Answer:  # noqa: ANN401 - as `event`
        return self.ask(RERUN, path={"jobId": job_id}, **more)

    # ---- what is there

    def upload(self, name: str = "holiday.mp4", owner: str = "", content: bytes = b"video") -> tuple[str, str]:
        """Puts an upload; returns its key and version."""
        key = f"uploads/{f'{owner}/' if owner else ''}2026/11/22/{UUID}-{name}"
        return key, self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)["VersionId"]

    def job(self, job_id: str) -> Job:
        found = self.store.get(job_id)
        assert found is not None
        return found

    def jobs(self) -> set[str]:
        return {item["jobId"]["S"] for item in self.aws.dynamodb.scan(TableName=self.aws.jobs_table)["Items"]}

    # ---- what the functions do

    @property
    def dispatcher(self) -> Dispatcher:
        lanes = {name: Lane(name, 5) for name in ("video", "images", "recordings")}
        return Dispatcher(
            store=self.store,
            targets={"batch": self.target, "ecs": self.target},
            lanes=lanes,
            dead_letters=dict.fromkeys(lanes, FakeDeadLetters()),
            wakes=FakeWakes(),
            grace=timedelta(seconds=120),
            max_refusals=3,
        )

    def deliver(self) -> list[Outcome]:
        """Handles all messages that wait in the queues, each by its queue's function."""
        outcomes = []
        for work, url in ((VIDEOS, self.video_queue), (TASKS, self.aws.queue_url)):
            while found := self.aws.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                for message in found:
                    parsed = work.parse(message["Body"], Envelope(message["MessageId"], clock.now()))
                    assert (parsed.rejected, len(parsed.requests)) == ([], 1), json.loads(message["Body"])
                    outcomes.append(self.dispatcher.dispatch(parsed.requests[0]))
                    self.aws.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return outcomes

    def end(self, job_id: str, status: Status = Status.COMPLETED) -> None:
        """Ends a job's run."""
        target_id = self.job(job_id).target_id
        assert target_id is not None
        assert Tracker(self.store, self.dispatcher, 3).apply(self.target.move(target_id, status))

    def done(self, route: str, body: dict[str, Any], **more: Any) -> str:  # noqa: ANN401 - as `event`
        """The id of a job that was requested, started and has ended."""
        job_id = str(self.ask(route, body, **more).body["jobId"])
        self.deliver()
        self.end(job_id)
        return job_id
