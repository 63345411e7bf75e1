"""The commands' messages: whether a change was deployed, which functions are broken, and hints after a failure."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import local.__main__ as command
from local import environment, functions, logs, places, samples, workers
from local.demos import videos
from local.demos.videos import DemoError
from local.stack import LocalStack, NotRunningError, Outcome
from tests.unit.local.test_demo import JOB

BROKEN = {"sqs_to_batch": "ModuleNotFoundError: No module named 'x' (app.py, line 1)"}


class Stack:
    """A stack whose `up` has the test's outcome."""

    def __init__(self, outcome: Outcome, folder: Path) -> None:
        self.outcome = outcome
        self.folder = folder
        self.logs = folder / "logs"
        self.ended: list[str] = []

    def up(self, _say: Callable[[str], None]) -> Outcome:
        return self.outcome

    def down(self) -> bool:
        self.ended.append("down")
        return True


type Run = Callable[..., tuple[Result, Stack]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command on a stack whose `up` has this outcome, and returns its result and the stack."""
    monkeypatch.setattr(command, "end_like_ctrl_c", lambda: None)
    monkeypatch.setattr(command, "seal_this_process", lambda: None)
    monkeypatch.setattr(command, "VENVS", tmp_path)
    for name in ("sam", "emulator", "runtime", *workers.NAMES):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(places, "rows", lambda _: [("HTTP API", "http://127.0.0.1:1/v1")])
    monkeypatch.setattr(functions, "broken", lambda _: {})

    def invoke(*words: str, started: bool = False, deployed: bool = False) -> tuple[Result, Stack]:
        stack = Stack(Outcome(started, deployed), tmp_path)
        monkeypatch.setattr(command, "LocalStack", lambda _: stack)
        return CliRunner().invoke(command.main, words), stack

    return invoke


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ({"started": True, "deployed": True}, "running\n"),
        ({"deployed": True}, "deployed the changes\n"),
        ({}, "already running and up to date\n"),
    ],
)
def test_up_says_what_it_did(run: Run, outcome: dict[str, bool], said: str) -> None:
    result, _ = run("up", **outcome)

    assert result.exit_code == 0
    assert result.stdout.startswith(said)
    assert "http://127.0.0.1:1/v1" in result.stdout


def test_up_reports_functions_that_cannot_be_imported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "broken", lambda _: BROKEN)

    result, stack = run("up", deployed=True)

    assert result.exit_code == 1
    assert "sqs_to_batch: ModuleNotFoundError: No module named 'x'" in result.stderr
    assert "up to date" not in result.output
    assert not stack.ended


def test_down_says_what_is_forgotten(run: Run) -> None:
    assert "jobs, objects and messages are gone" in run("down")[0].stdout
    assert "forget its jobs" in run("down", "--help")[0].stdout


def fails(_stack: LocalStack, _out: Console) -> None:
    raise DemoError("a.mp4 ended as FAILED")


def test_a_failed_demo_keeps_its_logs_before_it_ends_the_system(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def keep(stack: Stack) -> Path:
        order.extend(["logs", *stack.ended])
        return stack.logs / "failed"

    monkeypatch.setattr(videos, "play", fails)
    monkeypatch.setattr(logs, "keep", keep)

    result, stack = run("demo", started=True)

    assert result.exit_code == 1
    assert order == ["logs"]
    assert stack.ended == ["down"]
    assert f"logs are kept in {stack.logs / 'failed'}" in result.stdout
    assert "make logs" not in result.output


@pytest.mark.parametrize(("words", "outcome"), [(("demo", "--keep"), {"started": True}), (("demo",), {})])
def test_a_failed_demo_that_leaves_the_system_running_says_how_to_look_at_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], outcome: dict[str, bool]
) -> None:
    monkeypatch.setattr(videos, "play", fails)

    result, stack = run(*words, **outcome)

    assert "`make logs`" in result.stdout
    assert not stack.ended


def test_logs_that_can_no_longer_be_read_do_not_hide_the_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def crashed(_stack: object) -> Path:
        raise NotRunningError("the emulator isn't running")

    monkeypatch.setattr(videos, "play", fails)
    monkeypatch.setattr(logs, "keep", crashed)

    result, stack = run("demo", started=True)

    assert "a.mp4 ended as FAILED" in result.stderr
    assert f"logs are kept in {stack.logs}" in result.stdout


def test_a_start_that_fails_does_not_claim_that_the_system_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_stack: object, _out: object) -> Outcome:
        raise NotRunningError("the emulator did not start")

    monkeypatch.setattr(command, "_up", refuse)

    result, _ = run("demo")

    assert result.exit_code == 1
    assert "still runs" not in result.output


def test_logs_are_kept_whole_and_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stack = SimpleNamespace(logs=tmp_path)
    (tmp_path / "emulator.log").write_text("emulator's")
    monkeypatch.setattr(logs, "lines", lambda _stack, _what: iter([["sqs_to_batch: failed"]]))
    monkeypatch.setattr(logs, "View", lambda _: SimpleNamespace(jobs=list))

    folder = logs.keep(stack)  # type: ignore[arg-type]

    assert folder.parent == tmp_path
    assert (folder / "emulator.log").read_text() == "emulator's"
    assert (folder / "functions.log").read_text() == "sqs_to_batch: failed\n"


def test_env_prints_nothing_to_evaluate_when_nothing_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_running(_stack: object) -> None:
        raise NotRunningError("the emulator isn't running; `make up` starts it")

    monkeypatch.setattr(places, "variables", not_running)

    result, _ = run("env")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "make up" in result.stderr


def test_invoke_fills_a_sample_and_says_what_became_of_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def in_docker(_stack: object, _function: str, event: Path) -> int:
        given.append(event.read_text())
        return 0

    monkeypatch.setattr(command, "require_docker", lambda: None)
    monkeypatch.setattr(command, "run_in_docker", in_docker)
    monkeypatch.setattr(samples, "fill", lambda text, _stack: text.replace("switchyard-media", "our-bucket"))
    monkeypatch.setattr(samples, "scene", lambda _: samples.Scene({}, {}))
    monkeypatch.setattr(samples, "outcome", lambda *_: ["job a: FAILED, NO_SUCH_OBJECT: gone"])

    result, stack = run(
        "invoke", "SqsToBatchFunction", str(samples.EVENTS / "sqs_to_batch" / "s3_put.json"), started=True
    )

    assert result.exit_code == 0
    assert "our-bucket" in given[0]
    assert "job a: FAILED, NO_SUCH_OBJECT: gone" in result.stderr
    assert stack.ended == ["down"]


def test_start_api_says_which_address_answers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def in_docker(_stack: object, _port: int) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(wait=lambda: None)

    monkeypatch.setattr(command, "require_docker", lambda: None)
    monkeypatch.setattr(command, "api_in_docker", in_docker)

    result, _ = run("start-api", "--port", "3001")

    assert "http://127.0.0.1:3001" in result.stderr
    assert "/v1" in result.stderr


# ---- pipes and signals -----------------------------------------------------------------------------------------------

PRINTS = """
import sys
from local.view import console, print_rows
out = console()
out.rule("Photographs", align="left")
print_rows(out, [("a label", "a value " * 30)])
for _ in range(1000):
    out.print("[bold]" + "more than a pipe holds " * 10 + "[/bold]", style="green")
"""
WAITS = """
import sys, time
import local.__main__ as command

class Stack:
    def up(self, say):
        print("up", flush=True)
        time.sleep(60)
    def down(self): ...

command.LocalStack = lambda _: Stack()
command._up = lambda stack, out: stack.up(None)
try:
    command.main(["up"], prog_name="local")
finally:
    print("ended", flush=True)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_to_a_pipe_is_plain_and_its_rules_fit_80_columns() -> None:
    lines = subprocess.run(
        python(PRINTS), cwd=environment.ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert not any(re.search(r"\x1b", line) for line in lines)
    assert len(lines[0]) == 80
    assert lines[1] == f"a label  {'a value ' * 30}".rstrip()  # whole, so that it can be copied


def test_a_reader_that_leaves_causes_no_traceback() -> None:
    with subprocess.Popen(
        python(PRINTS), cwd=environment.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_in_good_order(number: signal.Signals) -> None:
    with subprocess.Popen(
        python(WAITS), cwd=environment.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        time.sleep(0.1)
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=30)

    assert process.returncode == 128 + number
    assert (out, err) == ("ended\n", "")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_job_takes_one_line_which_only_a_terminal_cuts(*, terminal: bool) -> None:
    out = io.StringIO()
    name = "a very long name of a video that nobody would type twice.mp4"
    job = replace(JOB, id="6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506", key=f"uploads/{name}")

    command._print_job(Console(file=out, force_terminal=terminal, width=80, soft_wrap=not terminal), job)

    [line] = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert line.startswith(f"  COMPLETED  video       {job.id}  a very long")
    assert line.endswith("…" if terminal else name)
    assert len(line) <= 80 or not terminal
