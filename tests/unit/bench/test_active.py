"""The reconciler bench's account is readable by the real code and has AWS's limits."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from bench.active import MOST_DESCRIBED, Active, index_item
from bench.environment import LANE_LIMIT
from switchyard import clients
from switchyard.protocol.jobs import Status
from switchyard.protocol.lanes import Lane
from switchyard.tables.store import Store
from switchyard.targets.batch import BatchTarget
from switchyard.targets.ecs import EcsTarget, Placement
from tests.tables import TEMPLATE

CLIENTS = (clients.dynamodb, clients.batch, clients.ecs)
JOBS = 5000
"""More than one page of the index holds."""


@pytest.fixture
def account(request: pytest.FixtureRequest) -> Iterator[Active]:
    """The account of this test's clients; its target is the test's parameter."""
    for make in CLIENTS:
        make.cache_clear()
    account = Active(active=JOBS, target=getattr(request, "param", "batch"))
    for make in CLIENTS:
        events: Any = make().meta.events  # whose stubs know of no handler that answers
        events.register_first("before-send", account.answer)
    yield account
    for make in CLIENTS:
        make.cache_clear()


@pytest.fixture
def store(account: Active) -> Store:
    """The store on that account."""
    return Store(clients.dynamodb(), "jobs", "lanes", keep_ended_jobs=timedelta(days=1))


@pytest.mark.parametrize("account", ["batch", "ecs"], indirect=True)
def test_every_active_job_is_listed_once(store: Store) -> None:
    listed = [job.id for status in (Status.SUBMITTED, Status.RUNNING) for job in store.by_status(status)]
    assert (len(listed), len(set(listed))) == (JOBS, JOBS)


def test_a_list_comes_in_pages_of_a_megabyte(account: Active, store: Store) -> None:
    _, _, first = account.reply("Query", _request(**_by_status("SUBMITTED")))
    assert len(list(store.by_status(Status.SUBMITTED))) > len(json.loads(first)["Items"])


@pytest.mark.parametrize("account", ["batch", "ecs"], indirect=True)
def test_every_run_is_in_the_status_that_its_job_is_listed_with(account: Active, store: Store) -> None:
    listed = {job.target_id: job for status in (Status.SUBMITTED, Status.RUNNING) for job in store.by_status(status)}
    target: Any = (
        BatchTarget(clients.batch(), clients.batch(), jobs_table="jobs", environment="test", grace_seconds=1)
        if account.target == "batch"
        else EcsTarget(clients.ecs(), Placement("worker"), jobs_table="jobs", environment="test", grace_seconds=1)
    )
    runs = {run.target_id: (run.job_id, run.fence, run.status) for run in target.describe(listed)}
    assert runs == {target_id: (job.id, job.fence, job.status) for target_id, job in listed.items()}


@pytest.mark.parametrize("account", ["batch", "ecs"], indirect=True)
def test_every_active_job_holds_a_slot(account: Active, store: Store) -> None:
    lane = Lane({"batch": "video", "ecs": "images"}[account.target], LANE_LIMIT)
    jobs = [job for status in (Status.SUBMITTED, Status.RUNNING) for job in store.by_status(status)]
    assert {job.lane for job in jobs} == {lane.name}
    assert sorted(job.id for job in jobs) == sorted(store.holders(lane))
    assert store.slots(lane).taken == len(jobs)


@pytest.mark.usefixtures("account")
def test_more_ids_than_a_call_may_have_are_refused() -> None:
    with pytest.raises(ValueError, match="101 ids"):
        clients.batch().describe_jobs(jobs=["a"] * (MOST_DESCRIBED + 1))


def test_the_index_has_what_the_template_projects() -> None:
    """Except the attributes that only a job with a cancel request has."""
    template = TEMPLATE.read_text()
    start = template.index("- IndexName: byStatus")
    line = next(line for line in template[start:].splitlines() if "NonKeyAttributes" in line)
    projected = set(yaml.safe_load(line)["NonKeyAttributes"]) - {"cancelRequestedAt"}
    assert index_item("batch", 0, datetime.now(UTC)).keys() == projected | {"jobId", "status", "createdAt"}


def _by_status(status: str) -> dict[str, Any]:
    return {"IndexName": "byStatus", "ExpressionAttributeValues": {":status": {"S": status}}}


def _request(**asked: object) -> Any:  # noqa: ANN401 - stands for botocore's, of which only the body counts
    return SimpleNamespace(body=json.dumps(asked).encode())
