"""Packets as they come, written into one file that is playable wherever it is cut. Nothing is transcoded."""

from fractions import Fraction
from typing import Any, Protocol

import av

from switchyard_worker import PermanentFailure

_IN_MPEGTS = frozenset(
    {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "aac", "aac_latm", "mp2", "mp3", "ac3", "eac3", "opus", "dts"}
)
_BACK, _AHEAD = Fraction(1, 2), 10  # seconds: beyond, time stamps jump (advertisements, a new encoder, a lost stretch)
_STEP = Fraction(1, 1000)
_REFUSALS = 100


class Writable(Protocol):
    """What the file is written to; never read, never sought in."""

    def write(self, data: bytes) -> int:
        """Take all of it."""


def container_for(streams: list[Any]) -> tuple[str, str]:
    """FFmpeg's name of the container and a file's suffix: MPEG-TS where it has room for the codecs, else Matroska."""
    if {stream.codec_context.name for stream in streams} <= _IN_MPEGTS:
        return "mpegts", ".ts"
    return "matroska", ".mkv"


class Output:
    """The file under way.

    Args:
        target: where its bytes go.
        container: FFmpeg's name of it.
        inputs: the streams, a list for each source they come from.
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
        """How long it is by now."""
        return float(max(clock.now for clock in self._clocks))

    def reached(self, source: int) -> Fraction:
        """How far `source` has come, in seconds: whichever has come least far is to go on."""
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
            dts = max(dts, stream.last + max(1, round(_STEP / packet.time_base)))  # a muxer accepts nothing else
        stream.last = packet.dts = dts
        packet.pts = max(packet.pts + ticks, dts) if packet.pts is not None else dts
        packet.stream = stream.written
        try:
            self._file.mux_one(packet)
        except av.FFmpegError as error:  # a damaged one, or one of a codec that changes midway
            self._refused += 1
            if self._refused > _REFUSALS + self._written:
                raise PermanentFailure("UNSUPPORTED_STREAM", "the stream's packets can't be recorded") from error
        else:
            self._written += 1

    def close(self) -> None:
        """Write what is still held back, and the file's end."""
        self._file.close()


class _Stream:
    def __init__(self, written: Any) -> None:  # noqa: ANN401
        self.written = written
        self.last: int | None = None
        self.now = Fraction(0)
        self.offset: Fraction | None = None


class _Clock:
    """A source's time, from 0 and without jumps.

    Where its time stamps jump, its streams do so one after the other, since their packets are not quite in order. Each
    is moved by the same, so that sound stays with its pictures.
    """

    def __init__(self) -> None:
        self.now = Fraction(0)
        self._offset: Fraction | None = None  # after the newest jump

    def shift(self, stream: _Stream, moment: Fraction, origin: Fraction) -> Fraction:
        """How far a packet of this moment has to be moved; `origin` is the first moment of any source."""
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
