"""Processes that outlive the command that started them, and that a later command finds and ends.

Each runs in a session of its own, so that whatever it starts can be ended with it; each is known by its pid
*and* the time it started, since the system gives a pid away again once its process has ended.
"""

import contextlib
import fcntl
import http.client
import math
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn, Self

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CommandFailedError(Exception):
    """A command ended with another code than 0.

    Attributes:
        log: The file holding everything it printed.
    """

    def __init__(self, name: str, code: int, log: Path) -> None:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
        super().__init__(f"{name} failed with exit code {code}; the end of {log}:\n{tail}")
        self.log = log


@dataclass(frozen=True, slots=True)
class Process:
    """A process in a session of its own.

    Attributes:
        pid: Its id, which is its process group's too.
        started: When it started, in whatever form the system tells it; only compared, never read.
    """

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """The process that has this id now."""
        return cls(pid, _started(pid))

    def is_alive(self) -> bool:
        """Whether this very process runs; a zombie doesn't."""
        # If it is our own child, it stays a zombie until somebody asks.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return bool(self.started) and _started(self.pid) == self.started

    def stop(self, grace: float = 10) -> None:
        """End it and everything in its process group: first by SIGTERM, after `grace` seconds by SIGKILL."""
        if not self.is_alive():
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while self.is_alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        # Also when it has ended by itself: its children may be slower.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        while self.is_alive():
            time.sleep(0.01)

    def kill(self) -> None:
        """End this one process the hard way, as a crash would: its children live on."""
        if self.is_alive():
            os.kill(self.pid, signal.SIGKILL)
            while self.is_alive():
                time.sleep(0.01)


def start(command: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path, log: Path) -> Process:
    """Start a process that lives on when this one ends; what it prints is appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = _spawn(command, env=env, cwd=cwd, output=output)
    # It is followed by its pid from now on; without this, Popen's finaliser warns that it still runs.
    child.returncode = 0
    return Process.of(child.pid)


def run(command: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
    """Run a command to its end, its output in `log`; if we are interrupted, it ends with all it started.

    Raises:
        CommandFailedError: If it fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        child = _spawn(command, env=env, cwd=cwd, output=output)
        try:
            code = child.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
    if code:
        raise CommandFailedError(" ".join(str(word) for word in command[:2]), code, log)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block has ended.

    For the moment between a process's start and its record, and for the time it takes to end things.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals only ever interrupt the main thread
        return
    pending: list[int] = []
    previous = {number: signal.signal(number, lambda n, _: pending.append(n)) for number in _ENDING}
    try:
        yield
    finally:
        for ending, handler in previous.items():
            signal.signal(ending, handler)
        for number in pending[:1]:
            signal.raise_signal(number)


def end_like_ctrl_c() -> None:
    """Make SIGTERM and a closed terminal unwind the stack as Ctrl-C does, so that every `finally` is run."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def locked(path: Path, *, seconds: float = math.inf) -> Iterator[None]:
    """Hold the lock of that file; another process that wants it waits.

    Raises:
        TimeoutError: If another process still holds it after so many seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    with path.open("w") as lock:
        while not _taken(lock, wait=math.isinf(seconds)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"another process still holds {path} after {seconds:.0f} s")
            time.sleep(0.1)
        yield


def _taken(lock: IO[str], *, wait: bool) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def answers(port: int, path: str) -> bool:
    """Whether a server answers on that port of 127.0.0.1, and is content."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_until_answering(process: Process, port: int, path: str, seconds: float = 30) -> bool:
    """Wait for a server to answer; False if it ended instead, as when another took its port first.

    Raises:
        TimeoutError: If it neither answers nor ends.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not process.is_alive():
            return False
        if answers(port, path):
            return process.is_alive()
        time.sleep(0.05)
    raise TimeoutError(f"nothing answered on port {port} within {seconds:.0f} s")


def _spawn(
    command: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path, output: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [str(word) for word in command],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _started(pid: int) -> str:
    """When the process with that id started; empty if there is none."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            # The name, in brackets, may hold anything; after it come the state and, 20th, the start time.
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return "" if fields[0] == "Z" else fields[19]
    # macOS has no /proc.
    asked = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    state, _, started = asked.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()
