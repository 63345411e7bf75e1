"""CPU time of a function's start, in a fresh process: its imports, and the clients that its first event needs."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.table import Table

from bench.environment import FUNCTIONS, ROOT, RUNTIME, Layer, python, variables
from bench.measure import interleaved
from bench.report import table, verdict

_BUDGET = 1.3
_TIMED = "import time; start = time.process_time(); {}; print(time.process_time() - start)"
_FLOOR = "import boto3; [boto3.client(name) for name in ('dynamodb', 'sqs', 'batch')]"
_FIRST_CALL: Mapping[str, str] = {
    "sqs_to_batch": "app.function()",
    "track_job": "app.function()",
    "reconcile_jobs": "app.reconciler()",
}
"""What makes a function's clients: its first event does, by this."""


def run(layer: Layer, rounds: int) -> list[Table]:
    """Every start in turn, X-Ray on, with the layer as it is deployed and without the bytecode in it."""
    floor = ("floor: boto3 and three clients", "")
    measures: dict[tuple[str, str], Callable[[], float]] = {floor: partial(_milliseconds, _FLOOR, [RUNTIME])}
    for kind, packages in (("as deployed", layer.deployed), ("without bytecode", layer.sources)):
        for name in FUNCTIONS:
            path = [ROOT / "functions" / name, packages, RUNTIME]
            measures[name, kind] = partial(_milliseconds, f"import app; {_FIRST_CALL[name]}", path)
    found = interleaved(measures, rounds)
    shown = table(
        "CPU of a function's start", *("", "layer", "ms: median, lowest-highest", "÷ floor", "budget: ÷ floor")
    )
    for (name, kind), samples in found.items():
        ratio = samples.over(found[floor])
        budget = verdict(ratio.median, _BUDGET) if kind == "as deployed" else ""
        shown.add_row(name, kind, samples.show(0), ratio.show(), budget)
    return [shown]


def _milliseconds(code: str, path: Sequence[Path]) -> float:
    command = python("-c", _TIMED.format(code))
    environment = variables(traced=True, path=path)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1]) * 1000
