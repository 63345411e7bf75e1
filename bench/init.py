"""CPU time of a function's cold start in a fresh process: its imports, and everything else its first event needs."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

from rich.table import Table

from bench.environment import RUNTIME, Layer, python, variables
from bench.measure import Effort, Samples, interleaved
from bench.report import table, verdict
from tools.functions import for_every_function

_TIMED = "import time; start = time.process_time(); {}; print(time.process_time() - start)"
FLOOR: Final = "import boto3; [boto3.client(name) for name in {}]"
"""The minimum for any caller of these services."""
# A body's schema is compiled when the first body arrives.
_PRESIGN = (
    """http.Request('POST', '/', body='{"filename": "a", "contentType": "video/mp4", "size": 7}')"""
    """.json('PresignRequest')"""
)
_PROCESS = """http.Request('POST', '/', body='{"imageUrls": ["s3://b/a"], "userId": "u"}').json('ProcessRequest')"""


@dataclass(frozen=True)
class Start:
    """A function's cold start.

    Attributes:
        clients: The services it has clients for.
        code: Builds what a first event needs.
        budget: For its CPU time, relative to the floor.
        memory: For its memory after a first event, relative to the floor.
    """

    clients: tuple[str, ...]
    code: str
    budget: float = 1.3
    memory: float = 1.2


STARTS: Mapping[str, Start] = for_every_function(
    {
        "sqs_to_batch": Start(("dynamodb", "sqs", "batch"), "app.function()"),
        "dispatch_to_ecs": Start(("dynamodb", "sqs", "ecs"), "app.function()"),
        "track_job": Start(("dynamodb", "sqs", "batch", "ecs"), "app.function()"),
        "notify": Start(("events", "sqs"), "app.notifier()"),
        "deliver_webhook": Start(("dynamodb", "sqs"), "app.function()"),
        "manage_webhooks": Start(("dynamodb", "sqs"), "app.api()"),
        "reconcile_jobs": Start(("dynamodb", "sqs", "batch", "ecs"), "app.reconciler()"),
        "presign_upload": Start(("s3",), f"app.api(); from switchyard.api import http; {_PRESIGN}"),
        "submit_job": Start(("dynamodb", "sqs"), f"app.api(); from switchyard.api import http; {_PROCESS}"),
        "get_job": Start(("dynamodb",), "app.api()"),
        "cancel_job": Start(("dynamodb", "batch", "ecs"), "app.api()"),
        # It loads a model of 22 million numbers, which memory has as 32 bits each.
        "search_media": Start(("s3vectors",), "app.api()", budget=2.5, memory=4),
        "serve_console": Start(("s3",), "app.api()"),
        "s3_torrent_creator": Start(("dynamodb", "sqs", "s3"), "app.function()"),
        "import_steam_library": Start(("dynamodb", "sqs", "s3"), "app.function()"),
    }
)
_COMPILED_EACH_TIME = ("sqs_to_batch", "submit_job")
"""Functions also started without bytecode."""

_TAKEN_APART = ("sqs_to_batch", "submit_job")
_STEPS: Mapping[str, str] = {
    "botocore": "import botocore.session, botocore.client, botocore.args",
    "Powertools: logger, metrics, tracer": "import aws_lambda_powertools.metrics",
    "X-Ray SDK, and its patch of botocore": "from switchyard import observability",
    "our settings": "from switchyard import settings",
    "our other modules": "import app",
    "the function itself: clients, for the most part": "{made}",
    "validation: the schema of one body": "{validated}",
}
"""The steps of a cold start, in order. Each step reuses the imports of the steps before it."""


def run(layer: Layer, effort: Effort) -> list[Table]:
    """Measures every cold start in turn, X-Ray on, with the layer as deployed; some also without its bytecode."""
    measures: dict[tuple[str, ...], Callable[[], float]] = {}
    for name, start in STARTS.items():
        # Each function's floor has the function's own services: a client's cost depends on its service model's size.
        measures[start.clients] = partial(milliseconds, FLOOR.format(start.clients), [RUNTIME])
        for kind, packages in (("as deployed", layer.deployed), ("without bytecode", layer.sources)):
            if packages is layer.deployed or name in _COMPILED_EACH_TIME:
                path = [packages if each is layer.deployed else each for each in layer.path(name)]
                measures[name, kind] = partial(milliseconds, f"import app; {start.code}", path, name)
    found = interleaved(measures, effort)
    shown = table(
        "CPU of a function's start",
        *("", "layer", "ms: median, lowest-highest", "floor, ms", "÷ floor", "budget: ÷ floor"),
        caption="Floor: import boto3, and a client for each service the function uses.",
    )
    for name, start in STARTS.items():
        floor = found[start.clients]
        for kind in ("as deployed", "without bytecode"):
            if (name, kind) in found:
                samples = found[name, kind]
                ratio = samples.over(floor)
                budget = verdict(round(ratio.median, 2), start.budget) if kind == "as deployed" else ""
                shown.add_row(name, kind, samples.show(0), floor.show(0), ratio.show(), budget)
    return [shown, _taken_apart(layer, effort.rounds)]


def _taken_apart(layer: Layer, rounds: int) -> Table:
    found = {name: [_steps(name, layer) for _ in range(rounds)] for name in _TAKEN_APART}
    shown = table(
        "What a start's CPU time is made of, ms",
        *("", *_TAKEN_APART),
        caption="Each step reuses the imports of the steps before it, so the order decides which step pays.",
    )
    for number, step in enumerate(_STEPS):
        shown.add_row(step, *(Samples(tuple(each[number] for each in found[name])).show(1) for name in _TAKEN_APART))
    return shown


def _steps(name: str, layer: Layer) -> list[float]:
    made, _, validated = STARTS[name].code.partition("; ")
    code = [step.format(made=made, validated=validated or "pass") for step in _STEPS.values()]
    timed = "times.append(time.process_time())"
    lines = ["import time; times = []", timed, *(line for step in code for line in (step, timed)), "print(*times)"]
    command = python("-c", "\n".join(lines))
    environment = variables(traced=True, path=layer.path(name))
    del environment["AWS_LAMBDA_INITIALIZATION_TYPE"]  # importing the function and making its parts are two steps
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    times = [float(each) * 1000 for each in done.stdout.splitlines()[-1].split()]
    return [after - before for before, after in pairwise(times)]


def milliseconds(code: str, path: Sequence[Path], function: str = "") -> float:
    """Returns the CPU time of Python code in a fresh process, in the environment of `function`."""
    command = python("-c", _TIMED.format(code))
    environment = variables(traced=True, path=path, function=function)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1]) * 1000
