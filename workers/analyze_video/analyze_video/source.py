"""The S3 object under analysis, as a file that FFmpeg can read and seek in.

Blocks are fetched on demand by ranged GETs, and only the last few are kept, so neither memory nor disk grows with the
object. Every GET names the ETag (and the version, if any), so all bytes come from the same object, even if somebody
overwrites it meanwhile.
"""

import io
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from switchyard_worker import PermanentFailure, TryAgain, WorkerError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

BLOCK_BYTES = 4 * 2**20
"""Per GET. At 100 ms a request this reads 40 MB/s, several times faster than video is decoded."""
BLOCKS_KEPT = 16
"""64 MiB: enough for files whose sound and pictures are stored far apart and read in turns."""
READ_ATTEMPTS = 4
"""Attempts per block. boto3 retries failures before the body starts; we retry a body that breaks off."""


class S3File:
    """A read-only, seekable binary file, with the methods that PyAV needs.

    Args:
        s3: a client.
        bucket: the object's bucket.
        key: the object's key.
        version_id: the version to read; None: the newest one at the start.
        checkpoint: called before every request; an error it raises ends reading.

    Raises:
        PermanentFailure: there is no such object, or it can't be read.
        TryAgain: S3 failed.
    """

    def __init__(
        self, s3: "S3Client", bucket: str, key: str, version_id: str | None, checkpoint: Callable[[], None]
    ) -> None:
        self.name = "the video"  # FFmpeg also guesses formats from names: this one has no suffix
        self.failure: Exception | None = None
        self._s3 = s3
        self._object: dict[str, Any] = {"Bucket": bucket, "Key": key}
        if version_id:
            self._object["VersionId"] = version_id
        self._checkpoint = checkpoint
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        try:
            head = s3.head_object(**self._object)
        except ClientError as error:
            raise _explained(error) from error
        except BotoCoreError as error:
            raise TryAgain("SOURCE_UNREACHABLE", f"can't reach S3: {error}") from error
        self.size = head["ContentLength"]
        self.etag = head["ETag"]
        self.version_id = head.get("VersionId")

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes from the current position: at least one, except at the end.

        It raises nothing. FFmpeg sometimes takes an error here for the end of the file and continues. So this returns
        the end of the file, and keeps the error for `raise_failure`.
        """
        if self._position >= self.size or self.failure is not None:
            return b""
        number, offset = divmod(self._position, BLOCK_BYTES)
        try:
            block = self._block(number)
        except Exception as error:  # noqa: BLE001 - raise_failure raises it
            self.failure = error
            return b""
        data = block[offset:][: size if size >= 0 else None]
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.IOBase.seek`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """The current position, in bytes."""
        return self._position

    def raise_failure(self) -> None:
        """Raise the error that ended reading early, if any. Call it before judging the file."""
        if self.failure is not None:
            raise self.failure

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        block = self._blocks[number] = self._fetch(number * BLOCK_BYTES)
        if len(self._blocks) > BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return block

    def _fetch(self, start: int) -> bytes:
        end = min(start + BLOCK_BYTES, self.size)
        wanted = {**self._object, "IfMatch": self.etag, "Range": f"bytes={start}-{end - 1}"}
        if self.version_id:
            wanted["VersionId"] = self.version_id
        for attempt in range(READ_ATTEMPTS):
            time.sleep(0.2 * 2**attempt if attempt else 0)
            self._checkpoint()
            try:
                block: bytes = self._s3.get_object(**wanted)["Body"].read()
            except ClientError as error:
                raise _explained(error) from error
            except BotoCoreError as error:
                log.warning("can't read the video from byte %d: %s", start, error)
            else:
                if len(block) == end - start:
                    return block
                log.warning("S3 sent %d of %d bytes from byte %d", len(block), end - start, start)
        raise TryAgain("SOURCE_UNREACHABLE", f"the download of the video broke off {READ_ATTEMPTS} times")


def _explained(error: ClientError) -> WorkerError:
    """The job's error for an error of S3. HeadObject's responses have no body, so the HTTP status decides."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = error.response.get("Error", {}).get("Code", "")
    if code == "InvalidObjectState":
        return PermanentFailure(
            "SOURCE_ARCHIVED", "the video is in an archive storage class: restore it and upload it again"
        )
    match status:
        case 404 | 405:  # 405: the version is a delete marker
            return PermanentFailure("SOURCE_MISSING", "no such object: it was deleted or never existed")
        case 412:
            return PermanentFailure(
                "SOURCE_CHANGED", "the video was overwritten while it was read; the new upload has a job of its own"
            )
        case 400 | 416:
            return PermanentFailure("SOURCE_UNREADABLE", f"S3 rejected the read request ({code or status})")
    # 403 too: somebody may add the missing permission, and the object may be fine.
    return TryAgain("SOURCE_UNREACHABLE", f"S3 did not send the video (HTTP {status}, {code or 'no code'})")
