"""Checks of what record_stream makes of untrusted servers' answers: HTTP, playlists, manifests, pages."""

import itertools
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from types import ModuleType
from typing import Any, Final, Self, cast
from unittest import mock

from streamlink.stream.dash.manifest import MPD

from record_stream import dash as manifests
from record_stream import egress, segments
from record_stream import hls as playlists
from record_stream.egress import Session, Unusable, WebFile
from record_stream.sources import explained, sources
from switchyard.urls import resolve_public
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
    """`hls.parse`: playlists within the bounds, or Unusable."""
    try:
        with mock.patch.object(playlists, "MOST", MOST):
            found = playlists.parse(data, URL)
            if found.is_master:
                assert all(isinstance(url, str) for url in playlists.best(found)[:1])
    except Unusable:
        return
    assert len(found.segments) <= MOST
    numbers = [segment.num for segment in found.segments]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True


def dash(data: bytes) -> None:
    """`dash.explicit`, and Streamlink with what it returns: as for HLS."""
    try:
        with mock.patch.object(manifests, "MOST", MOST):
            root = manifests.explicit(data, NOW)
            mpd = manifests.parsed(root, URL)
            for period in mpd.periods:
                for kind in manifests.KINDS:
                    _demand_bounds(mpd, manifests.best(period, kind))
    except Unusable:
        return


def _demand_bounds(mpd: MPD, representation: Any) -> None:  # noqa: ANN401
    if representation is None:
        return
    try:
        listed = list(itertools.islice(representation.segments(), MOST + 2))
    except Exception as error:  # noqa: BLE001 - a worker's thread reports it
        assert isinstance(explained(error), WorkerError)
        return
    assert len(listed) <= MOST + 1, mpd


# ---- servers ---------------------------------------------------------------------------------------------------------


class _Socket:
    """A connection to a server that gives the same answer to every request."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, _mode: str) -> BytesIO:
        return BytesIO(self._answer)

    def sendall(self, _data: object) -> None:
        """Nothing."""

    def setsockopt(self, *_what: object) -> None:
        """Nothing."""

    def settimeout(self, _seconds: object) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


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
        mock.patch.object(egress, "open_public_socket", connected),
        mock.patch.object(segments, "ATTEMPTS", 0),
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
            found = sources(Session((), stop), URL, stop)
        except (PermanentFailure, TryAgain):
            return
        assert found
        for source in found:
            try:
                takes = source()
            except Exception as error:  # noqa: BLE001 - as in `Reader`
                assert isinstance(explained(error), WorkerError)
                continue
            for take in takes:
                if isinstance(take, WebFile):
                    _read(take)


def _read(file: WebFile) -> None:
    for _ in range(20):
        read = file.read(1000)
        assert len(read) <= 1000
        if not read:
            break
    assert file.failure is None or isinstance(explained(file.failure), WorkerError)


class _Page:
    """An answer with its whole body."""

    status_code = 200

    def __init__(self, url: str, body: bytes) -> None:
        self.url = url
        self.headers = {"Content-Type": "text/html; charset=utf-8"}
        self.raw = self
        self._body = body

    def read(self, size: int, **_options: object) -> bytes:
        return self._body[:size]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing."""


class _Pages:
    """Answers requests with these pages in order, and repeats the last one."""

    def __init__(self, pages: list[bytes]) -> None:
        self._pages = itertools.chain(pages, itertools.repeat(pages[-1]))

    def request(self, _method: str, url: str, **_options: object) -> _Page:
        return _Page(url, next(self._pages))


def page(data: bytes) -> None:
    """yt-dlp over web pages: addresses and headers, or one of the worker's own failures."""
    from record_stream import pages  # noqa: PLC0415 - only that worker's environment has yt-dlp

    try:
        found = pages.find(cast("Session", _Pages(data.split(BETWEEN))), "https://video.example.com/watch")
    except (PermanentFailure, TryAgain) as error:
        assert text(data)[:200] not in error.message or len(data) < 8
        return
    for each in found:
        assert isinstance(each.url, str)
        assert isinstance(dict(each.headers), dict)
