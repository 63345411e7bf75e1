"""The single pass over the file: decodes every packet once, for scenes (pictures) and loudness (sound)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from analyze_video.budget import Budget
from analyze_video.container import Streams, ratio, seconds
from analyze_video.loudness import Loudness, is_silent
from analyze_video.orientation import UPRIGHT, Orientation, orientation
from analyze_video.scenes import Scene, SceneFinder
from analyze_video.source import S3File
from analyze_video.strip import Thumbnail
from switchyard_worker import PermanentFailure

_ASSUMED_RATE = 25.0  # frames per second, if the file has no frame rate
_ERRORS_IN_A_ROW = 32
_DAMAGED_SHARE = 0.1
_MISSING_SHARE = 0.1
_MISSING_SECONDS = 1.0
_COUNTS_ITS_PICTURES = "mov"  # by its index; other formats write a number that may be wrong
_KNOWS_ITS_LENGTH = ("mov", "matroska", "avi")  # other formats estimate it from the bit rate


@dataclass(frozen=True)
class Limits:
    """What a pass may cost, and save. See the worker's README."""

    key_frames: int
    free_gigapixels: int
    max_seconds: int


@dataclass(frozen=True)
class Analysis:
    """The results of one pass. Times in seconds; `start` is the container's time of the first picture.

    `silent` says of each stream of sound, by its index, whether it is silent; not of those without anything decoded.
    """

    start: float
    duration: float
    frames: int
    frame_rate: float | None
    orientation: Orientation
    scenes: list[Scene]
    loudness: dict[str, Any]
    decode_errors: int
    thumbnails: list[Thumbnail]
    silent: dict[int, bool]


def analyze(
    container: Any,  # noqa: ANN401 - PyAV's
    streams: Streams,
    source: S3File,
    folder: Path,
    limits: Limits,
    progress: Callable[[float, float, int], None],
) -> Analysis:
    """Decode the file from beginning to end.

    Args:
        container: the open container.
        streams: the container's streams to analyse.
        source: the file that the container reads.
        folder: where to save the key frames.
        limits: what the pass may cost, and save.
        progress: called with the share done (0 to 1), the seconds decoded and the scenes so far; may raise to stop.

    Raises:
        PermanentFailure: the file is damaged or truncated, or costs too much.
        TryAgain: S3 failed.
    """
    one = Pass(container, streams, source)
    budget = Budget(source.size, one.declared, limits.free_gigapixels * 10**9, limits.max_seconds)
    if container.format.name.startswith(_COUNTS_ITS_PICTURES):
        budget.look_ahead(streams.video.width * streams.video.height, streams.video.frames)
    rate = ratio(streams.video.average_rate) or ratio(streams.video.guessed_rate)
    finder = SceneFinder(
        folder, rate or _ASSUMED_RATE, ratio(streams.video.sample_aspect_ratio) or 1.0, limits.key_frames
    )
    loudness = Loudness()
    frames, turned, first, at, end = 0, UPRIGHT, None, 0.0, 0.0
    others = _OtherSound(streams, budget)
    for frame in one.frames(budget.time, others.add):
        if isinstance(frame, av.AudioFrame):
            budget.sound(frame.samples, frame.sample_rate, frame.layout.nb_channels)
            loudness.add(frame)
        else:
            budget.pictures(frame.width * frame.height)
            shown = frame.time
            if first is None:
                first, turned = shown or 0.0, orientation(frame)
            # Time never runs backwards, whatever the file says. Frames without a time follow the frame rate.
            at = max(at, shown - first) if shown is not None else end
            end = at + (seconds(frame.duration, frame.time_base) or 1 / (rate or _ASSUMED_RATE))
            finder.add(frame, at)
            frames += 1
        progress(one.share(end), end, len(finder.scenes))
    one.check(frames, max(end, one.reached - (first or 0.0)))
    measured = loudness.finish() if container.streams.audio else {"state": "none"}
    if streams.audio is not None and measured["state"] in {"measured", "silent"}:
        others.silent[streams.audio.index] = measured["state"] == "silent"
    return Analysis(
        start=first or 0.0,
        duration=round(end, 3),
        frames=frames,
        frame_rate=rate or (round(frames / end, 3) if end else None),
        orientation=turned,
        scenes=finder.finish(end),
        loudness=measured,
        decode_errors=one.errors,
        thumbnails=finder.thumbnails.kept,
        silent=others.silent,
    )


class _OtherSound:
    """Finds out which of the other streams of sound are silent. One that isn't is decoded no further."""

    def __init__(self, streams: Streams, budget: Budget) -> None:
        self.silent: dict[int, bool] = {}
        self._left = {stream.index for stream in streams.others}
        self._budget = budget

    def add(self, packet: Any) -> None:  # noqa: ANN401 - PyAV's
        """Listen to a packet of any stream."""
        index = packet.stream.index
        if index not in self._left:
            return
        try:
            frames = packet.decode()
        except (av.FFmpegError, ValueError):
            return
        for frame in frames:
            self._budget.sound(frame.samples, frame.sample_rate, frame.layout.nb_channels)
            self.silent[index] = self.silent.get(index, True) and is_silent(frame)
        if not self.silent.get(index, True):
            self._left.discard(index)


class Pass:
    """Decodes and counts errors: tolerates some, fails if there are too many."""

    def __init__(self, container: Any, streams: Streams, source: S3File) -> None:  # noqa: ANN401
        self.errors = 0
        self.reached = 0.0  # seconds: the end of the last packet of any stream, pictures or not
        self._packets = 0
        self._container = container
        self._streams = streams
        self._source = source
        declared = [
            seconds(streams.video.duration, streams.video.time_base),
            seconds(container.duration, 1 / av.time_base),
        ]
        # An edit list may show less than the stream holds, and a container may be longer than its video stream.
        self.declared = min((length for length in declared if length), default=None)

    def share(self, end: float) -> float:
        """The share done, 0 to 1."""
        if self.declared:
            return min(1.0, end / self.declared)
        return min(1.0, self._source.tell() / self._source.size)

    def frames(self, tick: Callable[[], None], aside: Callable[[Any], None] = lambda _packet: None) -> Iterator[Any]:
        """Every frame that can be decoded, of both streams, in file order.

        Args:
            tick: called per packet; may raise.
            aside: called with the packets of all other streams.
        """
        wanted = {stream.index for stream in (self._streams.video, self._streams.audio) if stream is not None}
        for packet in self._packets_left():
            tick()
            if packet.pts is not None:
                self.reached = max(self.reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index not in wanted:
                aside(packet)
                continue
            self._packets += packet.size > 0
            try:
                yield from packet.decode()
            except av.FFmpegError:
                self._source.raise_failure()
                self.errors += 1
        self._source.raise_failure()

    def _packets_left(self) -> Iterator[Any]:
        in_a_row = 0
        while in_a_row < _ERRORS_IN_A_ROW:
            try:
                for packet in self._container.demux():
                    # Counted only now: errors that no packet follows are the end of a truncated file, not damage.
                    self.errors += in_a_row
                    in_a_row = 0
                    yield packet
            except av.FFmpegError:
                # The generator is exhausted, the container isn't: a new one continues after the damage.
                self._source.raise_failure()
                in_a_row += 1
            else:
                return

    def check(self, frames: int, end: float) -> None:
        """Check that enough of the video could be decoded: `frames` pictures, and pictures or sound until `end`.

        Raises:
            PermanentFailure: the file is damaged or truncated.
        """
        if frames == 0:
            raise PermanentFailure("BROKEN_VIDEO", "no picture of the video stream can be decoded")
        if self.errors > _DAMAGED_SHARE * self._packets:
            raise PermanentFailure(
                "BROKEN_VIDEO", f"the file is damaged: {self.errors} of {self._packets} packets can't be decoded"
            )
        if not self.declared or not self._container.format.name.startswith(_KNOWS_ITS_LENGTH):
            return
        if self.declared - end > max(_MISSING_SECONDS, _MISSING_SHARE * self.declared):
            raise PermanentFailure(
                "TRUNCATED_VIDEO", f"the file is truncated: it ends after {end:.1f} s of {self.declared:.1f} s"
            )
