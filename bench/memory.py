"""Memory of a function after its first event, compared with boto3 plus a client for each service it uses."""

import subprocess
from collections.abc import Callable
from functools import partial

from rich.table import Table

from bench.environment import RUNTIME, Layer, python, variables
from bench.first_event import ANSWER, after_first_event
from bench.init import FLOOR, STARTS
from bench.measure import Effort, interleaved
from bench.report import table, verdict
from tests.fakes.endpoint import Reply, serving
from tools.functions import FUNCTIONS

# Not the peak: memory needed only briefly is free for the next event.
_TELL = """print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS:")))"""


def run(layer: Layer, effort: Effort) -> list[Table]:
    """Measures every function in turn, X-Ray on, with the layer as deployed."""
    with serving(Reply(body=ANSWER)) as endpoint:
        measures: dict[str | tuple[str, ...], Callable[[], float]] = {}
        for name in FUNCTIONS:
            measures[name] = partial(_ours, name, endpoint.url, layer)
            measures[STARTS[name].clients] = partial(_floor, STARTS[name].clients)
        found = interleaved(measures, effort)
    shown = table(
        "Memory after one request",
        *("", "MB: median, lowest-highest", "floor, MB", "÷ floor", "budget: ÷ floor"),
        caption="Resident set (VmRSS). Floor: import boto3, and a client for each service the function uses.",
    )
    for name in FUNCTIONS:
        samples, floor = found[name], found[STARTS[name].clients]
        ratio = samples.over(floor)
        budget = verdict(round(ratio.median, 2), STARTS[name].memory)
        shown.add_row(name, samples.show(1), floor.show(1), ratio.show(), budget)
    return [shown]


def _ours(name: str, url: str, layer: Layer) -> float:
    return _megabytes(after_first_event(name, _TELL, url=url, path=layer.path(name)))


def _floor(clients: tuple[str, ...]) -> float:
    command = python("-c", f"{FLOOR.format(clients)}; {_TELL}")
    environment = variables(traced=True, path=[RUNTIME])
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return _megabytes(done.stdout)


def _megabytes(kibibytes: str) -> float:
    return int(kibibytes) * 1024 / 1_000_000
