"""Uploads a file while it is written, whose beginning is filled in last: an MP4 with its index in front.

The beginning stays in memory and becomes the upload's first part. S3 takes parts in any order.
"""

import io
from contextlib import suppress
from typing import TYPE_CHECKING

from switchyard_worker import AWS_ERRORS, ObjectName, WorkerJob, content_type

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 * 2**20
"""S3's 10,000 parts suffice for 80 GB."""
LEAST_HEAD = 5 * 2**20
"""S3's minimum size of a part."""


class Upload:
    """A writable file, of which only the beginning can be overwritten.

    Args:
        job: the job whose result it is.
        name: the file's name.
        head: how many bytes stay in memory until the end.
    """

    def __init__(self, job: WorkerJob, name: str, head: int) -> None:
        self.size = 0
        self._job = job
        self._name = name
        self._limit = max(head, LEAST_HEAD)
        self._head = bytearray()
        self._rest = bytearray()
        self._position = 0
        self._parts: list[CompletedPartTypeDef] = []
        self._upload_id = ""
        self._target: ObjectName = {"Bucket": job.environment.results_bucket, "Key": job.key(name)}

    def write(self, data: bytes) -> int:
        """Write all of `data` at the current position.

        Raises:
            OSError: that is behind the beginning, and before the end.
        """
        given = memoryview(data)
        if given and self._position < self._limit:
            inside = given[: self._limit - self._position]
            self._head.extend(bytes(max(0, self._position - len(self._head))))
            self._head[self._position : self._position + len(inside)] = inside
            self._position += len(inside)
            given = given[len(inside) :]
        if given:
            if self._position != max(self.size, self._limit):
                raise OSError("this part of the file has been sent")
            self._head.extend(bytes(self._limit - len(self._head)))
            self._rest += given
            self._position += len(given)
        self.size = max(self.size, self._position)
        if len(self._rest) >= PART_BYTES:
            self._send()
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.IOBase.seek`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The current position, in bytes."""
        return self._position

    def finish(self) -> None:
        """Complete the object.

        Raises:
            ClientError: also if an earlier, unanswered try has completed it. The next attempt of the job uploads again.
        """
        self._job.confirm()
        if self._upload_id:
            if self._rest:
                self._send()
            self._part(1, self._head)
            parts = sorted(self._parts, key=lambda part: part.get("PartNumber", 0))
            self._job.s3.complete_multipart_upload(
                **self._target, UploadId=self._upload_id, MultipartUpload={"Parts": parts}
            )
        else:
            self._job.s3.put_object(
                **self._target,
                Body=bytes(self._head + self._rest),
                ContentType=content_type(self._name),
                Metadata=self._job.metadata,
            )
        if self._name not in self._job.files:
            self._job.files.append(self._name)

    def abort(self) -> None:
        """Delete what was uploaded. If that fails, the bucket's lifecycle deletes it."""
        if self._upload_id:
            with suppress(*AWS_ERRORS):
                self._job.s3.abort_multipart_upload(**self._target, UploadId=self._upload_id)

    def _send(self) -> None:
        if not self._upload_id:
            made = self._job.s3.create_multipart_upload(
                **self._target, ContentType=content_type(self._name), Metadata=self._job.metadata
            )
            self._upload_id = made["UploadId"]
        self._part(len(self._parts) + 2, self._rest)
        self._rest.clear()

    def _part(self, number: int, body: bytearray) -> None:
        sent = self._job.s3.upload_part(**self._target, UploadId=self._upload_id, PartNumber=number, Body=bytes(body))
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
