"""The hashes that S3 has already: an object's parts, where they were uploaded with SHA-1 checksums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from switchyard.torrents.layout import ObjectVersion

if TYPE_CHECKING:  # the stubs are not in the Lambda runtime
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectAttributesPartsTypeDef


@dataclass(frozen=True, slots=True)
class Description:
    """An object as S3 describes it. `composite` is the SHA-1 of the parts' SHA-1s, as S3 writes it."""

    thing: ObjectVersion
    composite: str | None
    parts: GetObjectAttributesPartsTypeDef


def describe(client: S3Client, bucket: str, key: str) -> Description:
    """The current version of an object, by one call. Raises ObjectGone."""
    raise NotImplementedError


def part_digests(client: S3Client, description: Description, maximum: int) -> tuple[int, bytes] | None:
    """Piece length and SHA-1s of all pieces, or None where S3 has none that could be used. Raises ObjectChanged."""
    raise NotImplementedError
