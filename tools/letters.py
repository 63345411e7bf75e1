"""Describes dead letters for operators: the job each is about, without secrets. Pure.

Bodies may hold passwords in URLs, and private metadata. So only the fields named here are ever shown.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from switchyard.errors import InvalidMessage
from switchyard.function_jobs.work import parse
from switchyard.messages.envelope import Envelope, decode, out_of_failure
from switchyard.messages.kinds import STEAM_IMPORT, TASKS, TORRENT, VIDEO
from switchyard.messages.s3 import Notice, notices, out_of_sns
from switchyard.steam.messages import read

type Queue = Literal["video", "ecs-jobs", "torrents", "steam", "track"]

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
    try:
        message = decode(letter.body)
    except InvalidMessage:
        return About("unreadable")
    inner, _ = out_of_failure(message, Envelope(letter.id, letter.sent_at))
    of_invocation = inner is not message
    if of_invocation and queue in {"video", "track"}:
        return About(
            "Lambda's record", refused="a record of a failed invocation, which this queue's function doesn't read"
        )
    readers: Mapping[Queue, Callable[[], About]] = {
        "track": lambda: _news(message),
        "ecs-jobs": lambda: _task(inner, of_invocation=of_invocation),
        "torrents": lambda: _torrent(inner),
        "steam": lambda: _import(letter),
        "video": lambda: _video(message, letter),
    }
    return readers[queue]()


def plain(text: str, limit: int) -> str:
    """Makes untrusted text safe for a terminal: printable, at most `limit` characters."""
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= limit else f"{printable[: limit - 1]}…"


def _video(message: Mapping[str, Any], letter: Letter) -> About:
    message, told = _told(message)
    if told is not None:
        return _uploads(VIDEO.name, told)
    source, video = _mapping(message, "s3") or message, _mapping(message, "video")
    job = _first(message.get("job_id"), video.get("id"), message.get("video_id"), letter.attributes.get("video_id"))
    key = _first(source.get("key"), message.get("video_s3_key"))
    return About(VIDEO.name, job, key, names_version=bool(source.get("versionId") or source.get("version")))


def _task(message: Mapping[str, Any], *, of_invocation: bool) -> About:
    kinds = [name for name, kind in TASKS.items() if message.get(kind.field) is not None]
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
    message, told = _told(message)
    if told is not None:
        return About(TORRENT.name, subject=_uploads(TORRENT.name, told).subject)
    match message:
        case {"segment": dict(segment)}:
            return About("a segment of a torrent", _first(segment.get("jobId")), _first(segment.get("key")))
    return About(TORRENT.name, subject=_first(message.get("key")))


def _import(letter: Letter) -> About:
    # An import's job id derives from its user and account, as a torrent's from its object.
    wanted = parse(read, letter.body, Envelope(letter.id, letter.sent_at)).work
    return About(STEAM_IMPORT.name, *((wanted[0].job_id, str(wanted[0].account)) if wanted else ()))


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


def _told(message: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Notice] | None]:
    """A message without its SNS envelope, and its S3 notices; None if S3 didn't send it."""
    try:
        message = out_of_sns(message)
        return message, notices(message)
    except InvalidMessage:
        return message, None


def _uploads(kind: str, told: Iterable[Notice]) -> About:
    keys, versioned = [], True
    for notice in told:
        try:
            upload = notice.upload()
        except InvalidMessage:
            continue
        keys.append(upload.key)
        versioned &= upload.version is not None
    return About(kind, subject=", ".join(keys), names_version=versioned)


def _first(*values: object) -> str:
    """The first non-empty text or number among the values, as text."""
    return next((str(value) for value in values if isinstance(value, str | int) and value != ""), "")
