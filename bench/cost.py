"""Cost of a million jobs at list price, by service, compared with the usual way, by active and waiting jobs.

Request units, calls, messages and log lines come from a recorded job (`bench.course`). Durations are measured at the
template's memory sizes (`bench.power`). The prices are in `bench.prices`.
"""

from __future__ import annotations

import json
import site
import statistics
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench import confined, prices
from bench.answering import answering
from bench.course import Options, Road, Step
from bench.deployed import Deployed, template
from bench.environment import ROOT, RUNTIME, Layer, python, variables
from bench.measure import Effort, Probe
from bench.power import CALL_SECONDS, Taken, measure, messages_of
from bench.report import table
from switchyard_worker.heartbeat import gap

_DAY: Final = 24 * 60 * 60
_MONTH: Final = 30 * _DAY
JOBS_A_SECOND: Final = prices.MILLION / _DAY
"""The load assumed for sampling and waiting: a million jobs a day."""
_SAMPLED: Final = 0.05
"""X-Ray's default rule: one trace a second, and this share of all others."""
_RUN_SECONDS: Final = 600
_POLLS: Final = 5
"""Long polls that Lambda keeps open at an idle queue, 20 s each ("Using Lambda with Amazon SQS", developer guide)."""
_POLL_SECONDS: Final = 20
_MANY: Final = 9500
"""The most active jobs measured. With 10,000, the highest possible limit, no slot would be free."""

_RECONCILER: Final = "reconcile_jobs"
_FEW: Final = 10
"""Active jobs in a smoke run."""
_DEVELOPMENT: Final = Path(site.getsitepackages()[0])
_OURS: Final[dict[str, tuple[Road, Options]]] = {
    "upload, 0 active": ("batch", Options()),
    "1,000": ("batch", Options(1000)),
    f"{_MANY:,}": ("batch", Options(_MANY)),
    "1,000, and it waits": ("batch", Options(1000, waits=True)),
    "request, 0 active": ("ecs", Options()),
    "1,000 ": ("ecs", Options(1000)),
}


@dataclass(frozen=True)
class Pace:
    """A function's seconds per AWS call, waiting and own work included: for one message and among ten."""

    one: float
    ten: float

    @classmethod
    def of(cls, taken: Taken, calls: float) -> Pace:
        """Computes the pace from a message or request that took `calls` calls."""
        return cls(taken.one / calls, taken.ten / 10 / calls)


@dataclass(frozen=True)
class Sum:
    """Dollars by service."""

    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        """Returns the sum in dollars."""
        return sum(self.parts.values())


def run(layer: Layer, effort: Effort) -> list[Table]:
    """Costs our job in every situation, then the usual way. Request units don't vary, so they need no rounds."""
    most = effort.of(_MANY, _FEW)
    courses = {
        name: _course(layer, road, replace(options, active=min(options.active, most)))
        for name, (road, options) in _OURS.items()
    }
    invoked = {step.function for steps in courses.values() for step in steps if step.function}
    paces, reconciler = _paces(layer, sorted(invoked | {_RECONCILER}), effort.rounds)
    usual = [
        _usual(layer, road, active, min(active, most), effort.rounds)
        for road in ("usual", "thorough")
        for active in (0, 1000, _MANY)
    ]
    return [
        _by_service(courses, paces),
        _by_step(courses),
        _by_active(courses, paces, usual),
        _by_waiting(courses, paces, usual),
        _standing(reconciler),
    ]


# ---- measuring -------------------------------------------------------------------------------------------------------


def _course(layer: Layer, road: Road, options: Options) -> list[Step]:
    path = [layer.deployed, RUNTIME, ROOT, ROOT / "workers" / "library", _DEVELOPMENT]
    command = python("-m", "bench.course", road, json.dumps(asdict(options)))
    done = subprocess.run(
        command, cwd=ROOT, env=variables(traced=None, path=path), stdout=subprocess.PIPE, text=True, check=True
    )
    return [Step(**step) for step in json.loads(done.stdout)]


def _paces(layer: Layer, functions: Sequence[str], rounds: int) -> tuple[dict[str, Pace], float]:
    """Returns the pace of each function, and the dollars for one pass of the reconciler."""
    limited = confined.unavailable() is None
    paces: dict[str, Pace] = {}
    calls: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory(prefix="switchyard-cost-") as folder,
        answering(Path(folder), CALL_SECONDS) as aws,
    ):
        for function in functions:
            memory, found = Deployed.of(function).memory, []
            for _ in range(rounds):
                aws.calls.clear()
                taken = measure(function, memory, layer, aws, limited=limited)
                if taken is None:
                    raise RuntimeError(f"{function} needs more than its {memory} MB")
                calls[function] = aws.calls.total() / messages_of(function)
                found.append(Pace.of(taken, calls[function]))
            one, ten = (statistics.median(getattr(each, name) for each in found) for name in ("one", "ten"))
            paces[function] = Pace(one, ten)
    asked = calls[_RECONCILER]
    lasted = paces[_RECONCILER].one * asked
    passed = prices.invocation(lasted, Deployed.of(_RECONCILER).memory) + asked * prices.DYNAMODB_READ
    return paces, passed


@dataclass(frozen=True)
class Usual:
    """The usual way with `active` jobs: seconds of an invocation with one message, and its recorded step."""

    road: Road
    active: int
    seconds: float
    step: Step


def _usual(layer: Layer, road: Road, active: int, present: int, rounds: int) -> Usual:
    """Measures the usual way with `present` jobs, and reports it as `active`."""
    memory = Deployed.of("sqs_to_batch").memory
    slower = 1 / min(1.0, prices.share(memory)) - 1
    with Probe(road, layer, {"active": present, "latency": CALL_SECONDS}) as probe:
        probe.sample(invocations=1, messages=1)
        took = [probe.sample(invocations=1, messages=1) for _ in range(min(rounds, 2))]
    (step,) = _course(layer, road, Options(present))
    return Usual(road, active, statistics.median(each["wall"] + each["cpu"] * slower for each in took), step)


# ---- costs -----------------------------------------------------------------------------------------------------------


def traced(per_job: float) -> float:
    """Returns traces per job for a function invoked `per_job` times for each, at a million jobs a day."""
    rate = JOBS_A_SECOND * per_job
    return per_job * min(1.0, (1 + _SAMPLED * max(0.0, rate - 1)) / rate) if rate else 0.0


def of_job(steps: Iterable[Step], paces: Mapping[str, Pace], *, tens: bool = False) -> Sum:
    """Returns dollars for one job without heartbeats and status requests. `tens`: ten messages per invocation."""
    parts: dict[str, float] = defaultdict(float)
    invoked: dict[str, float] = defaultdict(float)
    for step in steps:
        if step.name in _ASIDE:
            continue
        parts["DynamoDB: writes"] += step.writes * prices.DYNAMODB_WRITE
        parts["DynamoDB: reads"] += step.reads * prices.DYNAMODB_READ
        parts["CloudWatch: log lines"] += step.logged / 1e9 * prices.LOGS_GB
        parts["SQS"] += _queued(step, tens=tens)
        if not step.function:
            continue
        memory, pace, calls = Deployed.of(step.function).memory, paces[step.function], sum(step.calls.values())
        many = 10 if tens and step.came else 1
        seconds = calls * (pace.ten if many > 1 else pace.one) * many
        parts["Lambda"] += prices.invocation(seconds, memory) / many
        invoked[step.function] += 1 / many
        if step.name == "request":
            parts["API Gateway"] += prices.API_REQUEST
    parts["X-Ray"] = sum(traced(often) for often in invoked.values()) * prices.TRACE
    return Sum(parts)


_ASIDE: Final = ("worker: one heartbeat", "status asked for once")


def _queued(step: Step, *, tens: bool) -> float:
    """Counts requests to SQS: ours, and those that bring a step's message to its function."""
    sent = sum(prices.queue_request(size) for size in step.sent)
    if not step.came:
        return sent
    many = 10 if tens else 1
    # S3, EventBridge or one of our steps sends it; the step has counted it already.
    arrived = 0.0 if step.function == "dispatch_to_ecs" else prices.queue_request(step.came)
    received = prices.queue_request(step.came * many) / many
    deleted = prices.queue_request() / many
    visibility = step.calls.get("ChangeMessageVisibility", 0) * prices.queue_request()
    return sent + arrived + received + deleted + visibility


def of_usual(usual: Usual, waiting: int, visibility: float) -> Sum:
    """Returns dollars for one job of the usual way behind `waiting` messages. Each receive is an invocation."""
    receives = receives_of(waiting, visibility)
    memory, came = Deployed.of("sqs_to_batch").memory, usual.step.came
    return Sum(
        {
            "Lambda": receives * prices.invocation(usual.seconds, memory),
            "SQS": prices.queue_request(came) * (1 + receives) + prices.queue_request(),
            "DynamoDB: writes": usual.step.writes * prices.DYNAMODB_WRITE,
            "X-Ray": traced(receives) * prices.TRACE,
        }
    )


def receives_of(waiting: int, visibility: float) -> float:
    """Counts a message's receives behind `waiting` others: the first, and one after each visibility timeout."""
    return 1 + waiting / JOBS_A_SECOND / visibility


# ---- tables ----------------------------------------------------------------------------------------------------------


def _beats() -> int:
    """Heartbeats of a run of ten minutes."""
    age, written = gap(0), 0
    while age <= _RUN_SECONDS:
        age, written = age + gap(age), written + 1
    return written


def _by_service(courses: Mapping[str, Sequence[Step]], paces: Mapping[str, Pace]) -> Table:
    shown = table(
        "Dollars for a million jobs, tracked to their end",
        *("", *courses),
        caption="One message per invocation, which costs most; the last line has ten. Active: jobs that hold slots. "
        f"A run of ten minutes writes {_beats()} heartbeats.",
    )
    sums = [of_job(steps, paces) for steps in courses.values()]
    names = dict.fromkeys(name for each in sums for name in each.parts)
    for name in names:
        shown.add_row(name, *(_dollars(each.parts.get(name, 0)) for each in sums))
    shown.add_section()
    shown.add_row("all", *(_dollars(each.total) for each in sums))
    shown.add_row("in tens", *(_dollars(of_job(steps, paces, tens=True).total) for steps in courses.values()))
    shown.add_section()
    beats = [_beats() * _one(steps, _ASIDE[0]).writes * prices.DYNAMODB_WRITE for steps in courses.values()]
    shown.add_row("for ten minutes of each job: heartbeats", *(_dollars(each) for each in beats))
    asked = [_asked(steps, paces) for steps in courses.values()]
    shown.add_row("for each status asked for", *("" if each is None else _dollars(each) for each in asked))
    return shown


def _one(steps: Sequence[Step], name: str) -> Step:
    return next(step for step in steps if step.name == name)


def _asked(steps: Sequence[Step], paces: Mapping[str, Pace]) -> float | None:
    for step in steps:
        if step.name == _ASIDE[1]:
            seconds = paces[step.function].one * sum(step.calls.values())
            answered = prices.invocation(seconds, Deployed.of(step.function).memory)
            return answered + prices.API_REQUEST + step.reads * prices.DYNAMODB_READ + traced(1) * prices.TRACE
    return None


def _by_step(courses: Mapping[str, Sequence[Step]]) -> Table:
    shown = table(
        "DynamoDB's write units of one job, and read units where there are any",
        *("", *courses),
        caption="A transaction counts twice. Indexes count.",
    )
    names = dict.fromkeys(step.name for steps in courses.values() for step in steps)
    for name in names:
        cells = []
        for steps in courses.values():
            mine = [step for step in steps if step.name == name]
            writes, reads = sum(step.writes for step in mine), sum(step.reads for step in mine)
            times = f"{len(mine)} ×: " if len(mine) > 1 else ""
            cells.append(f"{times}{writes}{f' · {reads:g}' if reads else ''}" if mine else "")
        shown.add_row(name, *cells)
    shown.add_section()
    every = [[step for step in steps if step.name not in _ASIDE] for steps in courses.values()]
    shown.add_row(
        "all but heartbeats and questions",
        *(f"{sum(step.writes for step in steps)} · {sum(step.reads for step in steps):g}" for steps in every),
    )
    shown.add_row("of them the indexes'", *(f"{sum(step.indexes for step in steps)}" for steps in every))
    return shown


def _by_active(courses: Mapping[str, Sequence[Step]], paces: Mapping[str, Pace], usual: Sequence[Usual]) -> Table:
    shown = table(
        "Dollars for a million uploads while none waits",
        *("active", "usual way", "its seconds", "thorough", "its seconds", "ours, until it is started", "to its end"),
        caption="The usual way doesn't track its jobs, can exceed its limit, and may start a job twice.",
    )
    names = list(courses)
    for active, name in ((0, names[0]), (1000, names[1]), (_MANY, names[2])):
        cells = []
        for each in (_with(usual, road, active) for road in ("usual", "thorough")):
            cells += [_dollars(of_usual(each, 0, _visibility()).total), f"{each.seconds:.1f}"]
        started = of_job(courses[name][:1], paces)
        shown.add_row(f"{active:,}", *cells, _dollars(started.total), _dollars(of_job(courses[name], paces).total))
    return shown


def _by_waiting(courses: Mapping[str, Sequence[Step]], paces: Mapping[str, Pace], usual: Sequence[Usual]) -> Table:
    names = list(courses)
    shown = table(
        "Dollars for a million uploads with 1,000 active, by how many wait",
        *("waiting", "usual way", "receives a message", "thorough", "ours, to its end"),
        caption=f"At {JOBS_A_SECOND:.1f} jobs a second a message waits for so long, and is received anew every "
        f"{_visibility()} s; each time costs as much as the first. With maxReceiveCount 5 the fifth is the last.",
    )
    for waiting in (0, 1000, 10_000):
        ours = of_job(courses[names[3] if waiting else names[1]], paces).total
        costs = [of_usual(_with(usual, road, 1000), waiting, _visibility()).total for road in ("usual", "thorough")]
        receives = receives_of(waiting, _visibility())
        shown.add_row(f"{waiting:,}", _dollars(costs[0]), f"{receives:.1f}", _dollars(costs[1]), _dollars(ours))
    return shown


def _with(usual: Sequence[Usual], road: Road, active: int) -> Usual:
    return next(each for each in usual if (each.road, each.active) == (road, active))


def _standing(reconciler: float) -> Table:
    resources: dict[str, Any] = template()["Resources"]
    alarms = sum(
        each["Type"] == "AWS::CloudWatch::Alarm" for each in template("stacks/watch.yaml")["Resources"].values()
    )
    queues = sum(
        event["Type"] == "SQS"
        for each in resources.values()
        for event in each.get("Properties", {}).get("Events", {}).values()
    )
    polls = queues * _POLLS * _MONTH / _POLL_SECONDS
    passes = _MONTH / 60 / template()["Parameters"]["ReconcileMinutes"]["Default"]
    shown = table("Dollars a month while nothing happens", "", "how many", "$")
    shown.add_row("alarms", f"{alarms}", _cents(alarms * prices.ALARM_MONTH))
    shown.add_row(f"empty receives of {queues} queues", f"{polls:,.0f}", _cents(polls * prices.SQS_REQUEST))
    shown.add_row("passes of the reconciler", f"{passes:,.0f}", _cents(passes * (reconciler + prices.TRACE)))
    return shown


def _visibility() -> int:
    seconds: int = template()["Resources"]["VideoQueue"]["Properties"]["VisibilityTimeout"]
    return seconds


def _dollars(each: float) -> str:
    return f"{each * prices.MILLION:,.2f}"


def _cents(each: float) -> str:
    return f"{each:,.2f}"
