"""Piece hashes that S3 computes while it copies the pieces into a multipart upload that is never completed.

UploadPartCopy into an upload created with SHA-1 checksums returns the part's checksum (S3 API reference). Parts of an
upload that is never completed have no minimum size, and nobody else can read them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from switchyard.errors import SwitchyardError, Unavailable
from switchyard.observability import logger
from switchyard.torrents.format.layout import SHA1_SIZE, Extent, Layout, ObjectVersion
from switchyard.torrents.hashing.ranges import OutOfTime, Progress, StopSignal, in_order, of_object

if TYPE_CHECKING:  # the stubs are not in the Lambda runtime
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CopySourceTypeDef

    from switchyard.clients import MultipartUpload

_MAX_PARTS = 10_000


class NoChecksum(SwitchyardError):
    """S3 copied a piece without returning its SHA-1: the object must be read instead."""

    code = "NO_CHECKSUM"


@dataclass(slots=True, eq=False)
class Copy:
    """Has S3 copy pieces to `<scratch_prefix>copy`, up to `connections` at once, and collects their checksums.

    For version 1 torrents with pieces of at most 5 GiB.
    """

    client: S3Client
    connections: int
    scratch_prefix: str

    def digests(
        self, thing: ObjectVersion, layout: Layout, extent: Extent, *, out_of_time: OutOfTime, progress: Progress
    ) -> bytes:
        """The SHA-1s of the extent's pieces, or only of the first ones if time runs out.

        Raises:
            NoChecksum: S3 computes no checksums.
            ObjectGone, ObjectChanged: the object was deleted or replaced in the meantime.
            Unavailable, ClientError, BotoCoreError: a retry may succeed.
        """
        digests = b""
        for first in range(extent.first, extent.end, _MAX_PARTS):
            part = Extent(first, min(_MAX_PARTS, extent.end - first))
            with self._upload(thing) as upload:
                got = _Copying(self.client, thing, layout, upload, part.first, progress)
                pieces = [Extent(index, 1) for index in range(part.first, part.end)]
                digests += in_order(
                    pieces, got.piece, threads=self.connections, digest_size=SHA1_SIZE, out_of_time=out_of_time
                )
            if len(digests) < (part.end - extent.first) * SHA1_SIZE:
                break
        return digests

    @contextmanager
    def _upload(self, thing: ObjectVersion) -> Iterator[MultipartUpload]:
        """A multipart upload that is aborted after the block.

        If aborting fails, or the response to its creation is lost, the bucket's lifecycle rule aborts it.
        """
        bucket, key = thing.bucket, f"{self.scratch_prefix}copy"
        created = self.client.create_multipart_upload(Bucket=bucket, Key=key, ChecksumAlgorithm="SHA1")
        upload: MultipartUpload = {"Bucket": bucket, "Key": key, "UploadId": created["UploadId"]}
        try:
            yield upload
        finally:
            try:
                self.client.abort_multipart_upload(**upload)
            except (ClientError, BotoCoreError) as error:
                logger.warning("scratch upload not aborted", key=key, reason=str(error))


@dataclass(slots=True, eq=False)
class _Copying:
    """One upload. Its part 1 is the piece with the index `first`."""

    client: S3Client
    thing: ObjectVersion
    layout: Layout
    upload: MultipartUpload
    first: int
    progress: Progress

    def piece(self, piece: Extent, _: StopSignal) -> bytes:
        start, stop = self.layout.bytes_of(piece)
        source: CopySourceTypeDef = {"Bucket": self.thing.bucket, "Key": self.thing.key}
        if self.thing.version_id:
            source["VersionId"] = self.thing.version_id
        # S3 refuses a range for a source of up to 5 MB. Such an object is one piece.
        whole = stop - start == self.thing.size
        ranged: dict[str, Any] = {} if whole else {"CopySourceRange": f"bytes={start}-{stop - 1}"}
        try:
            with of_object(self.thing.bucket, self.thing.key):
                copied = self.client.upload_part_copy(
                    **self.upload,
                    **ranged,
                    PartNumber=piece.first - self.first + 1,
                    CopySource=source,
                    CopySourceIfMatch=self.thing.etag,
                )
        except self.client.exceptions.NoSuchUpload as error:
            raise Unavailable("the scratch upload was aborted by someone else") from error
        checksum = copied["CopyPartResult"].get("ChecksumSHA1")
        if not checksum:
            raise NoChecksum(f"S3 copied a piece of s3://{self.thing.bucket}/{self.thing.key} without its SHA-1")
        self.progress(stop - start)
        return base64.b64decode(checksum, validate=True)
