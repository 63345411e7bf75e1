"""Writes packets into one file that is playable even if it is cut off. Nothing is transcoded."""

from fractions import Fraction
from typing import Any, Protocol

import av

from switchyard_worker import PermanentFailure

_IN_MPEGTS = frozenset(
    {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "aac", "aac_latm", "mp2", "mp3", "ac3", "eac3", "opus", "dts"}
)
_BACK, _AHEAD = Fraction(1, 2), 10  # seconds; beyond, time stamps jump (advertisements, a new encoder, lost segments)
_STEP = Fraction(1, 1000)
_REFUSALS = 100


class Writable(Protocol):
    """The target of the file. It is never read, and never seeks."""

    def write(self, data: bytes) -> int:
        """Write all of `data`."""


def container_for(streams: list[Any]) -> tuple[str, str]:
    """FFmpeg's name of the container, and the suffix: MPEG-TS if it supports the codecs, else Matroska."""
    if {stream.codec_context.name for stream in streams} <= _IN_MPEGTS:
        return "mpegts", ".ts"
    return "matroska", ".mkv"


class Output:
    """The file being written.

    Args:
        target: where to write its bytes.
        container: FFmpeg's name of the container.
        inputs: the streams, one list per source.
    """

    def __init__(self, target: Writable, container: str, inputs: list[list[Any]]) -> None:
        self._file = av.open(target, "w", format=container)
        self._clocks = [_Clock() for _ in inputs]
        self._origin: Fraction | None = None
        self._written = self._refused = 0
        try:
            self._streams = [
                {stream.index: _Stream(self._file.add_stream_from_template(stream)) for stream in streams}
                for streams in inputs
            ]
        except (av.FFmpegError, ValueError) as error:
            raise PermanentFailure("UNSUPPORTED_STREAM", "the stream's codec can't be recorded") from error

    @property
    def seconds(self) -> float:
        """The duration so far."""
        return float(max(clock.now for clock in self._clocks))

    def reached(self, source: int) -> Fraction:
        """The position of `source`, in seconds. The source that is furthest behind is read next."""
        return self._clocks[source].now

    def write(self, source: int, packet: Any) -> None:  # noqa: ANN401
        """Add a packet of the given source."""
        stream = self._streams[source][packet.stream.index]
        moment = packet.dts if packet.dts is not None else packet.pts
        if moment is None:
            return
        clock = self._clocks[source]
        at = moment * packet.time_base
        self._origin = at if self._origin is None else self._origin
        ticks = round(clock.shift(stream, at, self._origin) / packet.time_base)
        dts = moment + ticks
        if stream.last is not None:
            dts = max(dts, stream.last + max(1, round(_STEP / packet.time_base)))  # muxers require increasing times
        stream.last = packet.dts = dts
        packet.pts = max(packet.pts + ticks, dts) if packet.pts is not None else dts
        packet.stream = stream.written
        try:
            self._file.mux_one(packet)
        except av.FFmpegError as error:  # the packet is damaged, or its codec changed midway
            self._refused += 1
            if self._refused > _REFUSALS + self._written:
                raise PermanentFailure("UNSUPPORTED_STREAM", "the stream's packets can't be recorded") from error
        else:
            self._written += 1

    def close(self) -> None:
        """Write buffered packets and the end of the file."""
        self._file.close()


class _Stream:
    def __init__(self, written: Any) -> None:  # noqa: ANN401
        self.written = written
        self.last: int | None = None
        self.now = Fraction(0)
        self.offset: Fraction | None = None


class _Clock:
    """A source's time, from 0 and without jumps.

    When time stamps jump, the source's streams jump one after the other, because their packets are not quite in order.
    All are moved by the same offset, so that audio and video stay in sync.
    """

    def __init__(self) -> None:
        self.now = Fraction(0)
        self._offset: Fraction | None = None  # after the newest jump

    def shift(self, stream: _Stream, moment: Fraction, origin: Fraction) -> Fraction:
        """The offset for a packet of this moment. `origin` is the first moment of any source."""
        if stream.offset is None:
            stream.offset = -origin if self._offset is None else self._offset
        if _jumps(stream, moment + stream.offset):
            if self._offset is None or _jumps(stream, moment + self._offset):
                self._offset = self.now - moment
            stream.offset = self._offset
        stream.now = max(stream.now, moment + stream.offset)
        self.now = max(self.now, stream.now)
        return stream.offset


def _jumps(stream: _Stream, moment: Fraction) -> bool:
    return not stream.now - _BACK < moment < stream.now + _AHEAD
