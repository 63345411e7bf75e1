"""CPU time of a warm request to the API, beside a hand-written handler that validates next to nothing."""

from contextlib import ExitStack
from functools import partial

from rich.table import Table

from bench.environment import Layer
from bench.measure import Effort, Probe, interleaved
from bench.report import table
from bench.requests import REQUESTS

_SAMPLES = 20
_MANY = 200
"""Requests a sample where botocore does nothing: they are short."""


def run(layer: Layer, effort: Effort) -> list[Table]:
    """Every request, ours and the usual way, in a process of its own; all take turns."""
    with_botocore = _compared(
        "Own CPU of a warm request to the API",
        "AWS answered below botocore, which builds, signs and parses. The usual way validates next to nothing and has "
        "no ETag: for the 304 it gives the whole status.",
        *(layer, effort, effort.of(_SAMPLES, 1)),
    )
    without = _compared(
        "The same, AWS answered at `_make_api_call`",
        "What is left is the function's own work, and for a presigned URL signing it.",
        *(layer, effort, effort.of(_MANY, 1)),
        parsed=True,
    )
    return [with_botocore, without]


def _compared(title: str, caption: str, layer: Layer, effort: Effort, samples: int, **options: object) -> Table:
    with ExitStack() as stack:
        measures = {}
        for each, request in REQUESTS.items():
            for name in (each, f"usual-{each}"):
                probe = stack.enter_context(Probe(name, layer, options, function=request.function))
                measures[name] = partial(_microseconds, probe, samples)
        found = interleaved(measures, effort)
    shown = table(
        title,
        *("", "ours, µs: median, lowest-highest", "usual way, µs", "ours ÷ usual way"),
        caption=caption,
    )
    for name, request in REQUESTS.items():
        ours, usual = found[name], found[f"usual-{name}"]
        shown.add_row(request.name, ours.show(0), usual.show(0), ours.over(usual).show())
    return shown


def _microseconds(probe: Probe, samples: int) -> float:
    return float(probe.sample(invocations=samples, messages=1)["cpu"]) * 1e6 / samples
