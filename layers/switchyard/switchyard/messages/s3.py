"""Reads S3's announcements of uploads: S3 notifications and EventBridge events, also wrapped by SNS. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

from switchyard import clock
from switchyard.errors import InvalidMessage
from switchyard.messages.envelope import MAX_VERSION_LENGTH, decode, mapping, optional_text
from switchyard.names import MAX_KEY_BYTES

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MAX_VERSION_PART_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded object, and S3's details of the upload."""

    bucket: str
    key: str
    etag: str | None
    version_id: str | None
    sequencer: str | None
    written_at: datetime | None

    @property
    def version(self) -> str | None:
        """Identifies this upload of the key: the versionId, else ETag and sequencer; None without either."""
        return self.version_id or (f"{self.etag}-{self.sequencer}" if self.etag and self.sequencer else None)


@dataclass(frozen=True, slots=True)
class Notice:
    """The announcement of one upload, not yet parsed.

    `message` is a message with this announcement only; None if the received one has no other.
    """

    event: Mapping[str, Any]
    message: Mapping[str, Any] | None = None

    def upload(self) -> Upload:
        """Parses the announcement.

        Raises:
            InvalidMessage: it is not an upload, or names no object.
        """
        return _upload_of_event(self.event) if "detail-type" in self.event else _upload_of_record(self.event)

    def body(self, whole: str) -> str:
        """A message body with this announcement only, given the body that was received."""
        return whole if self.message is None else json.dumps(self.message)


def out_of_sns(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Unwraps a message that SNS delivered without raw message delivery. Returns other messages unchanged."""
    match message:
        case {"Type": "Notification", "Message": str(inner)}:
            return out_of_sns(decode(inner))
    return message


def notices(message: Mapping[str, Any]) -> list[Notice] | None:
    """Splits a message of S3 into its announcements; empty for `s3:TestEvent`. None if S3 didn't send it.

    Raises:
        InvalidMessage: `Records` is empty.
    """
    match message:
        case {"Event": "s3:TestEvent"}:
            return []
        case {"Records": list(records)}:
            if not records:
                raise InvalidMessage("Records is empty")
            return [
                Notice(record if isinstance(record, dict) else {"record": record}, {"Records": [record]})
                for record in records
            ]
        case {"detail-type": "Object Created", "detail": dict()}:
            return [Notice(message)]
    return None


def location(bucket: object, key: object) -> tuple[str, str]:
    """Checks a bucket's name and a key by S3's own rules.

    Raises:
        InvalidMessage: one of them is missing or invalid.
    """
    if not isinstance(bucket, str) or not _BUCKET_NAME.fullmatch(bucket):
        raise InvalidMessage("the bucket is missing or not a bucket name")
    if not isinstance(key, str) or not key:
        raise InvalidMessage("the key is missing or empty")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidMessage("the key is not valid Unicode") from None
    if size > MAX_KEY_BYTES:
        raise InvalidMessage(f"the key is {size} bytes long; S3 allows {MAX_KEY_BYTES}")
    if "\0" in key:
        raise InvalidMessage("the key has a NUL character, which no environment variable can hold")
    return bucket, key


def version_id(value: object) -> str | None:
    """Reads an S3 versionId. None for "null", which uploads have while versioning is suspended: it is not unique."""
    return None if value == "null" else optional_text(value, MAX_VERSION_LENGTH)


def moment(value: object) -> datetime | None:
    """Reads an ISO 8601 time. None for any other value."""
    try:
        return clock.parse(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _upload_of_record(record: Mapping[str, Any]) -> Upload:
    name = record.get("eventName")
    if record.get("eventSource") != "aws:s3" or not isinstance(name, str):
        raise InvalidMessage("the record is not an S3 event (eventSource is not aws:s3)")
    if not name.removeprefix("s3:").startswith("ObjectCreated:"):
        raise InvalidMessage(f"the S3 event {name[:64]!r} is not an upload (ObjectCreated)")
    return _upload(mapping(record, "s3"), record.get("eventTime"), etag="eTag", version="versionId", is_encoded=True)


def _url_decoded(key: object) -> object:
    """Decodes the key of an S3 notification. Returns other types unchanged; `location` refuses them."""
    if not isinstance(key, str):
        return key
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        raise InvalidMessage("the key is not URL-encoded UTF-8") from None


def _upload_of_event(event: Mapping[str, Any]) -> Upload:
    if event.get("source") != "aws.s3":
        raise InvalidMessage("the event's source is not aws.s3")
    # The key is raw: EventBridge, unlike S3 notifications, does not URL-encode it.
    return _upload(mapping(event, "detail"), event.get("time"), etag="etag", version="version-id", is_encoded=False)


def _upload(about: Mapping[str, Any], time: object, *, etag: str, version: str, is_encoded: bool) -> Upload:
    """Reads the details of an announcement. `etag` and `version` are its names of these fields."""
    thing = mapping(about, "object")
    key = _url_decoded(thing.get("key")) if is_encoded else thing.get("key")
    return Upload(
        *location(mapping(about, "bucket").get("name"), key),
        etag=optional_text(thing.get(etag), _MAX_VERSION_PART_LENGTH),
        version_id=version_id(thing.get(version)),
        sequencer=optional_text(thing.get("sequencer"), _MAX_VERSION_PART_LENGTH),
        written_at=moment(time),
    )
