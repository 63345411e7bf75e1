"""Without room on its target a job waits, however long, and starts in order when there is room. It never fails."""

import json
import time

from local import api
from tests.integration.roads import ECS, OVER_BOTH
from tests.integration.system import System

pytestmark = OVER_BOTH

JOBS = 100
SLOTS = 10
AWAY_SECONDS = 60
"""How long there is no room: several times as long as a message's receives would last."""


def test_a_hundred_jobs_wait_for_room_and_then_all_run_in_order(system: System) -> None:
    system.deploy(**{system.road.limit: str(SLOTS)})
    system.fault(system.road.start, "quota" if system.road is ECS else "throttle")
    began = time.monotonic()
    keys = [system.upload() for _ in range(JOBS)]
    system.until(lambda: system.lane().waiting >= JOBS - 1, "all to wait", seconds=300)
    with api.client(system.stack) as client:
        listed = client.get("/jobs", params={"status": "WAITING", "limit": 100}).json()["jobs"]
        shown = client.get(f"/jobs/{listed[0]['jobId']}").json()
    tries = system.fired(system.road.start)
    while time.monotonic() - began < AWAY_SECONDS:
        assert {job["status"] for job in system.jobs(*keys)} <= {"WAITING", "CLAIMED"}
        assert len(system.lane().holders) <= 1  # of the job that is being tried
        time.sleep(1)
    tries_later = system.fired(system.road.start) - tries

    system.no_more_faults()
    jobs = system.completed(*keys, seconds=600)

    assert {job.get("blocked") for job in listed} == {"capacity"}
    assert (shown["blocked"], "error" in shown) == ("capacity", False)
    assert tries <= 3 * SLOTS, "more were tried than may have been claimed before the lane was paused"
    assert tries_later <= 5, "more were tried than pauses ended"
    assert not system.messages()
    assert len(system.runs(*keys)) == JOBS
    sent = sorted(jobs, key=lambda job: (json.loads(job["request"])["sent_at"], job["jobId"]))
    started = sorted(jobs, key=lambda job: str(job["claimedAt"]))
    places = {job["jobId"]: place for place, job in enumerate(started)}
    assert all(abs(places[job["jobId"]] - place) < SLOTS for place, job in enumerate(sent)), "not in order"
