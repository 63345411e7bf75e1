"""Writes .torrent files to S3 so that an older upload's never replaces a newer one's, in any order of events.

    look at the torrent's key ──▶ is our upload still the current one? ──▶ put, if the key is unchanged

The order matters. If our upload is replaced after the second step, its successor looks at the key later than we did.
Either it puts its torrent before ours, and our put fails because the key has changed; or after, and it replaces ours.
"""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from switchyard.errors import Contended, ObjectChanged, ObjectGone
from switchyard.torrents.format.layout import ObjectVersion
from switchyard.torrents.format.metainfo import Torrent

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ROUNDS = 5
_RACE_LOST = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT})
"""S3's answers if the key has changed, or is being written to at this moment."""


def publish(client: S3Client, thing: ObjectVersion, torrent: Torrent, key: str) -> None:
    """Puts the torrent of `thing` under `key` of its bucket. Idempotent.

    Raises:
        ObjectChanged: the object has been replaced or uploaded again.
        ObjectGone: the object was deleted.
        Contended: others wrote to `key` during every attempt.
    """
    put: dict[str, Any] = {
        "Bucket": thing.bucket,
        "Key": key,
        "Body": torrent.data,
        "ContentType": "application/x-bittorrent",
        "Metadata": {"source-version": thing.version, "info-hash": torrent.infohash},
    }
    etag = f'"{hashlib.md5(torrent.data, usedforsecurity=False).hexdigest()}"'
    # Most torrents are the first of their object: the first put finds out whether the key is free.
    place: dict[str, str] | None = {"IfNoneMatch": "*"}
    for _ in range(_ROUNDS):
        if place is not None:
            demand_current(client, thing)
            if _put(client, {**put, **place}):
                return
        found = _etag(client, thing.bucket, key)
        if found == etag:
            return
        place = {"IfMatch": found} if found else {"IfNoneMatch": "*"}
    raise Contended(f"the torrent of {thing.key!r} was changed {_ROUNDS} times while being written")


def demand_current(client: S3Client, thing: ObjectVersion) -> None:
    """Checks that `thing` is still the object's current upload.

    Raises:
        ObjectChanged: the object has been replaced or uploaded again.
        ObjectGone: the object was deleted.
    """
    try:
        head = client.head_object(Bucket=thing.bucket, Key=thing.key)
    except ClientError as error:
        if is_absent(error):
            raise ObjectGone(f"{thing.key!r} was deleted") from None
        raise
    # If the same bytes were uploaded again, the later upload makes its own torrent.
    found = ObjectVersion.of_answer(thing.bucket, thing.key, thing.size, head)
    if (found.version, found.modified) != (thing.version, thing.modified):
        raise ObjectChanged(f"{thing.key!r} was replaced in the meantime")


def _put(client: S3Client, arguments: dict[str, Any]) -> bool:
    """Puts the torrent; False if the key has changed since it was looked at."""
    try:
        client.put_object(**arguments)
    except ClientError as error:
        if _status(error) in _RACE_LOST:
            return False
        raise
    return True


def _etag(client: S3Client, bucket: str, key: str) -> str | None:
    try:
        return client.head_object(Bucket=bucket, Key=key)["ETag"]
    except ClientError as error:
        if is_absent(error):
            return None
        raise


def is_absent(error: ClientError) -> bool:
    """Whether S3 answered 404: the object doesn't exist, and the caller may list the bucket."""
    return _status(error) == HTTPStatus.NOT_FOUND


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]
