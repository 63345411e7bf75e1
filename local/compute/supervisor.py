"""Runs one attempt of a job or task and records how it ended, as a process of its own: `supervisor.py DIRECTORY`.

The stand-in may be killed at any moment, and the attempt continues. So this process has its own session, and
communicates through files in the directory. It imports only the standard library, to start in some 20 ms.

    attempt.json      in: command, environment, cwd, timeoutSeconds, graceSeconds
    supervisor.lock   locked while this process lives; holds its pid
    running.json      out: pid, startedAt, once the worker runs
    ended.json        out: exitCode, reason, startedAt, stoppedAt, timedOut
    log               the worker's stdout and stderr
    scratch/          the worker's HOME and TMPDIR; deleted when it ends, like a container's disk

On SIGTERM it asks the worker's process group to end, and kills it after the grace period; on SIGUSR1, at once.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SPECIFICATION = "attempt.json"
LOCK = "supervisor.lock"
RUNNING = "running.json"
ENDED = "ended.json"
LOG = "log"
SCRATCH = "scratch"

NOT_STARTED = 127
"""The exit code of a container whose command can't be started."""

SIGNALS = {signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD, signal.SIGALRM}


def main(directory: Path) -> None:
    """Run the attempt described in `directory`, unless it has run already."""
    # Blocked first, so that no signal is lost before the wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    # Some systems discard even a blocked SIGCHLD if it has no handler.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # A stand-in that restarts at the wrong moment starts two supervisors: the second finds the first one's files.
    if (directory / RUNNING).exists() or (directory / ENDED).exists():
        return
    os.truncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    ended = _run(directory, json.loads((directory / SPECIFICATION).read_text()))
    shutil.rmtree(directory / SCRATCH, ignore_errors=True)
    write(directory / ENDED, ended)


def _run(directory: Path, specification: dict[str, Any]) -> dict[str, Any]:
    started = now()
    try:
        with (directory / LOG).open("ab") as log:
            worker = subprocess.Popen(
                specification["command"],
                env=specification["environment"],
                cwd=specification["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # The worker would inherit the blocked signals and ignore SIGTERM. Safe, since there is one thread.
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS),  # noqa: PLW1509
            )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return {
            "exitCode": NOT_STARTED,
            "reason": f"CannotStartContainerError: {error}"[:255],
            "startedAt": started,
            "stoppedAt": now(),
            "timedOut": False,
        }
    write(directory / RUNNING, {"pid": worker.pid, "startedAt": started})
    timed_out = _watch(worker, specification["timeoutSeconds"], specification["graceSeconds"])
    # As in a container, all processes end with the first one.
    _signal(worker, signal.SIGKILL)
    # As shells and container runtimes report it: 128 plus the signal's number.
    exit_code = worker.returncode if worker.returncode >= 0 else 128 - worker.returncode
    return {"exitCode": exit_code, "reason": None, "startedAt": started, "stoppedAt": now(), "timedOut": timed_out}


def _watch(worker: subprocess.Popen[bytes], timeout: float | None, grace: float) -> bool:
    """Wait for the worker's end, and end it on a signal or timeout; True if it timed out."""
    stopping = timed_out = False
    if timeout:
        signal.setitimer(signal.ITIMER_REAL, timeout)
    while worker.poll() is None:
        received = signal.sigwait(SIGNALS)
        if received == signal.SIGUSR1 or (stopping and received == signal.SIGALRM):
            _signal(worker, signal.SIGKILL)
        elif received != signal.SIGCHLD and not stopping:
            stopping, timed_out = True, received == signal.SIGALRM
            # Never 0, which would turn the timer off.
            signal.setitimer(signal.ITIMER_REAL, max(grace, 0.001))
            _signal(worker, signal.SIGTERM)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return timed_out


def _signal(worker: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(worker.pid, number)
    except (ProcessLookupError, PermissionError):
        # No process is left, or on macOS only a zombie.
        return


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(content))
    scratch.replace(path)


def now() -> int:
    """The current time in AWS Batch's format: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    main(Path(sys.argv[1]))
