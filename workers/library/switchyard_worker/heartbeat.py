"""The thread that reports that a run is alive, and how far it is."""

import faulthandler
import logging
import threading
import time
from typing import Any

from switchyard_worker.errors import AWS_ERRORS, Superseded
from switchyard_worker.record import Record

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
"""How often a run reports that it is alive, when nothing else makes it write."""
PROGRESS_SECONDS = 2.0
"""How often progress is looked at: the shortest time between two writes of it."""
HANG_SECONDS = 300.0
"""How long code that holds the interpreter's lock may keep the heartbeat waiting."""


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
        """Beat until `end` is called, or the job is another run's."""
        written, due = None, 0.0
        self._postpone_exit()
        while not self._ended.wait(PROGRESS_SECONDS):
            self._postpone_exit()
            progress = self.progress
            if progress is written and time.monotonic() < due:
                continue
            # Set before the write, so that a failed one is repeated at the next beat, not every 2 s.
            written, due = progress, time.monotonic() + HEARTBEAT_SECONDS
            try:
                if not self._record.beat(progress):
                    self._stop_wanted.set()  # SIGTERM should follow, but the call that sends it can get lost
            except Superseded:
                self.superseded.set()
                return
            except AWS_ERRORS as error:
                log.warning("heartbeat not written: %s", error)

    def end(self) -> None:
        """Stop. No beat is under way once this returns, so none can follow the run's last write."""
        self._ended.set()
        self.join()
        faulthandler.cancel_dump_traceback_later()

    def _postpone_exit(self) -> None:
        """Restart the watchdog, which ends the process once this thread hasn't run for `HANG_SECONDS`.

        Code that holds the interpreter's lock for so long also keeps signals from being handled. The watchdog runs
        without the interpreter. It prints where the work hangs, and exits with `CRASHED`.
        """
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=2)  # 2: stderr, also if sys.stderr was replaced
