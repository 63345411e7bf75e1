"""The hashes of what is read: ranged GETs by several connections, each piece hashed as it comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from switchyard.torrents.layout import Extent, Layout, ObjectVersion
from switchyard.torrents.ranges import OutOfTime, Progress

if TYPE_CHECKING:  # the stubs are not in the Lambda runtime
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class Stream:
    """Reads objects by up to `connections` connections at once."""

    client: S3Client
    connections: int

    def digests(
        self, thing: ObjectVersion, layout: Layout, extent: Extent, *, out_of_time: OutOfTime, progress: Progress
    ) -> bytes:
        """The digest records of the extent's first pieces: of all, unless time ran out."""
        raise NotImplementedError
