"""Encodes and decodes the items of JobsTable; defines every attribute's name.

Other modules build calls and conditions from these attributes, and contain no attribute name or DynamoDB type. Items of
LanesTable are in `lane_items`. workers/CONTRACT.md lists what workers write; a test compares its names with these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from switchyard import clock
from switchyard.errors import ForeignRow
from switchyard.protocol.jobs import Attempt, Job, JobError, Source, Status, TargetSpec, WorkRequest, lane_of

if TYPE_CHECKING:
    from datetime import datetime

type Value = dict[str, Any]
"""An attribute value in DynamoDB's form: `{"S": "text"}`."""
type Item = Mapping[str, Any]
type PlainItem = dict[str, Any]
"""An item as JSON values: integers as int, other numbers as float."""

# ---- attribute values -----------------------------------------------------------------------------------------------

TRUE: Value = {"BOOL": True}


def text(value: str) -> Value:
    """Encodes a string."""
    return {"S": value}


def number(value: int) -> Value:
    """Encodes an integer."""
    return {"N": str(value)}


def moment(value: datetime) -> Value:
    """Encodes a time as ISO 8601 in UTC with milliseconds."""
    return {"S": clock.iso(value)}


def members(*values: str) -> Value:
    """Encodes a set of at least one string; DynamoDB has no empty sets."""
    return {"SS": sorted(values)}


def texts(values: tuple[str, ...]) -> Value:
    """Encodes a list of strings."""
    return {"L": [text(value) for value in values]}


def fields(values: Mapping[str, str | int]) -> Value:
    """Encodes a map of strings and integers."""
    return {"M": {name: number(value) if isinstance(value, int) else text(value) for name, value in values.items()}}


def error_value(error: JobError) -> Value:
    """Encodes why a job failed."""
    return fields({"code": error.code, "message": error.message})


def attempts_value(attempts: tuple[Attempt, ...]) -> Value:
    """Encodes the runs after which a job was tried again."""
    return {
        "L": [
            fields(
                {
                    "targetId": each.target_id,
                    "code": each.error.code,
                    "message": each.error.message,
                    "endedAt": clock.iso(each.ended_at),
                }
            )
            for each in attempts
        ]
    }


def _attempts_of(value: Value) -> tuple[Attempt, ...]:
    found = [{name: each["S"] for name, each in attempt["M"].items()} for attempt in value.get("L", ())]
    return tuple(
        Attempt(each["targetId"], JobError(each["code"], each["message"]), clock.parse(each["endedAt"]))
        for each in found
    )


def _text_of(value: Value) -> str | None:
    found = value.get("S")
    return found if isinstance(found, str) else None


def _run_of(value: Value) -> str | None:
    """The id of a run. None for a longer text than any, with which a worker fills a row."""
    found = _text_of(value)
    return found if found and len(found) <= _MAX_RUN_ID else None


_MAX_RUN_ID = 2048
"""The maximum length of an ARN."""


def _number_of(value: Value) -> int:
    """Raises KeyError or ValueError for what is no integer."""
    return int(value["N"])


def _fence_of(value: Value) -> int:
    """Raises KeyError or ValueError for what no claim can have counted to."""
    fence = _number_of(value)
    if not 0 <= fence < _MAX_FENCE:
        raise ValueError("not a fence")
    return fence


_MAX_FENCE = 10**15
"""Above it DynamoDB's numbers, and JSON's, end to be exact. Workers may write fences."""


def _moment_of(value: Value) -> datetime | None:
    try:
        return clock.parse(_text_of(value) or "")
    except ValueError:
        return None  # rows of other programs may hold anything


def _error_of(value: Value) -> JobError | None:
    found = value.get("M")
    return JobError(*(_text_of(found.get(name, {})) or "" for name in ("code", "message"))) if found else None


def _target_of(value: Value) -> TargetSpec | None:
    found = value.get("M")
    return TargetSpec(*(found[name]["S"] for name in ("type", "queue", "definition"))) if found else None


def _fields_of(value: Value) -> dict[str, str | int]:
    """The strings and integers of a map."""
    found = {name: _plain(each) for name, each in value.get("M", {}).items()}
    return {name: each for name, each in found.items() if isinstance(each, str | int)}


# ---- attributes -----------------------------------------------------------------------------------------------------


class Attribute[T]:
    """An attribute of an item: its name, and a decoder of its value.

    As a string it is the placeholder `#name`, since many names are reserved words; see `names_and_values`.
    """

    __slots__ = ("_read", "name")

    def __init__(self, name: str, read: Callable[[Value], T | None]) -> None:
        self.name = name
        self._read = read

    def __str__(self) -> str:
        return f"#{self.name}"

    def of(self, item: Item) -> T | None:
        """Decodes the attribute of an item. None if it is absent or invalid."""
        return self._read(item[self.name]) if self.name in item else None

    def required(self, item: Item) -> T:
        """Decodes an attribute that the item must have.

        Raises:
            KeyError: it is absent or invalid.
        """
        value = self.of(item)
        if value is None:
            raise KeyError(self.name)
        return value


JOB_ID = Attribute("jobId", _text_of)
KIND = Attribute("kind", _text_of)
STATUS = Attribute("status", _text_of)
LANE = Attribute("lane", lambda value: lane_of(_text_of(value) or "") or None)
TARGET = Attribute("target", _target_of)
SOURCE = Attribute("source", lambda value: value.get("M"))
REQUEST = Attribute("request", lambda value: WorkRequest.from_json(value["S"]) if value.get("S") else None)
USER_ID = Attribute("userId", _text_of)
METADATA = Attribute("metadata", _text_of)
FENCE = Attribute("fence", _fence_of)
ATTEMPTS = Attribute("attempts", _number_of)
TARGET_ID = Attribute("targetId", _run_of)
RUN_ID = Attribute("runId", _run_of)
LOG_STREAM = Attribute("logStream", _text_of)  # workers may not write it: it says whose output is shown
PAST_VERSIONS = Attribute("pastVersions", lambda value: tuple(version["S"] for version in value.get("L", ())))
PAST_ATTEMPTS = Attribute("pastAttempts", _attempts_of)
NEVER_STARTED = Attribute("neverStarted", lambda value: bool(value.get("BOOL")))
PROGRESS = Attribute("progress", lambda value: value.get("M"))
RESULT = Attribute("result", _fields_of)
ERROR = Attribute("error", _error_of)
CREATED_AT = Attribute("createdAt", _moment_of)
UPDATED_AT = Attribute("updatedAt", _moment_of)
CLAIMED_AT = Attribute("claimedAt", _moment_of)
STARTED_AT = Attribute("startedAt", _moment_of)
HEARTBEAT_AT = Attribute("heartbeatAt", _moment_of)
CANCEL_REQUESTED_AT = Attribute("cancelRequestedAt", _moment_of)
ENDED_AT = Attribute("endedAt", _moment_of)
TTL = Attribute("ttl", _number_of)
# Written by the API: a hash of the request and its user, and the HTTP request that announced the job last.
FINGERPRINT = Attribute("fingerprint", _text_of)
ANNOUNCED_BY = Attribute("announcedBy", _text_of)
# Who asked over HTTP: `user:<id>`, `key:<id>` or `role:<ARN>`.
SUBMITTED_BY = Attribute("submittedBy", _text_of)
CANCELLED_BY = Attribute("cancelledBy", _text_of)
RERUN_OF = Attribute("rerunOf", _text_of)
# Of jobs that functions do: the message that began the job, the input's modification time, the end of a wait, the parts
# done so far.
BEGUN_BY = Attribute("begunBy", _text_of)
MODIFIED = Attribute("modified", _moment_of)
WAITS_UNTIL = Attribute("waitsUntil", _moment_of)
START_AFTER = Attribute("startAfter", _moment_of)
PRIORITY = Attribute("priority", _number_of)
TASK_TOKEN = Attribute("taskToken", _text_of)  # never shown, logged or announced
CHUNKS = Attribute("chunks", lambda value: frozenset[str](value.get("SS", ())))

OF_AN_END: tuple[Attribute[Any], ...] = (RESULT, ERROR, ENDED_AT, TTL, CANCEL_REQUESTED_AT, CANCELLED_BY, WAITS_UNTIL)
"""What must not be on a job that is begun again."""


def names_and_values(expression: str, values: Mapping[str, Value]) -> dict[str, Any]:
    """Builds the parameters that define an expression's placeholders: `#name` is an attribute, `:value` in `values`."""
    names = {match: match[1:] for match in _PLACEHOLDER.findall(expression)}
    return {
        **({"ExpressionAttributeNames": names} if names else {}),
        **({"ExpressionAttributeValues": values} if values else {}),
    }


_PLACEHOLDER = re.compile(r"#\w+")


# ---- a job ----------------------------------------------------------------------------------------------------------


def job_key(job_id: str) -> dict[str, Value]:
    """The key of a job's item."""
    return {JOB_ID.name: text(job_id)}


def request_attributes(request: WorkRequest) -> dict[str, Value]:
    """Encodes a request: as attributes for people and indexes, and as JSON for a later start."""
    source, target = request.source, request.target
    described = {
        "bucket": source.bucket,
        "key": source.key,
        "version": source.version,
        "messageId": source.message_id,
        "versionId": source.version_id,
        "sequencer": source.sequencer,
        "writtenAt": clock.iso(source.written_at) if source.written_at else None,
    }
    attributes = {
        KIND.name: text(request.kind),
        LANE.name: text(request.lane),
        TARGET.name: fields({"type": target.type, "queue": target.queue, "definition": target.definition}),
        SOURCE.name: fields({name: value for name, value in described.items() if value is not None}),
        REQUEST.name: text(request.to_json()),
    }
    if request.start_after is not None:
        attributes[START_AFTER.name] = moment(request.start_after)
    if request.priority:
        attributes[PRIORITY.name] = number(request.priority)
    if request.task_token is not None:
        attributes[TASK_TOKEN.name] = text(request.task_token)
    if request.user_id is not None:
        attributes[USER_ID.name] = text(request.user_id)
    if request.metadata is not None:
        attributes[METADATA.name] = text(json.dumps(request.metadata, separators=(",", ":"), ensure_ascii=False))
    return attributes


def announced(request: WorkRequest, fingerprint: str, now: datetime, by: str = "") -> dict[str, Value]:
    """Builds the item of a job whose message is about to be sent."""
    return {
        **job_key(request.job_id),
        STATUS.name: text(Status.PENDING),
        CREATED_AT.name: moment(now),
        UPDATED_AT.name: moment(now),
        FINGERPRINT.name: text(fingerprint),
        ANNOUNCED_BY.name: text(request.source.message_id),
        **({SUBMITTED_BY.name: text(by)} if by else {}),
        **request_attributes(request),
    }


def job(item: Item) -> Job:
    """Decodes a job.

    A row that another program wrote ahead of a request has no request, and so no version (`is_placeholder`).

    Raises:
        ForeignRow: the row is not one that Switchyard writes: another program made or changed it.
    """
    with ours(item):
        job_id, request, start_after = JOB_ID.required(item), REQUEST.of(item), START_AFTER.of(item)
        status = Status(STATUS.required(item)) if STATUS.name in item else Status.PENDING
        if request is None and status not in _WITHOUT_REQUEST:
            raise ValueError(f"{status} without a request")
        described = (job_id, KIND.of(item), LANE.of(item))
        if request is not None and described != (request.job_id, request.kind, request.lane):
            raise ValueError("the request is another job's")
        return Job(
            request=replace(request, start_after=start_after) if request else _no_request(job_id),
            status=status,
            fence=FENCE.of(item) or 0,
            created_at=CREATED_AT.of(item) or clock.EPOCH,
            target_id=TARGET_ID.of(item),
            run_id=RUN_ID.of(item),
            claimed_at=CLAIMED_AT.of(item),
            past_versions=PAST_VERSIONS.of(item) or (),
            never_started=NEVER_STARTED.of(item) or False,
            attempts=PAST_ATTEMPTS.of(item) or (),
            cancel_requested=CANCEL_REQUESTED_AT.name in item,
            ended_at=ENDED_AT.of(item),
            error=ERROR.of(item),
        )


_WITHOUT_REQUEST = frozenset({Status.PENDING, Status.CANCELLED})


@contextmanager
def ours(item: Item) -> Iterator[None]:
    """Raises ForeignRow if what the block decodes of the item isn't as Switchyard writes it."""
    try:
        yield
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        job_id = str(item.get(JOB_ID.name, {}).get("S", ""))[:_LOGGED]
        raise ForeignRow(f"the row of job {job_id!r} is not ours: {type(error).__name__}") from None


_LOGGED = 128


def _no_request(job_id: str) -> WorkRequest:
    return WorkRequest(
        job_id=job_id,
        kind="",
        lane="",
        target=TargetSpec("", "", ""),
        source=Source(bucket="", key="", version="", message_id=""),
        sent_at=clock.EPOCH,
        video_id="",
    )


# ---- any item -------------------------------------------------------------------------------------------------------


def plain(item: Item) -> PlainItem:
    """Converts an item to JSON values. Binary values, which only other programs write, become null."""
    return {name: _plain(value) for name, value in item.items()}


def _plain(value: Value) -> Any:  # noqa: ANN401 - any JSON value
    ((kind, content),) = value.items()
    return _PLAIN.get(kind, _nothing)(content)


def _plain_number(digits: str) -> int | float:
    return int(digits) if digits.removeprefix("-").isdigit() else float(digits)


def _nothing(_: object) -> None:
    return None


_PLAIN: Mapping[str, Callable[[Any], Any]] = {
    "S": str,
    "BOOL": bool,
    "N": _plain_number,
    "M": plain,
    "L": lambda values: [_plain(each) for each in values],
    "SS": sorted,
    "NS": lambda values: sorted(_plain_number(each) for each in values),
}
