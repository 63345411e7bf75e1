"""Reads a stream's packets in its own thread, so that a silent server never delays a stop."""

import itertools
import queue
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import av
from av.stream import Disposition

from record_stream.egress import SECONDS, WebFile
from record_stream.rtmp import RtmpStream
from record_stream.sources import Source, Take
from record_stream.takes import Missing
from switchyard_worker import PermanentFailure

FORMATS = "mpegts,mpeg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,flv,live_flv,avi,asf,ogg,aac,mp3,ac3,eac3,flac,wav"
"""FFmpeg's names of the accepted containers: those that hold their own media and refer to nothing else."""

_OPENING = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
_QUEUED = 64
_STREAMS = 64
_HEAD = 500
"""Packets in which to look for the first picture."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A take has begun.

    Attributes:
        streams: its best video and its best audio, as far as present.
        shaped: whether its container says how to show the pictures: turned, or with pixels that aren't square.
        container: to close once neither packets nor streams are in use: it holds megabytes.
    """

    streams: list[Any] = field(repr=False)  # PyAV has types, but isn't installed where types are checked
    shaped: bool
    container: Any = field(repr=False)


class Reader(threading.Thread):
    """Queues what a source gives for `get`.

    Args:
        source: opens the stream.
        stop: ends it.
        wanted: the types of stream to read, such as `video`. Without any of them, all are read.
    """

    def __init__(self, source: Source, stop: threading.Event, wanted: Collection[str]) -> None:
        super().__init__(name="reader", daemon=True)  # a daemon: it may hang on a silent server when the process ends
        self.failure: Exception | None = None
        self.opened = threading.Event()
        self.missing = Missing()
        self.removed = False
        self.duration = 0.0
        """Seconds that the only take should have, if its container says so."""
        self._source = source
        self._stop_wanted = stop
        self._wanted = wanted
        self._items: queue.Queue[Any] = queue.Queue(_QUEUED)

    def get(self, timeout: float) -> Any:  # noqa: ANN401
        """The next item: `Begun`, then the take's packets; None at the end, and `failure` if that came early.

        Raises:
            queue.Empty: there is none yet.
        """
        return self._items.get(timeout=timeout)

    def run(self) -> None:
        """Read until the end or a stop."""
        unreadable: Exception | None = None
        takes = None
        try:
            takes = self._source()
            self.missing = takes.missing
            for take in takes:
                try:
                    self._read(take)
                except av.FFmpegError as error:  # the next take may be better
                    unreadable = error
                if self._stop_wanted.is_set():
                    break
        except Exception as error:  # noqa: BLE001 - the consumer of the packets handles it
            self.failure = error
        # The cause is the server's error, not FFmpeg's reaction to it.
        if takes is not None:
            self.removed = takes.removed
            self.failure = takes.failure or self.failure
            if unreadable is not None:
                self.missing.reason = self.missing.reason or unreadable
        self.opened.set()
        self._put(None)

    def _read(self, take: Take) -> None:
        container = _opened(take)
        streams = _chosen(container, self._wanted)
        if not streams:
            raise av.FFmpegError(0, "no streams")
        if container.duration and isinstance(take, WebFile) and container.format.name.startswith(("mov", "matroska")):
            self.duration = max(self.duration, container.duration / av.time_base)
        packets = container.demux(streams)
        head = list[Any]()
        shaped = False
        if streams[0].type == "video" and container.format.name != "mpegts":
            for packet in itertools.islice(packets, _HEAD):
                head.append(packet)
                if packet.stream is streams[0] and packet.size:
                    shaped = _is_shaped(packet)
                    break
        self._put(Begun(streams, shaped, container))
        self.opened.set()
        shift = getattr(take, "start", 0.0)
        for packet in itertools.chain(head, packets):
            if packet.size:
                self._put(_moved(packet, shift) if shift else packet)
            if self._stop_wanted.is_set():
                break

    def _put(self, item: object) -> None:
        while not self._stop_wanted.is_set():
            try:
                self._items.put(item, timeout=0.5)
            except queue.Full:
                continue
            return


def _opened(take: Take) -> Any:  # noqa: ANN401
    if isinstance(take, RtmpStream):
        options = {"format_whitelist": "flv,live_flv", "protocol_whitelist": "rtmp,tcp", **take.options}
        return av.open(take.url, "r", container_options=options, timeout=(SECONDS, None))
    return av.open(take, "r", container_options=_OPENING, io_open=_refuse)


def _chosen(container: Any, wanted: Collection[str]) -> list[Any]:  # noqa: ANN401
    if len(container.streams) > _STREAMS:
        raise PermanentFailure("NOT_A_STREAM", f"it has more than {_STREAMS} streams")
    video = container.streams.best("video")
    if video is not None and video.disposition & Disposition.attached_pic:  # a cover
        pictures = (each for each in container.streams.video if not each.disposition & Disposition.attached_pic)
        video = next(pictures, None)
    audio = container.streams.best("audio", video)  # of the same programme
    found = [stream for stream in (video, audio) if stream is not None and stream.codec_context is not None]
    return [stream for stream in found if stream.type in wanted] or found


def _is_shaped(packet: Any) -> bool:  # noqa: ANN401
    ratio = packet.stream.sample_aspect_ratio
    return (ratio and ratio != 1) or any("DISPLAYMATRIX" in frame.side_data for frame in _decoded(packet))


def _decoded(packet: Any) -> Iterator[Any]:  # noqa: ANN401
    """The packet's picture, if it can be decoded alone. Nothing else is decoded."""
    try:
        yield from packet.stream.codec_context.decode(packet)
        yield from packet.stream.codec_context.decode(None)
    except av.FFmpegError:
        return


def _moved(packet: Any, seconds: float) -> Any:  # noqa: ANN401
    ticks = round(seconds / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks
    return packet


def _refuse(*_what: object) -> NoReturn:
    """FFmpeg calls this before it opens anything that the stream names."""
    raise PermanentFailure("URL_NOT_ALLOWED", "the stream refers to other files or addresses, which is not allowed")
