"""Compares the tables with the target's runs, the workers' ledger and the queues."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from local.view import QUEUES
from switchyard.protocol.jobs import TERMINAL
from tests.integration.roads import ROADS
from tests.integration.system import Item, System


def compare(
    system: System,
    *keys: str,
    ended: Mapping[str, str] | None = None,
    worked: Mapping[str, int] | None = None,
    forgotten: Collection[str] = (),
) -> str:
    """Waits until the system is idle and compares its tables with everything else. Returns the result in a sentence.

    Args:
        system: The drill's system.
        keys: The objects of all the drill's jobs.
        ended: The final status of jobs that are not COMPLETED, by key.
        worked: The number of runs that passed the fence check, by key; one by default.
        forgotten: Keys whose runs the target has forgotten.

    Raises:
        AssertionError: If something was lost, doubled or leaked.
    """
    system.until(lambda: _at_rest(system), "everything to come to rest")
    jobs = {key: _only(system.jobs(key), key) for key in keys}
    for key, job in jobs.items():
        assert job["status"] == (ended or {}).get(key, "COMPLETED"), f"{key} is {job['status']}: {job.get('error')}"
        runs = system.runs(key)
        assert len({run.run_id for run in runs}) == (worked or {}).get(key, 1), f"{key} was worked on: {runs}"
        assert system.most_at_once(key) <= 1, f"two runs were at work on {key} at the same time: {runs}"
        starts = {start.id: start for start in system.starts(job["jobId"])}
        assert all(start.attempts or start.status == "FAILED" for start in starts.values()), f"{key} still runs"
        if key not in forgotten and job["status"] == "COMPLETED":
            assert starts[job["targetId"]].exit_code == 0, f"{key} is COMPLETED, but its run is not"
    left = _left(system)
    assert not left, f"left over: {left}"
    counts = Counter(job["status"] for job in jobs.values())
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return f"the tables are right: {len(jobs)} jobs ({told}); no slot, place or lock left, no message, no dead letter"


def _at_rest(system: System) -> bool:
    lanes = [system.view.lane(road.lane) for road in ROADS]
    return (
        not any(lane.holders or lane.waiting for lane in lanes)
        and all(depth == (0, 0) for name, depth in system.view.queues().items() if "DeadLetter" not in name)
        and system.compute("GET", "/_compute/health")["eventsWaiting"] == 0
        and all(job.status in TERMINAL for job in system.view.jobs())
    )


def _left(system: System) -> list[str]:
    """Lists what should be gone once everything is idle."""
    pages = system.stack.client("dynamodb").get_paginator("scan")
    items: list[Item] = [
        item
        for page in pages.paginate(TableName=system.stack.resource("LanesTable"), ConsistentRead=True)
        for item in page["Items"]
    ]
    queues = system.view.queues()
    return [
        *(f"{_of(item, 'pk')}/{_of(item, 'sk')}" for item in items if _of(item, "sk") != "SLOTS"),
        *(name for name in QUEUES if queues[name] != (0, 0)),
    ]


def _of(item: Item, name: str) -> Any:  # noqa: ANN401 - any attribute value
    return item[name]["S"]


def _only(jobs: list[Item], key: str) -> Item:
    assert len(jobs) == 1, f"{len(jobs)} jobs for {key}"
    return jobs[0]
