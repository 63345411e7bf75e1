"""Piece hashes by reading the object: ranged GETs on several connections, hashed as the bytes arrive.

A range consists of whole pieces. Each connection holds one portion in memory at a time, however long a piece is.
"""

from __future__ import annotations

import random
import socket
import struct
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from switchyard.errors import Unavailable
from switchyard.torrents.format.layout import Extent, Layout, ObjectVersion
from switchyard.torrents.format.trees import piece_hash
from switchyard.torrents.hashing.ranges import OutOfTime, Progress, StopSignal, in_order, of_object

if TYPE_CHECKING:  # the stubs are not in the Lambda runtime
    from http.client import HTTPConnection

    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

_PORTION = 2**20
"""Bytes read and hashed at once: the memory of a connection. Large enough to keep the loop cheap."""
_LEAST_RANGE = 8 * 2**20
_MOST_RANGE = 64 * 2**20
"""Bytes of a range of several pieces: large against the cost of a GET, and small enough to lose when time runs out."""

_BROKEN = (BotoCoreError, HTTPError, OSError)
"""Exceptions from reading a body that stalls or breaks off."""
_PATIENCE = 4
"""How often in a row a body may break off without a byte of progress."""

_AT_ONCE = struct.pack("ii", 1, 0)


@dataclass(slots=True, eq=False)
class Stream:
    """Reads objects on up to `connections` connections at once."""

    client: S3Client
    connections: int

    def digests(
        self, thing: ObjectVersion, layout: Layout, extent: Extent, *, out_of_time: OutOfTime, progress: Progress
    ) -> bytes:
        """The digest records of the extent's pieces, or only of the first ones if time runs out.

        Raises:
            ObjectGone, ObjectChanged: the object was deleted or replaced in the meantime.
            Unavailable: S3's responses keep breaking off.
            ClientError, BotoCoreError: a call failed.
        """

        def read(part: Extent, signal: StopSignal) -> bytes:
            records = bytearray()
            with _Reader(self.client, thing, *layout.bytes_of(part), signal) as reader:
                for index in range(part.first, part.end):
                    start, stop = layout.bytes_of(Extent(index, 1))
                    piece = piece_hash(layout)
                    while start < stop:
                        portion = reader.read(min(_PORTION, stop - start))
                        if not portion:
                            return bytes(records)
                        piece.update(portion)
                        progress(len(portion))
                        start += len(portion)
                    records += piece.digest()
            return bytes(records)

        return in_order(
            _ranges(layout, extent, self.connections),
            read,
            threads=self.connections,
            digest_size=layout.format.digest_size,
            out_of_time=out_of_time,
        )


def _ranges(layout: Layout, extent: Extent, connections: int) -> list[Extent]:
    """Splits pieces into ranges for so many connections."""
    start, stop = layout.bytes_of(extent)
    share = min(max((stop - start) // connections, _LEAST_RANGE), _MOST_RANGE)
    count = max(1, share // layout.piece_length)
    return [Extent(first, min(count, extent.end - first)) for first in range(extent.first, extent.end, count)]


class _Reader:
    """Reads a range of exactly one version of an object. Resumes a body where it broke off."""

    def __init__(self, client: S3Client, thing: ObjectVersion, start: int, stop: int, signal: StopSignal) -> None:
        self._client = client
        self._thing = thing
        self._at = start
        self._stop = stop
        self._signal = signal
        self._breaks = 0
        self._body: StreamingBody | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def read(self, most: int) -> bytes:
        """The next bytes, up to `most`; empty once stopped."""
        while self._signal.goes_on():
            body = self._body or self._request()
            try:
                portion = body.read(most)
            except _BROKEN as error:
                self._resume(error)
                continue
            if self._signal.goes_on():  # otherwise `_wake` may have cut the read short
                self._at += len(portion)
                self._breaks = 0
                return portion
        return b""

    def _request(self) -> StreamingBody:
        """Requests the rest of the range."""
        wanted = f"bytes {self._at}-{self._stop - 1}/{self._thing.size}"
        pinned: dict[str, Any] = {"VersionId": self._thing.version_id} if self._thing.version_id else {}
        with of_object(self._thing.bucket, self._thing.key):
            found = self._client.get_object(
                Bucket=self._thing.bucket,
                Key=self._thing.key,
                Range=f"bytes={self._at}-{self._stop - 1}",
                IfMatch=self._thing.etag,
                **pinned,
            )
        body = found["Body"]
        connection = getattr(self._open.enter_context(body), "connection", None)
        status, length = found["ResponseMetadata"]["HTTPStatusCode"], found["ContentLength"]
        answered = (status, found.get("ContentRange"), length)
        if answered != (HTTPStatus.PARTIAL_CONTENT, wanted, self._stop - self._at):
            raise Unavailable(f"S3 answered a request for {wanted} with {answered}")
        # None if the connection ends with this response: the body then owns the socket, and closes it.
        if connection is not None and (sock := connection.sock) is not None:
            self._open.callback(self._leave, connection, sock)
            self._open.enter_context(self._signal.waking(partial(_wake, sock)))
        self._body = body
        return body

    def _leave(self, connection: HTTPConnection, sock: socket.socket) -> None:
        """Closes a connection whose body was not read to its end, which urllib3 would keep although it is unusable.

        Resets it, so that S3 doesn't try to send the rest.
        """
        if self._at < self._stop and connection.sock is sock:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            connection.close()

    def _resume(self, error: Exception) -> None:
        self._open.close()
        self._body = None
        self._breaks += 1
        if self._signal.goes_on() and self._breaks > _PATIENCE:
            raise Unavailable(f"S3's response broke off {self._breaks} times at byte {self._at}: {error}") from error
        if self._breaks > 1:
            self._signal.pause(random.uniform(0, 0.1 * 2**self._breaks))  # noqa: S311 - jitter, not a secret


def _wake(sock: socket.socket) -> None:
    """Ends another thread's read. A TLS socket's own `shutdown` would let that thread read on, without TLS."""
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
