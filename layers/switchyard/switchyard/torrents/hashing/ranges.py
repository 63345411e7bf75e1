"""Work on an object range by range: by several threads, in order, for as long as there is time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from http import HTTPStatus

from botocore.exceptions import ClientError

from switchyard import observability
from switchyard.errors import ObjectChanged, ObjectGone
from switchyard.torrents.format.layout import Extent

type OutOfTime = Callable[[], bool]
"""Whether the work should end with what is done. Asked by any thread, often."""

type Progress = Callable[[int], None]
"""Told how many more bytes were hashed, by any thread. What it raises ends the work, and passes."""

_LOOK = 1.0
"""Seconds between two looks at the time while every thread waits for S3."""


class StopSignal:
    """Tells threads that hash one object together when to stop: time is up, or one of them failed."""

    def __init__(self, out_of_time: OutOfTime) -> None:
        self._out_of_time = out_of_time
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._alarms: set[Callable[[], None]] = set()

    def goes_on(self) -> bool:
        """True while time is left and no thread has failed."""
        if not self._over.is_set() and self._out_of_time():
            self.stop()
        return not self._over.is_set()

    def stop(self) -> None:
        """Stops every thread, and wakes those that wait."""
        with self._lock:
            self._over.set()
            for wake in self._alarms:
                wake()

    def pause(self, seconds: float) -> None:
        """Waits, at most until `stop` is called."""
        self._over.wait(seconds)

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Has `wake` called, which must not raise, if `stop` is called during the block."""
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
    """Has `work` done for each part, the first ones first, and gives the records of the first pieces.

    `work` gives the records of its part, or of its first pieces once it is told to stop. What lies behind the
    first gap is dropped. When this returns or raises, all threads have ended.
    """
    signal = StopSignal(out_of_time)
    records: dict[int, bytes] = {}
    indices = iter(range(len(parts)))

    def work_on() -> None:
        try:
            while signal.goes_on():
                index = next(indices, None)  # one call into C: no two threads get the same
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


_OTHERS = frozenset({"NoSuchBucket", "NoSuchUpload"})
"""What S3 answers with 404 although it says nothing of the object."""


@contextmanager
def of_object(bucket: str, key: str) -> Iterator[None]:
    """Around a call that reads an object: what S3's refusal says of it. Raises ObjectGone or ObjectChanged."""
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = error.response.get("Error", {}).get("Code")
        if status == HTTPStatus.NOT_FOUND and code not in _OTHERS:
            raise ObjectGone(f"s3://{bucket}/{key} is gone") from error
        if status in {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}:
            raise ObjectChanged(f"s3://{bucket}/{key} was replaced while its torrent was made") from error
        raise
