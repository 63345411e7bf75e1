"""The processes of everything that runs here: started, watched, asked to end.

What a run's states are, and when it has its turn, its kind knows (see `jobs` and `tasks`). Everything can stop dead
between any two lines and go on from the store and the attempts' files: a state is committed before what follows from
it is done, and what is done twice does no harm.
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
from local.compute.config import Config, Shape
from local.compute.runs import ComputeRun
from local.compute.store import Store

LOG = logging.getLogger(__name__)

POLL_SECONDS = 0.02
"""How often running attempts' files are looked at: what it adds to a run's end."""
ADMITTED_AT_ONCE = 50
"""Requests moved on in one step, so that thousands of them don't keep callers waiting."""
KEPT_SECONDS = 7 * 24 * 3600
"""How long what has ended is kept, with its log: as long as AWS Batch shows a job."""

EXITED = "Essential container in task exited"
HOST_LOST = "Host EC2 (instance i-00000000000000000) terminated."


@dataclass(frozen=True)
class Workload:
    """What an attempt runs.

    Attributes:
        command: The words of it.
        environment: What definition and starter say.
        service: What the service adds, which nobody overrides.
        timeout: Seconds until it is made to end.
    """

    command: list[str]
    environment: Mapping[str, str]
    service: Mapping[str, str]
    timeout: float | None = None


class Kind[R: ComputeRun](Protocol):
    """A kind of run: the states it goes through."""

    def admit(self) -> bool:
        """Move on what was asked for, up to where it waits for its turn; true if there may be more."""

    def start(self) -> None:
        """Start what has its turn."""

    def under_way(self) -> Iterable[R]:
        """The runs that have a process, or were about to."""

    def workload(self, run: R) -> Workload:
        """What its next attempt runs."""

    def began(self, run_id: str, running: Shape) -> None:
        """Its attempt's worker runs: `running.json`."""

    def finished(self, run_id: str, ended: Shape) -> None:
        """Its attempt is over: `ended.json`, with an exit code of None if nobody saw it."""


@dataclass
class _Process:
    """An attempt under way, and whether its kind knows that it runs."""

    kind: Kind[Any]
    place: str
    attempt: Attempt
    announced: bool = False


class Engine:
    """Moves runs' processes through their lives, and tells their kinds."""

    def __init__(self, config: Config, store: Store, attempts: Path) -> None:
        self._config = config
        self._store = store
        self._attempts = attempts
        self._kinds: list[Kind[Any]] = []
        self._processes: dict[str, _Process] = {}
        self._wake = asyncio.Event()
        self.closing = False

    # ---- what kinds ask for ------------------------------------------------------------------------------------

    def take(self, kind: Kind[Any]) -> None:
        """Move this kind of run too."""
        self._kinds.append(kind)

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    def has(self, run: ComputeRun) -> bool:
        """Whether a run has a process."""
        return run.id in self._processes

    def count(self, kind: Kind[Any], place: str) -> int:
        """How many runs of a kind have a process, in one place."""
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
        """The file that an attempt's output goes to."""
        return self._directory(run_id, attempt) / supervisor.LOG

    def forget(self, run: ComputeRun) -> None:
        """Know nothing any more of a run that has ended."""
        self._store.forget_one(run.id)
        shutil.rmtree(self._attempts / run.id, ignore_errors=True)

    # ---- running -----------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Take up where the last process left off: attach to living workers, start what was about to start."""
        for kind in self._kinds:
            for run in kind.under_way():
                attempt = Attempt(self._directory(run.id, run.attempt))
                self._processes[run.id] = _Process(kind, run.place, attempt, run.announced)
                if not attempt.running() and not attempt.ended() and not attempt.alive():
                    attempt.launch(self._specification(run, kind.workload(run)))
                if run.stopping:
                    attempt.stop()
                LOG.info("took up %s %s, %s", run.kind, run.id, run.status)

    async def run(self) -> None:
        """Move everything until cancelled."""
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
        """End the workers as a lost host would, and write down how they ended; at once when `hurry` is set."""
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
        """Tell kinds what the attempts' files say."""
        for run_id, process in list(self._processes.items()):
            ended = process.attempt.ended()
            lost = False
            if ended is None and not process.attempt.alive():
                # It may have written its last word between the two looks.
                ended = process.attempt.ended()
                lost = ended is None
            if not process.announced and (running := process.attempt.running()):
                process.kind.began(run_id, running)
                process.announced = True
            if ended is not None or lost:
                process.kind.finished(run_id, ended or _loss(process.attempt))
                del self._processes[run_id]

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
    """What is known of an attempt whose supervisor was killed. Nobody saw the worker's exit code."""
    attempt.kill_worker()
    now = supervisor.now()
    started = (attempt.running() or {}).get("startedAt", now)
    return {"exitCode": None, "reason": None, "startedAt": started, "stoppedAt": now, "timedOut": False}
