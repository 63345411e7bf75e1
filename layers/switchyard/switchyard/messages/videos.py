"""Reads the messages that ask for a video job. Pure; every accepted shape is described in docs/messages.md.

Job messages, which ask for anything else, are read by `tasks`, and torrents' by `torrents.work`, in the same terms.

A message may hold several S3 records; each is read on its own, so that a bad one never touches its siblings.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeGuard
from urllib.parse import unquote_plus

from switchyard import clock
from switchyard.errors import InvalidMessage, PermanentError, SourceNotAllowed
from switchyard.names import legal_name, stable_hash
from switchyard.protocol.jobs import Source, TargetSpec, WorkRequest

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MAX_KEY_BYTES = 1024
_MAX_ID_LENGTH = 256
MAX_VERSION_LENGTH = 1024
_MAX_VERSION_PART_LENGTH = 256
_JSON_TYPE_NAMES = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "a boolean"}


@dataclass(frozen=True, slots=True)
class Envelope:
    """What SQS says about a message: its id, when it was sent, and the `video_id` message attribute if any."""

    message_id: str
    sent_at: datetime
    video_id: str | None = None


@dataclass(frozen=True, slots=True)
class VideoMessage:
    """One request to process one object, whatever shape it came in. Ids are as sent, not yet made legal."""

    source: Source
    video_id: str | None = None
    job_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A part of a message that can never be processed: why, and the part itself as a message of its own."""

    error: PermanentError
    body: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a message asks for. Both are empty for `s3:TestEvent`, which S3 sends when notifications are set up."""

    requests: list[WorkRequest] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class VideoWork:
    """How messages become requests: the lane and target they go to, where ids come from, which buckets are served."""

    lane: str
    target: TargetSpec
    id_pattern: re.Pattern[str]
    allowed_buckets: frozenset[str]

    def parse(self, body: str, envelope: Envelope) -> Parsed:
        """Reads a message body in any of the accepted shapes. Never raises for what the body holds."""
        parsed = Parsed()
        try:
            for read, alone in _parts(decode(body), body):
                try:
                    parsed.requests.append(self._request(read(envelope), envelope))
                except PermanentError as error:
                    parsed.rejected.append(Rejected(error, alone))
        except PermanentError as error:
            return Parsed(rejected=[Rejected(error, body)])
        return parsed

    def _request(self, message: VideoMessage, envelope: Envelope) -> WorkRequest:
        source = message.source
        if source.bucket not in self.allowed_buckets:
            raise SourceNotAllowed(f"the bucket {source.bucket!r} is not among SOURCE_BUCKETS")
        video_id = (
            message.video_id
            or identifier({"video_id": envelope.video_id}, "video_id")
            or self._id_from_key(source.key)
            or stable_hash(source.bucket, source.key)
        )
        return WorkRequest(
            job_id=legal_name(message.job_id or video_id),
            kind="video-analysis",
            lane=self.lane,
            target=self.target,
            source=source,
            sent_at=envelope.sent_at,
            video_id=video_id,
            user_id=message.user_id,
        )

    def _id_from_key(self, key: str) -> str | None:
        match = self.id_pattern.search(key)
        found = match["video_id"] if match else None
        # An id that a message could not carry could not be sent again in a redrive's body either.
        return found if _is_printable(found, _MAX_ID_LENGTH) else None


def redrive_body(request: WorkRequest) -> str:
    """A message that asks for the very same work again, job id and source version included."""
    fields = _object_message(request) if request.source.is_object else _job_message(request)
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def _object_message(request: WorkRequest) -> dict[str, Any]:
    source = request.source
    return {
        "bucket": source.bucket,
        "key": source.key,
        "versionId": source.version_id,
        "version": source.version,
        "sequencer": source.sequencer,
        "writtenAt": clock.iso(source.written_at) if source.written_at else None,
        "job_id": request.job_id,
        "video_id": request.video_id,
        "user_id": request.user_id,
    }


def _job_message(request: WorkRequest) -> dict[str, Any]:
    return {
        "kind": request.kind,
        "jobId": request.job_id,
        **(request.input or {}),
        "userId": request.user_id,
        "metadata": request.metadata,
        "version": request.source.version,
        "announced": request.announced or None,
    }


def decode(body: str) -> Mapping[str, Any]:
    """A message body as a JSON object; InvalidMessage for anything else."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidMessage("the body is not JSON") from None
    if not isinstance(message, dict):
        kind = _JSON_TYPE_NAMES.get(type(message), "null")
        raise InvalidMessage(f"the body is {kind}, not a JSON object")
    return message


def out_of_failure(message: Mapping[str, Any], envelope: Envelope) -> tuple[Mapping[str, Any], Envelope]:
    """What an asynchronous invocation was for, out of the record that Lambda writes when it has failed for good."""
    match message:
        case {"requestPayload": dict(payload), "requestContext": {"requestId": request_id}} if _is_printable(
            request_id, _MAX_ID_LENGTH
        ):
            return payload, replace(envelope, message_id=request_id)
    return message, envelope


# ---- what S3 tells ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Upload:
    """An object that S3 tells of, and what it says of the state that it means."""

    bucket: str
    key: str
    etag: str | None
    version_id: str | None
    sequencer: str | None
    written_at: datetime | None


@dataclass(frozen=True, slots=True)
class Notice:
    """S3's word of one upload, not yet looked into, and as a message of its own: S3 may tell of several in one."""

    told: Mapping[str, Any]
    body: str

    def upload(self) -> Upload:
        """The object. InvalidMessage where it is none, or where this is not of an upload."""
        return _upload_of_event(self.told) if "detail-type" in self.told else _upload_of_record(self.told)


def out_of_sns(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """What SNS has wrapped, where it is between S3 and SQS without raw delivery; any other message as it is."""
    match message:
        case {"Type": "Notification", "Message": str(inner)}:
            return out_of_sns(decode(inner))
    return message


def notices(message: Mapping[str, Any], body: str) -> list[Notice] | None:
    """What S3 tells in a message, whose body is `body`: nothing in its `s3:TestEvent`. None where S3 didn't send it."""
    match message:
        case {"Event": "s3:TestEvent"}:
            return []
        case {"Records": list(records)}:
            if not records:
                raise InvalidMessage("Records is empty")
            return [
                Notice(record if isinstance(record, dict) else {"record": record}, json.dumps({"Records": [record]}))
                for record in records
            ]
        case {"detail-type": "Object Created", "detail": dict()}:
            return [Notice(message, body)]
    return None


def _upload_of_record(record: Mapping[str, Any]) -> Upload:
    name = record.get("eventName")
    if record.get("eventSource") != "aws:s3" or not isinstance(name, str):
        raise InvalidMessage("the record is not an S3 event (eventSource is not aws:s3)")
    if not name.removeprefix("s3:").startswith("ObjectCreated:"):
        raise InvalidMessage(f"the S3 event {name[:64]!r} is not an upload (ObjectCreated)")
    s3 = _mapping(record, "s3")
    thing = _mapping(s3, "object")
    bucket, key = location(_mapping(s3, "bucket").get("name"), _url_decoded(thing.get("key")))
    return Upload(
        bucket,
        key,
        etag=optional_text(thing.get("eTag"), _MAX_VERSION_PART_LENGTH),
        version_id=version_id(thing.get("versionId")),
        sequencer=optional_text(thing.get("sequencer"), _MAX_VERSION_PART_LENGTH),
        written_at=_time(record.get("eventTime")),
    )


def _url_decoded(key: object) -> object:
    """A key as S3 notifications spell it, decoded; anything but text is left for `location` to refuse."""
    if not isinstance(key, str):
        return key
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        raise InvalidMessage("the key is not URL-encoded UTF-8") from None


def _upload_of_event(event: Mapping[str, Any]) -> Upload:
    if event.get("source") != "aws.s3":
        raise InvalidMessage("the event's source is not aws.s3")
    detail = _mapping(event, "detail")
    thing = _mapping(detail, "object")
    # The key is raw: EventBridge, unlike S3 notifications, does not URL-encode it.
    bucket, key = location(_mapping(detail, "bucket").get("name"), thing.get("key"))
    return Upload(
        bucket,
        key,
        etag=optional_text(thing.get("etag"), _MAX_VERSION_PART_LENGTH),
        version_id=version_id(thing.get("version-id")),
        sequencer=optional_text(thing.get("sequencer"), _MAX_VERSION_PART_LENGTH),
        written_at=_time(event.get("time")),
    )


# ---- the shapes of a request for a video -----------------------------------------------------------------------------

type _Reader = Callable[[Envelope], VideoMessage]


def _parts(message: Mapping[str, Any], body: str) -> Iterator[tuple[_Reader, str]]:
    """The requests a message holds, each as what reads it and as a message of its own; none in `s3:TestEvent`."""
    message = out_of_sns(message)
    told = notices(message, body)
    if told is not None:
        for notice in told:
            yield partial(_read_notice, notice), notice.body
        return
    match message:
        case {"eventType": str()}:
            yield partial(_read_backend, message), body
        case {"video_s3_key": _} | {"video_s3_bucket": _}:
            yield partial(_read_flat, "video_s3_bucket", "video_s3_key", message), body
        case {"bucket": _} | {"key": _}:
            yield partial(_read_flat, "bucket", "key", message), body
        case _:
            raise InvalidMessage(
                "no known message shape; expected an S3 notification, EventBridge's Object Created, video-uploaded, "
                "{bucket, key} or {video_s3_bucket, video_s3_key}"
            )


def _read_notice(notice: Notice, envelope: Envelope) -> VideoMessage:
    """The source of an S3 event is versioned by versionId, else by ETag and sequencer."""
    upload = notice.upload()
    content = f"{upload.etag}-{upload.sequencer}" if upload.etag and upload.sequencer else None
    version = upload.version_id or content
    return VideoMessage(
        Source(
            *_of_video(upload.bucket, upload.key),
            version=version or envelope.message_id,
            message_id=envelope.message_id,
            version_id=upload.version_id,
            sequencer=upload.sequencer,
            # Without a version of its own the event is no better than a plain message, and is compared like one.
            written_at=upload.written_at if version else None,
        )
    )


def _read_backend(message: Mapping[str, Any], envelope: Envelope) -> VideoMessage:
    if message["eventType"] != "video-uploaded":
        raise InvalidMessage(f"unknown eventType {message['eventType'][:64]!r}; expected video-uploaded")
    s3 = _mapping(message, "s3")
    return VideoMessage(
        _plain_source(s3.get("bucket"), s3.get("key"), s3, envelope),
        video_id=identifier(_mapping(message, "video"), "id"),
        user_id=identifier(message, "userId"),
    )


def _read_flat(bucket: str, key: str, message: Mapping[str, Any], envelope: Envelope) -> VideoMessage:
    """Reads a flat message that names its object in the fields `bucket` and `key`."""
    return VideoMessage(
        _plain_source(message.get(bucket), message.get(key), message, envelope),
        video_id=identifier(message, "video_id"),
        job_id=identifier(message, "job_id"),
        user_id=identifier(message, "user_id"),
    )


def _mapping(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise InvalidMessage(f"{name} is missing or not an object")
    return value


def identifier(parent: Mapping[str, Any], name: str) -> str | None:
    """An optional id: a string or an integer. InvalidMessage for anything else."""
    value = parent.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not _is_printable(value, _MAX_ID_LENGTH):
        raise InvalidMessage(f"{name} must be printable text of at most {_MAX_ID_LENGTH} characters")
    return value


def _is_printable(value: object, limit: int) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= limit and value.isprintable()


def optional_text(value: object, limit: int) -> str | None:
    """Printable text of at most `limit` characters; whatever is none counts as absent."""
    return value if _is_printable(value, limit) else None


def version_id(value: object) -> str | None:
    """An S3 versionId; "null" is every object's in a bucket whose versioning is suspended, and tells nothing apart."""
    return None if value == "null" else optional_text(value, MAX_VERSION_LENGTH)


def _time(value: object) -> datetime | None:
    try:
        return clock.parse(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _plain_source(bucket: object, key: object, message: Mapping[str, Any], envelope: Envelope) -> Source:
    """The source of a message that names an object: versioned by the message, or by the S3 versionId it gives."""
    known = version_id(message.get("versionId"))
    version = known or optional_text(message.get("version"), MAX_VERSION_LENGTH)
    return Source(
        *_of_video(*location(bucket, key)),
        version=version or envelope.message_id,
        message_id=envelope.message_id,
        version_id=known,
        # What `redrive_body` writes, so that S3's order of uploads still tells old from new; worth nothing without.
        sequencer=optional_text(message.get("sequencer"), MAX_VERSION_LENGTH) if version else None,
        written_at=_time(message.get("writtenAt")) if version else None,
    )


def location(bucket: object, key: object) -> tuple[str, str]:
    """A bucket's name and a key, as far as S3 itself would have them. InvalidMessage for anything else."""
    if not isinstance(bucket, str) or not _BUCKET_NAME.fullmatch(bucket):
        raise InvalidMessage("the bucket is missing or not a bucket name")
    if not isinstance(key, str) or not key:
        raise InvalidMessage("the key is missing or empty")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidMessage("the key is not valid Unicode") from None
    if size > _MAX_KEY_BYTES:
        raise InvalidMessage(f"the key is {size} bytes long; S3 allows {_MAX_KEY_BYTES}")
    if "\0" in key:
        raise InvalidMessage("the key has a NUL character, which no environment variable can hold")
    return bucket, key


def _of_video(bucket: str, key: str) -> tuple[str, str]:
    if key.endswith("/"):
        raise InvalidMessage("the key ends in a slash: a folder marker, not a video")
    return bucket, key
