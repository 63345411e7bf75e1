"""No state change arrives: the reconciler keeps the work going, at its own pace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.drills import truth
from tests.integration.system import System

LIMIT = 2
COUNT = 6


def play(system: System, say: Callable[[str], None]) -> None:
    """All events of Batch are lost; later they come, but late."""
    system.deploy(MaxConcurrentJobs=str(LIMIT))
    lost(system, say)
    late(system, say)


def lost(system: System, say: Callable[[str], None]) -> None:
    """Nobody is told of anything: each run of the reconciler ends what has ended, and fills the slots again."""
    system.fault("events", "drop")
    say(f"every state change is lost, and {COUNT} videos are uploaded; {LIMIT} may run at once")
    keys = [system.upload() for _ in range(COUNT)]
    system.until(lambda: system.lane().waiting == COUNT - LIMIT, "the others to wait")
    passes = 0
    while open_jobs(system, keys):
        system.until(lambda: ended_at_batch(system, keys, LIMIT), "what runs to end at Batch")
        assert len(system.lane().holders) <= LIMIT, "the limit was passed"
        system.invoke("ReconcileJobsFunction")
        passes += 1
        say(f"the reconciler, run {passes}: {COUNT - open_jobs(system, keys)} of {COUNT} have ended")
    assert system.fired("events"), "no event was lost"
    assert passes == COUNT // LIMIT, "each run should end as many jobs as there are slots"
    say("so work went on without a single event, one lane full for each run of the reconciler (ReconcileMinutes)")
    system.no_more_faults()
    say(truth.compare(system, *keys))


def late(system: System, say: Callable[[str], None]) -> None:
    """The reconciler has put everything right before the news comes: then it changes nothing."""
    say("now track_job does not read its queue, as while it is broken; the news waits there")
    with paused(system, "TrackJobFunction"):
        keys = [system.upload() for _ in range(LIMIT)]
        system.until(lambda: ended_at_batch(system, keys, LIMIT), "the jobs to end at Batch")
        system.invoke("ReconcileJobsFunction")
        before = [system.job(key) for key in keys]
        assert open_jobs(system, keys) == 0
        say(f"the reconciler has ended {len(keys)} jobs; {system.view.queues()['TrackQueue'][0]} state changes wait")
    system.drained("TrackQueue")
    assert [system.job(key) for key in keys] == before, "late news has changed a job"
    say("they are read now, and change nothing")
    say(truth.compare(system, *keys))


def open_jobs(system: System, keys: list[str]) -> int:
    """How many of the jobs have not ended, as far as the table knows."""
    return sum(job["status"] not in {"COMPLETED", "FAILED"} for job in system.jobs(*keys))


def ended_at_batch(system: System, keys: list[str], count: int) -> bool:
    """Whether so many jobs have been started that the table takes for active, and all of them have ended at Batch."""
    active = [job for job in system.jobs(*keys) if job["status"] in {"SUBMITTED", "RUNNING"} and "targetId" in job]
    return len(active) == count and all(
        start.exit_code is not None for job in active for start in system.starts(job["jobId"])
    )


@contextmanager
def paused(system: System, function: str) -> Iterator[None]:
    """Have a function read nothing of its queue for a while: the runbook's pause for who is in a hurry."""
    client = system.stack.client("lambda")
    name = system.stack.resource(function)
    [mapping] = client.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        yield
    finally:
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
