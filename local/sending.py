"""Sends one piece of work to the system, in the way that clients send its kind."""

import mimetypes
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from local import api
from local.pickup import refusal, video_rules
from local.stack import LocalStack
from local.view import View
from switchyard.messages.kinds import IMAGES, RECORDING, VIDEO


class SendError(Exception):
    """The work was not accepted; the message says why."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A piece of work that was sent.

    Attributes:
        mark: The object's key in the media bucket, or the job's id.
        at: When it was sent (epoch seconds).
        lane: Its lane.
    """

    mark: str
    at: float
    lane: str


def send(stack: LocalStack, what: str, key: str | None = None) -> Sent:
    """Send a URL to be recorded, a picture to be analyzed, or any other file as a video.

    Args:
        stack: Must be running.
        what: An http(s) URL, or a path.
        key: A video's key in the media bucket.

    Raises:
        SendError: If the API refuses it, or S3 would not announce a video with that key.
    """
    if what.startswith(("http://", "https://")):
        return _through_the_api(stack, RECORDING.lane, "/jobs", {"url": what})
    file = Path(what)
    media_type = mimetypes.guess_type(file.name)[0] or ""
    if media_type.startswith("image/"):
        images = {"imageUrls": [_uploaded(stack, file, media_type)], "userId": "local"}
        return _through_the_api(stack, IMAGES.lane, "/process", images)
    key = key or f"{stack.parameters.get('UploadPrefix', 'uploads/')}{file.name}"
    if refused := refusal(key, video_rules(stack)):
        raise SendError(refused)
    return Sent(key, View(stack).upload(file, key), VIDEO.lane)


def _through_the_api(stack: LocalStack, lane: str, path: str, body: dict[str, Any]) -> Sent:
    at = time.time()
    return Sent(str(_post(stack, path, body)["jobId"]), at, lane)


def _uploaded(stack: LocalStack, file: Path, media_type: str) -> str:
    """Upload a picture by a presigned URL; its S3 URL."""
    description = {"filename": file.name, "contentType": media_type, "size": file.stat().st_size, "kind": "image"}
    upload = _post(stack, "/uploads/presign", description)
    # trust_env off: the user's proxy can't reach this machine's loopback address.
    answer = httpx.put(upload["url"], content=file.read_bytes(), headers=upload["headers"], trust_env=False, timeout=60)
    if answer.is_error:
        raise SendError(f"the upload of {file.name} was refused: {answer.status_code}")
    return f"s3://{upload['bucket']}/{upload['key']}"


def _post(stack: LocalStack, path: str, body: dict[str, Any]) -> dict[str, Any]:
    with api.client(stack) as http:
        answer = http.post(path, json=body)
    found: dict[str, Any] = answer.json()
    if answer.is_error:
        raise SendError(f"{found.get('message')} {'; '.join(found.get('details', ()))}".rstrip())
    return found
