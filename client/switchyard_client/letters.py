"""Describes dead letters for operators: the job each is about, without secrets, and what to do. Pure.

Bodies may hold passwords in URLs, and private metadata. So only the fields named here are ever shown.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import unquote_plus, urlsplit

Queue = Literal["video", "ecs-jobs", "torrents", "steam", "track"]

VIDEO: Final = "video-analysis"
TORRENT: Final = "torrent"
STEAM_IMPORT: Final = "steam_import"
TASKS: Final[Mapping[str, str]] = {
    "stream-recording": "url",
    "image-processing": "imageUrls",
    "torrent-seeding": "torrentKey",
}
"""The kinds that run as ECS tasks, with the field that only their messages have."""

NO_TYPE: Final = "none"
"""The error type of a letter without one: SQS or Lambda moved it, and recorded no reason."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A received message of a dead-letter queue. `attributes` are its text attributes."""

    id: str
    receipt: str
    body: str
    sent_at: datetime
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def error_type(self) -> str:
        """The error's code, from Switchyard or EventBridge."""
        return self.attributes.get("ErrorType") or self.attributes.get("ERROR_CODE") or NO_TYPE

    @property
    def error_message(self) -> str:
        """The error's message; empty if there is none."""
        return self.attributes.get("ErrorMessage") or self.attributes.get("ERROR_MESSAGE") or ""


@dataclass(frozen=True, slots=True)
class About:
    """The subject of a letter.

    Attributes:
        kind: The kind of work, or of state change event.
        job: The job id that it names; empty if the id derives from the object or from the message's own id.
        subject: The object's key, or another short description.
        names_version: Whether the letter names the version of its object or work. Without one, the message's own id
            is the version, which changes when the message is sent again: that is new work.
        refused: Why it can't be moved back; empty if it can.
    """

    kind: str
    job: str = ""
    subject: str = ""
    names_version: bool = True
    refused: str = ""


def about(queue: Queue, letter: Letter) -> About:
    """Describes a letter of that queue's dead-letter queue, as far as its body can be read."""
    message = _decoded(letter.body)
    if message is None:
        return About("unreadable")
    inner = _out_of_failure(message)
    of_invocation = inner is not message
    if of_invocation and queue in {"video", "track"}:
        return About(
            "Lambda's record", refused="a record of a failed invocation, which this queue's function doesn't read"
        )
    readers: Mapping[Queue, Callable[[], About]] = {
        "track": lambda: _news(message),
        "ecs-jobs": lambda: _task(inner, of_invocation=of_invocation),
        "torrents": lambda: _torrent(inner),
        "steam": lambda: _import(inner),
        "video": lambda: _video(message, letter),
    }
    return readers[queue]()


def plain(text: str, limit: int) -> str:
    """Makes untrusted text safe for a terminal: printable, at most `limit` characters."""
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= limit else f"{printable[: limit - 1]}…"


def _video(message: Mapping[str, Any], letter: Letter) -> About:
    message = _out_of_sns(message)
    if (told := _announced(message)) is not None:
        return _uploads(VIDEO, told)
    source, video = _mapping(message, "s3") or message, _mapping(message, "video")
    job = _first(message.get("job_id"), video.get("id"), message.get("video_id"), letter.attributes.get("video_id"))
    key = _first(source.get("key"), message.get("video_s3_key"))
    return About(VIDEO, job, key, names_version=bool(source.get("versionId") or source.get("version")))


def _task(message: Mapping[str, Any], *, of_invocation: bool) -> About:
    kinds = [name for name, field in TASKS.items() if message.get(field) is not None]
    job = _first(message.get("jobId"))
    named = of_invocation or bool(job and message.get("version"))
    return About(_first(message.get("kind"), *kinds), job, _subject(message), names_version=named)


def _subject(message: Mapping[str, Any]) -> str:
    match message:
        case {"url": str(url)}:
            return _place(url)
        case {"imageUrls": list(images)}:
            return f"{len(images)} image{'s' * (len(images) != 1)}"
        case {"torrentKey": str(key)}:
            return key
    return ""


def _place(url: str) -> str:
    """The host and path of a URL, without parts that may hold a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    # Without a host, anything before an @ may be a password.
    return f"{parts.hostname}{parts.path}" if parts.hostname else ""


def _torrent(message: Mapping[str, Any]) -> About:
    # A torrent's job id derives from its object, so sending the message again is never new work.
    message = _out_of_sns(message)
    if (told := _announced(message)) is not None:
        return About(TORRENT, subject=_uploads(TORRENT, told).subject)
    match message:
        case {"segment": dict(segment)}:
            return About("a segment of a torrent", _first(segment.get("jobId")), _first(segment.get("key")))
    return About(TORRENT, subject=_first(message.get("key")))


def _import(message: Mapping[str, Any]) -> About:
    # An import's job id derives from its user and account, as a torrent's from its object.
    return About(STEAM_IMPORT, _first(message.get("jobId")), _first(message.get("steamId")))


def _news(event: Mapping[str, Any]) -> About:
    match event:
        case {"detail-type": str(kind), "detail": dict(detail)}:
            environment = {pair.get("name"): pair.get("value") for pair in _environment(detail)}
            status = _first(detail.get("status"), detail.get("lastStatus"))
            return About(kind, _first(environment.get("JOB_ID")), status)
    return About("unreadable")


def _environment(detail: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The environment variables of a Batch job or an ECS task."""
    for given in (_mapping(detail, "container"), *_list(_mapping(detail, "overrides").get("containerOverrides"))):
        yield from _list(given.get("environment"))


def _mapping(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _decoded(body: str) -> Mapping[str, Any] | None:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _out_of_failure(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event in Lambda's record of an asynchronous invocation that failed; other messages unchanged."""
    match message:
        case {"requestPayload": dict(payload), "requestContext": {"requestId": str()}}:
            return payload
    return message


def _out_of_sns(message: Mapping[str, Any]) -> Mapping[str, Any]:
    while message.get("Type") == "Notification" and isinstance(message.get("Message"), str):
        inner = _decoded(message["Message"])
        if inner is None:
            break
        message = inner
    return message


def _announced(message: Mapping[str, Any]) -> list[tuple[str, bool]] | None:
    """The objects that S3 announces: each key, and whether its version is named. None if S3 didn't send it."""
    match message:
        case {"Event": "s3:TestEvent"}:
            return []
        case {"Records": list(records)}:
            found = [_mapping(_mapping(record, "s3"), "object") for record in records if isinstance(record, dict)]
            return [
                (unquote_plus(_first(each.get("key"))), bool(each.get("versionId")) or _marked(each)) for each in found
            ]
        case {"detail-type": "Object Created", "detail": dict(detail)}:
            each = _mapping(detail, "object")
            return [(_first(each.get("key")), bool(each.get("version-id")) or _marked(each))]
    return None


def _marked(uploaded: Mapping[str, Any]) -> bool:
    names = {name.lower() for name, value in uploaded.items() if value}
    return {"etag", "sequencer"} <= names


def _uploads(kind: str, told: list[tuple[str, bool]]) -> About:
    keys = [key for key, _ in told if key]
    return About(kind, subject=", ".join(keys), names_version=all(named for _, named in told))


def _first(*values: object) -> str:
    """The first non-empty text or number among the values, as text."""
    return next((str(value) for value in values if isinstance(value, str | int) and value != ""), "")


# ---- what to do ------------------------------------------------------------------------------------------------------

_FIX: Final = "fix what its message quotes, then move it back"
_DROP: Final = "it would fail again: tell its sender, then delete it"
ADVICE: Final[Mapping[str, str]] = {
    "INVALID_MESSAGE": _DROP,
    "SOURCE_NOT_ALLOWED": "if its bucket should be allowed, add it to SourceBuckets and the job role; else delete it",
    "JOB_ID_TAKEN": _DROP,
    "FOREIGN_ROW": "delete or restore the job's row that another program changed, then move it back",
    "START_REFUSED": "fix the queue, definition or permission that its message names, then move it back",
    "AWS_UNAVAILABLE": _FIX,
    "CONTENDED": "move it back",
    "JOB_EXISTS": _DROP,
    "KIND_NOT_CONFIGURED": "set the task definition for this kind (RecorderTaskDefinition, …), then move it back",
    "URL_NOT_ALLOWED": "if it may be reached, add its network to AllowedNetworks and move it back; else delete it",
    "OBJECT_GONE": "delete it; if the object wasn't deleted, ask again with the right key",
    "INVALID_STEAM_ID": _DROP,
    "PROFILE_NOT_FOUND": "delete it: Steam knows no such account",
    "GAME_DETAILS_PRIVATE": "delete it, or move it back once the player shows their games",
    "PROVIDER_FAILED": "wait until Steam answers, then move it back",
    NO_TYPE: "read the function's log, fix what it says, then move it back",
}
"""What to do, by the error type. A test holds it to the tables of docs/runbook.md."""


def advice(letter: Letter, what: About) -> str:
    """What to do about a dead letter."""
    if what.refused:
        return "delete it once its work is done: its queue can't read it"
    return ADVICE.get(letter.error_type, _FIX)
