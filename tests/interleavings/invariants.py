"""What must hold after every call, and once everything has come to rest."""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from switchyard.errors import PermanentError, RetryableError, StartFailed
from switchyard.protocol.jobs import HOLDING_SLOT, TERMINAL, Job, Status, WorkRequest
from switchyard.protocol.lanes import object_key
from switchyard.protocol.tracking import Tracker
from tests.interleavings.scenarios import Actor, Scenario, State
from tests.world import GRACE, Time

_ROUNDS = 8


class Violation(Exception):
    """An invariant does not hold."""


def _demand(holds: bool, what: str) -> None:  # noqa: FBT001 - as `assert`
    if not holds:
        raise Violation(what)


def check(state: State) -> None:
    """Checks what must hold between any two calls.

    Raises:
        Violation: something doesn't.
    """
    store = state.store
    for name, lane in store.lanes.items():
        jobs = [job for job in store.jobs.values() if job.request.lane == name]
        holding = {job.id for job in jobs if job.status in HOLDING_SLOT}
        _demand(len(lane.holders) <= state.limit, f"{name}: more holders than slots")
        _demand(lane.taken == len(lane.holders), f"{name}: {lane.taken} slots counted, {len(lane.holders)} held")
        _demand(lane.waiting == len(lane.room), f"{name}: {lane.waiting} counted, {len(lane.room)} wait")
        _demand(lane.timed == len(lane.later), f"{name}: {lane.timed} counted, {len(lane.later)} wait for their time")
        entries = [*lane.room.values(), *lane.later.values()]
        _demand(lane.holders == holding, f"{name}: slots of {lane.holders}, but {holding} hold one by their status")
        for job in jobs:
            placed = any(job.request.is_same_work(entry.request) for entry in entries)
            _demand(job.status is not Status.WAITING or placed, f"{job.id} waits without a place in the waiting room")
            lock = store.locks.get(object_key(job.request.source))
            locked = lock is not None and lock.job_id == job.id
            _demand(job.id not in holding or locked, f"{job.id} holds a slot, but not its object's lock")
    for key, lock in store.locks.items():
        job = store.jobs[lock.job_id]
        busy = job.status in HOLDING_SLOT or job.status is Status.WAITING
        _demand(busy and object_key(job.request.source) == key, f"{key}: locked by {job.id}, which is {job.status}")
    _demand(state.target.tries <= 1, "two jobs were tried while there was no room")
    claims = Counter((run.job_id, run.fence) for run in state.target.runs.values())
    _demand(max(claims.values(), default=0) <= 1, f"a claim was started twice: {claims}")


def check_cancelled(state: State, seen: Job | None) -> None:
    """Checks that the work of a job is being cancelled, or has ended, once its cancel was answered.

    Raises:
        Violation: it isn't.
    """
    job = state.store.jobs.get(seen.id) if seen else None
    if seen is not None and job is not None and job.request.is_same_work(seen.request):
        _demand(
            job.cancel_requested or job.status in TERMINAL, f"{job.id} is {job.status} after its cancel was answered"
        )


def settle(
    scenario: Scenario, state: State, actors: Iterable[Actor], unfinished: Iterable[Actor], time: Time, *, failed: bool
) -> None:
    """Lets everything come to rest, and checks what has become of all work.

    Messages of `unfinished` actors are delivered again, runs run and end, and events arrive. The reconciler helps only
    if something `failed`, or a claim was left behind in the first place.

    Raises:
        Violation: work was lost, done twice, or done out of order; or something is held by nobody.
    """
    state.target.full = False
    performed = {target_id for target_id, run in state.target.runs.items() if run.status is Status.COMPLETED}
    queue = [actor.brings for actor in unfinished if actor.brings is not None]
    world = state.world
    dispatcher = world.dispatcher
    tracker = Tracker(state.store, dispatcher)
    for _ in range(_ROUNDS):
        before = state.mark()
        time.advance(GRACE)
        for message in [*queue]:
            with suppress(RetryableError, StartFailed):
                try:
                    dispatcher.dispatch(message)
                except PermanentError:
                    state.dead_letters.sent.append(message)
                queue.remove(message)
        for target_id, run in [*state.target.runs.items()]:
            job = state.store.jobs[run.job_id]
            if run.status not in TERMINAL:
                current = job.fence == run.fence and job.status in HOLDING_SLOT
                works = current and not job.cancel_requested
                state.target.move(target_id, Status.COMPLETED if works else Status.FAILED)
                performed |= {target_id} if works else set()
            with suppress(RetryableError, StartFailed):
                tracker.apply(state.target.runs[target_id])
        if failed or scenario.late:
            world.reconcile()
        if state.mark() == before and not queue:
            break
    check(state)
    _demand(not _unrest(state), f"not at rest: {_unrest(state)}")
    _check_work(scenario, state, actors, [state.target.jobs[target_id] for target_id in performed])
    if not failed and not any(actor.cancels for actor in actors):
        starts = list(dict.fromkeys(job.id for job in state.target.jobs.values() if job.id in scenario.in_order))
        _demand(starts == sorted(starts, key=scenario.in_order.index), f"started in the order {starts}")


def _check_work(scenario: Scenario, state: State, actors: Iterable[Actor], done: list[Job]) -> None:
    wanted = [*scenario.accepted, *(actor.brings for actor in actors if actor.brings is not None)]
    # Another id for an object whose job is cancelled is a duplicate of that job.
    cancelled = [work.source for work in wanted if work.job_id in {actor.cancels for actor in actors}]
    for work in wanted:
        owners = {job.request.user_id for job in state.store.jobs.values() if _is_done_by(work, job)}
        owned = work.user_id is None or not owners or work.user_id in owners or work in state.dead_letters.sent
        _demand(owned, f"{work.job_id} isn't its owner's")
        runs = sum(work.job_id == job.id for job in done if _is_done_by(work, job))
        excused = (
            any(work.source.is_at(source) for source in cancelled)
            or _is_superseded(work, done)
            or work in state.dead_letters.sent
        )
        _demand(runs <= 1, f"{work.job_id} {work.source.key} {work.source.version} ran {runs} times")
        _demand(
            excused or any(_is_done_by(work, job) for job in done),
            f"{work.job_id} {work.source.key} {work.source.version} never ran",
        )


def _unrest(state: State) -> list[str]:
    """What is not at rest: jobs that haven't ended, slots and locks that are held, entries that wait."""
    active = [f"{job.id} is {job.status}" for job in state.store.jobs.values() if job.status not in TERMINAL]
    lanes = [
        f"{name} has {lane}" for name, lane in state.store.lanes.items() if lane.holders or lane.room or lane.later
    ]
    return active + lanes + [f"{key} is locked" for key in state.store.locks]


def _is_done_by(work: WorkRequest, job: Job) -> bool:
    """Whether a job's run did this work: one upload that is announced under two ids is done once."""
    return work.source.is_at(job.request.source) and work.source.version == job.request.source.version


def _is_superseded(work: WorkRequest, done: Iterable[Job]) -> bool:
    """Whether a newer version of the object was run, so that the older one needn't be."""
    return any(
        work.source.is_at(job.request.source) and (work.source.sequencer or "") < (job.request.source.sequencer or "")
        for job in done
    )
