"""CPU time of one dispatched message, with AWS answered below botocore.

It includes building, signing and parsing requests, but not connections and TLS.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from rich.table import Table

from bench.environment import Layer
from bench.measure import Effort, Probe, interleaved
from bench.report import table, verdict

_BUDGET = 1.5 / 2.7
"""The budget, relative to the usual way with no active jobs (1.5 ms of 2.7 ms when set), because machines differ."""


@dataclass(frozen=True)
class _Subject:
    """One row: the subject, the number of active jobs, and the messages per sample."""

    name: str
    subject: str
    active: int = 0
    batch: int = 1
    traced: bool | None = None
    samples: int = 10


_FLOOR = _Subject("floor: three bare calls", "floor")
_USUAL = _Subject("usual way, 0 active jobs", "usual")
_OURS = (
    _Subject("ours, 0 active jobs", "ours"),
    _Subject("ours, 1,000 active jobs", "ours", active=1000),
    _Subject("ours, ten messages an invocation", "ours", batch=10),
    _Subject("ours, X-Ray on, not sampled", "ours", traced=False),
    _Subject("ours, X-Ray on, sampled", "ours", traced=True),
)
_OTHERS = (
    _FLOOR,
    _USUAL,
    _Subject("usual way, 1,000 active jobs", "usual", active=1000, samples=1),
    _Subject("usual way, thorough, 1,000 active jobs", "thorough", active=1000, samples=1),
)


def run(layer: Layer, effort: Effort) -> list[Table]:
    """Measures every subject in its own process, in turns."""
    with ExitStack() as stack:
        measures = {subject: _measure(stack, subject, layer) for subject in (*_OURS, *_OTHERS)}
        found = interleaved(measures, effort)
    shown = table(
        "Own CPU per dispatched message",
        *("", "ms: median, lowest-highest", "÷ floor", "÷ usual way at 0", "budget: ÷ usual way at 0"),
        caption="One message per invocation unless the row says otherwise.",
    )
    for subject, samples in found.items():
        to_usual = samples.over(found[_USUAL])
        shown.add_row(
            subject.name,
            samples.show(),
            samples.over(found[_FLOOR]).show(),
            to_usual.show(),
            verdict(round(to_usual.median, 2), round(_BUDGET, 2)) if subject in _OURS else "",
            end_section=subject is _OURS[-1],
        )
    return [shown]


def _measure(stack: ExitStack, subject: _Subject, layer: Layer) -> Callable[[], float]:
    probe = stack.enter_context(Probe(subject.subject, layer, {"active": subject.active}, traced=subject.traced))
    return partial(_milliseconds, probe, subject)


def _milliseconds(probe: Probe, subject: _Subject) -> float:
    answer = probe.sample(invocations=subject.samples // subject.batch, messages=subject.batch)
    return float(answer["cpu"]) * 1000 / subject.samples
