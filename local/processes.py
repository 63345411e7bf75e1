"""Starts processes that outlive the command that started them, and ends them from a later command.

Each runs in a session of its own, so that its children can be ended with it. It is identified by its pid *and* its
start time, because the operating system reuses pids.
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
    """A command ended with an exit code other than 0.

    Attributes:
        log: The file with its output.
    """

    def __init__(self, name: str, code: int, log: Path) -> None:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
        super().__init__(f"{name} failed with exit code {code}; the end of {log}:\n{tail}")
        self.log = log


@dataclass(frozen=True, slots=True)
class Process:
    """A process in a session of its own.

    Attributes:
        pid: Its process id, which is also its process group's id.
        started: Its start time, in the operating system's format; only compared, never parsed.
    """

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """The process that has this pid now."""
        return cls(pid, _started(pid))

    def is_alive(self) -> bool:
        """Whether this process still runs. A zombie doesn't."""
        # Our own child stays a zombie until it is waited for.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return bool(self.started) and _started(self.pid) == self.started

    def stop(self, grace: float = 10) -> None:
        """End it and its process group: by SIGTERM, and after `grace` seconds by SIGKILL."""
        if not self.is_alive():
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while self.is_alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        # Even if it has ended: its children may still run.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        while self.is_alive():
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill this process alone, as a crash would: its children keep running."""
        if self.is_alive():
            os.kill(self.pid, signal.SIGKILL)
            while self.is_alive():
                time.sleep(0.01)


def start(command: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path, log: Path) -> Process:
    """Start a process that outlives this one; its output is appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = _spawn(command, env=env, cwd=cwd, output=output)
    # From now on it is tracked by its pid; without this, Popen's finalizer warns that it still runs.
    child.returncode = 0
    return Process.of(child.pid)


def run(command: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
    """Run a command with its output in `log`. If interrupted, end the command and its children.

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
    """Defer Ctrl-C and SIGTERM until the block has ended.

    Used between starting a process and recording it, and while ending processes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals interrupt only the main thread
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
    """Make SIGTERM and a closed terminal unwind the stack as Ctrl-C does, so that every `finally` runs."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def locked(path: Path, *, seconds: float = math.inf) -> Iterator[None]:
    """Hold an exclusive lock on that file; other processes wait for it.

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
    """Different ports of 127.0.0.1 that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def answers(port: int, path: str) -> bool:
    """Whether a server on that port of 127.0.0.1 answers with status 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_until_answering(process: Process, port: int, path: str, seconds: float = 30) -> bool:
    """Wait for a server to answer; False if it ended instead, for example because its port was taken.

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
    """The start time of the process with that pid; empty if there is none."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            # The name is in parentheses and may contain anything. After it come the state and, 20th, the start time.
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
