"""Shared by all messages: envelope, decoding of bodies, checks of fields. Pure."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeGuard

from switchyard.errors import InvalidMessage, PermanentError
from switchyard.protocol.jobs import PRIORITIES, WorkRequest

_MAX_ID_LENGTH = 256
MAX_VERSION_LENGTH = 1024
_MAX_TOKEN = 2048
"""AWS Step Functions API reference, SendTaskSuccess."""
MAX_METADATA_BYTES = 32 * 1024
_MAX_DEPTH = 32
_JSON_TYPE_NAMES = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "a boolean"}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message's id, the time it was sent, and its `video_id` message attribute, if any.

    A message that continues a job after a wait has the id of the message that began it; `continues` is the run's fence.
    """

    message_id: str
    sent_at: datetime
    video_id: str | None = None
    continues: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A part of a message that can never be processed, as a message body of its own, with the reason."""

    error: PermanentError
    body: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """The requests of a message. Both lists are empty for `s3:TestEvent`, which S3 sends to test notifications."""

    requests: list[WorkRequest] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


def decode(body: str) -> Mapping[str, Any]:
    """Decodes a message body that must be a JSON object.

    Raises:
        InvalidMessage: it is anything else.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidMessage("the body is not JSON") from None
    return json_object(message)


def json_object(message: object) -> Mapping[str, Any]:
    """Checks that a decoded message is a JSON object.

    Raises:
        InvalidMessage: it is anything else.
    """
    if not isinstance(message, dict):
        kind = _JSON_TYPE_NAMES.get(type(message), "null")
        raise InvalidMessage(f"the body is {kind}, not a JSON object")
    return message


def out_of_failure(message: Mapping[str, Any], envelope: Envelope) -> tuple[Mapping[str, Any], Envelope]:
    """Unwraps the event in the record that Lambda writes when all retries of an asynchronous invocation failed.

    Returns other messages unchanged.
    """
    match message:
        case {"requestPayload": dict(payload), "requestContext": {"requestId": request_id}} if _is_printable(
            request_id, _MAX_ID_LENGTH
        ):
            return payload, replace(envelope, message_id=request_id)
    return message, envelope


def mapping(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Reads a member that must be an object.

    Raises:
        InvalidMessage: it is missing, or anything else.
    """
    value = parent.get(name)
    if not isinstance(value, dict):
        raise InvalidMessage(f"{name} is missing or not an object")
    return value


def identifier(parent: Mapping[str, Any], name: str) -> str | None:
    """Reads an optional id: a string or an integer. None if it is absent or empty.

    Raises:
        InvalidMessage: it is anything else.
    """
    value = parent.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not is_identifier(value):
        raise InvalidMessage(f"{name} must be printable text of at most {_MAX_ID_LENGTH} characters")
    return value


def is_identifier(value: object) -> TypeGuard[str]:
    """Whether this is valid as an id: printable, and not too long."""
    return _is_printable(value, _MAX_ID_LENGTH)


def priority(message: Mapping[str, Any]) -> int:
    """Reads the `priority` of a message: 0 to 9, 0 without one.

    Raises:
        InvalidMessage: it is anything else.
    """
    value = message.get("priority")
    if value is None:
        return 0
    if type(value) is not int or value not in PRIORITIES:
        raise InvalidMessage(f"priority must be a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}")
    return value


def optional_text(value: object, limit: int) -> str | None:
    """Reads printable text of 1 to `limit` characters. None for any other value."""
    return value if _is_printable(value, limit) else None


def task_token(message: Mapping[str, Any], *, taken: bool) -> str | None:
    """Reads the optional `taskToken` of Step Functions. `taken` says whether this deployment tells tasks of ends.

    Raises:
        InvalidMessage: it is no token, or nobody would tell its task.
    """
    token = message.get("taskToken")
    if token is None:
        return None
    if not taken:
        raise InvalidMessage(
            "taskToken is not allowed here: this deployment tells no tasks of Step Functions (TaskTokens)"
        )
    if not _is_printable(token, _MAX_TOKEN):
        raise InvalidMessage(f"taskToken must be printable text of at most {_MAX_TOKEN} characters")
    return str(token)


def named_version(message: Mapping[str, Any]) -> str | None:
    """Reads the `version` of a message, which redrives have. None without one."""
    return optional_text(message.get("version"), MAX_VERSION_LENGTH)


def metadata_of(message: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Reads the sender's own data. None without any.

    Raises:
        InvalidMessage: it is no object, too large, or not valid as JSON everywhere.
    """
    value = message.get("metadata")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidMessage("metadata is not an object")
    demand_plain(value, "metadata")
    size = len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
    if size > MAX_METADATA_BYTES:
        raise InvalidMessage(f"metadata has {size} bytes as JSON; {MAX_METADATA_BYTES} are allowed")
    return value


def demand_plain(value: object, name: str, depth: int = 0) -> None:
    """Refuses what Python reads but other JSON parsers don't: lone surrogates, NaN and infinity, deep nesting."""
    match value:
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidMessage(f"{name} is not valid Unicode") from None
        case float() if not math.isfinite(value):
            raise InvalidMessage(f"{name} holds a number that is not finite")
        case dict() | list() if depth == _MAX_DEPTH:
            raise InvalidMessage(f"{name} is nested more than {_MAX_DEPTH} deep")
        case dict():
            for key, inner in value.items():
                demand_plain(key, name, depth + 1)
                demand_plain(inner, name, depth + 1)
        case list():
            for inner in value:
                demand_plain(inner, name, depth + 1)


def _is_printable(value: object, limit: int) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= limit and value.isprintable()
