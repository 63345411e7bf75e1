"""Starts, watches and ends the processes of jobs and tasks.

A run's kind defines its states and decides when it starts (see `jobs` and `tasks`). The program may be killed between
any two lines, and continues from the store and the attempts' files: a state is committed before it takes effect, and
every effect can be repeated.
"""

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from local.compute import supervisor
from local.compute.attempts import Attempt
from local.compute.awslogs import Awslogs, Stream
from local.compute.config import Config, Shape
from local.compute.runs import ComputeRun
from local.compute.store import Store

LOG = logging.getLogger(__name__)

POLL_SECONDS = 0.02
"""Seconds between two checks of running attempts' files: the delay it adds to a run's end."""
ADMITTED_AT_ONCE = 50
"""Runs admitted in one step, so that thousands of them don't block callers."""
KEPT_SECONDS = 7 * 24 * 3600
"""How long an ended run and its log are kept: as long as AWS Batch shows a job."""

EXITED = "Essential container in task exited"
HOST_LOST = "Host EC2 (instance i-00000000000000000) terminated."


@dataclass(frozen=True)
class Workload:
    """The command that an attempt runs.

    Attributes:
        command: The program and its arguments.
        environment: Variables of the definition and the caller.
        service: Variables that the service adds, which override all others.
        timeout: Seconds until it is ended.
    """

    command: list[str]
    environment: Mapping[str, str]
    service: Mapping[str, str]
    timeout: float | None = None


class Kind[R: ComputeRun](Protocol):
    """A kind of run, which defines its states."""

    def admit(self) -> bool:
        """Move new runs to the state in which they wait to start; True if there may be more."""

    def start(self) -> None:
        """Start the runs whose turn it is."""

    def under_way(self) -> Iterable[R]:
        """The runs that have a process, or were about to get one."""

    def workload(self, run: R) -> Workload:
        """The command of its next attempt."""

    def began(self, run_id: str, running: Shape) -> None:
        """Called when its worker runs, with `running.json`."""

    def finished(self, run_id: str, ended: Shape) -> None:
        """Called when its attempt has ended, with `ended.json`; the exit code is None if it is unknown."""

    def log_stream(self, run_id: str) -> tuple[str, str]:
        """CloudWatch's log group and stream of its running attempt; without a group its output isn't sent there."""


@dataclass
class _Process:
    """A running attempt, and whether its kind was told that it runs."""

    kind: Kind[Any]
    place: str
    attempt: Attempt
    announced: bool = False


class Engine:
    """Runs the processes, and reports their starts and ends to their kinds."""

    def __init__(self, config: Config, store: Store, attempts: Path, awslogs: Awslogs | None = None) -> None:
        self._config = config
        self._awslogs = awslogs
        self._store = store
        self._attempts = attempts
        self._kinds: list[Kind[Any]] = []
        self._processes: dict[str, _Process] = {}
        self._wake = asyncio.Event()
        self.closing = False

    # ---- for kinds ---------------------------------------------------------------------------------------------

    def take(self, kind: Kind[Any]) -> None:
        """Register a kind of run."""
        self._kinds.append(kind)

    def wake(self) -> None:
        """Make the loop look for work now."""
        self._wake.set()

    def has(self, run: ComputeRun) -> bool:
        """Whether a run has a process."""
        return run.id in self._processes

    def count(self, kind: Kind[Any], place: str) -> int:
        """How many runs of a kind have a process in a place."""
        return sum(each.kind is kind and each.place == place for each in self._processes.values())

    def launch[R: ComputeRun](self, kind: Kind[R], run: R) -> None:
        """Start a run's next attempt."""
        attempt = Attempt(self._directory(run.id, run.attempt))
        attempt.launch(self._specification(run, kind.workload(run)))
        self._processes[run.id] = _Process(kind, run.place, attempt)

    def stop(self, run: ComputeRun) -> None:
        """Ask a run's process to end, if it has one."""
        if process := self._processes.get(run.id):
            process.attempt.stop()

    def log(self, run_id: str, attempt: int) -> Path:
        """The file of an attempt's output."""
        return self._directory(run_id, attempt) / supervisor.LOG

    def forget(self, run: ComputeRun) -> None:
        """Delete an ended run and its files."""
        self._store.forget_one(run.id)
        shutil.rmtree(self._attempts / run.id, ignore_errors=True)

    # ---- running -----------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Continue after a restart: attach to running workers, and launch what was about to start."""
        for kind in self._kinds:
            for run in kind.under_way():
                attempt = Attempt(self._directory(run.id, run.attempt))
                self._processes[run.id] = _Process(kind, run.place, attempt, run.announced)
                if not attempt.running() and not attempt.ended() and not attempt.alive():
                    attempt.launch(self._specification(run, kind.workload(run)))
                if run.stopping:
                    attempt.stop()
                if run.announced:
                    self._open_log(kind, run.id, attempt)
                LOG.info("resumed %s %s, %s", run.kind, run.id, run.status)

    async def run(self) -> None:
        """Move all runs until cancelled."""
        forget_at = 0.0
        while True:
            self._wake.clear()
            if time.monotonic() >= forget_at:
                self._forget()
                forget_at = time.monotonic() + 3600
            busy = False
            for kind in self._kinds:
                busy |= kind.admit()
            self._watch()
            for kind in self._kinds:
                kind.start()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 0 if busy else POLL_SECONDS if self._processes else 3600)

    async def close(self, hurry: asyncio.Event) -> None:
        """End the workers as a lost host would, and record how they ended; at once when `hurry` is set."""
        self.closing = True
        for process in self._processes.values():
            process.attempt.stop()
        hurried = False
        while self._processes:
            if hurry.is_set() and not hurried:
                hurried = True
                for process in self._processes.values():
                    process.attempt.stop(now=True)
            self._watch()
            await asyncio.sleep(POLL_SECONDS)

    def _watch(self) -> None:
        """Report the attempts' files to their kinds."""
        for run_id, process in list(self._processes.items()):
            ended = process.attempt.ended()
            lost = False
            if ended is None and not process.attempt.alive():
                # It may have written the file between the two checks.
                ended = process.attempt.ended()
                lost = ended is None
            if not process.announced and (running := process.attempt.running()):
                process.kind.began(run_id, running)
                process.announced = True
                self._open_log(process.kind, run_id, process.attempt)
            if ended is not None or lost:
                process.kind.finished(run_id, ended or _loss(process.attempt))
                del self._processes[run_id]
                if self._awslogs:
                    self._awslogs.close(process.attempt.directory / supervisor.LOG)

    def _open_log(self, kind: Kind[Any], run_id: str, attempt: Attempt) -> None:
        group, name = kind.log_stream(run_id)
        if self._awslogs and group:
            self._awslogs.open(Stream(attempt.directory / supervisor.LOG, group, name))

    def _specification(self, run: ComputeRun, workload: Workload) -> Shape:
        scratch = str(self._directory(run.id, run.attempt) / supervisor.SCRATCH)
        return {
            "command": workload.command,
            "environment": {
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "HOME": scratch,
                "TMPDIR": scratch,
                "AWS_REGION": self._config.region,
                "AWS_DEFAULT_REGION": self._config.region,
                **workload.environment,
                **workload.service,
            },
            "cwd": run.own["cwd"] or scratch,
            "timeoutSeconds": workload.timeout,
            "graceSeconds": run.own["graceSeconds"],
        }

    def _directory(self, run_id: str, attempt: int) -> Path:
        return self._attempts / run_id / str(attempt)

    def _forget(self) -> None:
        for run_id in self._store.forget(supervisor.now() - KEPT_SECONDS * 1000):
            shutil.rmtree(self._attempts / run_id, ignore_errors=True)


def _loss(attempt: Attempt) -> Shape:
    """The end of an attempt whose supervisor was killed: the worker's exit code is unknown."""
    attempt.kill_worker()
    now = supervisor.now()
    started = (attempt.running() or {}).get("startedAt", now)
    return {"exitCode": None, "reason": None, "startedAt": started, "stoppedAt": now, "timedOut": False}
