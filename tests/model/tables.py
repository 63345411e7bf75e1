"""The model's tables: in memory, where faults hit methods of the store, and on moto, where they hit requests."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, cast
from unittest import mock

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ReadTimeoutError
from moto import mock_aws
from moto.backends import get_backend
from moto.core.botocore_stubber import MockRawResponse
from moto.core.models import botocore_stubber

from switchyard import clients, clock
from switchyard.protocol.jobs import HOLDING_SLOT, Job, Run, Status, WorkRequest
from switchyard.protocol.lanes import LATER_PREFIX, LOCK, SLOTS, WAIT_PREFIX, ObjectLock, Slots, WaitEntry
from switchyard.protocol.ports import JobStore
from switchyard.tables import items, lane_items
from switchyard.tables.records import Records
from switchyard.tables.store import Store
from switchyard_worker import Record, Superseded, WorkerEnvironment
from tests.fakes.memory_store import MemoryStore
from tests.model.invocations import TABLES, Fault, Kind, Shaky, current
from tests.tables import create_tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True)
class Picture:
    """The tables' whole content at one moment; slots, their holders and all entries by lane."""

    jobs: dict[str, Job]
    locks: list[ObjectLock]
    slots: dict[str, Slots]
    holders: dict[str, set[str]]
    rooms: dict[str, list[WaitEntry]]


class Tables(Protocol):
    """The model's interface to the tables."""

    store: JobStore
    """The store of invocations: faults may hit each of its calls."""

    def picture(self) -> Picture:
        """Returns the tables' content."""

    def announce(self, request: WorkRequest) -> None:
        """Records a job before its message is sent, as the API does."""

    def withdraw(self, request: WorkRequest) -> bool:
        """Deletes an announced job unless it is claimed. Returns whether it existed."""

    def check_fence(self, run: Run) -> bool:
        """Does the worker's conditional write of workers/CONTRACT.md. Returns whether the run may begin."""

    @property
    def haunted(self) -> set[str]:
        """Returns the jobs whose rows are unreadable. `picture` shows the rows as they were before."""

    def haunt(self, job_id: str, *, has_status: bool) -> None:
        """Makes a row unreadable, or writes one. It may keep its status, and so its place in the status index."""

    def mend(self, job_id: str) -> None:
        """Makes an unreadable row again what it was. Nothing may have changed it."""

    def close(self) -> None:
        """Releases resources."""


class MemoryTables:
    """Tables in memory. A fault hits a whole method of the store, however many requests it would make."""

    def __init__(self) -> None:
        self._memory = MemoryStore()
        self.store: JobStore = cast("Any", Shaky(self._memory, TABLES))

    def picture(self) -> Picture:
        return Picture(
            jobs=self._memory.jobs | {job.id: job for job in self._memory.foreign.values() if job},
            locks=list(self._memory.locks.values()),
            slots={name: Slots(lane.taken, lane.waiting, lane.timed) for name, lane in self._memory.lanes.items()},
            holders={name: set(lane.holders) for name, lane in self._memory.lanes.items()},
            rooms={name: [*lane.room.values(), *lane.later.values()] for name, lane in self._memory.lanes.items()},
        )

    def announce(self, request: WorkRequest) -> None:
        self._memory.jobs[request.job_id] = Job(request, Status.PENDING, fence=0, created_at=clock.now())

    def withdraw(self, request: WorkRequest) -> bool:
        job = self._memory.jobs.get(request.job_id)
        if job is None or job.status is not Status.PENDING or job.fence > 0:
            return False
        del self._memory.jobs[job.id]
        return True

    def check_fence(self, run: Run) -> bool:
        job = self._memory.jobs.get(run.job_id)
        if job is None or job.run_id not in (None, run.target_id) or job.fence != run.fence:
            return False
        if job.status not in HOLDING_SLOT or job.cancel_requested:
            return False
        self._memory.jobs[job.id] = replace(
            job, run_id=run.target_id, target_id=run.target_id, status=Status.RUNNING, error=None
        )
        return True

    @property
    def haunted(self) -> set[str]:
        return set(self._memory.foreign)

    def haunt(self, job_id: str, *, has_status: bool) -> None:  # noqa: ARG002 - its index lists no such rows
        self._memory.haunt(job_id)

    def mend(self, job_id: str) -> None:
        self._memory.mend(job_id)

    def close(self) -> None:
        pass


class MotoTables:
    """The real store on moto, with the functions' own client. A fault hits a request on the wire.

    This also tests the SDK's retries: a transaction whose answer was lost is sent again.
    """

    def __init__(self) -> None:
        self._client = _client()
        with ExitStack() as stack:
            stack.enter_context(mock_aws())
            stack.enter_context(mock.patch("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None)))
            # The SDK's remaining retry quota must not depend on earlier examples.
            quota = "botocore.retries.quota.RetryQuota.acquire"
            stack.enter_context(mock.patch(quota, return_value=True))
            _wire.applied.clear()
            names = create_tables(self._client)
            self._jobs, self._lanes = names
            self.store: JobStore = Store(self._client, *names, keep_ended_jobs=timedelta(days=30))
            self._records = Records(self._client, self._jobs)
            self._foreign: dict[str, tuple[Any, Any]] = {}  # each row before and after it became unreadable
            self._open = stack.pop_all()

    def picture(self) -> Picture:
        rows = {item["jobId"]["S"]: item for item in _items(self._jobs)}
        rows |= {job_id: before for job_id, (before, _) in self._foreign.items()}
        jobs = [items.job(item) for item in rows.values() if item]
        lanes = list(_items(self._lanes))
        rooms: dict[str, list[WaitEntry]] = {}
        slots: dict[str, Slots] = {}
        holders: dict[str, set[str]] = {}
        for item in lanes:
            kind, _, lane = item["pk"]["S"].partition("#")
            if kind == "HOLDS":
                holders.setdefault(lane, set()).add(item["sk"]["S"])
            elif item["sk"]["S"].startswith((WAIT_PREFIX, LATER_PREFIX)):
                rooms.setdefault(lane, []).append(lane_items.entry(item))
            elif item["sk"]["S"] == SLOTS:
                slots[lane] = lane_items.slots(item)
        locks = [lane_items.lock(item) for item in lanes if item["sk"]["S"] == LOCK]
        return Picture({job.id: job for job in jobs}, locks, slots, holders, rooms)

    def announce(self, request: WorkRequest) -> None:
        self._records.announce(request, fingerprint=request.job_id)

    def withdraw(self, request: WorkRequest) -> bool:
        return self._records.withdraw(request)

    def check_fence(self, run: Run) -> bool:
        environment = WorkerEnvironment.from_env(
            {
                "JOB_ID": run.job_id,
                "JOBS_TABLE": self._jobs,
                "FENCE": str(run.fence),
                "AWS_BATCH_JOB_ID": run.target_id,
                "S3_BUCKET": "media",
            }
        )
        try:
            Record(self._client, environment).start()
        except Superseded:
            return False
        return True

    @property
    def haunted(self) -> set[str]:
        return set(self._foreign)

    def haunt(self, job_id: str, *, has_status: bool) -> None:
        before = self._client.get_item(TableName=self._jobs, Key=items.job_key(job_id)).get("Item")
        foreign = items.FENCE.name if has_status else items.STATUS.name
        after = {**items.job_key(job_id), **(before or {}), foreign: items.text("NONSENSE")}
        self._client.put_item(TableName=self._jobs, Item=after)
        self._foreign[job_id] = before, after

    def mend(self, job_id: str) -> None:
        before, after = self._foreign.pop(job_id)
        assert self._client.get_item(TableName=self._jobs, Key=items.job_key(job_id)).get("Item") == after
        if before:
            self._client.put_item(TableName=self._jobs, Item=before)
        else:
            self._client.delete_item(TableName=self._jobs, Key=items.job_key(job_id))

    def close(self) -> None:
        self._open.close()


def _items(table: str) -> Iterator[dict[str, Any]]:
    """Reads a table's items from moto's memory: reading them by requests would take most of the time."""
    backend: Any = get_backend("dynamodb")["123456789012"]["us-east-1"]
    for item in backend.tables[table].all_items():
        yield item.to_json()["Attributes"]


class _Wire:
    """Delivers requests to moto, with faults. Unlike moto it honours transactions' tokens, as AWS does."""

    def __init__(self) -> None:
        self.applied: set[str] = set()

    def __call__(self, event_name: str, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        invocation = current()
        if invocation is None:
            return self._deliver(event_name, request)
        # One call of our code, even if the SDK sends it several times.
        call = request.headers["amz-sdk-invocation-id"]
        fault = invocation.fault_of(call)
        if fault is None:
            return self._deliver(event_name, request)
        if fault.kind is Kind.THROTTLE:
            return _throttled(request)
        if not fault.after_effect:
            invocation.stop_here(fault)
            return self._deliver(event_name, request) if fault.kind is Kind.FREEZE else _trouble(request, fault)
        answer = self._deliver(event_name, request)
        invocation.stop_here(fault)
        return answer if fault.kind is Kind.FREEZE else _trouble(request, fault)

    def _deliver(self, event_name: str, request: AWSPreparedRequest) -> AWSResponse | None:
        token = _body(request).get("ClientRequestToken")
        if token in self.applied:
            return _answer(request, 200, {})
        answer = botocore_stubber(event_name, request)
        if token is not None and answer is not None and answer.status_code == 200:
            self.applied.add(token)
        return answer


def _body(request: AWSPreparedRequest) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(cast("bytes", request.body)))


def _trouble(request: AWSPreparedRequest, fault: Fault) -> AWSResponse:
    if fault.kind is Kind.LOSE:
        raise ReadTimeoutError(endpoint_url=request.url)
    return _answer(request, 500, {"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError"})


def _throttled(request: AWSPreparedRequest) -> AWSResponse:
    """Answers with throttling; for a transaction, with a conflict."""
    actions = _body(request).get("TransactItems")
    if actions is None:
        return _answer(request, 400, {"__type": "com.amazon.coral.availability#ThrottlingException"})
    reasons = [{"Code": "TransactionConflict"}, *({"Code": "None"} for _ in actions[1:])]
    kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException"
    return _answer(request, 400, {"__type": kind, "Message": "conflict", "CancellationReasons": reasons})


def _answer(request: AWSPreparedRequest, status: int, body: dict[str, Any]) -> AWSResponse:
    text = json.dumps(body)
    headers: Any = {"content-length": str(len(text)), "content-type": "application/x-amz-json-1.0"}
    return AWSResponse(request.url, status, headers, cast("Any", MockRawResponse(text)))


_wire = _Wire()


@cache
def _client() -> "DynamoDBClient":
    """Creates the model's own client, since other tests must not get its faults; once, because that takes time."""
    client = cast("DynamoDBClient", cast("Any", clients.dynamodb).__wrapped__())
    client.meta.events.unregister("before-send", cast("Any", botocore_stubber))
    client.meta.events.register("before-send", cast("Any", _wire))
    return client
