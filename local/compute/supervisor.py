"""Runs one attempt of a job and writes down how it ended; started as a process of its own, `supervisor.py DIRECTORY`.

The stand-in may be killed at any moment; this process is not its child's keeper but the attempt's. It lives in its own
session, imports nothing but the standard library (it starts in some 20 ms), and talks through files in the directory:

    attempt.json      in: command, environment, cwd, timeoutSeconds, graceSeconds
    supervisor.lock   locked while this process lives; holds its pid
    running.json      out: pid and startedAt, once the worker runs
    ended.json        out: exitCode, reason, startedAt, stoppedAt, timedOut
    log               the worker's stdout and stderr
    scratch/          the worker's HOME and TMPDIR; gone when it ends, as a container's disk is

SIGTERM asks the worker's process group to end, and after the grace period kills it; SIGUSR1 kills it at once.
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
    """Run the attempt described in `directory`, unless it already ran."""
    # Blocked before anything else, so that no signal is lost between here and the wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    # Some systems discard even a blocked SIGCHLD while nobody handles it.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # A stand-in restarted in the wrong moment starts two of us: the second finds the first one's traces.
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
                # The blocked signals would be inherited, and the worker deaf to SIGTERM. One thread: safe.
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
    # A container's processes end with its first one.
    _signal(worker, signal.SIGKILL)
    # As a shell and a container runtime report it: 128 and the signal's number.
    exit_code = worker.returncode if worker.returncode >= 0 else 128 - worker.returncode
    return {"exitCode": exit_code, "reason": None, "startedAt": started, "stoppedAt": now(), "timedOut": timed_out}


def _watch(worker: subprocess.Popen[bytes], timeout: float | None, grace: float) -> bool:
    """Wait for the worker's end, and bring it about when asked or due; true if it ran out of time."""
    stopping = timed_out = False
    if timeout:
        signal.setitimer(signal.ITIMER_REAL, timeout)
    while worker.poll() is None:
        received = signal.sigwait(SIGNALS)
        if received == signal.SIGUSR1 or (stopping and received == signal.SIGALRM):
            _signal(worker, signal.SIGKILL)
        elif received != signal.SIGCHLD and not stopping:
            stopping, timed_out = True, received == signal.SIGALRM
            # Never 0, which would switch the timer off.
            signal.setitimer(signal.ITIMER_REAL, max(grace, 0.001))
            _signal(worker, signal.SIGTERM)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return timed_out


def _signal(worker: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(worker.pid, number)
    except (ProcessLookupError, PermissionError):
        # None left, or on macOS only one not yet waited for.
        return


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file that a reader sees whole or not at all."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(content))
    scratch.replace(path)


def now() -> int:
    """The time as AWS Batch gives it: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    main(Path(sys.argv[1]))
