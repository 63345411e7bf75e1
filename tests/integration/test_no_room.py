"""Without room on its target a job waits, however long, and starts in order when there is room. It never fails."""

import json
import os
import time
from functools import partial

import pytest

from local import api
from switchyard.protocol.lanes import WAIT_PREFIX
from tests.integration.roads import ECS, OVER_BOTH
from tests.integration.system import System

pytestmark = [OVER_BOTH, pytest.mark.timeout(1500)]

LONG = bool(os.environ.get("LONG"))
"""Whether to take a hundred jobs and a minute, which is five minutes: LONG=1 make test ALL=1 ARGS="-k no_room"."""
JOBS = 100 if LONG else 30
SLOTS = 10
AWAY_SECONDS = 60 if LONG else 20
"""How long there is no room: longer than a message's receives would last."""


def test_jobs_wait_for_room_and_then_all_run_in_order(system: System) -> None:
    system.deploy(**{system.road.limit: str(SLOTS)})
    system.fault(system.road.start, "quota" if system.road is ECS else "throttle")
    began = time.monotonic()
    keys: list[str] = []
    for number in range(SLOTS, JOBS + 1, SLOTS):
        keys += [system.upload() for _ in range(SLOTS)]
        # Not all at once: on a busy machine, functions that time out would use up receives.
        system.until(partial(_wait, system, number - SLOTS), f"{number} to wait", seconds=300)
    with api.client(system.stack) as client:
        listed = client.get("/jobs", params={"status": "WAITING", "limit": 100}).json()["jobs"]
        shown = client.get(f"/jobs/{listed[0]['jobId']}").json()
    tries = system.fired(system.road.start)
    while time.monotonic() - began < AWAY_SECONDS:
        assert {job["status"] for job in system.jobs(*keys)} <= {"WAITING", "CLAIMED"}
        time.sleep(1)
    tries_later = system.fired(system.road.start) - tries

    room = _room(system)
    system.no_more_faults()
    jobs = system.completed(*keys, seconds=600)

    assert {job.get("blocked") for job in listed} == {"capacity"}
    assert (shown["blocked"], "error" in shown) == ("capacity", False)
    assert tries <= 3 * SLOTS, "more were tried than may have been claimed before the lane was paused"
    assert tries_later <= 5, "more were tried than pauses ended"
    assert not system.messages()
    assert len(system.runs(*keys)) == JOBS
    # Those whose function died over them, on a busy machine, had a claim meanwhile instead of a place.
    assert len(room) >= JOBS - SLOTS
    claims = {job["jobId"]: str(job["claimedAt"]) for job in jobs}
    started = sorted(room, key=claims.__getitem__)
    # Several invocations start jobs at the same time.
    assert all(abs(started.index(job_id) - place) < 2 * SLOTS for place, job_id in enumerate(room)), "not in order"


def _wait(system: System, number: int) -> bool:
    return system.lane().waiting >= number


def _room(system: System) -> list[str]:
    """Returns the ids of the jobs in the waiting room, in its order."""
    answer = system.stack.client("dynamodb").query(
        TableName=system.stack.resource("LanesTable"),
        KeyConditionExpression="pk = :lane AND begins_with(sk, :wait)",
        ExpressionAttributeValues={":lane": {"S": f"LANE#{system.road.lane}"}, ":wait": {"S": WAIT_PREFIX}},
        ConsistentRead=True,
    )
    return [json.loads(item["request"]["S"])["job_id"] for item in answer["Items"]]
