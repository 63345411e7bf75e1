"""Drill: no state change arrives, and the reconciler keeps the work going at its own pace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.drills import truth
from tests.integration.system import System

LIMIT = 2
COUNT = 6


def play(system: System, say: Callable[[str], None]) -> None:
    """Loses all of Batch's events, then delays them."""
    system.deploy(MaxConcurrentJobs=str(LIMIT))
    lost(system, say)
    late(system, say)


def lost(system: System, say: Callable[[str], None]) -> None:
    """Loses every event: each run of the reconciler records the ended jobs and refills the slots."""
    system.fault("events", "drop")
    say(f"every state change is lost; {COUNT} videos are uploaded, and {LIMIT} may run at once")
    keys = [system.upload() for _ in range(COUNT)]
    system.until(lambda: system.lane().waiting == COUNT - LIMIT, "the others to wait")
    passes = 0
    while open_jobs(system, keys):
        system.until(lambda: ended_at_batch(system, keys, LIMIT), "the running jobs to end at Batch")
        assert len(system.lane().holders) <= LIMIT, "the limit was exceeded"
        system.invoke("ReconcileJobsFunction")
        passes += 1
        say(f"the reconciler, run {passes}: {COUNT - open_jobs(system, keys)} of {COUNT} have ended")
    assert system.fired("events"), "no event was lost"
    assert passes == COUNT // LIMIT, "each run should end as many jobs as there are slots"
    say("so work continued without a single event: one full lane per run of the reconciler (ReconcileMinutes)")
    system.no_more_faults()
    say(truth.compare(system, *keys))


def late(system: System, say: Callable[[str], None]) -> None:
    """Delays events until the reconciler has repaired everything: then they change nothing."""
    say("now track_job stops reading its queue, as if it were broken; the events wait there")
    with paused(system, "TrackJobFunction"):
        keys = [system.upload() for _ in range(LIMIT)]
        system.until(lambda: ended_at_batch(system, keys, LIMIT), "the jobs to end at Batch")
        system.invoke("ReconcileJobsFunction")
        before = [system.job(key) for key in keys]
        assert open_jobs(system, keys) == 0
        say(f"the reconciler has ended {len(keys)} jobs; {system.view.queues()['TrackQueue'][0]} state changes wait")
    system.drained("TrackQueue")
    assert [system.job(key) for key in keys] == before, "a late event changed a job"
    say("now they are read, and change nothing")
    say(truth.compare(system, *keys))


def open_jobs(system: System, keys: list[str]) -> int:
    """Returns how many of the jobs have not ended according to the table."""
    return sum(job["status"] not in {"COMPLETED", "FAILED"} for job in system.jobs(*keys))


def ended_at_batch(system: System, keys: list[str], count: int) -> bool:
    """Returns whether `count` jobs that are active in the table were started, and all of them have ended at Batch."""
    active = [job for job in system.jobs(*keys) if job["status"] in {"SUBMITTED", "RUNNING"} and "targetId" in job]
    return len(active) == count and all(
        start.exit_code is not None for job in active for start in system.starts(job["jobId"])
    )


@contextmanager
def paused(system: System, function: str) -> Iterator[None]:
    """Stops a function from reading its queue while the block runs: the runbook's quick pause."""
    client = system.stack.client("lambda")
    name = system.stack.resource(function)
    [mapping] = client.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        yield
    finally:
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
