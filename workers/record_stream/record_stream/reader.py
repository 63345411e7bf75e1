"""Reads packets of a stream beside the recording, so that a server that keeps silent never keeps a stop waiting."""

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
"""FFmpeg's names of the containers that are accepted: those that hold their own media and name nothing else."""

_OPENING = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
_QUEUED = 64
_STREAMS = 64


class Reader(threading.Thread):
    """Puts the packets of a source's best video and best audio stream where `get` takes them.

    Args:
        source: opens what to read.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(name="reader", daemon=True)  # it may hang in a server's silence when the process ends
        self.streams: list[Any] = []
        self.failure: Exception | None = None
        self.opened = threading.Event()
        self._source = source
        self._stop_wanted = threading.Event()
        self._packets: queue.Queue[Any] = queue.Queue(_QUEUED)

    def get(self, timeout: float) -> Any:  # noqa: ANN401 - PyAV ships types, but not into the environment that checks
        """The next packet; None at the end, after which `failure` is what ended it before its time.

        Raises:
            queue.Empty: there is none yet.
        """
        return self._packets.get(timeout=timeout)

    def stop(self) -> None:
        """Read no more."""
        self._stop_wanted.set()

    def run(self) -> None:
        """Read, until the end or `stop`."""
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
        except Exception as error:  # noqa: BLE001 - whoever takes the packets says what it means
            self.failure = error
        # What ended the bytes comes before what FFmpeg made of that.
        self.failure = getattr(file, "failure", None) or self.failure
        self.opened.set()
        self._put(None)
        self._stop_wanted.wait()  # whoever takes the packets looks at their streams, too
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
        raise PermanentFailure("NOT_A_STREAM", f"it has more than {_STREAMS} streams in one")
    best = (container.streams.best(kind) for kind in ("video", "audio"))
    return [stream for stream in best if stream is not None and stream.codec_context is not None]


def _refuse(*_what: object) -> NoReturn:
    """FFmpeg asks here before it opens anything that the stream names."""
    raise PermanentFailure("URL_NOT_ALLOWED", "the stream refers to other files or addresses, which is not allowed")
