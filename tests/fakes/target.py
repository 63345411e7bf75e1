"""A target in memory, with the real ones' worst behaviour. tests/contract/test_target.py verifies it."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from switchyard.errors import OutcomeUnknown, StartRefused, StartThrottled, Unavailable
from switchyard.protocol.jobs import TERMINAL, Job, JobError, Run, Status

STOPPED = JobError("STOPPED", "stopped by request")


class Mode(Enum):
    """The outcome of the next start or stop."""

    ACCEPT = auto()
    REFUSE = auto()
    THROTTLE = auto()
    TIME_OUT_BEFORE = auto()
    TIME_OUT_AFTER = auto()


@dataclass
class FakeTarget:
    """Runs by target id, in the order they were accepted.

    Each start uses up one of `modes`; then every start works. `stop_modes` does the same for stops. While `lagging`,
    `find` sees no run, as Batch's list may lack a job it has just accepted. `stop` ends a run at once if it has not
    begun, otherwise its worker ends it later; `stopped` holds the runs told to stop. `news` holds the events.
    """

    name: str = "run"
    runs: dict[str, Run] = field(default_factory=dict)
    modes: deque[Mode] = field(default_factory=deque)
    stop_modes: deque[Mode] = field(default_factory=deque)
    lagging: bool = False
    stopped: list[str] = field(default_factory=list)
    news: list[Run] = field(default_factory=list)

    def start(self, job: Job) -> str:
        mode = self.modes.popleft() if self.modes else Mode.ACCEPT
        match mode:
            case Mode.REFUSE:
                raise StartRefused("no such queue")
            case Mode.THROTTLE:
                raise StartThrottled("slow down")
            case Mode.TIME_OUT_BEFORE:
                raise OutcomeUnknown("read timeout", 1)
        target_id = f"{self.name}-{len(self.runs)}"
        self.runs[target_id] = Run(target_id, job.id, job.fence, Status.SUBMITTED)
        if mode is Mode.TIME_OUT_AFTER:
            raise OutcomeUnknown("read timeout", 1)
        return target_id

    def find(self, job: Job) -> str | None:
        for run in self.runs.values():
            if not self.lagging and (run.job_id, run.fence) == (job.id, job.fence):
                return run.target_id
        return None

    def describe(self, target_ids: Iterable[str], queue: str = "") -> Iterator[Run]:  # noqa: ARG002 - there is one
        for target_id in target_ids:
            if target_id in self.runs:
                yield self.runs[target_id]

    def stop(self, job: Job, target_id: str) -> None:
        mode = self.stop_modes.popleft() if self.stop_modes else Mode.ACCEPT
        match mode:
            case Mode.REFUSE | Mode.THROTTLE:
                raise Unavailable("slow down")
            case Mode.TIME_OUT_BEFORE:
                raise Unavailable("read timeout")
        run = self.runs.get(target_id)
        if run is not None and (run.job_id, run.fence) == (job.id, job.fence) and run.status not in TERMINAL:
            self.stopped.append(target_id)
            if run.status is Status.SUBMITTED:
                self.move(target_id, Status.FAILED, error=STOPPED)
        if mode is Mode.TIME_OUT_AFTER:
            raise Unavailable("read timeout")

    def move(self, target_id: str, status: Status, **changes: object) -> Run:
        """Moves a run to a status, and returns the run as an event would report it."""
        run = replace(self.runs[target_id], status=status, **changes)  # type: ignore[arg-type]
        self.runs[target_id] = run
        self.news.append(run)
        return run
