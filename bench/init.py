"""CPU time of a function's start, in a fresh process: its imports, and what its first event needs besides."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.table import Table

from bench.environment import ROOT, RUNTIME, Layer, python, variables
from bench.measure import interleaved
from bench.report import table, verdict

_BUDGET = 1.3
_TIMED = "import time; start = time.process_time(); {}; print(time.process_time() - start)"
_FLOOR = "import boto3; [boto3.client(name) for name in {}]"
# A body's schema is compiled when the first body arrives.
_PRESIGN = """http.Request('POST', '/', body='{"filename": "a", "contentType": "video/mp4"}').json('PresignRequest')"""
_PROCESS = """http.Request('POST', '/', body='{"imageUrls": ["s3://b/a"], "userId": "u"}').json('ProcessRequest')"""


@dataclass(frozen=True)
class _Start:
    """A function's start: which services it needs clients for, and what makes them and all else, as its first event."""

    clients: tuple[str, ...]
    code: str


_STARTS: Mapping[str, _Start] = {
    "sqs_to_batch": _Start(("dynamodb", "sqs", "batch"), "app.function()"),
    "dispatch_to_ecs": _Start(("dynamodb", "sqs", "ecs"), "app.function()"),
    "track_job": _Start(("dynamodb", "sqs", "batch", "ecs"), "app.function()"),
    "reconcile_jobs": _Start(("dynamodb", "sqs", "batch", "ecs"), "app.reconciler()"),
    "presign_upload": _Start(("s3",), f"app.api(); from switchyard import http; {_PRESIGN}"),
    "submit_job": _Start(("dynamodb", "sqs"), f"app.api(); from switchyard import http; {_PROCESS}"),
    "get_job": _Start(("dynamodb",), "app.api()"),
    "cancel_job": _Start(("dynamodb", "batch", "ecs"), "app.api()"),
}
_COMPILED_EACH_TIME = ("sqs_to_batch", "submit_job")
"""Those that are started without bytecode too."""


def run(layer: Layer, rounds: int) -> list[Table]:
    """Every start in turn, X-Ray on, with the layer as it is deployed; some also without the bytecode in it."""
    measures: dict[tuple[str, ...], Callable[[], float]] = {}
    for name, start in _STARTS.items():
        # A function's floor has its own services: a client costs as much as its service's model is large.
        measures[start.clients] = partial(_milliseconds, _FLOOR.format(start.clients), [RUNTIME])
        for kind, packages in (("as deployed", layer.deployed), ("without bytecode", layer.sources)):
            if packages is layer.deployed or name in _COMPILED_EACH_TIME:
                path = [ROOT / "functions" / name, packages, RUNTIME]
                measures[name, kind] = partial(_milliseconds, f"import app; {start.code}", path)
    found = interleaved(measures, rounds)
    shown = table(
        "CPU of a function's start",
        *("", "layer", "ms: median, lowest-highest", "floor, ms", "÷ floor", "budget: ÷ floor"),
        caption="Floor: import boto3, and a client for each service the function uses.",
    )
    for name, start in _STARTS.items():
        floor = found[start.clients]
        for kind in ("as deployed", "without bytecode"):
            if (name, kind) in found:
                samples = found[name, kind]
                ratio = samples.over(floor)
                budget = verdict(round(ratio.median, 2), _BUDGET) if kind == "as deployed" else ""
                shown.add_row(name, kind, samples.show(0), floor.show(0), ratio.show(), budget)
    return [shown]


def _milliseconds(code: str, path: Sequence[Path]) -> float:
    command = python("-c", _TIMED.format(code))
    environment = variables(traced=True, path=path)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1]) * 1000
