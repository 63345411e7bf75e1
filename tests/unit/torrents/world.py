"""The torrent function with its table, bucket and queues, which tests step through: uploads, messages, crashes.

Table and bucket are moto's, the queues are in memory; the function is the real one with other clients.
"""

import base64
import hashlib
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError

from switchyard.function_jobs.intake import Intake
from switchyard.function_jobs.work import TimeLeft
from switchyard.messages.dead_letters import DeadLetterQueue
from switchyard.protocol.cancel import Canceller
from switchyard.protocol.jobs import Job
from switchyard.tables.store import Store
from switchyard.torrents.creator import Creator, Recipe
from switchyard.torrents.format.bencode import decode
from switchyard.torrents.format.layout import Format
from switchyard.torrents.format.metainfo import Sharing
from switchyard.torrents.messages import Segment, TorrentWork, Wanted, job_id, message
from switchyard.torrents.outbox import TorrentOutbox
from switchyard.torrents.table import TorrentJobs
from tests.conftest import Aws
from tests.fakes.crashing import Countdown, Crashing, Killed
from tests.fakes.queues import FakeSqs, Queued
from tests.world import Time

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 2**20
BUCKET = "media"
KEY = "recordings/job-7/my file+ü #1 100%.bin"
QUEUE, DEAD, SEEDING = "torrents", "dead-letters", "ecs-jobs"
WORK = TorrentWork(BUCKET, "recordings/", "torrents/", "torrent-scratch/")
MAX_RECEIVES = 5
KEEP = timedelta(days=30)

ONE_PIECE_EACH = 0
"""MB/s so slow that a segment has one piece."""


def content(size: int, seed: int = 0) -> bytes:
    """Returns random bytes, the same for the same seed."""
    return random.Random(f"{size} {seed}").randbytes(size)  # noqa: S311 - not a secret


def torrent_key(key: str = KEY) -> str:
    return WORK.torrent_key(key)


def upload_event(key: str, *, etag: str, version_id: str | None = None) -> str:
    """Returns S3's event for a put object; `key` is not encoded yet."""
    thing = {"key": key.replace("%", "%25").replace("+", "%2B"), "eTag": etag, "sequencer": "0A"}
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-11-22T18:36:53.123Z",
        "s3": {"bucket": {"name": BUCKET}, "object": thing | ({"versionId": version_id} if version_id else {})},
    }
    return json.dumps({"Records": [record]})


@dataclass
class Invocation:
    """An invocation's remaining time; each call of `remaining` costs `cost` milliseconds."""

    milliseconds: int = 900_000
    cost: int = 0

    def remaining(self) -> int:
        self.milliseconds -= self.cost
        return self.milliseconds


@dataclass
class TorrentWorld:
    """Table, bucket, queues, and a function. Any of its invocations may be killed."""

    aws: Aws
    s3: "S3Client"
    time: Time
    sqs: FakeSqs = field(default_factory=FakeSqs)
    recipe: Recipe = field(
        default_factory=lambda: Recipe(
            form=Format.V1,
            sharing=Sharing(),
            max_piece_length=2**26,
            by_copy=False,
            connections=1,
            megabytes_per_second=75,
        )
    )
    seeding_queue: str = ""
    key: str = KEY

    @contextmanager
    def about(self, key: str) -> Iterator[None]:
        """Uses the object of this key by default while the block runs."""
        self.key, before = key, self.key
        yield
        self.key = before

    def set(self, **changes: Any) -> None:  # noqa: ANN401 - a recipe's fields
        """Changes settings of the function."""
        self.recipe = replace(self.recipe, **changes)

    # ---- the function -----------------------------------------------------------------------------------------------

    def intake(self, wrap: Callable[[object], object] = lambda it: it) -> Intake[Wanted | Segment]:
        """Returns a new function, with `wrap` around everything it calls."""
        sqs, s3, dynamodb = (cast("Any", wrap(client)) for client in (self.sqs, self.s3, self.aws.dynamodb))
        creator = Creator(
            TorrentJobs(dynamodb, self.aws.jobs_table, keep_ended_jobs=KEEP),
            WORK,
            s3,
            TorrentOutbox(sqs, QUEUE, self.seeding_queue),
            self.recipe,
        )
        return Intake(creator, creator.outbox, MAX_RECEIVES, DeadLetterQueue(sqs, DEAD))

    def invoke(self, event: object, request_id: str = "request-1") -> dict[str, Any]:
        """Invokes the function directly."""
        return self.intake().invoked(event, request_id, TimeLeft(Invocation().remaining))

    def deliver(self, invocation: Invocation | None = None, kill: Countdown | None = None) -> bool:
        """Delivers the oldest message to an invocation, which may be killed. Returns False if there is none."""
        if not self.messages:
            return False
        queued = self.messages.popleft()
        queued.receives += 1
        try:
            intake = self.intake(lambda client: Crashing(client, kill) if kill else client)
            time = TimeLeft((invocation or Invocation()).remaining)
            failed = intake.consume(lambda_event(queued), time)["batchItemFailures"]
        except Killed:
            failed = [queued]
        if failed and queued.receives >= MAX_RECEIVES:
            self.sqs.queues[DEAD].append(queued)
        elif failed:
            self.messages.append(queued)
        return True

    def deliver_all(self, most: int = 200) -> None:
        """Delivers messages until there are none."""
        for _ in range(most):
            if not self.deliver():
                return
        raise AssertionError("messages never end")

    def send(self, body: str) -> None:
        self.sqs.send_message(QueueUrl=QUEUE, MessageBody=body)

    def redrive(self) -> None:
        """Redrives the dead-letter queue: messages get new ids, as in SQS."""
        dead = self.sqs.queues[DEAD]
        while dead:
            self.send(dead.popleft().body)

    def cancel(self, name: str) -> None:
        """Cancels a job as the API does."""
        store = Store(self.aws.dynamodb, self.aws.jobs_table, self.aws.lanes_table, keep_ended_jobs=KEEP)
        job = store.get(name)
        assert isinstance(job, Job)
        Canceller(store, {}).cancel(job)

    # ---- uploads ----------------------------------------------------------------------------------------------------

    def upload(self, data: bytes, key: str | None = None, *, tell: bool = True) -> str:
        """Puts an object a minute after the last one, lets S3 announce it, and returns its version."""
        key = key or self.key
        self.time.advance(timedelta(minutes=1))
        answer = self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)
        etag, version_id = answer["ETag"].strip('"'), answer.get("VersionId")
        if tell:
            self.send(upload_event(key, etag=etag, version_id=version_id))
        return version_id or etag

    def ask(self, key: str | None = None, version: str | None = None, *, again: bool = False) -> None:
        self.send(message(BUCKET, key or self.key, version, again=again))

    # ---- results ----------------------------------------------------------------------------------------------------

    @property
    def messages(self) -> Any:  # noqa: ANN401 - a deque of Queued
        return self.sqs.queues[QUEUE]

    @property
    def dead_letters(self) -> list[str]:
        """Returns the dead letters' error types; empty for messages that SQS itself moved there."""
        return [queued.attributes.get("ErrorType", "") for queued in self.sqs.queues[DEAD]]

    def row(self, name: str) -> dict[str, Any]:
        """Returns a job's item in JobsTable; empty if there is none."""
        found = self.aws.dynamodb.get_item(TableName=self.aws.jobs_table, Key={"jobId": {"S": name}}).get("Item", {})
        return {field: TypeDeserializer().deserialize(value) for field, value in found.items()}

    def job(self, version: str, key: str | None = None) -> dict[str, Any]:
        return self.row(self.name(version, key))

    def name(self, version: str, key: str | None = None) -> str:
        """Returns a job's id."""
        return job_id(BUCKET, key or self.key, version)

    def outcome(self, version: str, key: str | None = None) -> tuple[str | None, str | None]:
        """Returns a job's status and error code."""
        row = self.job(version, key)
        return row.get("status"), row.get("error", {}).get("code")

    def torrent(self, key: str | None = None) -> dict[bytes, Any] | None:
        """Returns an object's decoded torrent; None if there is none."""
        try:
            body = self.s3.get_object(Bucket=BUCKET, Key=torrent_key(key or self.key))["Body"].read()
        except ClientError:
            return None
        return cast("dict[bytes, Any]", decode(body))

    def is_torrent_of(self, data: bytes, key: str | None = None) -> bool:
        """Returns whether the object's torrent exists and matches these bytes."""
        found = self.torrent(key)
        if found is None:
            return False
        info = found[b"info"]
        length = info[b"piece length"]
        pieces = (data[at : at + length] for at in range(0, len(data), length))
        digests = b"".join(hashlib.sha1(piece, usedforsecurity=False).digest() for piece in pieces)
        return bool(info[b"pieces"] == digests and info[b"length"] == len(data))


def lambda_event(queued: Queued) -> dict[str, Any]:
    """Returns a message as Lambda passes it to a function."""
    record = {
        "messageId": queued.id,
        "receiptHandle": base64.b64encode(queued.id.encode()).decode(),
        "body": queued.body,
        "attributes": {
            "ApproximateReceiveCount": str(queued.receives),
            "SentTimestamp": "1795458000000",
            "SenderId": "AIDAEXAMPLE",
            "ApproximateFirstReceiveTimestamp": "1795458000000",
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(queued.body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:torrents",
        "awsRegion": "us-east-1",
    }
    return {"Records": [record]}


def modified_by(time: Time) -> Callable[[], datetime]:
    """Returns the clock that moto uses when an object is put."""
    return lambda: time.now.replace(tzinfo=None)
