"""Processes that outlive their starter are found again, never confused, and ended with all their children."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from local.environment import bare
from local.processes import (
    CommandFailedError,
    Process,
    answers,
    free_ports,
    run,
    start,
    uninterrupted,
    wait_until_answering,
)

SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
HAS_CHILD = f"""
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", {SLEEPS!r}], stdout=subprocess.DEVNULL).pid, flush=True)
time.sleep(60)
"""
SERVES = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 500)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def started(code: str, folder: Path, *arguments: str) -> Process:
    return start([sys.executable, "-c", code, *arguments], env=bare(), cwd=folder, log=folder / "log")


def printed(folder: Path) -> str:
    """Waits for the first line a process prints, and returns it."""
    deadline = time.monotonic() + 30
    while not (text := (folder / "log").read_text()).endswith("\n"):
        assert time.monotonic() < deadline, "the process printed nothing"
        time.sleep(0.01)
    return text.strip()


def gone(process: Process) -> bool:
    """Returns whether a killed process has ended, after a moment: the kernel takes its time."""
    deadline = time.monotonic() + 10
    while process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not process.is_alive()


def test_a_process_is_alive_until_it_is_stopped(tmp_path: Path) -> None:
    process = started(SLEEPS, tmp_path)
    assert process.is_alive()

    process.stop()

    assert not process.is_alive()


def test_another_process_with_the_same_pid_is_left_alone(tmp_path: Path) -> None:
    other = started(SLEEPS, tmp_path)
    stale = Process(other.pid, "long ago")

    assert not stale.is_alive()
    stale.stop()
    stale.kill()

    assert other.is_alive()
    other.stop()


def test_what_a_process_started_ends_with_it(tmp_path: Path) -> None:
    process = started(HAS_CHILD, tmp_path)
    child = Process.of(int(printed(tmp_path)))
    assert child.is_alive()

    process.stop()

    assert gone(child)


def test_a_crash_leaves_the_children(tmp_path: Path) -> None:
    process = started(HAS_CHILD, tmp_path)
    child = Process.of(int(printed(tmp_path)))

    process.kill()

    assert not process.is_alive()
    assert child.is_alive()
    os.kill(child.pid, signal.SIGKILL)


def test_what_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    process = started(IGNORES_SIGTERM, tmp_path)
    printed(tmp_path)

    process.stop(grace=0.1)

    assert not process.is_alive()


def test_a_failed_command_tells_the_end_of_its_output(tmp_path: Path) -> None:
    code = "print('the reason'); raise SystemExit(3)"

    with pytest.raises(CommandFailedError, match=r"exit code 3(?s:.*)the reason"):
        run([sys.executable, "-c", code], env=bare(), cwd=tmp_path, log=tmp_path / "log")


def test_an_interrupted_command_ends_with_all_it_started(tmp_path: Path) -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise InterruptedError

    def interrupt_once_it_runs() -> None:
        printed(tmp_path)
        os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, interrupt)
    (tmp_path / "log").touch()
    watcher = threading.Thread(target=interrupt_once_it_runs)
    watcher.start()
    try:
        with pytest.raises(InterruptedError):
            run([sys.executable, "-c", HAS_CHILD], env=bare(), cwd=tmp_path, log=tmp_path / "log")
    finally:
        watcher.join()
        signal.signal(signal.SIGALRM, before)

    assert gone(Process.of(int(printed(tmp_path))))


def test_a_signal_waits_for_the_end_of_an_uninterrupted_block() -> None:
    finished = False

    def interrupted_block() -> None:
        nonlocal finished
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            finished = True

    with pytest.raises(KeyboardInterrupt):
        interrupted_block()
    assert finished


def test_a_server_answers_once_it_is_up(tmp_path: Path) -> None:
    [port] = free_ports(1)
    server = started(SERVES, tmp_path, str(port))

    assert wait_until_answering(server, port, "/health")
    assert not answers(port, "/broken")

    server.stop()
    assert not answers(port, "/health")


def test_a_server_that_ends_at_once_is_not_waited_for(tmp_path: Path) -> None:
    [port] = free_ports(1)

    assert not wait_until_answering(started("", tmp_path), port, "/health")


def test_free_ports_are_all_different() -> None:
    assert len(set(free_ports(20))) == 20
