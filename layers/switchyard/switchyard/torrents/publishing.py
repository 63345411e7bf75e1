"""Puts a torrent to its place, so that an older upload's never replaces a newer one's, whoever is slow or dies.

    look where the torrent goes ──▶ is our upload still the current one? ──▶ put, if the place is as it was

All three in this order: what was found current after the place was looked at, and lost that since, has a successor
that looks at the place later than we did. Either it puts its torrent before ours, and then the place isn't as it was;
or after, and then it replaces ours.
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
"""How S3 says that the place is not as it was, or that somebody writes to it at this moment."""


def publish(client: S3Client, thing: ObjectVersion, torrent: Torrent, key: str) -> None:
    """Puts the torrent of `thing` under `key` of its bucket; putting the same once more changes nothing.

    Raises:
        ObjectChanged: the object has been replaced, or uploaded anew.
        ObjectGone: it is no longer there.
        Contended: others changed the torrent each time.
    """
    put: dict[str, Any] = {
        "Bucket": thing.bucket,
        "Key": key,
        "Body": torrent.data,
        "ContentType": "application/x-bittorrent",
        "Metadata": {"source-version": thing.version, "info-hash": torrent.infohash},
    }
    etag = f'"{hashlib.md5(torrent.data, usedforsecurity=False).hexdigest()}"'
    # Most torrents are the first of their object: that the place is free is found by the put itself.
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
    raise Contended(f"the torrent of {thing.key!r} was changed {_ROUNDS} times while it was being put")


def demand_current(client: S3Client, thing: ObjectVersion) -> None:
    """Raises ObjectChanged or ObjectGone where the object is no longer the upload that `thing` is."""
    try:
        head = client.head_object(Bucket=thing.bucket, Key=thing.key)
    except ClientError as error:
        if is_absent(error):
            raise ObjectGone(f"{thing.key!r} is no longer there") from None
        raise
    # Of the same bytes uploaded once more, the later upload makes its own torrent.
    found = ObjectVersion.of_answer(thing.bucket, thing.key, thing.size, head)
    if (found.version, found.modified) != (thing.version, thing.modified):
        raise ObjectChanged(f"{thing.key!r} has been replaced meanwhile")


def _put(client: S3Client, arguments: dict[str, Any]) -> bool:
    """Whether the place was as it had been found."""
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
    """Whether S3 says that there is no such object, which it does to those who may list the bucket."""
    return _status(error) == HTTPStatus.NOT_FOUND


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]
