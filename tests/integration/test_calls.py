"""One message takes three AWS calls, however many jobs are active.

The claim (one transaction), SubmitJob, and the record of what Batch calls the job. The emulator's CloudTrail tells of
the calls made to it, the stand-in for Batch counts its own.
"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import batched
from urllib.request import Request, urlopen

import pytest

from tests.integration.system import Item, System

DISPATCH = ["TransactWriteItems", "UpdateItem", "SubmitJob"]
QUESTION = "TagResource"
"""What the stand-in for Batch asks the emulator in the caller's name: whether it may tag what it submits."""

pytestmark = pytest.mark.usefixtures("roomy", "trail")


@pytest.fixture(scope="module")
def roomy(scene: System) -> Iterator[None]:
    """Slots for every job that a test makes up."""
    with scene.variables("SqsToBatchFunction", MAX_CONCURRENT_JOBS="3000"):
        yield


@pytest.fixture(scope="module")
def trail(scene: System) -> Iterator[None]:
    """Every call to the emulator is written down."""
    _record_calls(scene, on=True)
    yield
    _record_calls(scene, on=False)


@pytest.fixture(params=[0, 100, 1000])
def active(system: System, request: pytest.FixtureRequest) -> Iterator[int]:
    """Writes that many running jobs with slots into the tables."""
    jobs = [f"made-up-{number}" for number in range(request.param)]
    _put(system, jobs)
    yield len(jobs)
    _take_away(system, jobs)


def test_a_dispatched_message_costs_three_calls(
    system: System, active: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before, submitted = datetime.now(UTC), _batch_calls(system)

    key = system.upload(gate=True)
    system.wait_for(key, "RUNNING")
    system.drained()

    calls = [*_calls_of_the_claimer(system, before), *(_batch_calls(system) - submitted).elements()]
    with capsys.disabled():
        print(f"\nAWS calls for one message while {active:5,} jobs are active: {len(calls)} ({', '.join(calls)})")  # noqa: T201 - a figure that this test is there to show
    assert calls == DISPATCH


def _calls_of_the_claimer(system: System, since: datetime) -> list[str]:
    """Returns the calls of the function that made the first transaction since then, in order."""
    claim, *_ = (event for event in _events(system, "EventName", DISPATCH[0]) if event["EventTime"] >= since)
    key = json.loads(claim["CloudTrailEvent"])["userIdentity"]["accessKeyId"]
    names = [event["EventName"] for event in _events(system, "AccessKeyId", key) if event["EventTime"] >= since]
    return [name for name in names if name != QUESTION]


def _batch_calls(system: System) -> Counter[str]:
    return Counter(system.compute("GET", "/_compute/health")["calls"])


def _events(system: System, attribute: str, value: str) -> list[Item]:
    """Returns the newest fifty matching calls, oldest first."""
    found = system.stack.client("cloudtrail").lookup_events(
        LookupAttributes=[{"AttributeKey": attribute, "AttributeValue": value}]
    )
    return list(reversed(found["Events"]))


def _record_calls(system: System, *, on: bool) -> None:
    system.stack.client("cloudtrail").lookup_events()  # the emulator loads the service when it is first asked for
    setting = json.dumps({"cloudtrail._recording_enabled": str(on).lower()}).encode()
    with urlopen(Request(f"{system.stack.emulator.url}/_ministack/config", setting)):  # noqa: S310 - our own address
        pass


def _put(system: System, jobs: list[str]) -> None:
    table = system.stack.resource("JobsTable")
    for some in batched(jobs, 25, strict=False):
        items = [{"jobId": {"S": job_id}, "status": {"S": "RUNNING"}, "fence": {"N": "1"}} for job_id in some]
        system.stack.client("dynamodb").batch_write_item(
            RequestItems={table: [{"PutRequest": {"Item": item}} for item in items]}
        )
    _count(system, len(jobs))


def _take_away(system: System, jobs: list[str]) -> None:
    table = system.stack.resource("JobsTable")
    for some in batched(jobs, 25, strict=False):
        system.stack.client("dynamodb").batch_write_item(
            RequestItems={table: [{"DeleteRequest": {"Key": {"jobId": {"S": job_id}}}} for job_id in some]}
        )
    _count(system, -len(jobs))


def _count(system: System, jobs: int) -> None:
    """Counts slots as taken. No claim reads who holds them."""
    system.stack.client("dynamodb").update_item(
        TableName=system.stack.resource("LanesTable"),
        Key={"pk": {"S": "LANE#video"}, "sk": {"S": "SLOTS"}},
        UpdateExpression="ADD taken :jobs",
        ExpressionAttributeValues={":jobs": {"N": str(jobs)}},
    )
