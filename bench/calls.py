"""AWS calls for each dispatched message, by how many jobs are active. The tables are moto's, so claims are decided."""

import site
from pathlib import Path

from rich.table import Table

from bench.environment import Layer
from bench.measure import Probe
from bench.report import table, verdict

_ACTIVE = (0, 100, 1000, 10_000)
_BUDGET = 3
_DEVELOPMENT = Path(site.getsitepackages()[0])
_LOOKS = 2
"""Messages a figure is counted over; the count is the same for each, or the run fails."""


def run(layer: Layer, _rounds: int) -> list[Table]:
    """A count is a count: one round will do."""
    shown = table(
        "AWS calls per dispatched message",
        *("active jobs", "ours", "floor", "usual way", "usual way, thorough", "usual ÷ ours", "budget"),
        caption="The usual way sees 100 jobs of a status at most; thorough: every page, described 100 at a time.",
    )
    floor = _calls("floor", layer, 0)  # asks for nothing, so it can't depend on what is there
    for active in _ACTIVE:
        ours, usual, thorough = (_calls(name, layer, active) for name in ("ours", "usual", "thorough"))
        figures = (f"{number:,g}" for number in (active, ours, floor, usual, thorough))
        shown.add_row(*figures, f"{usual / ours:.0f}×", verdict(ours, _BUDGET))
    return [shown]


def _calls(subject: str, layer: Layer, active: int) -> float:
    moto = subject == "ours"
    with Probe(subject, layer, {"active": active, "moto": moto}, also=_DEVELOPMENT if moto else None) as probe:
        calls: dict[str, int] = probe.sample(invocations=_LOOKS, messages=1)["calls"]
    return sum(calls.values()) / _LOOKS
