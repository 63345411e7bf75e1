"""Reads job messages, which request ECS tasks. docs/messages.md describes every field.

The API checks its requests with this module too, so that the queue's function accepts what the API accepted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from switchyard import clock
from switchyard.errors import InvalidMessage, KindNotConfigured, PermanentError, UrlRefused
from switchyard.keys import owner_of
from switchyard.messages.envelope import (
    Envelope,
    Parsed,
    Rejected,
    decode,
    demand_plain,
    identifier,
    metadata_of,
    named_version,
    out_of_failure,
    priority,
    task_token,
)
from switchyard.messages.kinds import IMAGES, RECORDING, SEEDING, TASKS, Kind
from switchyard.names import MAX_KEY_BYTES, legal_name
from switchyard.protocol.jobs import Source, TargetSpec, WorkRequest
from switchyard.urls import MAX_URL_LENGTH, Network, UrlNotAllowed, check_public, s3_location

MAX_IMAGES = 1000
MAX_FILENAME_LENGTH = 255
MAX_REQUEST_BYTES = 200 * 1024
"""A request, its metadata a second time and later attributes of the job stay below an item's 400 KB."""

MAX_DELAY = timedelta(days=30)
"""How far ahead `startAfter` may be."""


@dataclass(slots=True, eq=False)
class TaskWork:
    """Reads job messages as requests.

    Attributes:
        bucket: The bucket of images and of results.
        cluster: The ECS cluster.
        definitions: The task definition of every kind that this deployment runs, by kind.
        networks: Private networks that may be recorded from.
        upload_prefix: Where the API makes keys of uploads, which name the uploads' owners.
        task_tokens: Whether messages may carry a task token of Step Functions.
    """

    bucket: str
    cluster: str
    definitions: Mapping[str, str]
    networks: Sequence[Network] = ()
    upload_prefix: str = "uploads/"
    task_tokens: bool = False

    def parse(self, body: str, envelope: Envelope) -> Parsed:
        """Reads a job message. Resolves the host of a URL to record. Invalid content is in `rejected`, never raised."""
        try:
            return Parsed(requests=[self.read(decode(body), envelope)])
        except PermanentError as error:
            return Parsed(rejected=[Rejected(error, body)])

    def read(self, message: Mapping[str, Any], envelope: Envelope) -> WorkRequest:
        """Reads a decoded job message.

        Raises:
            PermanentError: it can't be processed.
        """
        message, envelope = out_of_failure(message, envelope)
        kind = _kind_of(message)
        definition = self.definitions.get(kind.name)
        if not definition:
            raise KindNotConfigured(f"this deployment doesn't run {kind.name}: {kind.definition} is not set")
        given = _READERS[kind.name](message, self)
        request = WorkRequest(
            job_id=legal_name(identifier(message, "jobId") or envelope.message_id),
            kind=kind.name,
            lane=kind.lane,
            target=TargetSpec(kind.target, self.cluster, definition),
            source=Source(
                bucket=self.bucket,
                key="",
                version=named_version(message) or envelope.message_id,
                message_id=envelope.message_id,
            ),
            sent_at=envelope.sent_at,
            user_id=self._owner(given, identifier(message, "userId")),
            input=given,
            metadata=metadata_of(message),
            announced=message.get("announced") is True,
            start_after=_start_after(message.get("startAfter"), envelope.sent_at),
            priority=priority(message),
            task_token=task_token(message, taken=self.task_tokens),
        )
        size = len(request.to_json().encode())
        if size > MAX_REQUEST_BYTES:
            raise InvalidMessage(f"the request has {size} bytes as JSON; {MAX_REQUEST_BYTES} are allowed")
        return request

    def _owner(self, given: Mapping[str, Any], named: str | None) -> str | None:
        """The user that the message names; else the owner that the keys of all images name, if it is one.

        Raises:
            InvalidMessage: the message names a user, and an image is the upload of another.
        """
        owners = [owner_of(self.upload_prefix, s3_location(url, self.bucket)) for url in given.get("imageUrls", ())]
        for position, owner in enumerate(owners):
            if named and owner not in (named, None):
                raise InvalidMessage(f"imageUrls[{position}] is the upload of another user than userId")
        return named or (owners[0] if len(set(owners)) == 1 else None)


def _kind_of(message: Mapping[str, Any]) -> Kind:
    name = message.get("kind")
    if name is None:
        possible = [kind for kind in TASKS.values() if message.get(kind.field) is not None]
        if len(possible) != 1:
            raise InvalidMessage("kind is missing; without it, give exactly one of url, imageUrls and torrentKey")
        return possible[0]
    if not isinstance(name, str) or name not in TASKS:
        raise InvalidMessage(f"kind must be one of {', '.join(TASKS)}")
    return TASKS[name]


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
    key = _text(message, "torrentKey", MAX_KEY_BYTES)
    if len(key.encode()) > MAX_KEY_BYTES:
        raise InvalidMessage(f"torrentKey has more than {MAX_KEY_BYTES} bytes")
    if not key.endswith(".torrent") or not {"", ".", ".."}.isdisjoint(key.split("/")):
        raise InvalidMessage("torrentKey must end in .torrent and have no empty, . or .. segment")
    return {"torrentKey": key}


_READERS: Mapping[str, Callable[[Mapping[str, Any], TaskWork], Mapping[str, Any]]] = {
    RECORDING.name: _recording,
    IMAGES.name: _images,
    SEEDING.name: _seeding,
}
"""Read a task's input from its message, by kind."""


def _text(message: Mapping[str, Any], name: str, limit: int) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= limit:
        raise InvalidMessage(f"{name} must be text of 1 to {limit} characters")
    demand_plain(value, name)
    return value


def _start_after(value: object, sent_at: datetime) -> datetime | None:
    if value is None:
        return None
    try:
        start_after = clock.parse(value) if isinstance(value, str) else None
    except ValueError:
        start_after = None
    if start_after is None or start_after > sent_at + MAX_DELAY:
        raise InvalidMessage(
            f"startAfter must be an ISO 8601 time with its offset, at most {MAX_DELAY.days} days ahead"
        )
    return start_after
