"""JobsTable's items both ways: every attribute's name, and how its value is written and read.

Those who move, announce, read and list jobs build conditions and calls out of these attributes and know no name and no
DynamoDB shape themselves. LanesTable's items are in `lane_items`. What workers write is in workers/CONTRACT.md; a test
compares its names to these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from switchyard import clock
from switchyard.protocol.jobs import Job, JobError, Source, Status, TargetSpec, WorkRequest

if TYPE_CHECKING:
    from datetime import datetime

type Value = dict[str, Any]
"""One attribute value, as DynamoDB has it: `{"S": "text"}`."""
type Item = Mapping[str, Any]
type PlainItem = dict[str, Any]
"""An item as plain JSON values: DynamoDB's integers as int, its other numbers as float."""

# ---- attribute values -----------------------------------------------------------------------------------------------

TRUE: Value = {"BOOL": True}


def text(value: str) -> Value:
    """A string."""
    return {"S": value}


def number(value: int) -> Value:
    """A whole number."""
    return {"N": str(value)}


def moment(value: datetime) -> Value:
    """A time, as ISO 8601 in UTC with milliseconds."""
    return {"S": clock.iso(value)}


def members(*values: str) -> Value:
    """A set of strings, which DynamoDB keeps without doubles. It has no empty set."""
    return {"SS": sorted(values)}


def numbers(values: frozenset[int]) -> Value:
    """A set of whole numbers."""
    return {"NS": [str(value) for value in sorted(values)]}


def texts(values: tuple[str, ...]) -> Value:
    """A list of strings, in order."""
    return {"L": [text(value) for value in values]}


def fields(values: Mapping[str, str | int]) -> Value:
    """A map of strings and whole numbers."""
    return {"M": {name: number(value) if isinstance(value, int) else text(value) for name, value in values.items()}}


def error_value(error: JobError) -> Value:
    """Why a job failed."""
    return fields({"code": error.code, "message": error.message})


def _text_of(value: Value) -> str | None:
    found = value.get("S")
    return found if isinstance(found, str) else None


def _number_of(value: Value) -> int:
    return int(value.get("N", "0"))


def _moment_of(value: Value) -> datetime | None:
    try:
        return clock.parse(_text_of(value) or "")
    except ValueError:
        return None  # another program's row: a time we can't read is a time we don't know


def _error_of(value: Value) -> JobError | None:
    found = value.get("M")
    return JobError(*(_text_of(found.get(name, {})) or "" for name in ("code", "message"))) if found else None


def _target_of(value: Value) -> TargetSpec | None:
    found = value.get("M")
    return TargetSpec(*(found[name]["S"] for name in ("type", "queue", "definition"))) if found else None


def _texts_of(value: Value) -> dict[str, str]:
    """The strings of a map."""
    return {name: each["S"] for name, each in value.get("M", {}).items() if "S" in each}


# ---- attributes -----------------------------------------------------------------------------------------------------


class Attribute[T]:
    """An attribute: its name, and how its value is read.

    In an expression it stands as `#name`, since many names are reserved words; `names_and_values` says what that means.
    """

    __slots__ = ("_read", "name")

    def __init__(self, name: str, read: Callable[[Value], T | None]) -> None:
        self.name = name
        self._read = read

    def __str__(self) -> str:
        return f"#{self.name}"

    def of(self, item: Item) -> T | None:
        """The attribute's value in an item; None if it isn't there, or can't be understood."""
        return self._read(item[self.name]) if self.name in item else None

    def required(self, item: Item) -> T:
        """The value of an attribute that every item has which the caller can meet; else KeyError."""
        value = self.of(item)
        if value is None:
            raise KeyError(self.name)
        return value


JOB_ID = Attribute("jobId", _text_of)
KIND = Attribute("kind", _text_of)
STATUS = Attribute("status", _text_of)
LANE = Attribute("lane", _text_of)
TARGET = Attribute("target", _target_of)
SOURCE = Attribute("source", lambda value: value.get("M"))
REQUEST = Attribute("request", lambda value: WorkRequest.from_json(value["S"]) if value.get("S") else None)
USER_ID = Attribute("userId", _text_of)
METADATA = Attribute("metadata", _text_of)
FENCE = Attribute("fence", _number_of)
ATTEMPTS = Attribute("attempts", _number_of)
TARGET_ID = Attribute("targetId", _text_of)
RUN_ID = Attribute("runId", _text_of)
PAST_VERSIONS = Attribute("pastVersions", lambda value: tuple(version["S"] for version in value.get("L", ())))
NEVER_STARTED = Attribute("neverStarted", lambda value: bool(value.get("BOOL")))
PROGRESS = Attribute("progress", lambda value: value.get("M"))
RESULT = Attribute("result", _texts_of)
ERROR = Attribute("error", _error_of)
CREATED_AT = Attribute("createdAt", _moment_of)
UPDATED_AT = Attribute("updatedAt", _moment_of)
CLAIMED_AT = Attribute("claimedAt", _moment_of)
STARTED_AT = Attribute("startedAt", _moment_of)
HEARTBEAT_AT = Attribute("heartbeatAt", _moment_of)
CANCEL_REQUESTED_AT = Attribute("cancelRequestedAt", _moment_of)
ENDED_AT = Attribute("endedAt", _moment_of)
TTL = Attribute("ttl", _number_of)
# The API's: what was asked for and by whom, and the HTTP request that announced it last.
FINGERPRINT = Attribute("fingerprint", _text_of)
ANNOUNCED_BY = Attribute("announcedBy", _text_of)
# Those of torrents: the message a job was begun for, when its object was written, which parts of it were hashed.
BEGUN_BY = Attribute("begunBy", _text_of)
MODIFIED = Attribute("modified", _moment_of)
CHUNKS = Attribute("chunks", lambda value: frozenset[str](value.get("SS", ())))


def names_and_values(expression: str, values: Mapping[str, Value]) -> dict[str, Any]:
    """What goes with an expression: `#name` in it is the attribute of that name, `:value` is in `values`."""
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
    """A request as attributes people and indexes can read, and whole, as JSON, for a later start."""
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
    if request.user_id is not None:
        attributes[USER_ID.name] = text(request.user_id)
    if request.metadata is not None:
        attributes[METADATA.name] = text(json.dumps(request.metadata, separators=(",", ":"), ensure_ascii=False))
    return attributes


def announced(request: WorkRequest, fingerprint: str, now: datetime) -> dict[str, Value]:
    """The item of a job whose message is about to be sent."""
    return {
        **job_key(request.job_id),
        STATUS.name: text(Status.PENDING),
        CREATED_AT.name: moment(now),
        UPDATED_AT.name: moment(now),
        FINGERPRINT.name: text(fingerprint),
        ANNOUNCED_BY.name: text(request.source.message_id),
        **request_attributes(request),
    }


def job(item: Item) -> Job:
    """An item as a job. A row that another program wrote, without a request, names no version (`is_placeholder`)."""
    return Job(
        request=REQUEST.of(item) or _foreign_request(JOB_ID.required(item)),
        status=Status(STATUS.of(item) or Status.PENDING),
        fence=FENCE.of(item) or 0,
        created_at=CREATED_AT.of(item) or clock.EPOCH,
        target_id=TARGET_ID.of(item),
        run_id=RUN_ID.of(item),
        claimed_at=CLAIMED_AT.of(item),
        past_versions=PAST_VERSIONS.of(item) or (),
        never_started=NEVER_STARTED.of(item) or False,
        cancel_requested=CANCEL_REQUESTED_AT.name in item,
        ended_at=ENDED_AT.of(item),
        error=ERROR.of(item),
    )


def _foreign_request(job_id: str) -> WorkRequest:
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
    """An item as JSON has it; what JSON can't hold (binary, in rows of other programs) becomes null."""
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
