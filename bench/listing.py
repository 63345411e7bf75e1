"""Lists 50,000 jobs page by page, by any filter, compared with the usual way: Scan, then sort.

MiniStack holds the table as template.yaml defines it, and `switchyard.tables.records` pages through it. Read units are
computed from the entries' sizes by DynamoDB's rule, because emulators return constants: MiniStack 0.5 per read, moto
1. MiniStack sorts a whole list for each page, so milliseconds here grow with the list. They say nothing of DynamoDB.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate, batched, product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Self

import boto3
from botocore.config import Config
from rich.table import Table

from bench.aws import size_of
from bench.baseline import scan_and_sort
from bench.environment import Layer
from bench.measure import Effort
from bench.report import table
from local.emulator import HEALTH, start_emulator
from local.processes import free_ports, wait_until_answering
from switchyard import clock
from switchyard.messages.kinds import IMAGES, LANES, VIDEO
from switchyard.protocol.jobs import JobError, Source, Status, TargetSpec, WorkRequest
from switchyard.protocol.lanes import Lane
from switchyard.protocol.ports import Claimed
from switchyard.tables.items import PlainItem
from switchyard.tables.records import Filters, Page, Records
from switchyard.tables.store import Store
from tests.tables import create_tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

type _Item = dict[str, Any]

_JOBS, _FEW = 50_000, 2000
_PAGE, _SHORT = 100, 5
_KINDS = tuple(kind.name for kind in LANES.values())
_STATUSES = {Status.COMPLETED: 90, Status.FAILED: 5, Status.CANCELLED: 2, Status.RUNNING: 2, Status.PENDING: 1}
_BUSY_USER = "user-0000"
_BUSY_SHARE = 0.05
_USERS = 1000
_TENTHS = 10
_ONE, _ALL = 1, _JOBS
"""Pages measured per tenth: one of a long list, because the emulator takes a second or two for each."""
_SCANNED = 1000
"""Jobs of the kind that the Scan has to find: finding all takes a minute here."""
_BLOCK = 4096


# ---- the jobs --------------------------------------------------------------------------------------------------------


def _samples(client: DynamoDBClient, jobs: str, lanes: str) -> dict[tuple[str, Status], _Item]:
    """Returns one item per kind and status, written by the production code, without the attributes a worker adds."""
    store, records = Store(client, jobs, lanes, keep_ended_jobs=timedelta(days=30)), Records(client, jobs)
    samples = {}
    for kind, to in product(_KINDS, _STATUSES):
        request = _request(kind)
        records.announce(request, fingerprint="0" * 64)
        job = store.get(request.job_id)
        if to is not Status.PENDING:
            claimed = store.claim(request, job, Lane(request.lane, 1000))
            assert isinstance(claimed, Claimed)  # noqa: S101 - a free lane
            run = f"arn:aws:ecs:us-east-1:123456789012:task/switchyard/{uuid.uuid4().hex}"
            store.record_start(claimed.job, run)
            store.advance(request.job_id, 1, run, Status.RUNNING, attempts=1)
            job = store.get(request.job_id)
            if to is not Status.RUNNING and job is not None:
                error = JobError("WORKER_CRASHED", "exit code 1") if to is Status.FAILED else None
                store.finish(job, to, error=error, target_id=run, attempts=1)
        samples[kind, to] = client.get_item(TableName=jobs, Key={"jobId": {"S": request.job_id}})["Item"]
        client.delete_item(TableName=jobs, Key={"jobId": {"S": request.job_id}})
    return samples


def _request(kind: str) -> WorkRequest:
    images = [f"s3://switchyard-media/uploads/2026/11/22/{uuid.uuid4()}-{n}.jpg" for n in range(4)]
    request = WorkRequest(
        job_id=str(uuid.uuid4()),
        kind=kind,
        lane=kind,
        target=TargetSpec("ecs", "switchyard", kind),
        source=Source("switchyard-media", "", version=uuid.uuid4().hex, message_id=str(uuid.uuid4())),
        sent_at=clock.now(),
        user_id=_BUSY_USER,
        input={"imageUrls": images} if kind == IMAGES.name else {"url": "https://example.com/live/1/index.m3u8"},
        metadata={"camera": "yard", "threshold": 0.5},
        announced=True,
    )
    if kind != VIDEO.name:
        return request
    key = f"uploads/2026/11/22/{request.job_id}-yard.mp4"
    return replace(request, input=None, video_id=request.job_id, source=replace(request.source, key=key))


def _jobs(samples: Mapping[tuple[str, Status], _Item], many: int) -> list[_Item]:
    chance = random.Random(0)  # noqa: S311 - the same jobs in every run
    kinds = chance.choices(_KINDS, k=many)
    statuses = chance.choices(list(_STATUSES), list(_STATUSES.values()), k=many)
    start = datetime(2026, 11, 1, tzinfo=UTC)
    made = []
    for number, (kind, status) in enumerate(zip(kinds, statuses, strict=True)):
        user = _BUSY_USER if chance.random() < _BUSY_SHARE else f"user-{chance.randrange(1, _USERS):04}"
        created = clock.iso(start + timedelta(seconds=20 * (number // 2)))  # two per moment: ties have an order too
        own = {"jobId": str(uuid.UUID(int=chance.getrandbits(128), version=4)), "userId": user, "createdAt": created}
        made.append(samples[kind, status] | {name: {"S": value} for name, value in own.items()})
    return made


# ---- read units ------------------------------------------------------------------------------------------------------


def _units(size: int) -> float:
    """Returns read units of one eventually consistent Query or Scan that read `size` bytes."""
    return max(1, math.ceil(size / _BLOCK)) / 2


class _Meter:
    """Counts a client's calls and read units. Filters save none."""

    def __init__(self, client: DynamoDBClient, jobs_table: str, items: list[_Item]) -> None:
        self.calls = 0
        self.looked_at = 0
        self.units = 0.0
        sizes = [{name: len(name.encode()) + size_of(value) for name, value in item.items()} for item in items]
        self._mean = sum(sum(each.values()) for each in sizes) / len(items)
        self._request: Mapping[str, Any] = {}
        self._lists: dict[tuple[str, str], _List] = {}
        self._keys: dict[str, str] = {}
        for index in client.describe_table(TableName=jobs_table)["Table"]["GlobalSecondaryIndexes"]:
            name, keys = index["IndexName"], [key["AttributeName"] for key in index["KeySchema"]]
            self._keys[name] = keys[0]
            projected = {*keys, "jobId", *index["Projection"]["NonKeyAttributes"]}
            entries: dict[str, list[tuple[tuple[str, str], int]]] = defaultdict(list)
            for item, size in zip(items, sizes, strict=True):
                entries[item[keys[0]]["S"]].append((_place(item), sum(size[each] for each in projected & size.keys())))
            self._lists |= {(name, value): _List.of(each) for value, each in entries.items()}
        client.meta.events.register("provide-client-params.dynamodb", self._asked)
        client.meta.events.register("after-call.dynamodb", self._answered)

    def _asked(self, params: Mapping[str, Any], **_: object) -> None:
        self._request = params

    def _answered(self, parsed: Mapping[str, Any], **_: object) -> None:
        self.calls += 1
        looked_at: int = parsed["ScannedCount"]
        self.looked_at += looked_at
        index = self._request.get("IndexName")
        if index is None:
            self.units += _units(round(self._mean * looked_at))
        else:
            value = self._request["ExpressionAttributeValues"][f":{self._keys[index]}"]["S"]
            entries = self._lists.get((index, value), _List({}, [0]))
            latest = self._request["ExpressionAttributeValues"].get(":latest", {}).get("S")
            self.units += _units(entries.size(self._request.get("ExclusiveStartKey"), latest, looked_at))


@dataclass(frozen=True)
class _List:
    """An index's entries for one value, newest first, and the bytes before each."""

    places: dict[tuple[str, str], int]
    sizes: list[int]

    @classmethod
    def of(cls, entries: list[tuple[tuple[str, str], int]]) -> Self:
        """Builds a list from each entry's place and bytes."""
        entries.sort(reverse=True)
        places = {place: number for number, (place, _) in enumerate(entries)}
        return cls(places, [0, *accumulate(size for _, size in entries)])

    def size(self, after: _Item | None, latest: str | None, count: int) -> int:
        """Returns the bytes of the `count` entries after that one, or from the first that is not later."""
        start = self.places[_place(after)] + 1 if after else 0
        if latest is not None and not after:
            start = next((number for (time, _), number in self.places.items() if time <= latest), len(self.places))
        return self.sizes[start + count] - self.sizes[start]


def _place(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["createdAt"]["S"], item["jobId"]["S"]


# ---- paging ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cost:
    """One page's calls, read units and time."""

    calls: float
    units: float
    milliseconds: float
    cpu: float

    @classmethod
    def of(cls, meter: _Meter, get: Callable[[], object]) -> Self:
        calls, units, wall, cpu = meter.calls, meter.units, time.perf_counter(), time.process_time()
        get()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return cls(meter.calls - calls, meter.units - units, wall * 1000, cpu * 1000)

    @classmethod
    def median(cls, costs: list[Self]) -> Self:
        return cls(*(median(each) for each in zip(*map(astuple, costs), strict=True)))

    def times(self, factor: float) -> Self:
        return type(self)(*(each * factor for each in astuple(self)))


@dataclass
class _Walk:
    """A walk through a list from its newest job to its oldest, with the cost of each measured page."""

    records: Records
    meter: _Meter
    filters: Filters
    jobs: list[_Item]
    page: int
    tenths: list[list[_Cost]] = field(default_factory=lambda: [[] for _ in range(_TENTHS)])

    def go(self, at_most: int) -> Self:
        """Measures up to `at_most` pages of each tenth, and pages through the rest in large steps.

        Fails unless every job is seen exactly once, in order.
        """
        seen: list[PlainItem] = []
        token = None
        while token is not None or not seen:
            number = min(len(seen) * _TENTHS // len(self.jobs), _TENTHS - 1)
            tenth = self.tenths[number]
            if len(tenth) < at_most:
                page, cost = self._page(self.page, token)
                tenth.append(cost)
            else:
                left = len(self.jobs) * (number + 1) // _TENTHS - len(seen)
                page, _ = self._page(max(left, 1), token)  # DynamoDB ends a page at 1 MB
            seen += page.jobs
            token = page.next_token
        # Of one moment, merged lists' jobs are in the order of the lists.
        lists = [*(self.filters.statuses or Status)]
        is_merged = not self.filters.user_id and (self.filters.statuses or not self.filters.kind)
        by_time = sorted(self.jobs, key=_place, reverse=True)
        order = (lambda item: lists.index(item["status"]["S"])) if is_merged else (lambda _: 0)
        wanted = sorted(sorted(by_time, key=order), key=lambda item: _place(item)[0], reverse=True)
        if [job["jobId"] for job in seen] != [item["jobId"]["S"] for item in wanted]:
            raise RuntimeError(f"{self.filters}: of {len(wanted)} jobs, {len(seen)} were seen, or in another order")
        return self

    def _page(self, limit: int, token: str | None) -> tuple[Page, _Cost]:
        got: list[Page] = []
        cost = _Cost.of(self.meter, lambda: got.append(self.records.page(self.filters, limit, token)))
        return got[0], cost

    @property
    def cost(self) -> _Cost:
        """Returns the median page's cost."""
        return _Cost.median([cost for tenth in self.tenths for cost in tenth])


def run(_layer: Layer, effort: Effort) -> list[Table]:
    """Measures one round: the tenths of a list are compared with each other."""
    with _emulator() as client:
        jobs_table, lanes_table = create_tables(client)
        jobs = _jobs(_samples(client, jobs_table, lanes_table), effort.of(_JOBS, _FEW))
        page = effort.of(_PAGE, _SHORT)
        took = _load(client, jobs_table, jobs)
        records, meter = Records(client, jobs_table), _Meter(client, jobs_table, jobs)

        def walk(at_most: int, wanted: Filters) -> _Walk:
            return _Walk(records, meter, wanted, [job for job in jobs if _is_wanted(job, wanted)], page).go(at_most)

        first, *others = _KINDS
        some = jobs[len(jobs) // 2]["createdAt"]["S"]
        walks = {
            "all": walk(_ONE, Filters()),
            "since half": walk(_ONE, Filters(since=some)),
            "by kind": walk(_ONE, Filters(kind=first)),
            "by user": walk(_ALL, Filters(user_id=_BUSY_USER)),
            "by status": walk(_ALL, Filters(statuses=(Status.FAILED,))),
            "by 2 statuses": walk(_ALL, Filters(statuses=(Status.FAILED, Status.CANCELLED))),
            "by status and kind": walk(_ALL, Filters(statuses=(Status.FAILED,), kind=first)),
            "by user and status": walk(_ALL, Filters(user_id=_BUSY_USER, statuses=(Status.COMPLETED,))),
        }
        for kind in others:  # all jobs were seen, each under its kind
            walk(0, Filters(kind=kind))
        meter.looked_at = 0
        part = _Cost.of(meter, lambda: scan_and_sort(client, jobs_table, first, 0, page, most=_SCANNED))
        scan = part.times(len(jobs) / meter.looked_at)
    return [_way(walks, len(jobs), page), _summary(walks, scan, took)]


def _is_wanted(job: _Item, wanted: Filters) -> bool:
    return (
        wanted.user_id in (None, job["userId"]["S"])
        and wanted.kind in (None, job["kind"]["S"])
        and job["status"]["S"] in (wanted.statuses or Status)
        and (wanted.since or "") <= job["createdAt"]["S"]
    )


def _way(walks: Mapping[str, _Walk], jobs: int, page: int) -> Table:
    shown = table(
        f"Listing {jobs:,} jobs, {page} a page, by tenths of the way: AWS calls · read units · ms of the median page",
        "",
        *(f"{name}: {len(walk.jobs):,}" for name, walk in walks.items()),
        caption="By kind: one page of each tenth. Milliseconds include the emulator's work: it sorts a whole list for "
        "each page, so they grow with its length. They say nothing about DynamoDB.",
    )
    for number in range(_TENTHS):
        costs = [_Cost.median(walk.tenths[number]) for walk in walks.values()]
        cells = (f"{cost.calls:g} · {cost.units:g} · {cost.milliseconds:,.0f}" for cost in costs)
        shown.add_row(f"{number + 1}", *cells)
    return shown


def _summary(walks: Mapping[str, _Walk], scan: _Cost, took: float) -> Table:
    shown = table(
        "One page of such a list, beside the usual way: Scan, then sort",
        *("", "AWS calls", "read units", "ms", "own CPU, ms", "usual way ÷ ours: calls", "units", "CPU"),
        caption=f"Every job was seen exactly once, under its kind. Loading them took {took:.0f} s. Each page of the "
        "usual way costs the same: the first calls of one Scan were measured and scaled to the whole table.",
    )
    for name, walk in walks.items():
        cost = walk.cost
        ratios = (scan.calls / cost.calls, scan.units / cost.units, scan.cpu / cost.cpu)
        shown.add_row(name, *_figures(cost), *(f"{ratio:,.0f}×" for ratio in ratios))
    shown.add_row("usual way, by kind", *_figures(scan))
    return shown


def _figures(cost: _Cost) -> Iterator[str]:
    yield from (f"{cost.calls:.0f}", f"{cost.units:,.1f}", f"{cost.milliseconds:,.0f}", f"{cost.cpu:,.1f}")


# ---- the emulator ----------------------------------------------------------------------------------------------------


@contextmanager
def _emulator() -> Iterator[DynamoDBClient]:
    """Runs MiniStack alone while the block runs."""
    with tempfile.TemporaryDirectory(prefix="switchyard-listing-") as folder:
        port, unused = free_ports(2)
        state = Path(folder)
        process = start_emulator(port=port, compute_port=unused, state=state, log=state / "log")
        try:
            if not wait_until_answering(process, port, HEALTH):
                raise RuntimeError((state / "log").read_text())
            yield boto3.client(
                "dynamodb",
                endpoint_url=f"http://127.0.0.1:{port}",
                region_name="us-east-1",
                aws_access_key_id="test",
                aws_secret_access_key="test",  # noqa: S106 - the emulator's
                # The service's own validation is enough for 2,000 batches.
                config=Config(proxies={}, parameter_validation=False, read_timeout=300),
            )
        finally:
            process.stop()


def _load(client: DynamoDBClient, jobs_table: str, items: list[_Item]) -> float:
    """Puts the items into the table and returns the seconds it took."""

    def put(some: tuple[_Item, ...]) -> None:
        answer = client.batch_write_item(RequestItems={jobs_table: [{"PutRequest": {"Item": item}} for item in some]})
        if answer["UnprocessedItems"]:
            raise RuntimeError("the emulator took only some of a batch")

    start = time.monotonic()
    with ThreadPoolExecutor(2) as both:  # one builds requests while the emulator works on the other's
        list(both.map(put, batched(items, 25, strict=True)))
    return time.monotonic() - start
