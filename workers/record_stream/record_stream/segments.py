"""What Streamlink's clients for HLS and DASH have in common, and what both do differently here.

Streamlink drops a segment that it can't fetch and goes on, prefetches in threads that outlive a stop, and joins all
segments into one body. Here a missing segment is counted, the writer's own thread fetches, and segments go into takes.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from requests import Response
from streamlink.exceptions import StreamError
from streamlink.session import Streamlink

from record_stream.egress import Session, cause
from record_stream.takes import Takes
from switchyard.urls import UrlNotAllowed

MOST = 100_000
"""Maximum segments in one document: more than a day of one-second segments."""
ATTEMPTS = 3
"""Further attempts per segment, playlist and key: about two seconds."""
_OPTIONS: Final[Mapping[str, Any]] = {
    "stream-segment-attempts": ATTEMPTS,
    "hls-playlist-reload-attempts": ATTEMPTS,
    "dash-manifest-reload-attempts": ATTEMPTS,
    "stream-segmented-queue-deadline": 0,  # STALL_SECONDS decides
}

# Streamlink's messages contain URLs.
logging.getLogger("streamlink").addHandler(logging.NullHandler())
logging.getLogger("streamlink").propagate = False


def streamlink(session: Session) -> Streamlink:
    """Streamlink without plugins, whose requests all go through `session`."""
    made = Streamlink(_OPTIONS, plugins_builtin=False)
    made.http = session
    return made


class _Lazily:
    """Stands in for a writer's thread pool: the writer's own thread does the work when its turn comes."""

    submit = staticmethod(partial)

    def shutdown(self, **_options: object) -> None:
        """Nothing runs."""


class Writer:
    """Goes before one of Streamlink's writers: fetches segments one by one into `reader.takes`."""

    def __init__(self, reader: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(reader, size=1, **options)  # type: ignore[call-arg] # not object's, but Streamlink's
        self.executor = _Lazily()
        self.takes: Takes = reader.takes

    def _future_result(self, future: Callable[[], Any]) -> Any:  # noqa: ANN401
        return future()

    def run(self) -> None:
        """Write segments until the stream ends."""
        failure = None
        try:
            super().run()  # type: ignore[misc] # Streamlink's
        except Exception as error:  # noqa: BLE001 - the recording's to handle
            failure = error
        self.takes.end(failure)

    def had(self, segment: Any, fetch: Callable[[], Response | None], *, counts: bool = True) -> Response | None:  # noqa: ANN401
        """What `fetch` fetches; None for what can't be had. See `lose`."""
        try:
            return fetch()
        except StreamError as error:
            self.lose(segment, error, counts=counts)
            return None

    def lose(self, segment: Any, error: Exception, *, counts: bool = True) -> None:  # noqa: ANN401
        """Note why something is missing: the segment (it `counts`), or its initialization.

        Raises:
            UrlNotAllowed: its URL is forbidden, which ends the recording.
        """
        if isinstance(reason := cause(error), UrlNotAllowed):
            raise reason
        self.takes.missing.add(int(counts), segment.duration if counts else 0.0, error)


class Worker:
    """Goes before one of Streamlink's workers, which list segments."""

    def run(self) -> None:
        """List segments until the stream ends."""
        try:
            super().run()  # type: ignore[misc] # Streamlink's
        except Exception as error:  # noqa: BLE001 - the recording's to handle
            self.reader.takes.failure = error  # type: ignore[attr-defined] # as above
            self.writer.put(None)  # type: ignore[attr-defined]


class Reader:
    """Goes before one of Streamlink's readers."""

    def __init__(self, stop: threading.Event, *what: object) -> None:
        self.takes = Takes(stop)
        super().__init__(*what)
        self._stopped = stop

    def begin(self) -> Takes:
        """Begin to fetch, until the stream ends or is stopped. A stop never waits for a silent server."""
        self.open()  # type: ignore[attr-defined] # Streamlink's
        threading.Thread(target=self._end, name="stop", daemon=True).start()
        return self.takes

    def _end(self) -> None:
        self._stopped.wait()
        self.worker.close()  # type: ignore[attr-defined]
        self.writer.closed = True  # type: ignore[attr-defined]
