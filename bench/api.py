"""CPU time of a warm API request, compared with a hand-written handler that validates almost nothing."""

from contextlib import ExitStack
from functools import partial

from rich.table import Table

from bench.environment import Layer
from bench.measure import Effort, Probe, interleaved
from bench.report import table
from bench.requests import REQUESTS

_SAMPLES = 20
_MANY = 200
"""Requests per sample when botocore does nothing: they are short."""


def run(layer: Layer, effort: Effort) -> list[Table]:
    """Measures every request, ours and the usual way, each in its own process, in turns."""
    with_botocore = _compared(
        "Own CPU of a warm request to the API",
        "AWS is answered below botocore, which builds, signs and parses. The usual way validates almost nothing and "
        "has no ETag: instead of a 304 it returns the whole status.",
        *(layer, effort, effort.of(_SAMPLES, 1)),
    )
    without = _compared(
        "The same, AWS answered at `_make_api_call`",
        "This leaves the function's own work, and signing for a presigned URL.",
        *(layer, effort, effort.of(_MANY, 1)),
        parsed=True,
    )
    return [with_botocore, without]


def _compared(title: str, caption: str, layer: Layer, effort: Effort, samples: int, **options: object) -> Table:
    with ExitStack() as stack:
        measures = {}
        # Above botocore each operation has one answer, which doesn't suit requests that read several items.
        requests = {each: request for each, request in REQUESTS.items() if request.is_usual or not options}
        for each, request in requests.items():
            for name in (each, f"usual-{each}") if request.is_usual else (each,):
                probe = stack.enter_context(Probe(name, layer, options, function=request.function))
                measures[name] = partial(_microseconds, probe, samples)
        found = interleaved(measures, effort)
    shown = table(
        title,
        *("", "ours, µs: median, lowest-highest", "usual way, µs", "ours ÷ usual way"),
        caption=caption,
    )
    for name, request in requests.items():
        ours, usual = found[name], found.get(f"usual-{name}")
        compared = (usual.show(0), ours.over(usual).show()) if usual else ("", "")
        shown.add_row(request.name, ours.show(0), *compared)
    return shown


def _microseconds(probe: Probe, samples: int) -> float:
    return float(probe.sample(invocations=samples, messages=1)["cpu"]) * 1e6 / samples
