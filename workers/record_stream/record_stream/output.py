"""Writes packets into files that are playable even if they are cut off. Nothing is transcoded."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final, Protocol

import av

from record_stream.reader import Begun
from switchyard_worker import PermanentFailure

_IN_MPEGTS: Final = frozenset(
    {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "aac", "aac_latm", "mp2", "mp3", "ac3", "eac3", "opus", "dts"}
)
_BACK, _AHEAD = (
    Fraction(1, 2),
    Fraction(10),
)  # seconds; beyond, time stamps jump (advertisements, a new encoder, lost segments)
_AHEAD_OF_FIRST = Fraction(1)
"""Where a file's time begins: one stream's first packet may be a little earlier than another's."""
_STEP = Fraction(1, 1000)
_REFUSALS = 100


class Writable(Protocol):
    """The target of a file. It is never read, and never seeks."""

    def write(self, data: bytes) -> int:
        """Write all of `data`."""


def container_for(begun: list[Begun]) -> tuple[str, str]:
    """FFmpeg's name of the container, and the suffix: MPEG-TS if it can carry all of it, else Matroska."""
    codecs = {codec(stream) for each in begun for stream in each.streams}
    if codecs <= _IN_MPEGTS and not any(each.shaped for each in begun):
        return "mpegts", ".ts"
    return "matroska", ".mkv"


def codec(stream: Any) -> str:  # noqa: ANN401
    """The canonical name of a stream's codec: `mp3`, whatever the decoder is called."""
    name: str = stream.codec_context.codec.canonical_name
    return name


class Output:
    """The files being written: one, unless the streams change midway and the container can't follow.

    Args:
        create: makes the target of a file with this suffix. The file before is complete then.
        sources: how many there are.
    """

    def __init__(self, create: Callable[[str], Writable], sources: int) -> None:
        self.damaged = 0
        """Packets that the container refused."""
        self._create = create
        self._begun: list[Begun | None] = [None] * sources
        self._takes = [-1] * sources
        self._clock = _Clock()
        self._tracks: dict[tuple[int, str], _Track] = {}
        self._target: Writable | None = None
        self._file: Any = None
        self._container = ""
        self._stale = True  # the file doesn't fit the streams
        self._muxers = 0
        self._base = Fraction(0)  # when the file began
        self._written = 0

    @property
    def seconds(self) -> float:
        """The duration so far."""
        return float(self._clock.now)

    @property
    def discontinuities(self) -> int:
        """How often a stream was interrupted: by another take, or a jump of its time."""
        return max(self._clock.jumps, *self._takes)

    def reached(self, source: int) -> Fraction:
        """The position of `source`, in seconds."""
        return max((track.now for (each, _), track in self._tracks.items() if each == source), default=Fraction(0))

    def turn(self, source: int) -> tuple[bool, Fraction]:
        """The source with the least is read next: one that hasn't begun, then the one that is furthest behind."""
        return self._begun[source] is not None, self.reached(source)

    def begin(self, source: int, begun: Begun) -> None:
        """Expect packets of a new take of the given source."""
        before, self._begun[source] = self._begun[source], begun
        self._takes[source] += 1
        for (each, _), track in self._tracks.items():
            track.fresh = track.fresh or each == source
        self._stale = self._stale or before is None or _key(before) != _key(begun)
        if before is not None:
            before.container.close()

    def write(self, source: int, packet: Any) -> None:  # noqa: ANN401
        """Add a packet of the source's newest take.

        Raises:
            PermanentFailure: no container supports the streams.
        """
        moment = packet.dts if packet.dts is not None else packet.pts
        if moment is None:
            return
        if self._stale:
            self._open()
        track = self._tracks.setdefault((source, packet.stream.type), _Track())
        base = packet.time_base
        at = moment * base
        shift = self._clock.shift(track, at)
        dts = at + shift
        if track.last is not None:
            dts = max(dts, track.last + max(base, _STEP))  # muxers require increasing times
        track.last = dts
        delay = 0 if packet.pts is None else max(0, packet.pts - moment)
        packet.dts = round((dts - self._base) / base)
        packet.pts = max(packet.dts, round((at + shift - self._base) / base) + delay)
        packet.stream = self._streams[source, packet.stream.type]
        try:
            self._file.mux_one(packet)
        except av.FFmpegError as error:  # the packet is damaged
            self.damaged += 1
            if self.damaged > _REFUSALS + self._written:
                raise PermanentFailure("UNSUPPORTED_STREAM", "the stream's packets can't be recorded") from error
        else:
            self._written += 1

    def close(self) -> None:
        """Write buffered packets and the end of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        """Begin a muxer for the streams as they are now.

        One for MPEG-TS continues the same file: its tables may change at any packet.
        """
        begun = [each for each in self._begun if each is not None]
        container, suffix = container_for(begun)
        self.close()
        if self._target is None or not container == self._container == "mpegts":
            self._target = self._create(suffix)
            self._base, self._muxers = self._clock.now - _AHEAD_OF_FIRST, 0
        options = {"mpegts_flags": "initial_discontinuity", "tables_version": str(self._muxers % 32)}
        self._file = av.open(self._target, "w", format=container, options=options if self._muxers else {})
        self._container, self._stale, self._muxers = container, False, self._muxers + 1
        try:
            self._streams = {
                (source, stream.type): self._file.add_stream_from_template(stream, opaque=True)
                for source, each in enumerate(self._begun)
                if each is not None
                for stream in each.streams
            }
        except (av.FFmpegError, ValueError) as error:
            self._file = None
            raise PermanentFailure(
                "UNSUPPORTED_STREAM", "neither MPEG-TS nor Matroska can hold the stream's codec"
            ) from error


class _Track:
    def __init__(self) -> None:
        self.last: Fraction | None = None
        self.now = Fraction(0)
        self.offset: Fraction | None = None
        self.fresh = False  # a take has begun: its time has nothing to do with the one before


class _Clock:
    """The recording's time, from 0 and without jumps.

    When time stamps jump, the tracks jump one after the other, because their packets are not quite in order. All are
    moved by the same offset, so that audio and video stay in sync.
    """

    def __init__(self) -> None:
        self.now = Fraction(0)
        self.jumps = 0
        self._offset: Fraction | None = None  # after the newest jump

    def shift(self, track: _Track, moment: Fraction) -> Fraction:
        """The offset for a packet of this moment."""
        if self._offset is None:
            self._offset = -moment
        if track.offset is None:
            track.offset = self._offset
        if _jumps(track, moment + track.offset, _BACK if track.fresh else _AHEAD):
            # Another track may have jumped already.
            if self._offset == track.offset or _jumps(track, moment + self._offset):
                self._offset = self.now - moment
                self.jumps += 1
            track.offset = self._offset
        track.fresh = False
        track.now = max(track.now, moment + track.offset)
        self.now = max(self.now, track.now)
        return track.offset


def _jumps(track: _Track, moment: Fraction, ahead: Fraction = _AHEAD) -> bool:
    return not track.now - _BACK < moment < track.now + ahead


def _key(begun: Begun) -> list[object]:
    """What must stay the same for a muxer to go on."""
    return [
        begun.shaped,
        *(
            (
                codec(stream),
                stream.codec_context.extradata,
                getattr(stream.codec_context, "width", 0),
                getattr(stream.codec_context, "height", 0),
                getattr(stream.codec_context, "sample_rate", 0),
            )
            for stream in begun.streams
        ),
    ]
