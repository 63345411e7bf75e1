"""The job: from a URL to one playable file under `recordings/<owner>/<jobId>/`, stored in pieces while it grows."""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from record_stream.egress import Session, cause
from record_stream.output import Output, codec
from record_stream.reader import Begun, Reader
from record_stream.settings import Settings, safe_name
from record_stream.sources import explained, sources
from record_stream.upload import Upload
from switchyard_worker import PermanentFailure, Stopped, TryAgain, WorkerError, WorkerJob

log = logging.getLogger(__name__)

LOOK_SECONDS = 120.0
"""Seconds allowed to find the stream: a page may need many requests."""
_ALL = ("video", "audio")
"""Of several sources, the first gives video, the others audio."""
_TICK = 0.2
_TOLERANCE = 1.5
"""Seconds by which durations that a playlist or a file states may be wrong. So may a twentieth."""


def main(job: WorkerJob) -> Mapping[str, Any]:
    """Record the stream in the job's input until it ends, a limit is reached or the job is stopped."""
    settings = Settings.from_env(os.environ)
    url = job.input.get("url")
    if not isinstance(url, str):
        raise PermanentFailure("BAD_INPUT", "the job's input has no url")
    job.progress(0, "looking for the stream")
    stop = threading.Event()
    session = Session(settings.networks, stop)
    try:
        found = _beside(job, lambda: sources(session, url, stop), LOOK_SECONDS)
        kinds = (_ALL,) if len(found) == 1 else (_ALL[:1], *[_ALL[1:]] * (len(found) - 1))
        readers = [Reader(source, stop, wanted) for source, wanted in zip(found, kinds, strict=True)]
        for reader in readers:
            reader.start()
        for reader in readers:
            _until(job, reader.opened, settings.stall_seconds)
        return _Recording(job, settings, readers, safe_name(job.input.get("filename"))).run()
    finally:
        stop.set()


class _Recording:
    def __init__(self, job: WorkerJob, settings: Settings, readers: list[Reader], name: str) -> None:
        self._job = job
        self._settings = settings
        self._readers = readers
        self._name = name
        self._described: list[dict[str, Any]] = []
        self._uploads: list[Upload] = []
        self._output = Output(self._create, len(readers))
        self._clock = time.monotonic()

    def run(self) -> Mapping[str, Any]:
        """Record until the end. Whatever was recorded is always completed."""
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
        live = dict(enumerate(self._readers))
        saved = heard = time.monotonic()
        while live:
            self._job.checkpoint()
            now = time.monotonic()
            if now - saved >= self._settings.save_seconds:
                saved = now
                self._tell()
            if ended := self._limit(now):
                return ended
            source = min(live, key=self._output.turn)
            try:
                item = live[source].get(_TICK)
            except queue.Empty:
                if now - heard > self._settings.stall_seconds:
                    return self._ended("stalled", TryAgain("STREAM_STALLED", "the stream sent nothing for too long"))
                continue
            heard = time.monotonic()
            match item:
                case None:
                    reader = live.pop(source)
                    if reader.failure is not None:  # video without audio is better than neither
                        log.warning("a stream broke off: %s", type(cause(reader.failure)).__name__)
                case Begun():
                    self._described = self._described or []
                    told = [_described(stream) for stream in item.streams]
                    self._described += [each for each in told if each not in self._described]
                    self._output.begin(source, item)
                case packet:
                    try:
                        self._output.write(source, packet)
                    except PermanentFailure as error:
                        return self._ended("unsupported", error)
        failures = [each.failure for each in self._readers if each.failure]
        reasons = [*failures, *(each.missing.reason for each in self._readers if each.missing.reason)]
        otherwise = explained(reasons[0]) if reasons else PermanentFailure("NOT_A_STREAM", "the stream is empty")
        removed = any(each.removed for each in self._readers)
        return self._ended("broken" if failures else "removed" if removed else "end", otherwise)

    def _create(self, suffix: str) -> Upload:
        if self._uploads:
            self._uploads[-1].finish()
        number = len(self._uploads) + 1
        name = self._name if number == 1 else f"{self._name}-{number}"
        self._uploads.append(Upload(self._job, name + suffix, number))
        return self._uploads[-1]

    @property
    def _size(self) -> int:
        return sum(each.size for each in self._uploads)

    def _limit(self, now: float) -> str | None:
        if max(self._output.seconds, now - self._clock) >= self._settings.max_seconds:
            return "maximum duration"
        if self._size >= self._settings.max_bytes:
            return "maximum size"
        return None

    def _ended(self, how: str, otherwise: WorkerError) -> str:
        """Returns `how`, or raises `otherwise` if nothing was recorded."""
        if not self._output.seconds:
            raise otherwise
        return how

    def _tell(self) -> None:
        headline, size = self._headline(""), self._size
        share = max(headline["seconds"] / self._settings.max_seconds, size / self._settings.max_bytes)
        self._job.progress(
            100 * share,
            f"recorded {headline['seconds']:.0f} s, {size / 1e6:.1f} MB",
            bytes=size,
            seconds=headline["seconds"],
        )
        if not size:
            return
        newest = self._uploads[-1]
        newest.save()
        self._job.keep({**headline, "pieces": newest.pieces, "lastPiece": newest.last_piece})

    def _finish(self) -> None:
        self._output.close()
        self._uploads[-1].finish()

    def _headline(self, ended: str) -> dict[str, Any]:
        gaps, omitted = self._gaps(ended), max(each.missing.periods for each in self._readers)
        return {
            "bytes": self._size,
            "seconds": round(self._output.seconds, 3),
            "streams": self._described,
            "discontinuities": self._output.discontinuities,
            **({"gaps": gaps} if gaps else {}),
            **({"omittedPeriods": omitted} if omitted else {}),
            **({"ended": ended} if ended else {}),
        }

    def _gaps(self, ended: str) -> dict[str, Any]:
        """What the recording should have and hasn't; empty if it has all."""
        whole = ended in {"end", "removed", "broken"}
        seconds = max(self._lacks(source, reader, whole=whole) for source, reader in enumerate(self._readers))
        segments = sum(each.missing.segments for each in self._readers)
        reasons = [each.failure or each.missing.reason for each in self._readers]
        reason = next((explained(each).code for each in reasons if each), None)
        if not (segments or seconds or self._output.damaged or ended in {"broken", "stalled", "unsupported"}):
            return {}
        found = {"segments": segments, "seconds": round(seconds, 3), "damagedPackets": self._output.damaged}
        return {**found, **({"reason": reason} if reason else {})}

    def _lacks(self, source: int, reader: Reader, *, whole: bool) -> float:
        """Seconds that a source lacks; `whole`: it should have given all it has."""
        lost, reached = reader.missing.seconds, float(self._output.reached(source))
        if not whole:
            return lost
        expected = max(reader.missing.listed, reader.duration)
        short = expected - reached if expected - reached > max(_TOLERANCE, expected / 20) else 0.0
        behind = self._output.seconds - reached if reader.failure else 0.0
        return max(lost + short, behind)


def _described(stream: Any) -> dict[str, Any]:  # noqa: ANN401
    facts = {"type": stream.type, "codec": codec(stream)}
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
