"""An object's version, its division into pieces, and ranges of pieces. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

LEAF = 16 * 1024
"""Bytes of a leaf of a version 2 hash tree (BEP 52), and thus the minimum piece length of a hybrid torrent."""
SHA1_SIZE = 20
SHA256_SIZE = 32
"""Bytes of a digest."""


class Format(StrEnum):
    """The protocol versions of a torrent: version 1 alone, or versions 1 and 2 (hybrid, BEP 52)."""

    V1 = "v1"
    HYBRID = "hybrid"

    @property
    def digest_size(self) -> int:
        """Bytes of a piece's digest record: its SHA-1, followed in a hybrid by the root of its SHA-256 tree."""
        return SHA1_SIZE if self is Format.V1 else SHA1_SIZE + SHA256_SIZE


class Way(StrEnum):
    """How the hashes were obtained, cheapest first."""

    PART_CHECKSUMS = "part-checksums"
    """S3 had them already, as checksums of the parts that the object was uploaded in."""
    COPY = "copy"
    """S3 computed them while copying the pieces into a multipart upload that is never completed."""
    STREAM = "stream"
    """The object was read."""


def version_of[T: (str, str | None)](version_id: str | None, etag: T) -> T:
    """An object's version: S3's versionId if the bucket keeps versions, else the ETag."""
    return version_id or etag


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of an object. `etag` has no quotes; `version_id` is None if the bucket keeps no versions."""

    bucket: str
    key: str
    size: int
    etag: str
    version_id: str | None
    modified: datetime

    @classmethod
    def of_answer(cls, bucket: str, key: str, size: int, answer: Mapping[str, Any]) -> Self:
        """The version that S3 describes in its response to HeadObject or GetObjectAttributes."""
        # In a bucket with suspended versioning, every new object has the versionId "null".
        known = answer.get("VersionId")
        return cls(
            bucket, key, size, answer["ETag"].strip('"'), None if known == "null" else known, answer["LastModified"]
        )

    @property
    def version(self) -> str:
        """See `version_of`."""
        return version_of(self.version_id, self.etag)


@dataclass(frozen=True, slots=True)
class Layout:
    """The division of an object of `size` bytes into pieces of `piece_length` bytes; the last may be shorter."""

    size: int
    piece_length: int
    format: Format

    @property
    def pieces(self) -> int:
        """The number of pieces."""
        return -(-self.size // self.piece_length)

    @property
    def whole(self) -> "Extent":
        """All pieces."""
        return Extent(0, self.pieces)

    def bytes_of(self, extent: "Extent") -> tuple[int, int]:
        """The offset of the first byte of some pieces, and of the first byte after them."""
        return extent.first * self.piece_length, min(extent.end * self.piece_length, self.size)


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """A range of `count` pieces, from index `first`."""

    first: int
    count: int

    @property
    def end(self) -> int:
        """The index after the last piece."""
        return self.first + self.count
