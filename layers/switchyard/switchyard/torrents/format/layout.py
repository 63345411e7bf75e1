"""How an object is cut into pieces, and which of them are meant. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

LEAF = 16 * 1024
"""Bytes of a leaf of a version 2 hash tree (BEP 52), and so the least piece length of a hybrid torrent."""


class Format(StrEnum):
    """Which clients a torrent is for: all (v1), or also those that know version 2 of the protocol (hybrid, BEP 52)."""

    V1 = "v1"
    HYBRID = "hybrid"

    @property
    def digest_size(self) -> int:
        """Bytes that are known of a piece: its SHA-1, and in a hybrid after that the root of its SHA-256 tree."""
        return 20 if self is Format.V1 else 52


class Way(StrEnum):
    """How the hashes were come by, cheapest first."""

    PART_CHECKSUMS = "part-checksums"
    """S3 had them already: the checksums of the parts that the object was uploaded in."""
    COPY = "copy"
    """S3 computed them, while it copied the pieces to a multipart upload that is never completed."""
    STREAM = "stream"
    """The object was read."""


def version_of[T: (str, str | None)](version_id: str | None, etag: T) -> T:
    """What tells one state of an object from others of the same key: S3's versionId, else the ETag."""
    return version_id or etag


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One state of one object. `etag` is without quotes; `version_id` is None where the bucket keeps no versions."""

    bucket: str
    key: str
    size: int
    etag: str
    version_id: str | None
    modified: datetime

    @classmethod
    def of_answer(cls, bucket: str, key: str, size: int, answer: Mapping[str, Any]) -> Self:
        """The state that S3 describes, in its answer to HeadObject or GetObjectAttributes."""
        # "null" is every object's in a bucket whose versioning is suspended.
        known = answer.get("VersionId")
        return cls(
            bucket, key, size, answer["ETag"].strip('"'), None if known == "null" else known, answer["LastModified"]
        )

    @property
    def version(self) -> str:
        """What tells this state from others of the same key."""
        return version_of(self.version_id, self.etag)


@dataclass(frozen=True, slots=True)
class Layout:
    """An object of `size` bytes as pieces of `piece_length`, the last one being what is left."""

    size: int
    piece_length: int
    format: Format

    @property
    def pieces(self) -> int:
        """How many there are."""
        return -(-self.size // self.piece_length)

    @property
    def whole(self) -> "Extent":
        """All of them."""
        return Extent(0, self.pieces)

    def bytes_of(self, extent: "Extent") -> tuple[int, int]:
        """The first byte of some pieces, and the first after them."""
        return extent.first * self.piece_length, min(extent.end * self.piece_length, self.size)


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """`count` pieces in a row, from the piece of index `first` on."""

    first: int
    count: int

    @property
    def end(self) -> int:
        """The index of the first piece after them."""
        return self.first + self.count
