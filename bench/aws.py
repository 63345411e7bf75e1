"""Answers AWS requests below botocore: requests are really built, signed and parsed, but never leave the process.

Answers have the real shapes, headers and sizes. They are built once and kept, so that a subject's CPU time is its own.
"""

from __future__ import annotations

import json
import math
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from boto3.dynamodb.types import TypeSerializer
from botocore.awsrequest import AWSResponse, HeadersDict

from bench.environment import ROOT

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest

ACTIVE_STATUSES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
_PAGE = 1000
ID = "11111111-2222-4333-8444-{:012d}"

_URLS = [f"s3://switchyard-media/uploads/2026/11/22/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506-{n}.jpg" for n in range(2)]
_FOUND = [
    {
        "imageUrl": url,
        "imageIndex": index,
        "detections": [{"label": "car", "confidence": 0.95, "bbox": [100, 150, 500, 400]}],
        "detectionCount": 1,
    }
    for index, url in enumerate(_URLS)
]
_ENDED_JOB = {
    "jobId": "6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506",
    "kind": "image-processing",
    "status": "COMPLETED",
    "progress": {"percent": 100, "message": "done"},
    "result": {"runId": ID.format(0), "imageCount": 2, "detections": _FOUND},
    "metadata": '{"camera":"yard","threshold":0.5}',
    "userId": "user-42",
    "lane": "images",
    "request": json.dumps(
        {
            "job_id": "6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506",
            "kind": "image-processing",
            "lane": "images",
            "target": {"type": "ecs", "queue": "switchyard", "definition": "detect-objects"},
            "source": {"bucket": "switchyard-media", "key": "", "version": ID.format(1), "message_id": ID.format(2)},
            "sent_at": "2026-11-22T18:36:54.123Z",
            "user_id": "user-42",
            "input": {"imageUrls": _URLS},
        }
    ),
    "createdAt": "2026-11-22T18:36:54.123Z",
    "updatedAt": "2026-11-22T18:37:31.456Z",
    "startedAt": "2026-11-22T18:37:12.345Z",
    "endedAt": "2026-11-22T18:37:31.456Z",
}

type Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Aws:
    """An account whose Batch queue holds `active` jobs, spread evenly over the active statuses. None has ended.

    Register `answer` with the events of a client or a session. `calls` counts requests by operation.

    Attributes:
        active: number of jobs in the queue.
        latency: seconds each call takes.
        conflict: seconds in the middle of a transaction during which another one on the same SLOTS item is cancelled,
            as DynamoDB does when transactions conflict. None: transactions never conflict.
        tables: whether to answer for DynamoDB. If not, moto answers, and calls are only counted.
        parsed: whether each operation's first answer is reused above botocore, which then does nothing.
    """

    active: int = 0
    latency: float = 0.0
    conflict: float | None = None
    tables: bool = True
    parsed: bool = False
    calls: Counter[str] = field(default_factory=Counter)
    _items: defaultdict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    def answer(self, request: AWSPreparedRequest, event_name: str, **_: object) -> AWSResponse | None:
        """Answers botocore's `before-send` event."""
        service, operation = event_name.split(".")[1:]  # before-send.batch.ListJobs
        self.calls[operation] += 1
        if service == "dynamodb" and not self.tables:
            return None
        if operation == "TransactWriteItems" and self.conflict is not None:
            answer = self._transaction(_slots_of(request), self.conflict)
        else:
            if self.latency:
                time.sleep(self.latency)
            answer = self.reply(operation, request)
        status, headers, body = answer
        return AWSResponse(request.url, status, cast("Any", HeadersDict(headers)), _Raw(body))

    def reply(self, operation: str, request: AWSPreparedRequest) -> Answer:
        """Returns status, headers and body of the answer to a request."""
        match operation:
            case "ListJobs":
                wanted = body_of(request)
                size = int(wanted.get("maxResults", _PAGE))
                return _listed(self.active, wanted["jobStatus"], int(wanted.get("nextToken", 0)), size)
            case "DescribeJobs":
                return _described(tuple(body_of(request)["jobs"]))
            case "GetItem" if body_of(request)["Key"] != {"jobId": {"S": _ENDED_JOB["jobId"]}}:
                return _written()
        return _ALWAYS[operation]()

    def _transaction(self, item: str, window: float) -> Answer:
        on_the_way = (self.latency - window) / 2
        time.sleep(on_the_way)
        slots = self._items[item]
        won = slots.acquire(blocking=False)
        if won:
            time.sleep(window)
            slots.release()
        time.sleep(on_the_way)
        return _written() if won else _conflict()


@dataclass(frozen=True)
class _Raw:
    """A response body as botocore reads it."""

    body: bytes

    def stream(self) -> Iterator[bytes]:
        yield self.body


def _slots_of(request: AWSPreparedRequest) -> str:
    """Returns the lane whose SLOTS item a claim updates."""
    updates = (action.get("Update", {}).get("Key", {}) for action in body_of(request)["TransactItems"])
    (lane,) = (key["pk"]["S"] for key in updates if key.get("sk", {}).get("S") == "SLOTS")
    return str(lane)


def body_of(request: AWSPreparedRequest) -> dict[str, Any]:
    """Returns a request's parsed JSON body."""
    body: dict[str, Any] = json.loads(cast("bytes", request.body))
    return body


def json_answer(content: Mapping[str, Any], status: int = 200, kind: str = "application/json") -> Answer:
    """Builds an answer with the usual headers, its `content` as compact JSON as AWS sends it."""
    return raw_answer(json.dumps(content, separators=(",", ":")).encode(), status, kind)


def raw_answer(body: bytes, status: int = 200, kind: str = "application/json") -> Answer:
    """Builds an answer from a body that is already bytes."""
    headers = {
        "content-type": kind,
        "content-length": str(len(body)),
        "connection": "keep-alive",
        "date": "Sun, 22 Nov 2026 18:36:54 GMT",
        "x-amzn-requestid": "8b6a2f34-90ab-4c3d-8e5f-1a2b3c4d5e6f",
    }
    return status, headers, body


def dynamodb_answer(content: Mapping[str, Any], status: int = 200) -> Answer:
    """Builds an answer of DynamoDB, with the checksum that botocore verifies."""
    _, headers, body = json_answer(content, status, "application/x-amz-json-1.0")
    return status, {**headers, "x-amz-crc32": str(zlib.crc32(body)), "server": "Server"}, body


def size_of(value: Mapping[str, Any]) -> int:
    """Returns an attribute value's size in bytes ("DynamoDB item sizes and formats", developer guide)."""
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return math.ceil(len(content.lstrip("-").strip("0")) / 2) + 1
        case "M":
            return 3 + sum(1 + len(name.encode()) + size_of(each) for name, each in content.items())
        case "L":
            return 3 + sum(1 + size_of(each) for each in content)
    return 1  # true, false, null


@cache
def _written() -> Answer:
    return dynamodb_answer({})


@cache
def _read() -> Answer:
    """Answers with the record of an ended image job, findings included."""
    serialize = TypeSerializer().serialize
    return dynamodb_answer({"Item": serialize(json.loads(json.dumps(_ENDED_JOB), parse_float=Decimal))["M"]})


@cache
def _page_of_jobs() -> Answer:
    """Answers with 25 entries of an index, which go on."""
    entry = {name: {"S": _ENDED_JOB[name]} for name in ("jobId", "kind", "status", "userId", "createdAt", "lane")}
    items = [{**entry, "jobId": {"S": ID.format(number)}} for number in range(25)]
    last = {name: items[-1][name] for name in ("jobId", "status", "createdAt")}
    return dynamodb_answer({"Items": items, "Count": 25, "ScannedCount": 25, "LastEvaluatedKey": last})


@cache
def _head() -> Answer:
    status, headers, _ = raw_answer(b"", kind="video/mp4")
    return status, {**headers, "etag": '"9b2cf535f27731c974343645a3985328"', "x-amz-version-id": ID.format(3)}, b""


@cache
def _invoked() -> Answer:
    body = {"success": True, "jobId": ID.format(4), "status": "PENDING", "message": "The job is accepted."}
    return json_answer({"statusCode": 202, "headers": {}, "body": json.dumps(body), "isBase64Encoded": False})


@cache
def _sent() -> Answer:
    answer = {"MD5OfMessageBody": "c9b8fb80b5a31d0d2052e9ba00fad1f5", "MessageId": ID.format(0)}
    return json_answer(answer, kind="application/x-amz-json-1.0")


@cache
def _started() -> Answer:
    answer = {"tasks": [sample_detail("task_provisioning")], "failures": []}
    return json_answer(answer, kind="application/x-amz-json-1.1")


@cache
def _conflict() -> Answer:
    codes = [{"Code": "None"}, {"Code": "None"}, {"Code": "TransactionConflict", "Message": "Transaction is ongoing"}]
    kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException"
    message = "Transaction cancelled, please refer cancellation reasons for specific reasons"
    return dynamodb_answer({"__type": kind, "Message": message, "CancellationReasons": codes}, 400)


@cache
def _submitted() -> Answer:
    identifier = ID.format(0)
    arn = f"arn:aws:batch:us-east-1:123456789012:job/{identifier}"
    return json_answer({"jobArn": arn, "jobId": identifier, "jobName": "video-process-x"})


@cache
def sample_detail(name: str) -> dict[str, Any]:
    """Returns a job as Batch or a task as ECS describes it, from the repository's samples of state changes."""
    event = json.loads((ROOT / "events" / "track_job" / f"{name}.json").read_text())
    detail: dict[str, Any] = json.loads(event["Records"][0]["body"])["detail"]
    return detail


@cache
def _described(identifiers: tuple[str, ...]) -> Answer:
    return json_answer({"jobs": [{**sample_detail("running"), "jobId": identifier} for identifier in identifiers]})


@cache
def _listed(active: int, status: str, start: int, size: int) -> Answer:
    mine = range(ACTIVE_STATUSES.index(status), active, len(ACTIVE_STATUSES)) if status in ACTIVE_STATUSES else range(0)
    page = islice(mine, start, start + size)
    following = {"nextToken": str(start + size)} if start + size < len(mine) else {}
    return json_answer({"jobSummaryList": [_summary(number, status) for number in page], **following})


def _summary(number: int, status: str) -> dict[str, Any]:
    identifier = ID.format(number)
    return {
        "createdAt": 1795372615000 + number,
        "jobArn": f"arn:aws:batch:us-east-1:123456789012:job/{identifier}",
        "jobDefinition": "arn:aws:batch:us-east-1:123456789012:job-definition/analyze-video:3",
        "jobId": identifier,
        "jobName": f"video-process-{number:012d}",
        "status": status,
    }


_ALWAYS: Mapping[str, Callable[[], Answer]] = {
    "SubmitJob": _submitted,
    "RunTask": _started,
    "SendMessage": _sent,
    "GetItem": _read,
    "Query": _page_of_jobs,
    "HeadObject": _head,
    "Invoke": _invoked,
    **dict.fromkeys(("TransactWriteItems", "UpdateItem", "PutItem"), _written),
}
"""Answers that do not depend on the request."""
