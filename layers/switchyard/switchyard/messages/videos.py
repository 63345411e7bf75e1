"""Reads the messages that request video jobs. Pure; docs/messages.md describes every accepted shape.

A message may have several S3 records. Each is read separately, so that an invalid one doesn't affect the others.
`tasks` and `torrents.messages` read the messages of other kinds.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from switchyard.errors import InvalidMessage, PermanentError, SourceNotAllowed
from switchyard.keys import owner_of
from switchyard.messages.envelope import (
    MAX_VERSION_LENGTH,
    Envelope,
    Parsed,
    Rejected,
    decode,
    identifier,
    is_identifier,
    mapping,
    metadata_of,
    named_version,
    optional_text,
    out_of_failure,
    priority,
    task_token,
)
from switchyard.messages.kinds import VIDEO
from switchyard.messages.s3 import Notice, location, moment, notices, out_of_sns, version_id
from switchyard.names import legal_name, stable_hash
from switchyard.protocol.jobs import Source, TargetSpec, WorkRequest


@dataclass(frozen=True, slots=True)
class VideoMessage:
    """A request to process one object, independent of the message's shape. Ids are as sent, not yet made legal."""

    source: Source
    video_id: str | None = None
    job_id: str | None = None
    user_id: str | None = None
    priority: int = 0
    stages: tuple[str, ...] = ()
    metadata: Mapping[str, Any] | None = None
    announced: bool = False


STAGES = ("scenes", "speech", "speakers", "text", "summary", "preview", "index")
"""The parts of an analysis that a request may choose (workers/analyze_video)."""


type _Reader = Callable[[Envelope], VideoMessage]
type _Part = tuple[_Reader, Notice | None]


@dataclass(slots=True, eq=False)
class VideoWork:
    """Reads messages as requests for `lane` and `target`. `id_pattern` finds the video id in a key.

    In `bucket`, the API has made the keys under `upload_prefix`: they name the owners of the uploads. In other buckets,
    anybody may have made the key. `task_tokens` says whether plain messages may carry a task token of Step Functions.
    """

    lane: str
    target: TargetSpec
    id_pattern: re.Pattern[str]
    allowed_buckets: frozenset[str]
    bucket: str = ""
    upload_prefix: str = "uploads/"
    task_tokens: bool = False

    def parse(self, body: str, envelope: Envelope) -> Parsed:
        """Reads a message body in any of the accepted shapes. Invalid content is in `rejected`, never raised."""
        parsed = Parsed()
        try:
            parts, token, envelope = self._opened(decode(body), envelope)
            if envelope.video_id and len(parts) > 1:
                raise InvalidMessage("the attribute video_id names one video, but the message has several objects")
            for read, notice in parts:
                try:
                    parsed.requests.append(self._request(read(envelope), envelope, token))
                except PermanentError as error:
                    parsed.rejected.append(Rejected(error, notice.body(body) if notice else body))
        except PermanentError as error:
            return Parsed(rejected=[Rejected(error, body)])
        return parsed

    def read(self, message: Mapping[str, Any], envelope: Envelope) -> WorkRequest:
        """Reads a decoded message that names one object.

        Raises:
            PermanentError: it can't be processed, or names several objects.
        """
        parts, token, envelope = self._opened(message, envelope)
        if len(parts) != 1:
            raise InvalidMessage(f"the message names {len(parts)} objects, not one")
        ((read, _),) = parts
        return self._request(read(envelope), envelope, token)

    def _opened(self, message: Mapping[str, Any], envelope: Envelope) -> tuple[list[_Part], str | None, Envelope]:
        """The parts of a message, and its task token."""
        message, envelope = out_of_failure(message, envelope)
        message = out_of_sns(message)
        parts, token = list(_parts(message)), task_token(message, taken=self.task_tokens)
        if token and any(notice for _, notice in parts):
            raise InvalidMessage("a notification of S3 has no taskToken")
        return parts, token, envelope

    def _request(self, message: VideoMessage, envelope: Envelope, token: str | None) -> WorkRequest:
        source = message.source
        if source.bucket not in self.allowed_buckets:
            raise SourceNotAllowed(f"the bucket {source.bucket!r} is not among SOURCE_BUCKETS")
        video_id = (
            message.video_id
            or identifier({"video_id": envelope.video_id}, "video_id")
            or video_id_of(self.id_pattern, source.bucket, source.key)
        )
        return WorkRequest(
            job_id=legal_name(message.job_id or video_id),
            kind=VIDEO.name,
            lane=self.lane,
            target=self.target,
            source=source,
            sent_at=envelope.sent_at,
            video_id=video_id,
            user_id=self._owner(source, message.user_id),
            priority=message.priority,
            input={"stages": list(message.stages)} if message.stages else None,
            metadata=message.metadata,
            announced=message.announced,
            task_token=token,
        )

    def _owner(self, source: Source, named: str | None) -> str | None:
        """The owner of an upload, as its key says; else the user that the message names.

        Raises:
            InvalidMessage: the message names another user than the key.
        """
        owner = owner_of(self.upload_prefix, source.key) if source.bucket == self.bucket else None
        if owner and named and owner != named:
            raise InvalidMessage("the message names a user, but the upload is another's")
        return owner or named


def video_id_of(pattern: re.Pattern[str], bucket: str, key: str) -> str:
    """The id of a video whose message names none: what the pattern finds in the key, else a hash of bucket and key."""
    match = pattern.search(key)
    found = match["video_id"] if match else None
    # A redrive sends the id in a message, which must accept it.
    return found if is_identifier(found) else stable_hash(bucket, key)


def _parts(message: Mapping[str, Any]) -> Iterator[_Part]:
    """Splits a message into requests: a reader for each, and S3's notice if S3 sent it. Empty for `s3:TestEvent`."""
    announced = notices(message)
    if announced is not None:
        for notice in announced:
            yield partial(_read_notice, notice), notice
        return
    match message:
        case {"eventType": str()}:
            yield partial(_read_backend, message), None
        case {"video_s3_key": _} | {"video_s3_bucket": _}:
            yield partial(_read_flat, "video_s3_bucket", "video_s3_key", message), None
        case {"bucket": _} | {"key": _}:
            yield partial(_read_flat, "bucket", "key", message), None
        case _:
            raise InvalidMessage(
                "no known message shape; expected an S3 notification, EventBridge's Object Created, video-uploaded, "
                "{bucket, key} or {video_s3_bucket, video_s3_key}"
            )


def _read_notice(notice: Notice, envelope: Envelope) -> VideoMessage:
    upload = notice.upload()
    return VideoMessage(
        Source(
            *_of_video(upload.bucket, upload.key),
            version=upload.version or envelope.message_id,
            message_id=envelope.message_id,
            version_id=upload.version_id,
            sequencer=upload.sequencer,
            # An event without a version is treated like a plain message.
            written_at=upload.written_at if upload.version else None,
        )
    )


def _read_backend(message: Mapping[str, Any], envelope: Envelope) -> VideoMessage:
    if message["eventType"] != "video-uploaded":
        raise InvalidMessage(f"unknown eventType {message['eventType'][:64]!r}; expected video-uploaded")
    s3 = mapping(message, "s3")
    return VideoMessage(
        _plain_source(s3.get("bucket"), s3.get("key"), s3, envelope),
        video_id=identifier(mapping(message, "video"), "id"),
        user_id=identifier(message, "userId"),
        priority=priority(message),
        stages=_stages(message),
        metadata=metadata_of(message),
    )


def _read_flat(bucket: str, key: str, message: Mapping[str, Any], envelope: Envelope) -> VideoMessage:
    """Reads a flat message; `bucket` and `key` are the names of its fields."""
    return VideoMessage(
        _plain_source(message.get(bucket), message.get(key), message, envelope),
        video_id=identifier(message, "video_id"),
        job_id=identifier(message, "job_id"),
        user_id=identifier(message, "user_id"),
        priority=priority(message),
        stages=_stages(message),
        metadata=metadata_of(message),
        announced=message.get("announced") is True,
    )


def _stages(message: Mapping[str, Any]) -> tuple[str, ...]:
    """Reads which parts of the analysis to do; empty for all."""
    value = message.get("stages", [])
    if not isinstance(value, list) or not all(each in STAGES for each in value):
        raise InvalidMessage(f"stages must be a list of {', '.join(STAGES)}")
    return tuple(dict.fromkeys(value))


def _plain_source(bucket: object, key: object, message: Mapping[str, Any], envelope: Envelope) -> Source:
    """The source of a plain message. Its version is the message's versionId or version, else the message id."""
    known = version_id(message.get("versionId"))
    version = known or named_version(message)
    return Source(
        *_of_video(*location(bucket, key)),
        version=version or envelope.message_id,
        message_id=envelope.message_id,
        version_id=known,
        # Redrives have these, so that their version can still be ordered. They are useless without a version.
        sequencer=optional_text(message.get("sequencer"), MAX_VERSION_LENGTH) if version else None,
        written_at=moment(message.get("writtenAt")) if version else None,
    )


def _of_video(bucket: str, key: str) -> tuple[str, str]:
    if key.endswith("/"):
        raise InvalidMessage("the key ends in a slash: a folder marker, not a video")
    return bucket, key
