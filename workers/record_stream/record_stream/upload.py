"""Uploads the recording to S3 while it grows, so that a killed worker loses only its last seconds.

An S3 object exists only once its upload is complete. So the bytes are sent as numbered pieces, each an object of its
own, and S3 itself copies each full piece into a part of the recording's multipart upload. When the recording ends, the
upload is completed and the pieces are deleted. If the worker is killed, the pieces remain: concatenated in order they
are the recording. See docs/adr/0012.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from switchyard_worker import AWS_ERRORS, ObjectName, WorkerJob, content_type

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, ObjectIdentifierTypeDef

log = logging.getLogger(__name__)

PART_BYTES = 5 * 2**20
"""S3's minimum size of a part."""
GROWTH = 1000
"""Every this many parts, the part size grows by `PART_BYTES`. So S3's 10,000 parts suffice for 275 GiB."""


class Upload:
    """A writable file for the recording.

    Args:
        job: the job whose result it is.
        name: the file's name, safe in a key.
        number: which of the recording's files it is, from 1.
    """

    def __init__(self, job: WorkerJob, name: str, number: int = 1) -> None:
        self.size = 0
        self._job = job
        self._name = name
        self._number = number
        self._buffer = bytearray()
        self._saved = 0  # bytes of the buffer that are in S3, in the newest piece
        self._parts: list[CompletedPartTypeDef] = []
        self._upload_id = ""
        self._bucket = job.environment.results_bucket
        self._key = job.key(name)
        self._target: ObjectName = {"Bucket": self._bucket, "Key": self._key}

    @property
    def pieces(self) -> str:
        """The prefix of the pieces. It contains the fence: another run's pieces belong to another recording.

        It doesn't begin like the recording's: the bucket announces no piece, and forgets their old versions in a day.
        """
        return f"pieces/{self._job.key(f'pieces-{self._job.environment.fence}/')}"

    @property
    def last_piece(self) -> str:
        """The newest piece's name below `pieces`. The others' numbers go up to it from 00001."""
        return self._piece(len(self._parts) + bool(self._saved)).removeprefix(self.pieces)

    def write(self, data: bytes) -> int:
        """Add `data`. A full piece is then uploaded."""
        self._buffer += data
        self.size += len(data)
        if len(self._buffer) >= PART_BYTES * (1 + len(self._parts) // GROWTH):
            self._end_piece()
        return len(data)

    def save(self) -> None:
        """Upload the newest, incomplete piece. It is overwritten as it grows."""
        if len(self._buffer) == self._saved:
            return
        if not self._parts and not self._saved:
            self._job.confirm()
        self._put(self._piece(len(self._parts) + 1))
        self._saved = len(self._buffer)

    def finish(self) -> None:
        """Complete the recording as one object, and delete the pieces."""
        self._job.confirm()
        if self._upload_id:
            if self._buffer:
                self._end_piece()
            self._job.s3.complete_multipart_upload(
                **self._target, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
            )
        else:
            self._put(self._key)
        self._job.files.append(self._name)
        self._delete_pieces()

    def _end_piece(self) -> None:
        self.save()
        if not self._upload_id:
            made = self._job.s3.create_multipart_upload(
                **self._target, ContentType=content_type(self._name), Metadata=self._job.metadata
            )
            self._upload_id = made["UploadId"]
        number = len(self._parts) + 1
        copied = self._job.s3.upload_part_copy(
            **self._target,
            UploadId=self._upload_id,
            PartNumber=number,
            CopySource={"Bucket": self._bucket, "Key": self._piece(number)},
        )
        self._parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
        self._buffer.clear()
        self._saved = 0

    def _put(self, key: str) -> None:
        self._job.s3.put_object(
            Bucket=self._bucket,
            Key=key,
            Body=bytes(self._buffer),
            ContentType=content_type(self._name),
            Metadata=self._job.metadata,
        )

    def _piece(self, number: int) -> str:
        file = f"{self._number}-" if self._number > 1 else ""
        return f"{self.pieces}{file}{number:05}{Path(self._name).suffix}"

    def _delete_pieces(self) -> None:
        keys = [self._piece(number) for number in range(1, len(self._parts) + 2)]
        try:
            for first in range(0, len(keys), 1000):
                doomed: list[ObjectIdentifierTypeDef] = [{"Key": key} for key in keys[first : first + 1000]]
                self._job.s3.delete_objects(Bucket=self._bucket, Delete={"Objects": doomed, "Quiet": True})
        except AWS_ERRORS as error:
            log.warning("can't delete the pieces: %s", error)  # the recording itself is complete
