"""Piece hashes from S3's own checksums, for an object uploaded in parts with SHA-1 checksums.

GetObjectAttributes lists the parts' checksums (S3 API reference), 1,000 a page. The object's checksum of type COMPOSITE
is the SHA-1 of the parts' SHA-1s. It proves that the list is complete and in order (S3 user guide, "Checking object
integrity").
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from switchyard.errors import ObjectChanged
from switchyard.observability import logger
from switchyard.torrents.format.layout import LEAF, SHA1_SIZE, ObjectVersion
from switchyard.torrents.hashing.ranges import of_object

if TYPE_CHECKING:  # the stubs are not in the Lambda runtime
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import (
        GetObjectAttributesOutputTypeDef,
        GetObjectAttributesPartsTypeDef,
        ObjectPartTypeDef,
    )

_PAGE = 1000
"""Parts of a page: S3's maximum."""


@dataclass(frozen=True, slots=True)
class Description:
    """An object as S3 describes it.

    Attributes:
        thing: the object.
        composite: the SHA-1 of its parts' SHA-1s in base64; None if it has none.
        parts: the first page of its parts.
    """

    thing: ObjectVersion
    composite: str | None
    parts: GetObjectAttributesPartsTypeDef


def describe(client: S3Client, bucket: str, key: str) -> Description:
    """Describes the current version of an object, by one call.

    Raises:
        ObjectGone: the object doesn't exist.
    """
    with of_object(bucket, key):
        found = _attributes(client, bucket, key)
    checksum = found.get("Checksum", {})
    sha1 = checksum.get("ChecksumSHA1") if checksum.get("ChecksumType") == "COMPOSITE" else None
    return Description(
        thing=ObjectVersion.of_answer(bucket, key, found["ObjectSize"], found),
        composite=sha1.partition("-")[0] if sha1 else None,  # HeadObject appends the count of parts
        parts=found.get("ObjectParts", {}),
    )


def part_digests(client: S3Client, description: Description, maximum: int) -> tuple[int, bytes] | None:
    """The piece length, at most `maximum` bytes, and the SHA-1s of all pieces; None if S3 has no usable ones.

    Makes a call for every 1,000 parts after the first 1,000.

    Raises:
        ObjectGone, ObjectChanged: the object was deleted or replaced in the meantime.
    """
    thing, first = description.thing, description.parts.get("Parts", [])
    count = description.parts.get("TotalPartsCount", 0)
    length = _piece_length(thing.size, count, first, maximum)
    if description.composite is None or length is None or "ChecksumSHA1" not in first[0]:
        return None
    parts = [part for page in _pages(client, description) for part in page]
    digests = b"".join(_digest(part) for part in parts)
    composite = base64.b64encode(hashlib.sha1(digests, usedforsecurity=False).digest()).decode()
    is_whole = _is_cut(parts, thing.size, count, length) and len(digests) == count * SHA1_SIZE
    if not is_whole or composite != description.composite:
        logger.warning("part checksums don't match the object's", bucket=thing.bucket, parts=len(parts))
        return None
    return length, digests


def _piece_length(size: int, count: int, first: Sequence[ObjectPartTypeDef], maximum: int) -> int | None:
    """The piece length that fits the parts, judged by the first page; None if they can't be pieces."""
    if not first or not size:
        return None
    # A single part is also the last one, which may have any size.
    length = first[0]["Size"] if count > 1 else max(LEAF, 1 << (size - 1).bit_length())
    fits = LEAF <= length <= maximum and length.bit_count() == 1 and count == -(-size // length)
    return length if fits else None


def _is_cut(parts: Sequence[ObjectPartTypeDef], size: int, count: int, length: int) -> bool:
    """Whether this is the complete list of parts, each as long as its piece."""
    if len(parts) != count:
        return False
    return all(part["Size"] == min(length, size - index * length) for index, part in enumerate(parts))


def _digest(part: ObjectPartTypeDef) -> bytes:
    try:
        digest = base64.b64decode(part.get("ChecksumSHA1", ""), validate=True)
    except ValueError:
        return b""  # the caller then finds too few digests
    return digest if len(digest) == SHA1_SIZE else b""


def _pages(client: S3Client, description: Description) -> Iterator[Sequence[ObjectPartTypeDef]]:
    """The parts of this version, page by page.

    Raises:
        ObjectGone, ObjectChanged: the object was deleted or replaced in the meantime.
    """
    thing, page = description.thing, description.parts
    while True:
        yield page.get("Parts", [])
        if not page.get("IsTruncated"):
            return
        after = page["NextPartNumberMarker"]
        with of_object(thing.bucket, thing.key):
            found = _attributes(client, thing.bucket, thing.key, thing.version_id, after)
        if found["ETag"].strip('"') != thing.etag:
            raise ObjectChanged(f"s3://{thing.bucket}/{thing.key} was replaced while its parts were listed")
        page = found.get("ObjectParts", {})


def _attributes(
    client: S3Client, bucket: str, key: str, version_id: str | None = None, after: int = 0
) -> GetObjectAttributesOutputTypeDef:
    pinned: dict[str, Any] = {"VersionId": version_id} if version_id else {}
    return client.get_object_attributes(
        Bucket=bucket,
        Key=key,
        ObjectAttributes=["ETag", "Checksum", "ObjectParts", "ObjectSize"],
        MaxParts=_PAGE,
        PartNumberMarker=after,
        **pinned,
    )
