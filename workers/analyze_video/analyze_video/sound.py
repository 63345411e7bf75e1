"""The video's sound as the models want it: 16 kHz, mono, in blocks, so that memory doesn't grow with the length."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from analyze_video import container as containers
from analyze_video.loudness import demand_audible
from analyze_video.stage import Progress, Skipped, StageFailed, Video

log = logging.getLogger(__name__)

RATE = 16_000
_GAP_SECONDS = 0.5  # a larger gap between two frames begins a new block; a smaller one is the container's imprecision
_ERRORS_IN_A_ROW = 32


@dataclass(frozen=True)
class Block:
    """A stretch of sound without gaps. `start` in seconds from the first picture; samples are float32, -1 to 1."""

    start: float
    samples: Any

    @property
    def end(self) -> float:
        """Seconds from the video's first picture."""
        return self.start + len(self.samples) / RATE


def blocks(video: Video, seconds: float, progress: Progress) -> Iterator[Block]:
    """Decode the sound from the beginning, as blocks of `seconds`; the last one, and one before a gap, are shorter.

    Args:
        video: the video; `scenes` must have run.
        seconds: of each block.
        progress: called while decoding, with the share of the video's length that has been decoded.

    Raises:
        Skipped: the video has no sound.
        StageFailed: nothing of the sound can be decoded.
        WorkerError: S3 failed, or the object was replaced.
    """
    with containers.opened(video.source) as container:
        stream = containers.chosen(container).audio
        if stream is None and container.streams.audio:
            raise StageFailed("BROKEN_SOUND", "the video's sound has a codec that can't be decoded")
        if stream is None:
            raise Skipped("the video has no sound")
        for other in container.streams:
            if other is not stream:
                other.discard = av.stream.Discard.all  # of MP4 and Matroska, FFmpeg doesn't even read the pictures then
        reader = _Reader(video, container, stream)
        whole = round(seconds * RATE)
        pending: list[Any] = []
        start, length = 0.0, 0
        for at, samples in reader.samples():
            progress(at / video.duration if video.duration else 0.0, f"{at:.0f} of {video.duration:.0f} s")
            if pending and at - (start + length / RATE) > _GAP_SECONDS:
                yield Block(start, np.concatenate(pending))
                pending, length = [], 0
            if not pending:
                start = at
            pending.append(samples)
            length += len(samples)
            while length >= whole:
                joined = np.concatenate(pending)
                yield Block(start, joined[:whole])
                start, length = start + seconds, length - whole
                pending = [joined[whole:]] if length else []
        if length:
            yield Block(start, np.concatenate(pending))
        reader.check()


class _Reader:
    """Decodes one stream, passes over what is damaged, and resamples."""

    def __init__(self, video: Video, container: Any, stream: Any) -> None:  # noqa: ANN401 - PyAV's
        self._video = video
        self._container = container
        self._stream = stream
        self._resampler: Any = None
        self._format: tuple[object, ...] = ()
        self._errors = 0
        self._decoded = 0

    def samples(self) -> Iterator[tuple[float, Any]]:
        """Samples and their time in seconds, which never runs backwards. Sound before the first picture is left out."""
        end = 0.0
        begin = self._video.analysis.start if self._video.analysis else 0.0
        for frame in self._frames():
            told = frame.time
            at = end if told is None else max(end, told - begin)
            if told is not None and told - begin < -frame.samples / frame.sample_rate:
                continue
            for resampled in self._resampled(frame):
                samples = resampled.to_ndarray().reshape(-1)
                self._decoded += len(samples)
                yield at, samples
                at += len(samples) / RATE
            end = at

    def check(self) -> None:
        """Check that something could be decoded.

        Raises:
            StageFailed: nothing could.
        """
        if self._errors and not self._decoded:
            raise StageFailed("BROKEN_SOUND", "nothing of the video's sound can be decoded")
        if self._errors:
            log.warning("%d packets of the sound can't be decoded", self._errors)

    def _resampled(self, frame: Any) -> list[Any]:  # noqa: ANN401
        try:
            demand_audible(frame.sample_rate)
        except ValueError as error:
            raise StageFailed("UNUSUAL_SOUND", f"the sound can't be heard: {error}") from error
        told = (frame.sample_rate, frame.layout.name, frame.format.name)
        if told != self._format:  # a stream may change midway
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
            self._format = told
        frame.pts = None  # the resampler would make up for gaps; blocks do that
        resampled: list[Any] = self._resampler.resample(frame)
        return resampled

    def _frames(self) -> Iterator[Any]:
        for packet in self._packets():
            try:
                yield from packet.decode()
            except (av.FFmpegError, ValueError):
                self._video.source.raise_failure()
                self._errors += 1
        self._video.source.raise_failure()

    def _packets(self) -> Iterator[Any]:
        in_a_row = 0
        while in_a_row < _ERRORS_IN_A_ROW:
            try:
                for packet in self._container.demux(self._stream):
                    in_a_row = 0
                    yield packet
            except av.FFmpegError:
                self._video.source.raise_failure()
                in_a_row += 1  # the generator is exhausted, the container isn't
            else:
                return
