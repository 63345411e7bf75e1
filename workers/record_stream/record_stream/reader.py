"""Reads a stream's packets in its own thread, so that a silent server never delays a stop."""

import queue
import threading
from typing import Any, NoReturn

import av

from record_stream.rtmp import RtmpStream
from record_stream.segments import SegmentFile, WebFile
from record_stream.sources import Source
from record_stream.web import SECONDS
from switchyard_worker import PermanentFailure

FORMATS = "mpegts,mpeg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,flv,live_flv,avi,asf,ogg,aac,mp3,ac3,eac3,flac,wav"
"""FFmpeg's names of the accepted containers: those that hold their own media and refer to nothing else."""

_OPENING = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
_QUEUED = 64
_STREAMS = 64


class Reader(threading.Thread):
    """Queues the packets of a source's best video stream and best audio stream for `get`.

    Args:
        source: opens the stream.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(name="reader", daemon=True)  # a daemon: it may hang on a silent server when the process ends
        self.streams: list[Any] = []
        self.failure: Exception | None = None
        self.opened = threading.Event()
        self._source = source
        self._stop_wanted = threading.Event()
        self._packets: queue.Queue[Any] = queue.Queue(_QUEUED)

    def get(self, timeout: float) -> Any:  # noqa: ANN401 - PyAV has types, but isn't installed where types are checked
        """The next packet; None at the end. If the stream ended early, `failure` is then set.

        Raises:
            queue.Empty: there is none yet.
        """
        return self._packets.get(timeout=timeout)

    def stop(self) -> None:
        """Stop reading."""
        self._stop_wanted.set()

    def run(self) -> None:
        """Read until the end or `stop`."""
        file: SegmentFile | WebFile | RtmpStream | None = None
        container: Any = None
        try:
            file = self._source(self._stop_wanted)
            container = _opened(file)
            self.streams = _chosen(container)
            self.opened.set()
            for packet in container.demux(self.streams) if self.streams else ():
                if packet.size:
                    self._put(packet)
                if self._stop_wanted.is_set():
                    break
        except Exception as error:  # noqa: BLE001 - the consumer of the packets handles it
            self.failure = error
        # The cause is the file's error, not FFmpeg's reaction to it.
        self.failure = getattr(file, "failure", None) or self.failure
        self.opened.set()
        self._put(None)
        self._stop_wanted.wait()  # the consumer still uses the packets' streams
        if container is not None:
            container.close()

    def _put(self, packet: object) -> None:
        while not self._stop_wanted.is_set():
            try:
                self._packets.put(packet, timeout=0.5)
            except queue.Full:
                continue
            return


def _opened(file: SegmentFile | WebFile | RtmpStream) -> Any:  # noqa: ANN401
    if isinstance(file, RtmpStream):
        options = {"format_whitelist": "flv,live_flv", "protocol_whitelist": "rtmp,tcp", **file.options}
        return av.open(file.url, "r", container_options=options, timeout=(SECONDS, None))
    return av.open(file, "r", container_options=_OPENING, io_open=_refuse)


def _chosen(container: Any) -> list[Any]:  # noqa: ANN401
    if len(container.streams) > _STREAMS:
        raise PermanentFailure("NOT_A_STREAM", f"it has more than {_STREAMS} streams")
    best = (container.streams.best(kind) for kind in ("video", "audio"))
    return [stream for stream in best if stream is not None and stream.codec_context is not None]


def _refuse(*_what: object) -> NoReturn:
    """FFmpeg calls this before it opens anything that the stream names."""
    raise PermanentFailure("URL_NOT_ALLOWED", "the stream refers to other files or addresses, which is not allowed")
