"""The job: from a URL to one playable file under `recordings/<owner>/<jobId>/`, stored in pieces while it grows."""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import av

from record_stream.output import Output, container_for
from record_stream.reader import Reader
from record_stream.settings import Settings, safe_name
from record_stream.sources import explained, sources
from record_stream.upload import Upload
from record_stream.web import Web
from switchyard_worker import PermanentFailure, Stopped, TryAgain, WorkerError, WorkerJob

log = logging.getLogger(__name__)

LOOK_SECONDS = 120.0
"""Seconds allowed to find the stream: a page may need many requests."""
_TICK = 0.2


def main(job: WorkerJob) -> Mapping[str, Any]:
    """Record the stream in the job's input until it ends, a limit is reached or the job is stopped."""
    settings = Settings.from_env(os.environ)
    url = job.input.get("url")
    if not isinstance(url, str):
        raise PermanentFailure("BAD_INPUT", "the job's input has no url")
    job.progress(0, "looking for the stream")
    found = _beside(job, lambda: sources(Web(settings.networks), url), LOOK_SECONDS)
    readers = [Reader(source) for source in found]
    for reader in readers:
        reader.start()
    try:
        for reader in readers:
            _until(job, reader.opened, settings.stall_seconds)
        return _Recording(job, settings, readers, safe_name(job.input.get("filename"))).run()
    finally:
        for reader in readers:
            reader.stop()


class _Recording:
    def __init__(self, job: WorkerJob, settings: Settings, readers: list[Reader], name: str) -> None:
        self._job = job
        self._settings = settings
        self._readers = readers
        streams = [stream for reader in readers for stream in reader.streams]
        if not streams:
            failure = next((reader.failure for reader in readers if reader.failure), None)
            raise explained(failure or av.FFmpegError(0, "nothing")) from failure
        container, suffix = container_for(streams)
        self._described = [_described(stream) for stream in streams]
        self._upload = Upload(job, name + suffix)
        self._output = Output(self._upload, container, [reader.streams for reader in readers])
        self._begun = time.monotonic()

    def run(self) -> Mapping[str, Any]:
        """Record until the end. Whatever was recorded is always completed into one file."""
        try:
            ended = self._record()
        except Stopped:
            if self._output.seconds:
                self._finish()
                self._job.keep(self._headline("stopped"))
            raise
        self._finish()
        return self._headline(ended)

    def _record(self) -> str:
        live, broken = dict(enumerate(self._readers)), None
        saved = heard = time.monotonic()
        while live:
            self._job.checkpoint()
            now = time.monotonic()
            if now - saved >= self._settings.save_seconds:
                saved = now
                self._tell()
            if ended := self._limit(now):
                return ended
            source = min(live, key=self._output.reached)
            try:
                packet = live[source].get(_TICK)
            except queue.Empty:
                if now - heard > self._settings.stall_seconds:
                    return self._ended("stalled", TryAgain("STREAM_STALLED", "the stream sent nothing for too long"))
                continue
            heard = time.monotonic()
            if packet is None:
                failure = live.pop(source).failure
                if failure is not None:
                    log.warning("a stream broke off: %s", type(failure).__name__)
                    broken = failure  # video without audio is better than neither
            else:
                self._output.write(source, packet)
        if broken is not None:
            return self._ended("broken", explained(broken))
        return self._ended("end", PermanentFailure("NOT_A_STREAM", "the stream is empty"))

    def _limit(self, now: float) -> str | None:
        if max(self._output.seconds, now - self._begun) >= self._settings.max_seconds:
            return "maximum duration"
        if self._upload.size >= self._settings.max_bytes:
            return "maximum size"
        return None

    def _ended(self, how: str, otherwise: WorkerError) -> str:
        """Returns `how`, or raises `otherwise` if nothing was recorded."""
        if not self._output.seconds:
            raise otherwise
        return how

    def _tell(self) -> None:
        headline = self._headline("")
        share = max(headline["seconds"] / self._settings.max_seconds, self._upload.size / self._settings.max_bytes)
        self._job.progress(
            100 * share,
            f"recorded {headline['seconds']:.0f} s, {self._upload.size / 1e6:.1f} MB",
            bytes=self._upload.size,
            seconds=headline["seconds"],
        )
        if not self._upload.size:
            return
        self._upload.save()
        self._job.keep({**headline, "pieces": self._upload.pieces})

    def _finish(self) -> None:
        self._output.close()
        self._upload.finish()

    def _headline(self, ended: str) -> dict[str, Any]:
        return {
            "bytes": self._upload.size,
            "seconds": round(self._output.seconds, 3),
            "streams": self._described,
            **({"ended": ended} if ended else {}),
        }


def _described(stream: Any) -> dict[str, Any]:  # noqa: ANN401
    facts = {"type": stream.type, "codec": stream.codec_context.name}
    if stream.type == "video":
        return {**facts, "width": stream.codec_context.width, "height": stream.codec_context.height}
    return {**facts, "sampleRate": stream.codec_context.sample_rate, "channels": stream.codec_context.channels}


def _until(job: WorkerJob, event: threading.Event, seconds: float) -> None:
    """Wait for an event of another thread, and keep checking for a stop.

    Raises:
        TryAgain: it didn't happen in time.
        Stopped, Superseded: see `WorkerJob.checkpoint`.
    """
    end = time.monotonic() + seconds
    while not event.wait(_TICK):
        job.checkpoint()
        if time.monotonic() > end:
            raise TryAgain("STREAM_STALLED", "the stream sent nothing for too long")


def _beside[T](job: WorkerJob, work: Callable[[], T], seconds: float) -> T:
    """Run `work` in its own thread and return its result: it may hang if a server sends nothing."""
    done, results, failures = threading.Event(), list[T](), list[Exception]()

    def attempt() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 - raised below
            failures.append(error)
        finally:
            done.set()

    threading.Thread(target=attempt, daemon=True).start()
    _until(job, done, seconds)
    for failure in failures:
        raise failure
    return results[0]
