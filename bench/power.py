"""Speed and cost of each function by memory size, which on Lambda also sets its share of a CPU.

Each sample is a process, like Lambda's execution environment. It imports the function with a whole CPU, then handles
its first event and more with the CPU share and the memory limit of its size. It calls a local AWS endpoint by HTTPS;
each call takes 10 ms. Without control groups, shares are computed: waiting + CPU time ÷ share.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import boto3
from moto import mock_aws
from rich.table import Table

from bench import confined, prices
from bench.answering import Answering, answering
from bench.deployed import Deployed
from bench.environment import ROOT, RUNTIME, Layer, python, variables
from bench.measure import Effort
from bench.report import table
from bench.subjects import image_jobs, uploads
from switchyard.messages.kinds import VIDEO
from switchyard.protocol.jobs import Status
from switchyard.protocol.lanes import Lane
from switchyard.protocol.ports import Claimed
from switchyard.tables.store import Store
from switchyard.targets.batch import run_of
from tests.requests import request
from tests.tables import create_tables
from tools.functions import FUNCTIONS, Trigger, invoked_by

type Event = dict[str, Any]

SIZES: Final = (128, 192, 256, 512, 1024, prices.VCPU_MB)
CALL_SECONDS: Final = 0.010
"""Seconds a call to AWS waits."""
_MIB: Final = 2**20
_WARM, _TENS = 5, 4
_MOST_ROUNDS: Final = 3
"""The part of `--rounds` that is run: a round takes four minutes, mostly waiting."""

_MEMORY_SHARE: Final = 0.65
"""The highest share of its memory a function may use here: Lambda's runtime needs some, and larger events exist."""
_API_FIRST: Final = 2.0
"""The most seconds a caller may wait for a cold start."""
_API_WARM: Final = 2.0
"""How many times longer a warm request may take than with a whole vCPU."""
_OF_TIMEOUT: Final = 0.1
"""The share of its timeout that an invocation of ten messages may take."""

_API: Final = {function.name for function in invoked_by(Trigger.API)}
_QUEUES: Final = {function.name for function in invoked_by(Trigger.QUEUE)} - {
    "s3_torrent_creator",
    "import_steam_library",
}
"""Functions measured with several messages. The samples of the two others request no work."""


@dataclass(frozen=True)
class Cpu:
    """CPU seconds of the same invocations."""

    first: float
    one: float
    ten: float
    burst: float


@dataclass(frozen=True)
class Taken:
    """One process's wall and CPU time in seconds, and peak memory in bytes.

    `one` and `ten` are warm invocations of that many messages. `burst` is the first invocation of ten, which opens nine
    more connections to each service. Functions without a queue have neither `ten` nor `burst`.
    """

    init: float
    first: float
    one: float
    ten: float
    burst: float
    peak: int
    cpu: Cpu

    def at(self, share: float) -> Taken:
        """Computes the times at a share of the CPU from those with a whole CPU: waiting + CPU time ÷ share."""
        slower = 1 / min(1.0, share) - 1
        held = {field.name: getattr(self.cpu, field.name) * slower for field in fields(Cpu)}
        return replace(self, **{name: getattr(self, name) + more for name, more in held.items()})


def run(layer: Layer, effort: Effort) -> list[Table]:
    """Measures every function at every size in turn, then computes how long calls can take, for the timeouts."""
    why_not, sizes = confined.unavailable(), effort.of(SIZES, SIZES[-1:])
    found: dict[tuple[str, int], list[Taken | None]] = {(name, size): [] for name in FUNCTIONS for size in sizes}
    calls: dict[str, dict[str, float]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="switchyard-power-") as folder,
        answering(Path(folder), CALL_SECONDS) as aws,
    ):
        for _ in range(min(effort.rounds, _MOST_ROUNDS)):
            for (function, size), taken in found.items():
                aws.calls.clear()
                taken.append(measure(function, size, layer, aws, limited=why_not is None))
                calls[function] = {name: count / messages_of(function) for name, count in aws.calls.items()}
    how = f"by arithmetic, as no control group could be made ({why_not})" if why_not else "in control groups"
    tables = []
    for name in FUNCTIONS:
        kept = {size: median(found[name, size]) for size in sizes}
        tables.append(_table(name, kept, how))
    return [*tables, _longest(layer, calls)]


def median(found: Sequence[Taken | None]) -> Taken | None:
    """Returns the median of each time and the highest memory. None if any process ran out of memory."""
    taken = [each for each in found if each is not None]
    if len(taken) < len(found):
        return None
    return Taken(
        init=statistics.median(each.init for each in taken),
        first=statistics.median(each.first for each in taken),
        one=statistics.median(each.one for each in taken),
        ten=statistics.median(each.ten for each in taken),
        burst=statistics.median(each.burst for each in taken),
        peak=max(each.peak for each in taken),
        cpu=Cpu(*(statistics.median(getattr(each.cpu, field.name) for each in taken) for field in fields(Cpu))),
    )


def advised(function: str, found: Mapping[int, Taken | None], timeout: float) -> int | None:
    """Returns the cheapest size at which a function is fast enough and has memory to spare; None if there is none."""
    whole = found[max(found)]
    fit = {
        size: prices.invocation(taken.one, size)
        for size, taken in found.items()
        if taken and whole and _fits(function, taken, size, whole, timeout)
    }
    return min(fit, key=lambda size: (fit[size], size)) if fit else None


def _fits(function: str, taken: Taken, size: int, whole: Taken, timeout: float) -> bool:
    if taken.peak > _MEMORY_SHARE * size * _MIB:
        return False
    if function in _API:
        return taken.init + taken.first <= _API_FIRST and taken.one <= _API_WARM * whole.one
    return max(taken.first, taken.one, taken.ten, taken.burst) <= _OF_TIMEOUT * timeout


def _table(function: str, found: Mapping[int, Taken | None], how: str) -> Table:
    now = Deployed.of(function)
    columns = ("MB", "one, ms", "by arithmetic", "ten, ms", "first ten", "first, ms", "init, ms", "peak")
    shown = table(
        f"{function}, {how}",
        *(*columns, "$ a million: x86", "arm", ""),
        caption="One, ten: warm invocations of one and ten messages; the first ten open connections. First: the first "
        "event, without init. $: a million invocations of one message.",
    )
    whole, advice = found[max(found)], advised(function, found, now.timeout)
    for size, taken in found.items():
        notes = [*(["deployed"] if size == now.memory else []), *(["advised"] if size == advice else [])]
        if taken is None or whole is None:
            shown.add_row(f"{size:,}", "out of memory", *[""] * 8, " ".join(notes))
            continue
        # A whole vCPU is never throttled: the rest of the time is waiting.
        reckoned = whole.at(prices.share(size)).one
        dear, cheap = (prices.invocation(taken.one, size, kind) * prices.MILLION for kind in ("x86_64", "arm64"))
        shown.add_row(
            *(f"{size:,}", f"{taken.one * 1000:.0f}", f"{reckoned * 1000:.0f}"),
            *(f"{each * 1000:,.0f}" if function in _QUEUES else "" for each in (taken.ten, taken.burst)),
            *(f"{taken.first * 1000:,.0f}", f"{taken.init * 1000:,.0f}"),
            f"{taken.peak / _MIB:.0f} MiB, {taken.peak / _MIB / size:.0%}",
            *(f"{dear:.2f}", f"{cheap:.2f}", " ".join(notes)),
        )
    return shown


def messages_of(function: str) -> int:
    """Returns how many messages or requests `measure` gives a process."""
    return 1 + _WARM + (10 * _TENS if function in _QUEUES else 0)


def measure(function: str, memory: int, layer: Layer, aws: Answering, *, limited: bool = True) -> Taken | None:
    """Measures one function in a process limited to `memory` MB and their CPU share; None if it runs out of memory.

    If not `limited`, it runs with all memory and CPU, and the share is computed.
    """
    aws.instead.clear()
    aws.instead.update(_answers(function))
    path = layer.path(function)
    with ExitStack() as stack:
        group = stack.enter_context(confined.Group(memory * _MIB)) if limited else None
        process = stack.enter_context(
            subprocess.Popen(
                python("-P", f"{ROOT / 'bench' / 'invoked.py'}"),
                env={**variables(traced=True, path=path, function=function), **aws.variables()},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
        )
        if group:
            group.take(process.pid)
        try:
            taken = _taken(function, process, partial(group.share, prices.share(memory)) if group else lambda: None)
        except (BrokenPipeError, EOFError):
            if process.wait() != -signal.SIGKILL:  # the kernel kills a process that is out of memory
                raise RuntimeError(f"{function} failed; its output is above") from None
            taken = None
        finally:
            if group:
                group.share(None)
            assert process.stdin is not None  # noqa: S101 - a pipe
            with suppress(BrokenPipeError):
                process.stdin.close()
    return taken if limited or taken is None else taken.at(prices.share(memory))


def _taken(function: str, process: subprocess.Popen[str], hold: Callable[[], None]) -> Taken:
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101

    def told(asked: str) -> dict[str, float]:
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(asked + "\n")
        line = process.stdout.readline()
        if not line:
            raise EOFError
        answer: dict[str, float] = json.loads(line)
        return answer

    init = told("")
    hold()
    first = told(json.dumps(event_of(function, 1)))
    warm = [told(json.dumps(event_of(function, 1))) for _ in range(_WARM)]
    tens = [told(json.dumps(event_of(function, 10))) for _ in range(_TENS)] if function in _QUEUES else []
    return Taken(
        init=init["wall"],
        first=first["wall"],
        one=statistics.median(each["wall"] for each in warm),
        ten=statistics.median(each["wall"] for each in tens[1:]) if tens else 0.0,
        burst=tens[0]["wall"] if tens else 0.0,
        peak=round([first, *warm, *tens][-1]["peak"]),
        cpu=Cpu(
            first=first["cpu"],
            one=statistics.median(each["cpu"] for each in warm),
            ten=statistics.median(each["cpu"] for each in tens[1:]) if tens else 0.0,
            burst=tens[0]["cpu"] if tens else 0.0,
        ),
    )


# ---- the longest times -----------------------------------------------------------------------------------------------

_CLIENTS: Final = {
    "SubmitJob": "batch_submit",
    **dict.fromkeys(("DescribeJobs", "TerminateJob"), "batch"),
    "RunTask": "ecs",
    **dict.fromkeys(("ChangeMessageVisibility", "SendMessage"), "sqs"),
    **dict.fromkeys(("GetItem", "PutItem", "Query", "TransactWriteItems", "UpdateItem"), "dynamodb"),
}
_TELL_LIMITS: Final = """
import json
from switchyard import clients
configs = {name: getattr(clients, name)().meta.config for name in %r}
print(json.dumps({name: [each.retries["total_max_attempts"], each.read_timeout] for name, each in configs.items()}))
"""
_LONGEST_PAUSE: Final = 20


@dataclass(frozen=True)
class Limits:
    """A client's attempts per call, and its read timeout in seconds."""

    attempts: int
    read: float

    @property
    def throttled(self) -> float:
        """Returns the most seconds a call takes if every attempt is throttled at once: botocore's "Retry behavior"."""
        return self.attempts * CALL_SECONDS + sum(min(1 << n, _LONGEST_PAUSE) for n in range(self.attempts - 1))

    @property
    def mute(self) -> float:
        """Returns the most seconds a call takes if no attempt is answered."""
        return self.throttled + self.attempts * (self.read - CALL_SECONDS)


def _longest(layer: Layer, calls: Mapping[str, Mapping[str, float]]) -> Table:
    shown = table(
        "How long one message or request can take",
        *("", "calls", "all throttled to the last try, s", "its worst call unanswered, s", "timeout, s"),
        caption="From the clients' own settings. Lambda ends a function at its timeout; work that it "
        "had begun is found and finished later.",
    )
    limits = _limits(layer)
    for function, made in calls.items():
        each = [(limits[_CLIENTS[name]], count) for name, count in made.items()]
        throttled = sum(limit.throttled * count for limit, count in each)
        mute = max((limit.mute for limit, _ in each), default=0.0)
        what = ", ".join(name if count == 1 else f"{count:g} × {name}" for name, count in made.items()) or "none"
        shown.add_row(function, what, f"{throttled:.0f}", f"{mute:.0f}", f"{Deployed.of(function).timeout}")
    return shown


def _limits(layer: Layer) -> dict[str, Limits]:
    names = tuple(sorted(set(_CLIENTS.values())))
    environment = variables(traced=None, path=[layer.deployed, RUNTIME])
    command = python("-c", _TELL_LIMITS % (names,))
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return {name: Limits(*told) for name, told in json.loads(done.stdout).items()}


# ---- events ----------------------------------------------------------------------------------------------------------


def event_of(function: str, messages: int) -> Event:
    """Returns the function's typical event, with `messages` messages if it reads a queue."""
    match function:
        case "sqs_to_batch":
            return uploads(1, messages)[0]
        case "dispatch_to_ecs":
            return image_jobs(1, messages)[0]
    event: Event = json.loads(FUNCTIONS[function].event.read_text())
    if function in _QUEUES:
        (record,) = event["Records"]
        event["Records"] = [{**deepcopy(record), "messageId": str(uuid.uuid4())} for _ in range(messages)]
    return event


def _answers(function: str) -> dict[str | tuple[str, str], Mapping[str, Any]]:
    """Returns answers for this function where AWS's usual ones would not let it do its work."""
    empty: dict[str | tuple[str, str], Mapping[str, Any]] = {
        ("GetItem", "LanesTable"): {},
        "Query": {"Items": [], "Count": 0, "ScannedCount": 0},
        "ChangeMessageVisibility": {},
        "QueryVectors": {"vectors": [], "distanceMetric": "cosine"},
    }
    if function not in {"track_job", "cancel_job"}:
        return empty
    item = _job_item(Status.SUBMITTED if function == "track_job" else Status.RUNNING)
    return empty | {("GetItem", "JobsTable"): {"Item": item}, "UpdateItem": {"Attributes": item}, "TerminateJob": {}}


def _job_item(status: Status) -> dict[str, Any]:
    """Returns the record of the job whose state changes are among the samples, written by the production code."""
    change = event_of("track_job", 1)["Records"][0]["body"]
    run_ = run_of(json.loads(change)["detail"])
    assert run_ is not None  # noqa: S101 - our own sample
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        jobs, lanes = create_tables(client)
        store = Store(client, jobs, lanes, keep_ended_jobs=timedelta(days=30))
        claimed = store.claim(request(run_.job_id), None, Lane(VIDEO.lane, 10))
        assert isinstance(claimed, Claimed)  # noqa: S101 - a free lane
        store.record_start(claimed.job, run_.target_id)
        if status is Status.RUNNING:
            store.advance(run_.job_id, run_.fence, run_.target_id, status, attempts=1)
        return dict(client.get_item(TableName=jobs, Key={"jobId": {"S": run_.job_id}})["Item"])
