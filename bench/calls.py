"""AWS calls per dispatched message, by number of active jobs. Ours runs on moto's tables, which decide the claims."""

import site
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from bench.environment import Layer
from bench.measure import Effort, Probe
from bench.report import table, verdict

_ACTIVE = (0, 100, 1000, 10_000)
_TASKS = {"job message": "task", "request that the API announced": "announced"}
_ACTIVE_TASKS = (0, 1000)
_BUDGET = 3
_FUNCTIONS = {"ours": "sqs_to_batch", "task": "dispatch_to_ecs", "announced": "dispatch_to_ecs"}
"""The subjects that use tables, and their functions."""
_DEVELOPMENT = Path(site.getsitepackages()[0])
_LOOKS = 2
"""Messages counted per figure. The run fails unless each has the same count."""


def run(layer: Layer, effort: Effort) -> list[Table]:
    """Counts the calls. Counts don't vary, so one round is enough."""
    shown = table(
        "AWS calls per dispatched message",
        *("active jobs", "ours", "floor", "usual way", "usual way, thorough", "usual ÷ ours", "budget"),
        caption="The usual way sees 100 jobs of a status at most; thorough: every page, described 100 at a time.",
    )
    floor = _count("floor", layer, 0)  # it reads nothing, so its calls can't depend on the active jobs
    for active in effort.of(_ACTIVE, _ACTIVE[:1]):
        ours, usual, thorough = (_count(name, layer, active) for name in ("ours", "usual", "thorough"))
        figures = (f"{number:,g}" for number in (active, ours, floor, usual, thorough))
        shown.add_row(*figures, f"{usual / ours:.0f}×", verdict(ours, _BUDGET))
    return [shown, _tasks(layer, effort.of(_ACTIVE_TASKS, _ACTIVE_TASKS[:1]))]


def _tasks(layer: Layer, sizes: Sequence[int]) -> Table:
    shown = table("AWS calls per task started on ECS", "", *(f"{n:,} active" for n in sizes), "which", "budget")
    for name, subject in _TASKS.items():
        calls = [_calls(subject, layer, active) for active in sizes]
        counts = [sum(each.values()) / _LOOKS for each in calls]
        which = ", ".join(calls[0])
        shown.add_row(name, *(f"{count:g}" for count in counts), which, verdict(max(counts), _BUDGET))
    return shown


def _count(subject: str, layer: Layer, active: int) -> float:
    return sum(_calls(subject, layer, active).values()) / _LOOKS


def _calls(subject: str, layer: Layer, active: int) -> Counter[str]:
    function = _FUNCTIONS.get(subject)
    options = {"active": active, "moto": function is not None}
    also = _DEVELOPMENT if function else None
    with Probe(subject, layer, options, function=function or "sqs_to_batch", also=also) as probe:
        probe.sample(invocations=1, messages=1)  # what a process does once
        return Counter(probe.sample(invocations=_LOOKS, messages=1)["calls"])
