"""CPU time of a warm request to the API, beside a hand-written handler that validates nothing. As `cpu`."""

from contextlib import ExitStack
from functools import partial

from rich.table import Table

from bench.environment import Layer
from bench.measure import Probe, interleaved
from bench.report import table
from bench.requests import REQUESTS

_SAMPLES = 20


def run(layer: Layer, rounds: int) -> list[Table]:
    """Every request, ours and the usual way, in a process of its own; all take turns."""
    with ExitStack() as stack:
        measures = {
            name: partial(
                _milliseconds,
                stack.enter_context(Probe(name, layer, {}, function=REQUESTS[name.removeprefix("usual-")].function)),
            )
            for each in REQUESTS
            for name in (each, f"usual-{each}")
        }
        found = interleaved(measures, rounds)
    shown = table(
        "Own CPU of a warm request to the API",
        *("", "ours, ms: median, lowest-highest", "usual way, ms", "ours ÷ usual way"),
        caption="The usual way validates nothing and has no ETag: for the 304 it gives the whole status, for the 400 a "
        "signature.",
    )
    for name, request in REQUESTS.items():
        ours, usual = found[name], found[f"usual-{name}"]
        shown.add_row(request.name, ours.show(), usual.show(), ours.over(usual).show())
    return [shown]


def _milliseconds(probe: Probe) -> float:
    return float(probe.sample(invocations=_SAMPLES, messages=1)["cpu"]) * 1000 / _SAMPLES
