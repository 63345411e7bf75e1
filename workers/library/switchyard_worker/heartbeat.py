"""The thread that reports that a run is alive, and its progress."""

import faulthandler
import logging
import threading
import time
from typing import Any

from switchyard_worker.errors import AWS_ERRORS, Superseded
from switchyard_worker.record import Record

log = logging.getLogger(__name__)

SHORTEST_GAP, LONGEST_GAP = 2.0, 60.0
"""Seconds between two heartbeats. A write costs, and few people watch a run that has been going for an hour."""
HANG_SECONDS = 300.0
"""How long code that holds the interpreter's lock may block the heartbeat."""


def gap(age: float) -> float:
    """How long after a heartbeat the next one is due, in seconds: half of the run's age, within the limits."""
    return min(LONGEST_GAP, max(SHORTEST_GAP, age / 2))


class Heartbeat(threading.Thread):
    """Writes `heartbeatAt` and the newest progress from its own thread, so that the work never waits for a write."""

    def __init__(self, record: Record, stop: threading.Event) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._record = record
        self._stop_wanted = stop
        self._ended = threading.Event()
        self.progress: dict[str, Any] = {"percent": 0, "message": "starting"}
        self.superseded = threading.Event()

    def run(self) -> None:
        """Write heartbeats until `end` is called or another run owns the job."""
        began = due = time.monotonic()
        self._postpone_exit()
        while not self._ended.wait(SHORTEST_GAP):
            self._postpone_exit()
            now = time.monotonic()
            if now < due:
                continue
            due = now + gap(now - began)  # also if the write fails
            try:
                if not self._record.beat(self.progress):
                    self._stop_wanted.set()  # SIGTERM should follow, but may get lost
            except Superseded:
                self.superseded.set()
                return
            except AWS_ERRORS as error:
                log.warning("heartbeat not written: %s", error)

    def end(self) -> None:
        """Stop. After this returns no heartbeat is in progress, so none can follow the run's last write."""
        self._ended.set()
        self.join()
        faulthandler.cancel_dump_traceback_later()

    def _postpone_exit(self) -> None:
        """Restart the watchdog, which ends the process if this thread hasn't run for `HANG_SECONDS`.

        Code that holds the interpreter's lock that long also blocks signal handling. The watchdog runs without the
        interpreter. It prints where the code hangs, and exits with `CRASHED`.
        """
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=2)  # 2: stderr, even if sys.stderr was replaced
