"""Torrent messages: their shapes, and the job each asks for. Pure; docs/messages.md describes every shape.

The API, the reconciler and the function all derive a torrent's job id here, so that one object never has two jobs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from switchyard import clock
from switchyard.errors import InvalidMessage, PermanentError, SourceNotAllowed
from switchyard.function_jobs.work import Ignored, Parsed
from switchyard.keys import is_part_of_recording, is_upload, owner_of, recording_owner
from switchyard.messages.envelope import MAX_VERSION_LENGTH, Envelope, Rejected, optional_text, out_of_failure
from switchyard.messages.kinds import TORRENT
from switchyard.messages.s3 import Notice, location, notices, out_of_sns, version_id
from switchyard.names import stable_hash
from switchyard.protocol.jobs import Source, TargetSpec, WorkRequest
from switchyard.torrents.format.layout import Extent, Format, Layout, ObjectVersion, Way, version_of

TARGET = TargetSpec(TORRENT.target, queue="", definition="s3_torrent_creator")
"""s3_torrent_creator does the work itself: no slots, no locks, nothing to dispatch to."""

_MAX_NUMBER = 2**53


# ---- the job ---------------------------------------------------------------------------------------------------------


def job_id(bucket: str, key: str, version: str) -> str:
    """The id of the job for one version of an object. `version` is that of `ObjectVersion`."""
    return f"torrent-{stable_hash(bucket, key, version)}"


def message(bucket: str, key: str, version: str | None = None, *, again: bool = False) -> str:
    """The body of a message that asks for an object's torrent, with `again` even if it was made before.

    With a `version`, the message does nothing once the object has been replaced.
    """
    wanted = {"bucket": bucket, "key": key, "version": version, "again": again or None}
    return json.dumps({name: value for name, value in wanted.items() if value is not None})


def asked_again(request: WorkRequest) -> str:
    """The body of a message that asks for the work of a torrent's job once more."""
    return message(request.source.bucket, request.source.key, request.source.version)


def request(thing: ObjectVersion, *, message_id: str, sent_at: datetime, user_id: str | None = None) -> WorkRequest:
    """The request that an object's torrent job stores. `message_id` is that of the message that asked."""
    return WorkRequest(
        job_id=job_id(thing.bucket, thing.key, thing.version),
        kind=TORRENT.name,
        lane=TORRENT.lane,
        target=TARGET,
        source=Source(thing.bucket, thing.key, thing.version, message_id, version_id=thing.version_id),
        sent_at=sent_at,
        user_id=user_id,
    )


# ---- parsing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request for an object's torrent. `version` is the one wanted, None for the current one."""

    bucket: str
    key: str
    version: str | None = None
    again: bool = False

    @property
    def body(self) -> str:
        """The message body that asks for this torrent alone."""
        return message(self.bucket, self.key, self.version, again=self.again)


@dataclass(frozen=True, slots=True)
class Segment:
    """A range of a large object's pieces, hashed in an invocation of its own for a running job.

    `fence` names the run of the job: once the job has been begun again, the segment is ignored.
    """

    job_id: str
    fence: int
    thing: ObjectVersion
    layout: Layout
    way: Way
    extent: Extent

    @property
    def body(self) -> str:
        """The message body that has this segment hashed."""
        told = {
            "jobId": self.job_id,
            "fence": self.fence,
            "bucket": self.thing.bucket,
            "key": self.thing.key,
            "etag": self.thing.etag,
            "versionId": self.thing.version_id,
            "size": self.thing.size,
            "modified": clock.iso(self.thing.modified),
            "pieceLength": self.layout.piece_length,
            "format": self.layout.format,
            "way": self.way,
            "first": self.extent.first,
            "count": self.extent.count,
        }
        return json.dumps({"segment": {name: value for name, value in told.items() if value is not None}})


@dataclass(slots=True, eq=False)
class TorrentWork:
    """Parses messages. Holds the bucket whose objects get torrents, and its prefixes with a meaning.

    The keys of recordings, under `source_prefix`, and of uploads name the objects' owners.
    """

    bucket: str
    source_prefix: str
    torrent_prefix: str
    scratch_prefix: str
    upload_prefix: str = "uploads/"

    def read(self, message: Mapping[str, Any], envelope: Envelope, body: str = "", /) -> Parsed[Wanted | Segment]:
        """Reads a decoded message in any of the accepted shapes. Never raises for what it holds."""
        try:
            told, envelope = out_of_failure(message, envelope)
            told = out_of_sns(told)
            by_s3 = notices(told)
        except PermanentError as error:
            return Parsed(envelope.message_id, rejected=[Rejected(error, body)])
        parsed = Parsed[Wanted | Segment](envelope.message_id)
        for each in [told] if by_s3 is None else by_s3:
            self._read(each, body, parsed)
        return parsed

    def _read(self, told: Notice | Mapping[str, Any], body: str, parsed: Parsed[Wanted | Segment]) -> None:
        try:
            work = _wanted(told)
            bucket, key = (work.thing.bucket, work.thing.key) if isinstance(work, Segment) else (work.bucket, work.key)
            if bucket != self.bucket:
                raise SourceNotAllowed(f"the bucket {bucket!r} is not S3_BUCKET")
        except PermanentError as error:
            parsed.rejected.append(Rejected(error, told.body(body) if isinstance(told, Notice) else body))
            return
        reason = self.why_ignored(key)
        if reason:
            parsed.ignored.append(Ignored(key, reason))
        else:
            parsed.work.append(work)

    def why_ignored(self, key: str) -> str | None:
        """Why an object of this key gets no torrent; None if it gets one."""
        if key.endswith("/"):
            return "a folder marker"
        if key.lower().endswith(".torrent"):
            return "a torrent itself"
        if key.startswith((self.torrent_prefix, self.scratch_prefix)):
            return "a file of the torrent function itself"
        # record_stream stores pieces while it records, and deletes them when the recording is complete.
        if is_part_of_recording(self.source_prefix, key):
            return "a piece of a recording"
        return None

    def torrent_key(self, key: str) -> str:
        """The key of an object's torrent. It contains the object's full key, so that no two objects share one."""
        return f"{self.torrent_prefix}{key}.torrent"

    def owner(self, key: str) -> str | None:
        """The owner of an object, and so of its torrent; None if the key names none."""
        if is_upload(self.upload_prefix, key):
            return owner_of(self.upload_prefix, key)
        return recording_owner(self.source_prefix, key)


def _wanted(told: Notice | Mapping[str, Any]) -> Wanted | Segment:
    match told:
        case Notice():
            upload = told.upload()
            return Wanted(upload.bucket, upload.key, version_of(upload.version_id, upload.etag))
        case {"segment": dict(segment)}:
            return _segment(segment)
        case {"bucket": _} | {"key": _}:
            again = told.get("again")
            if again not in (None, True, False):
                raise InvalidMessage("again must be true or false")
            version = told.get("version")
            if version is not None and not optional_text(version, MAX_VERSION_LENGTH):
                raise InvalidMessage(f"version must be printable text of at most {MAX_VERSION_LENGTH} characters")
            return Wanted(*location(told.get("bucket"), told.get("key")), version, again=again is True)
    raise InvalidMessage(
        "no known message shape; expected an S3 notification, EventBridge's Object Created, {bucket, key} or {segment}"
    )


def _segment(told: Mapping[str, Any]) -> Segment:
    bucket, key = location(told.get("bucket"), told.get("key"))
    try:
        size = _number(told, "size")
        segment = Segment(
            job_id=_text(told, "jobId"),
            fence=_number(told, "fence"),
            thing=ObjectVersion(
                bucket, key, size, _text(told, "etag"), version_id(told.get("versionId")), clock.parse(told["modified"])
            ),
            layout=Layout(size, _number(told, "pieceLength"), Format(told["format"])),
            way=Way(told["way"]),
            extent=Extent(_number(told, "first", least=0), _number(told, "count")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidMessage(f"not a valid segment: {error}") from None
    if segment.extent.end > segment.layout.pieces:
        raise InvalidMessage("the segment goes beyond the object's end")
    return segment


def _text(told: Mapping[str, Any], name: str) -> str:
    value = optional_text(told.get(name), MAX_VERSION_LENGTH)
    if value is None:
        raise ValueError(f"{name} must be printable text")
    return value


def _number(told: Mapping[str, Any], name: str, *, least: int = 1) -> int:
    value = told.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _MAX_NUMBER:
        raise ValueError(f"{name} must be an integer from {least} to {_MAX_NUMBER}")
    return value
