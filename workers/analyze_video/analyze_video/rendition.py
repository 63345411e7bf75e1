"""The rendition that browsers play: H.264 and AAC in MP4, its index in front, at most 720p and 30 pictures a second."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from analyze_video.analysis import Analysis, Pass
from analyze_video.container import Streams, ratio
from analyze_video.loudness import demand_audible
from analyze_video.orientation import Orientation
from analyze_video.source import S3File
from analyze_video.upload import Upload

_LONG_EDGE, _SHORT_EDGE = 1280, 720
_CLOCK = 90_000  # ticks a second: pictures keep the times that they have
_PICTURES_PER_SECOND = 30
_EARLY = 0.9  # of the time between two pictures: times in Matroska are rounded to milliseconds
_RATE = 48_000
_GAP_SECONDS = 0.1  # a smaller gap in the sound is the container's imprecision
_ENCODING = {"preset": "superfast", "crf": "25", "bf": "0", "g": "60", "maxrate": "4M", "bufsize": "8M"}
# What MP4's index takes at worst: for a picture its size, duration, place and chunk, for a frame of sound the same
# without the duration.
_INDEX_PICTURE, _INDEX_SOUND, _INDEX_BASE = 44, 24, 64 * 1024
_SAMPLES = 1024  # of a frame of AAC


@dataclass(frozen=True)
class Size:
    """Width and height in pixels, both even, as H.264 with 4:2:0 needs them."""

    width: int
    height: int


def fitted(width: int, height: int, pixel_aspect: float, orientation: Orientation) -> Size:
    """The rendition's size: upright, with square pixels, never larger than the source."""
    shown = width * pixel_aspect
    if orientation.quarters % 2:
        shown, height = height, round(shown)
    scale = min(1.0, _LONG_EDGE / max(shown, height), _SHORT_EDGE / min(shown, height))
    return Size(*(max(2, 2 * round(edge * scale / 2)) for edge in (shown, height)))


def index_bytes(seconds: float, pictures: int) -> int:
    """The most bytes that the MP4's index takes."""
    pictures = min(pictures, round(seconds * _PICTURES_PER_SECOND / _EARLY)) + 1
    return _INDEX_BASE + _INDEX_PICTURE * pictures + _INDEX_SOUND * round((seconds + 1) * _RATE / _SAMPLES)


def write(
    target: Upload,
    container: Any,  # noqa: ANN401 - PyAV's
    streams: Streams,
    source: S3File,
    analysis: Analysis,
    tick: Callable[[float], None],
) -> Size:
    """Decode the file again and write its rendition.

    Args:
        target: the file to write, whose head has room for the index.
        container: the source, open.
        streams: its streams to show.
        source: the file that the container reads.
        analysis: what the first pass found.
        tick: called for each packet with the seconds done; may raise to stop.

    Raises:
        WorkerError: S3 failed, or the object was replaced.
        FFmpegError: the rendition can't be written.
    """
    video = streams.video
    size = fitted(video.width, video.height, ratio(video.sample_aspect_ratio) or 1.0, analysis.orientation)
    room = index_bytes(analysis.duration, analysis.frames)
    with av.open(target, "w", format="mp4", options={"moov_size": str(room)}) as out:
        pictures = _Pictures(out, size, analysis)
        sound = _Sound(out, analysis) if streams.audio is not None else None
        for frame in Pass(container, streams, source).frames(lambda: tick(pictures.at)):
            if isinstance(frame, av.VideoFrame):
                pictures.add(frame)
            elif sound is not None:
                sound.add(frame)
        pictures.finish()
        if sound is not None:
            sound.finish()
    return size


class _Pictures:
    """Makes pictures upright, progressive and small, and encodes them."""

    def __init__(self, out: Any, size: Size, analysis: Analysis) -> None:  # noqa: ANN401 - PyAV's
        self._out = out
        self._size = size
        self._analysis = analysis
        self._stream = out.add_stream("libx264", rate=_PICTURES_PER_SECOND, options=_ENCODING)
        self._stream.width, self._stream.height, self._stream.pix_fmt = size.width, size.height, "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _CLOCK)
        self._stream.codec_context.thread_count = len(os.sched_getaffinity(0))
        self._format: tuple[object, ...] = ()
        self._graph: Any = None
        self.at = 0.0  # the newest picture's time in seconds, which never runs backwards
        self._next = 0.0  # when the next picture may be shown
        self._ticks = -1

    def add(self, frame: Any) -> None:  # noqa: ANN401
        """Add a picture."""
        if frame.time is not None:
            self.at = max(self.at, frame.time - self._analysis.start)
        elif self._ticks >= 0:
            self.at += 1 / (self._analysis.frame_rate or _PICTURES_PER_SECOND)
        told = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if told != self._format:  # a stream may change midway
            self._drain()
            if not self._format:
                self._copy_colours(frame)
            self._graph, self._format = self._filters(frame), told
        frame.pts, frame.time_base = round(self.at * _CLOCK), Fraction(1, _CLOCK)
        self._graph.vpush(frame)
        self._pull()

    def finish(self) -> None:
        """Write what is buffered."""
        self._drain()
        self._out.mux(self._stream.encode())

    def _copy_colours(self, frame: Any) -> None:  # noqa: ANN401
        """High dynamic range isn't tone-mapped: players do it, if they know the picture's colours."""
        context = self._stream.codec_context
        context.colorspace, context.color_primaries = frame.colorspace, frame.color_primaries
        context.color_trc, context.color_range = frame.color_trc, 1  # 1: limited, as the filter below makes it

    def _filters(self, frame: Any) -> Any:  # noqa: ANN401
        turns = [[], [("transpose", "cclock")], [("hflip", ""), ("vflip", "")], [("transpose", "clock")]]
        orientation = self._analysis.orientation
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, _CLOCK)
        )
        steps = [
            *([("yadif", "deint=interlaced")] if min(frame.width, frame.height) > 2 else []),
            *([("hflip", "")] if orientation.mirrored else []),
            *turns[orientation.quarters],
            ("scale", f"{self._size.width}:{self._size.height}:flags=bilinear:out_range=limited"),
            ("setsar", "1"),
            ("format", "yuv420p"),
            ("buffersink", ""),
        ]
        graph.link_nodes(source, *(graph.add(name, told) if told else graph.add(name) for name, told in steps))
        graph.configure()
        return graph

    def _drain(self) -> None:
        if self._graph is not None:
            self._graph.vpush(None)
            self._pull()

    def _pull(self) -> None:
        while (frame := _pulled(self._graph)) is not None:
            at = float(frame.pts * frame.time_base)
            if at < self._next:
                continue
            self._next = at + _EARLY / _PICTURES_PER_SECOND
            self._ticks = max(self._ticks + 1, round(at * _CLOCK))
            frame.pts, frame.time_base = self._ticks, Fraction(1, _CLOCK)
            frame.pict_type = 0  # not the source's: the encoder would follow it
            self._out.mux(self._stream.encode(frame))


def _pulled(graph: Any) -> Any:  # noqa: ANN401
    try:
        return graph.vpull()
    except (av.BlockingIOError, av.EOFError):
        return None


class _Sound:
    """Makes sound stereo without gaps, so that it stays with the pictures, and encodes it."""

    def __init__(self, out: Any, analysis: Analysis) -> None:  # noqa: ANN401
        self._out = out
        self._analysis = analysis
        self._stream = out.add_stream("aac", rate=_RATE, layout="stereo")
        self._stream.bit_rate = 128_000
        self._resampler: Any = None
        self._format: tuple[object, ...] = ()
        self._written = 0  # samples

    def add(self, frame: Any) -> None:  # noqa: ANN401
        """Add a frame of sound. What nobody could hear, or comes before the first picture, is left out."""
        try:
            demand_audible(frame.sample_rate)
        except ValueError:
            return
        if frame.time is not None:
            ahead = min(frame.time - self._analysis.start, self._analysis.duration) - self._written / _RATE
            if ahead < -_GAP_SECONDS:
                return
            if ahead > _GAP_SECONDS:
                self._silence(round(ahead * _RATE))
        told = (frame.sample_rate, frame.layout.name, frame.format.name)
        if told != self._format:
            self._resampler = av.AudioResampler(format="fltp", layout="stereo", rate=_RATE)
            self._format = told
        frame.pts = None  # the resampler would make up for gaps, too
        for resampled in self._resampled(frame):
            self._encode(resampled)

    def finish(self) -> None:
        """Write what is buffered."""
        if self._resampler is not None:
            for resampled in self._resampled(None):
                self._encode(resampled)
        self._out.mux(self._stream.encode())

    def _resampled(self, frame: Any) -> Iterator[Any]:  # noqa: ANN401
        try:
            yield from self._resampler.resample(frame)
        except (av.FFmpegError, ValueError):
            self._format = ()  # a new resampler for the next frame

    def _silence(self, samples: int) -> None:
        for begin in range(0, samples, _RATE):
            silence = np.zeros((2, min(_RATE, samples - begin)), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="stereo")
            frame.sample_rate = _RATE
            self._encode(frame)

    def _encode(self, frame: Any) -> None:  # noqa: ANN401
        frame.pts, frame.time_base = self._written, Fraction(1, _RATE)
        self._written += frame.samples
        self._out.mux(self._stream.encode(frame))
