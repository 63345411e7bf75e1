"""One run of a job from the stand-in's side: a directory (see `supervisor`) and perhaps a child process."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from local.compute import supervisor
from local.compute.config import Shape


@dataclass
class Attempt:
    """A started or starting attempt; `child` is its supervisor if this process started it."""

    directory: Path
    child: subprocess.Popen[bytes] | None = None

    def launch(self, specification: Shape) -> None:
        """Start a supervisor. Harmless if one runs already, or the attempt has run."""
        scratch = self.directory / supervisor.SCRATCH
        scratch.mkdir(parents=True, exist_ok=True)
        supervisor.write(self.directory / supervisor.SPECIFICATION, specification)
        with (self.directory / supervisor.LOG).open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor.__file__, str(self.directory)],
                env={},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Keeps it out of reach of the terminal's Ctrl-C and of a kill of the stand-in's process group.
                start_new_session=True,
            )

    def running(self) -> Shape | None:
        """The content of `running.json`; None until the worker runs."""
        return self._read(supervisor.RUNNING)

    def ended(self) -> Shape | None:
        """The content of `ended.json`; None until the worker has ended."""
        return self._read(supervisor.ENDED)

    def alive(self) -> bool:
        """Whether a supervisor runs."""
        if self.child is not None and self.child.poll() is None:
            return True
        return self._supervisor() is not None

    def stop(self, *, now: bool = False) -> None:
        """Ask the worker to end; with `now`, kill it."""
        number = signal.SIGUSR1 if now else signal.SIGTERM
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(number)
        elif pid := self._supervisor():
            os.kill(pid, number)

    def wait(self) -> None:
        """Wait for the supervisor's end."""
        while self.alive():
            time.sleep(0.02)

    def kill_worker(self) -> None:
        """Kill a worker whose supervisor was killed."""
        running = self.running()
        if running is None:
            return
        # The worker leads its own session. Any other process has only inherited its pid.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(running["pid"]) == running["pid"]:
                os.killpg(running["pid"], signal.SIGKILL)

    def _supervisor(self) -> int | None:
        """The pid in the lock file if the lock is held; otherwise the pid may have been reused."""
        try:
            descriptor = os.open(self.directory / supervisor.LOCK, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.read(descriptor, 32) or 0) or None
        finally:
            os.close(descriptor)
        return None

    def _read(self, name: str) -> Shape | None:
        try:
            return cast("Shape", json.loads((self.directory / name).read_text()))
        except FileNotFoundError:
            return None


def reap(attempts: Path) -> int:
    """End the workers that a killed stand-in left behind under `attempts`; returns their number."""
    left = [attempt for lock in attempts.glob(f"*/*/{supervisor.LOCK}") if (attempt := Attempt(lock.parent)).alive()]
    for attempt in left:
        attempt.stop()
    for attempt in left:
        attempt.wait()
    return len(left)
