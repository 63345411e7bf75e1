"""Checks of record_stream's parsers for answers of untrusted servers: HTTP, playlists, manifests, pages."""

import itertools
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import Message
from io import BytesIO
from types import ModuleType
from typing import Any, Final, cast
from unittest import mock

from record_stream import dash as manifests
from record_stream import hls as playlists
from record_stream import web
from record_stream.rtmp import RtmpStream
from record_stream.segments import BadPlaylist, Part, Playlist
from record_stream.sources import explained, sources
from record_stream.web import PAGE_BYTES, Web
from switchyard.urls import MAX_URL_LENGTH, resolve_public
from switchyard_worker import PermanentFailure, TryAgain, WorkerError
from tests.corpus.urls import RESOLVES
from tests.fakes.resolver import resolving
from tests.fuzz.addresses import demand_public
from tests.fuzz.harness import text

URL: Final = "http://live.example.com/a/index"
NOW: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
BETWEEN: Final = b"\n=====\n"
"""The separator of several answers in one input."""
MOST: Final = 500
"""The most segments of a document: with the real bound of a hundred thousand, inputs would take seconds."""
_MOST_ANSWERS: Final = 12


def hls(data: bytes) -> None:
    """`hls.parse`: playlists within the bounds, or BadPlaylist."""
    try:
        with mock.patch.object(playlists, "MOST", MOST):
            found = playlists.parse(data.decode(errors="replace"), URL)
    except BadPlaylist:
        return
    if isinstance(found, Playlist):
        _demand_bounds(found)
        numbers = [segment.number for segment in found.segments]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
    else:
        assert all(len(url) <= MAX_URL_LENGTH for url in (found.best, found.audio or ""))


def dash(data: bytes) -> None:
    """`dash.parse`: as for HLS."""
    try:
        with mock.patch.object(manifests, "MOST", MOST):
            found = manifests.parse(data, URL, NOW)
    except BadPlaylist:
        return
    assert found
    for playlist in found.values():
        _demand_bounds(playlist)


def _demand_bounds(playlist: Playlist) -> None:
    assert len(playlist.segments) <= MOST
    assert 0.2 <= playlist.refresh <= 5
    for segment in playlist.segments:
        _demand_part(segment.part)
        if segment.init is not None:
            _demand_part(segment.init)
        if segment.key is not None:
            assert len(segment.key.iv) == 16
            assert len(segment.key.url) <= MAX_URL_LENGTH


def _demand_part(part: Part) -> None:
    assert len(part.url) <= MAX_URL_LENGTH
    if part.first is not None:
        assert part.first >= 0
        assert part.last is None or part.last >= part.first


# ---- servers ---------------------------------------------------------------------------------------------------------


class _Socket:
    """A connection to a server that gives the same answer to every request."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, _mode: str) -> BytesIO:
        return BytesIO(self._answer)

    def sendall(self, _data: object) -> None:
        """Nothing."""

    def settimeout(self, _seconds: object) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class _Tls:
    """TLS, without."""

    def wrap_socket(self, connection: _Socket, **_wishes: object) -> _Socket:
        return connection


@contextmanager
def _answering(answers: list[bytes]) -> Iterator[None]:
    """Answers connections with these in order, then refuses them. Hosts must be public."""
    left = iter(answers[:_MOST_ANSWERS])

    def connected(host: str, port: int, allowed: Any = (), _timeout: object = None) -> _Socket:  # noqa: ANN401
        resolve_public(host, port, allowed)  # as the real one does, before it connects
        demand_public(f"http://{host}:{port}/" if ":" not in host else f"http://[{host}]:{port}/")
        for answer in left:
            return _Socket(answer)
        raise ConnectionRefusedError

    pages = ModuleType("record_stream.pages")  # yt-dlp has its own harness
    pages.find = lambda *_: []  # type: ignore[attr-defined] # as above
    with (
        resolving(RESOLVES, otherwise=socket.EAI_NONAME),
        mock.patch.object(web, "open_public_socket", connected),
        mock.patch.object(web, "_TLS", _Tls()),
        mock.patch.object(playlists, "MOST", MOST),
        mock.patch.object(manifests, "MOST", MOST),
        mock.patch.dict(sys.modules, {"record_stream.pages": pages}),
    ):
        yield


def server(data: bytes) -> None:
    """Servers' raw answers, redirects included: readable sources, or one of the worker's own failures."""
    stop = threading.Event()
    stop.set()
    with _answering(data.split(BETWEEN)):
        try:
            found = sources(Web(()), URL)
        except (PermanentFailure, TryAgain):
            return
        assert found
        for source in found:
            try:
                file = source(stop)
            except Exception as error:  # noqa: BLE001 - as in `Reader`
                assert isinstance(explained(error), WorkerError)
                continue
            if isinstance(file, RtmpStream):
                continue
            for _ in range(20):
                read = file.read(1000)
                assert len(read) <= 1000
                if not read:
                    break
            assert file.failure is None or isinstance(explained(file.failure), WorkerError)


class _Page:
    """An answer with its whole body."""

    def __init__(self, url: str, body: bytes) -> None:
        self.url = url
        self.status = 200
        self.headers = Message()
        self.headers["Content-Type"] = "text/html; charset=utf-8"
        self._body = body

    def read_all(self) -> bytes:
        return self._body[:PAGE_BYTES]


class _Pages:
    """Answers requests with these pages in order, and repeats the last one."""

    def __init__(self, pages: list[bytes]) -> None:
        self._pages = itertools.chain(pages, itertools.repeat(pages[-1]))

    def request(self, _method: str, url: str, _headers: object, _body: object = None) -> _Page:
        return _Page(url, next(self._pages))


def page(data: bytes) -> None:
    """yt-dlp over web pages: addresses and headers, or one of the worker's own failures."""
    from record_stream import pages  # noqa: PLC0415 - only that worker's environment has yt-dlp

    try:
        found = pages.find(cast("Web", _Pages(data.split(BETWEEN))), "https://video.example.com/watch")
    except (PermanentFailure, TryAgain) as error:
        assert text(data)[:200] not in error.message or len(data) < 8
        return
    for each in found:
        assert isinstance(each.url, str)
        assert isinstance(dict(each.headers), dict)
