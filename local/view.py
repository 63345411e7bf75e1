"""Reads jobs, lanes, queues and results from the running system, for the commands to show."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from boto3.dynamodb.types import TypeDeserializer
from rich.console import Console

from local.stack import LocalStack
from switchyard.messages import kinds
from switchyard.protocol.jobs import TERMINAL
from switchyard.settings import TrackJobSettings
from tools.functions import FUNCTIONS

LANES: Final[Mapping[str, tuple[str, str]]] = {
    lane: (kind.limit.title().replace("_", ""), str(TrackJobSettings.variables()[kind.limit].default))
    for lane, kind in kinds.LANES.items()
}
"""The lanes, each with the template's parameter for its limit and that parameter's default."""
QUEUES: Final = tuple(
    name
    for function in FUNCTIONS.values()
    if function.queue
    for name in (function.queue, function.queue.replace("Queue", "DeadLetterQueue"))
)
"""The queues that functions read and their dead-letter queues, by logical id."""

WIDTH: Final = 80
"""Columns of output to a file or a pipe."""

_read = TypeDeserializer().deserialize


@dataclass(frozen=True, slots=True)
class Job:
    """An item of JobsTable, for display.

    Times are epoch seconds, or None if not reached; `sent` is when the message that asked for the job was sent.
    `key` is empty for work without an object; `subject` then describes it.
    """

    id: str
    kind: str
    lane: str
    key: str
    subject: str
    status: str
    percent: float
    message: str
    target_id: str | None
    error: str
    result: Mapping[str, Any]
    created: float
    sent: float
    claimed: float | None
    started: float | None
    ended: float | None

    @property
    def name(self) -> str:
        """The file's name, or another name that people recognize."""
        return self.key.rpartition("/")[2] or self.subject or self.id

    @property
    def over(self) -> bool:
        """Whether its status is final."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class Lane:
    """The ids of the jobs that hold the lane's slots, and the number of jobs waiting for one."""

    holders: frozenset[str]
    waiting: int


class View:
    """Reads a running stack.

    Args:
        stack: Must be running; every method raises NotRunningError otherwise.
    """

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._dynamodb = stack.client("dynamodb")

    def jobs(self) -> list[Job]:
        """Every job, oldest first."""
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._stack.resource("JobsTable"), ConsistentRead=True
        )
        return sorted((_job(item) for page in pages for item in page["Items"]), key=lambda job: job.created)

    def jobs_of(self, marks: Iterable[str]) -> dict[str, Job]:
        """Jobs by the key of their object in the media bucket, or by their id. Marks without a job are left out."""
        wanted = set(marks)
        return {mark: job for job in self.jobs() for mark in (job.key, job.id) if mark in wanted}

    def lane(self, name: str) -> Lane:
        """The lane's slots, and how many jobs wait for one or for their time."""
        table = self._stack.resource("LanesTable")
        key = {"pk": {"S": f"LANE#{name}"}, "sk": {"S": "SLOTS"}}
        slots = _item(self._dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {}))
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"HOLDS#{name}"}},
            ConsistentRead=True,
        )
        holders = frozenset(item["sk"]["S"] for page in pages for item in page["Items"])
        return Lane(holders, int(slots.get("waiting", 0)) + int(slots.get("later", 0)))

    def queues(self, names: Iterable[str] = QUEUES) -> dict[str, tuple[int, int]]:
        """Each queue's messages, by logical id: the number waiting, and the number in flight."""
        return {name: self._depth(self._stack.resource(name)) for name in names}

    def submitted(self, job: Job) -> float | None:
        """When Batch or ECS accepted the job (epoch seconds)."""
        if job.target_id is None:
            return None
        if cluster := cluster_of(job.target_id):
            tasks = self._stack.client("ecs").describe_tasks(cluster=cluster, tasks=[job.target_id])["tasks"]
            return float(tasks[0]["createdAt"].timestamp()) if tasks else None
        described = self._stack.client("batch").describe_jobs(jobs=[job.target_id])["jobs"]
        return described[0]["createdAt"] / 1000 if described else None

    def upload(self, file: Path, key: str) -> float:
        """Upload a file to the media bucket; the time just before (epoch seconds)."""
        before = time.time()
        self._stack.client("s3").upload_file(str(file), self._stack.resource("MediaBucket"), key)
        return before

    def location(self, job: Job) -> str:
        """The S3 URL of a job's results."""
        return f"s3://{self._stack.resource('MediaBucket')}/{_prefix(job)}"

    def results(self, job: Job, folder: Path) -> list[Path]:
        """Download a job's result files to `folder`; their paths."""
        s3, bucket, prefix = self._stack.client("s3"), self._stack.resource("MediaBucket"), _prefix(job)
        fetched = []
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for found in page.get("Contents", ()):
                path = folder / found["Key"].removeprefix(prefix)
                path.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(bucket, found["Key"], str(path))
                fetched.append(path)
        return fetched

    def _depth(self, url: str) -> tuple[int, int]:
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        attributes = self._stack.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)
        visible, handled = (int(attributes["Attributes"][name]) for name in names)
        return visible, handled


def cluster_of(target_id: str) -> str | None:
    """The cluster of an ECS task, from its ARN; None for a Batch job."""
    return target_id.split("/")[1] if target_id.startswith("arn:") else None


def console(*, stderr: bool = False) -> Console:
    """A console: rich output on a terminal; plain text without line breaks to a file or a pipe."""
    plain = Console(stderr=stderr, highlight=False)
    if plain.is_terminal:
        return plain
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=WIDTH, color_system=None)


def print_rows(out: Console, rows: Sequence[tuple[str, str]]) -> None:
    """Print labels and values in two columns. Long values are not wrapped, so that they can be copied."""
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        out.print(f"{label:{width}}  {value}".rstrip(), markup=False, soft_wrap=True)


def _job(raw: Mapping[str, Any]) -> Job:
    item = _item(raw)
    progress = item.get("progress", {})
    error = item.get("error", {})
    request = json.loads(item.get("request", "{}"))
    created = _epoch(item.get("createdAt")) or 0
    return Job(
        id=item["jobId"],
        kind=item.get("kind", ""),
        lane=item.get("lane", ""),
        subject=_subject(request.get("input") or {}),
        key=item.get("source", {}).get("key", ""),
        status=item["status"],
        percent=float(progress.get("percent", 0)),
        message=str(progress.get("message", "")),
        target_id=item.get("targetId"),
        error=f"{error['code']}: {error['message']}" if error else "",
        result=item.get("result", {}),
        created=created,
        sent=_epoch(request.get("sent_at")) or created,
        claimed=_epoch(item.get("claimedAt")),
        started=_epoch(item.get("startedAt")),
        ended=_epoch(item.get("endedAt")),
    )


def _subject(given: Mapping[str, Any]) -> str:
    match given:
        case {"url": str(url)}:
            # Without user info and query, which may hold credentials.
            parts = urlsplit(url)
            return f"{parts.hostname}{parts.path}"
        case {"imageUrls": [_]}:
            return "1 image"
        case {"imageUrls": [*images]}:
            return f"{len(images)} images"
        case {"steamId": str(account)}:
            return account
        case {"torrentKey": str(key)}:
            return key.rpartition("/")[2]
    return ""


def _prefix(job: Job) -> str:
    return str(job.result.get("prefix", f"results/{job.id}/"))


def _item(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _read(value) for name, value in raw.items()}


def _epoch(text: str | None) -> float | None:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp() if text else None
