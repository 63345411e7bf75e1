"""Processes an object's pieces in ranges, with several threads, in order, until time runs out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from http import HTTPStatus

from botocore.exceptions import ClientError

from switchyard import observability
from switchyard.clients import is_object_gone
from switchyard.errors import ObjectChanged, ObjectGone
from switchyard.torrents.format.layout import Extent

type OutOfTime = Callable[[], bool]
"""Returns whether to stop with what is done. Called often, by any thread."""

type Progress = Callable[[int], None]
"""Receives the number of newly hashed bytes, from any thread. An exception from it ends the work and propagates."""

_LOOK = 1.0
"""Seconds between two checks of the time while all threads wait for S3."""


class StopSignal:
    """Stops the threads that hash one object together, when time is up or one of them fails."""

    def __init__(self, out_of_time: OutOfTime) -> None:
        self._out_of_time = out_of_time
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._alarms: set[Callable[[], None]] = set()

    def goes_on(self) -> bool:
        """Whether to go on: time is left, and no thread has failed."""
        if not self._over.is_set() and self._out_of_time():
            self.stop()
        return not self._over.is_set()

    def stop(self) -> None:
        """Stops all threads and wakes those that wait."""
        with self._lock:
            self._over.set()
            for wake in self._alarms:
                wake()

    def pause(self, seconds: float) -> None:
        """Waits, at most until `stop` is called."""
        self._over.wait(seconds)

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Calls `wake`, which must not raise, if `stop` is called during the block."""
        with self._lock:
            self._alarms.add(wake)
        try:
            yield
        finally:
            with self._lock:
                self._alarms.remove(wake)


def in_order(
    parts: Sequence[Extent],
    work: Callable[[Extent, StopSignal], bytes],
    *,
    threads: int,
    digest_size: int,
    out_of_time: OutOfTime,
) -> bytes:
    """Calls `work` for each part, in order, and returns the digest records of the first pieces.

    `work` returns the records of its part, or of its first pieces if it is stopped. Records after the first gap are
    dropped. All threads have ended when this returns or raises.
    """
    signal = StopSignal(out_of_time)
    records: dict[int, bytes] = {}
    indices = iter(range(len(parts)))

    def work_on() -> None:
        try:
            while signal.goes_on():
                index = next(indices, None)  # a single C call: no two threads get the same index
                if index is None:
                    return
                records[index] = work(parts[index], signal)
        except BaseException:
            signal.stop()
            raise

    with ThreadPoolExecutor(max(1, min(threads, len(parts)))) as pool:
        try:
            working = {pool.submit(observability.carrying_trace(work_on)) for _ in range(min(threads, len(parts)))}
            while working:
                ended, working = wait(working, _LOOK, FIRST_COMPLETED)
                for each in ended:
                    each.result()
                signal.goes_on()
        finally:
            signal.stop()
    return b"".join(_unbroken(parts, records, digest_size))


def _unbroken(parts: Sequence[Extent], records: dict[int, bytes], digest_size: int) -> Iterator[bytes]:
    for index, part in enumerate(parts):
        got = records.get(index, b"")
        yield got
        if len(got) < part.count * digest_size:
            return


@contextmanager
def of_object(bucket: str, key: str) -> Iterator[None]:
    """Translates S3's errors from the block, which reads an object.

    Raises:
        ObjectGone, ObjectChanged: the object was deleted or replaced.
        ClientError: any other error.
    """
    try:
        yield
    except ClientError as error:
        if is_object_gone(error):
            raise ObjectGone(f"s3://{bucket}/{key} is gone") from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status in {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}:
            raise ObjectChanged(f"s3://{bucket}/{key} was replaced while its torrent was being made") from error
        raise
