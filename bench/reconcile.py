"""A pass of the reconciler with active jobs and nothing to repair, its usual case every few minutes."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Any

from rich.table import Table

from bench.active import MOST_DESCRIBED
from bench.environment import Layer
from bench.measure import Effort, Probe, Samples, interleaved
from bench.report import table, verdict

_ACTIVE, _FEW = (0, 1000, 10_000), (0, 10, 200)
_MORE_CALLS = 1.1
_SECONDS = 30
_SMALLEST, _WHOLE_CPU = 128, 1769
"""MB. Lambda assigns CPU by memory: a whole core at 1,769 MB, a fourteenth of that at 128 MB."""
_MIB = 2**20
_DESCRIBE = {"batch": "DescribeJobs", "ecs": "DescribeTasks"}


@dataclass(frozen=True)
class _Subject:
    """A row: the subject, the number of active jobs, and their target."""

    name: str
    subject: str
    active: int
    target: str = "batch"
    traced: bool | None = None
    answers: list[dict[str, Any]] = field(default_factory=list, compare=False)

    @property
    def calls(self) -> Counter[str]:
        """Returns the calls of one pass; every pass makes the same ones."""
        return Counter(self.answers[0]["calls"])

    @property
    def most(self) -> float:
        """Returns the most MiB a pass held beyond those before: the first pass's, because the heap doesn't shrink."""
        return max(float(answer["memory"]) for answer in self.answers) / _MIB


class _Subjects:
    """Every row, with no, some and many active jobs."""

    def __init__(self, active: tuple[int, int, int]) -> None:
        _, some, many = active
        self.ours = tuple(_Subject(f"ours, {n:,} on Batch", "reconciler", n) for n in active)
        self.traced = _Subject(f"ours, {many:,} on Batch, X-Ray on", "reconciler", many, traced=True)
        self.on_ecs = _Subject(f"ours, {many:,} on ECS", "reconciler", many, target="ecs")
        self.floors = tuple(_Subject(f"floor, {n:,}", "bare-pass", n) for n in active)
        self.usual = _Subject(f"usual way, {some:,}", "usual-check", some)

    @property
    def all(self) -> tuple[_Subject, ...]:
        """Returns the rows in the order of the table."""
        return (*self.ours, self.traced, self.on_ecs, *self.floors, self.usual)


def run(layer: Layer, effort: Effort) -> list[Table]:
    """Measures every subject in its own process, in turns."""
    subjects = _Subjects(effort.of(_ACTIVE, _FEW))
    with ExitStack() as stack:
        found = interleaved({subject: _measure(stack, subject, layer) for subject in subjects.all}, effort)
    return [_calls(subjects), _cost(subjects, found)]


def _measure(stack: ExitStack, subject: _Subject, layer: Layer) -> Callable[[], float]:
    options = {"active": subject.active, "target": subject.target}
    probe = Probe(subject.subject, layer, options, function="reconcile_jobs", traced=subject.traced)
    return partial(_seconds, stack.enter_context(probe), subject)


def _seconds(probe: Probe, subject: _Subject) -> float:
    answer = probe.sample(invocations=1, messages=0)
    subject.answers.append(answer)
    return float(answer["cpu"])


def _calls(subjects: _Subjects) -> Table:
    """Counts the calls of one pass: counts don't vary."""
    shown = table(
        "AWS calls of one pass of the reconciler",
        *("", "describes", "÷ least", "budget", "Query", "GetItem", "all", "usual way: all"),
        caption="Least: a hundred ids per call. The usual way looks up each job separately, and repairs nothing else.",
    )
    queries = subjects.usual.calls["Query"]
    for subject in (*subjects.ours, subjects.on_ecs):
        calls = subject.calls
        describes, least = calls[_DESCRIBE[subject.target]], ceil(subject.active / MOST_DESCRIBED)
        ratio = describes / least if least else 1.0
        usual = f"{subject.active + max(queries, calls['Query'] - subjects.ours[0].calls['Query'] + queries):,}"
        figures = (f"{describes:,}", f"{ratio:.2f}", verdict(ratio, _MORE_CALLS))
        others = (f"{calls['Query']}", f"{calls['GetItem']}", f"{calls.total():,}")
        shown.add_row(subject.name, *figures, *others, usual)
    return shown


def _cost(subjects: _Subjects, found: dict[_Subject, Samples]) -> Table:
    shown = table(
        "CPU and memory of one pass of the reconciler",
        *("", "CPU, s: median, lowest-highest", "÷ floor", "s with 128 MB", "budget", "most MiB above before"),
        caption="Floor: the same calls with the same parameters by boto3's default clients. With 128 MB: CPU seconds × "
        f"{_WHOLE_CPU} ÷ {_SMALLEST}, as Lambda gives a whole core at {_WHOLE_CPU:,} MB; the budget applies to that.",
    )
    floors = {floor.active: found[floor] for floor in subjects.floors}
    for subject, cpu in found.items():
        ours = subject.subject == "reconciler"
        like = ours and subject.target == "batch"
        ratio = cpu.over(floors[subject.active]).show() if like else ""
        small = cpu.median * _WHOLE_CPU / _SMALLEST
        budget = verdict(small, _SECONDS, " s") if ours else ""
        shown.add_row(subject.name, cpu.show(3), ratio, f"{small:.1f}", budget, f"{subject.most:.0f}")
    return shown
