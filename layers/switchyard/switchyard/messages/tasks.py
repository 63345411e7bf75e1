"""Reads job messages: they ask for what runs as an ECS task. docs/messages.md describes every field.

The API builds and reads the same messages as the queue's function, so what one accepts the other does.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from switchyard.errors import InvalidMessage, KindNotConfigured, PermanentError, UrlRefused
from switchyard.messages.videos import (
    MAX_VERSION_LENGTH,
    Envelope,
    Parsed,
    Rejected,
    decode,
    identifier,
    optional_text,
    out_of_failure,
)
from switchyard.names import legal_name
from switchyard.protocol.jobs import Source, TargetSpec, WorkRequest
from switchyard.urls import MAX_URL_LENGTH, Network, UrlNotAllowed, check_public, s3_location

MAX_IMAGES = 1000
MAX_FILENAME_LENGTH = 255
MAX_METADATA_BYTES = 32 * 1024
MAX_REQUEST_BYTES = 200 * 1024
"""A request, its metadata a second time and what a job comes to hold stay below the 400 KB of an item."""

_MAX_KEY_BYTES = 1024
_MAX_DEPTH = 32


@dataclass(slots=True, eq=False)
class TaskWork:
    """How job messages become requests.

    `bucket` is where images are and results go, `definitions` has the task definition of every kind that this
    deployment runs, `networks` are inner addresses that may be recorded from all the same.
    """

    bucket: str
    cluster: str
    definitions: Mapping[str, str]
    networks: Sequence[Network] = ()

    def parse(self, body: str, envelope: Envelope) -> Parsed:
        """Reads a job message, and looks up the host of a URL to record from. Never raises for what the body holds."""
        try:
            return Parsed(requests=[self._request(*out_of_failure(decode(body), envelope))])
        except PermanentError as error:
            return Parsed(rejected=[Rejected(error, body)])

    def _request(self, message: Mapping[str, Any], envelope: Envelope) -> WorkRequest:
        name = _kind_of(message)
        kind = KINDS[name]
        definition = self.definitions.get(name)
        if not definition:
            raise KindNotConfigured(f"nothing runs {name} here: {kind.definition} is not set")
        request = WorkRequest(
            job_id=legal_name(identifier(message, "jobId") or envelope.message_id),
            kind=name,
            lane=kind.lane,
            target=TargetSpec("ecs", self.cluster, definition),
            source=Source(
                bucket=self.bucket,
                key="",
                version=optional_text(message.get("version"), MAX_VERSION_LENGTH) or envelope.message_id,
                message_id=envelope.message_id,
            ),
            sent_at=envelope.sent_at,
            user_id=identifier(message, "userId"),
            input=kind.read(message, self),
            metadata=_metadata(message.get("metadata")),
            announced=message.get("announced") is True,
        )
        size = len(request.to_json().encode())
        if size > MAX_REQUEST_BYTES:
            raise InvalidMessage(f"the request has {size} bytes as JSON; {MAX_REQUEST_BYTES} are allowed")
        return request


@dataclass(frozen=True, slots=True)
class TaskKind:
    """A kind of job that runs as a task: its lane, the field that tells it, and which settings are about it."""

    lane: str
    field: str
    definition: str
    limit: str
    read: Callable[[Mapping[str, Any], TaskWork], Mapping[str, Any]]


def _kind_of(message: Mapping[str, Any]) -> str:
    name = message.get("kind")
    if name is None:
        told = [name for name, kind in KINDS.items() if message.get(kind.field) is not None]
        if len(told) != 1:
            raise InvalidMessage("kind is missing, and not told by exactly one of url, imageUrls and torrentKey")
        return told[0]
    if not isinstance(name, str) or name not in KINDS:
        raise InvalidMessage(f"kind must be one of {', '.join(KINDS)}")
    return name


def _recording(message: Mapping[str, Any], work: TaskWork) -> Mapping[str, Any]:
    url = _text(message, "url", MAX_URL_LENGTH)
    filename = _text(message, "filename", MAX_FILENAME_LENGTH) if message.get("filename") not in (None, "") else None
    try:
        check_public(url, work.networks)
    except UrlNotAllowed as error:
        raise UrlRefused(str(error)) from None
    return {"url": url} | ({"filename": filename} if filename else {})


def _images(message: Mapping[str, Any], work: TaskWork) -> Mapping[str, Any]:
    found = message.get("imageUrls")
    if not isinstance(found, list) or not 1 <= len(found) <= MAX_IMAGES:
        raise InvalidMessage(f"imageUrls must be a list of 1 to {MAX_IMAGES} URLs")
    for position, url in enumerate(found):
        place = f"imageUrls[{position}]"
        if not isinstance(url, str) or not 1 <= len(url) <= MAX_URL_LENGTH:
            raise InvalidMessage(f"{place} must be text of 1 to {MAX_URL_LENGTH} characters")
        try:
            s3_location(url, work.bucket)
        except UrlNotAllowed as error:
            raise UrlRefused(f"{place}: {error}") from None
    return {"imageUrls": found}


def _seeding(message: Mapping[str, Any], _: TaskWork) -> Mapping[str, Any]:
    key = _text(message, "torrentKey", _MAX_KEY_BYTES)
    if len(key.encode()) > _MAX_KEY_BYTES:
        raise InvalidMessage(f"torrentKey has more than {_MAX_KEY_BYTES} bytes")
    if not key.endswith(".torrent") or not {"", ".", ".."}.isdisjoint(key.split("/")):
        raise InvalidMessage("torrentKey is not a path of plain names that ends in .torrent")
    return {"torrentKey": key}


KINDS: Mapping[str, TaskKind] = {
    "stream-recording": TaskKind("recordings", "url", "ECS_TASK_DEF", "MAX_CONCURRENT_RECORDINGS", _recording),
    "image-processing": TaskKind("images", "imageUrls", "IMAGE_TASK_DEF", "MAX_CONCURRENT_IMAGES", _images),
    "torrent-seeding": TaskKind("seeding", "torrentKey", "TRANSMISSION_TASK_DEF", "MAX_CONCURRENT_SEEDERS", _seeding),
}
"""Every kind of job that runs as a task, and the one place that says so."""


def _text(message: Mapping[str, Any], name: str, limit: int) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= limit:
        raise InvalidMessage(f"{name} must be text of 1 to {limit} characters")
    _demand_plain(value, name)
    return value


def _metadata(value: object) -> Mapping[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidMessage("metadata is not an object")
    _demand_plain(value, "metadata")
    size = len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
    if size > MAX_METADATA_BYTES:
        raise InvalidMessage(f"metadata has {size} bytes as JSON; {MAX_METADATA_BYTES} are allowed")
    return value


def _demand_plain(value: object, name: str, depth: int = 0) -> None:
    """Demands what every reader of JSON understands alike: Python's reads more, and would fail when it is written."""
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
                _demand_plain(key, name, depth + 1)
                _demand_plain(inner, name, depth + 1)
        case list():
            for inner in value:
                _demand_plain(inner, name, depth + 1)
