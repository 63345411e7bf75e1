"""The hashes that S3 computes: it copies the pieces to a multipart upload that is never completed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from switchyard.errors import SwitchyardError
from switchyard.torrents.layout import Extent, Layout, ObjectVersion
from switchyard.torrents.ranges import OutOfTime, Progress

if TYPE_CHECKING:  # the stubs are not in the Lambda runtime
    from mypy_boto3_s3 import S3Client


class NoChecksum(SwitchyardError):
    """S3 copied a piece and did not say its SHA-1: the object has to be read after all."""

    code = "NO_CHECKSUM"


@dataclass(frozen=True, slots=True)
class Copy:
    """Lets S3 copy pieces to `<scratch_prefix>copy`, and takes their checksums."""

    client: S3Client
    connections: int
    scratch_prefix: str

    def digests(
        self, thing: ObjectVersion, layout: Layout, extent: Extent, *, out_of_time: OutOfTime, progress: Progress
    ) -> bytes:
        """The SHA-1s of the extent's first pieces: of all, unless time ran out. Raises NoChecksum."""
        raise NotImplementedError
