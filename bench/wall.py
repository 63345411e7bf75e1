"""Wall time of an invocation of ten messages, compared with a single message, when each AWS call takes 20 ms."""

from contextlib import ExitStack
from functools import partial

from rich.table import Table

from bench.environment import Layer
from bench.measure import Effort, Probe, interleaved
from bench.report import table, verdict

_LATENCY = 0.020
_BUDGET = 1.6
_OURS = "ours"
_SUBJECTS: dict[str, tuple[str, dict[str, float]]] = {
    _OURS: ("ours", {}),
    "ours, claims meet (5 ms)": ("ours", {"conflict": 0.005}),
    "ours, claims meet (20 ms)": ("ours", {"conflict": 0.020}),
    "floor: three bare calls, in a row": ("floor", {}),
    "usual way, 0 active jobs": ("usual", {}),
}


def run(layer: Layer, effort: Effort) -> list[Table]:
    """Measures all subjects with one and ten messages, in turns."""
    seen: dict[str, list[tuple[int, int]]] = {name: [] for name in _SUBJECTS}
    with ExitStack() as stack:
        measures = {}
        for name, (subject, options) in _SUBJECTS.items():
            probe = stack.enter_context(Probe(subject, layer, {"latency": _LATENCY, **options}))
            for messages in (1, 10):
                measures[name, messages] = partial(_milliseconds, probe, messages, seen[name])
        found = interleaved(measures, effort)
    shown = table(
        "Wall time of one invocation, 20 ms per AWS call",
        *("", "1 message, ms", "10 messages, ms", "10 ÷ 1", "budget", "calls of 10", "came back of 10"),
        caption="Claims meet: DynamoDB cancels a transaction that conflicts with another on one SLOTS item; the client "
        "retries it. How long each holds the item is a guess; 20 ms, the whole call, is the worst case.",
    )
    for name in _SUBJECTS:
        one, ten = found[name, 1], found[name, 10]
        ratio = ten.over(one)
        calls, back = (max(each) for each in zip(*seen[name], strict=True))
        budget = verdict(ratio.median, _BUDGET) if name == _OURS else ""
        shown.add_row(name, one.show(0), ten.show(0), ratio.show(), budget, str(calls), str(back))
    return [shown]


def _milliseconds(probe: Probe, messages: int, seen: list[tuple[int, int]]) -> float:
    answer = probe.sample(invocations=1, messages=messages)
    seen.append((sum(answer["calls"].values()), answer["came_back"]))
    return float(answer["wall"]) * 1000
