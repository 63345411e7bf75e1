"""The dispatch protocol: from a request to exactly one started job, within the lane's limit.

    claim ──▶ start ──▶ record          three AWS calls a message, however many jobs are active

A request that finds its lane full goes to the waiting room; whoever ends a job starts the next one from there. A start
whose outcome is unknown leaves the claim standing: once its grace period is over, the next delivery or the reconciler
adopts the run it led to, or starts again under a higher fence. A claim that is to be cancelled is never started again.
docs/architecture.md tells the whole story.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum

from switchyard import clock, observability
from switchyard.errors import (
    ClaimInFlight,
    Contended,
    LaneIsFull,
    OutcomeUnknown,
    StartFailed,
    StartRefused,
    SwitchyardError,
    Unavailable,
)
from switchyard.observability import Metric, logger
from switchyard.protocol.jobs import Job, JobError, Status, Verdict, WorkRequest, is_newer_work, judge
from switchyard.protocol.lanes import Lane, ObjectLock, WaitEntry, find, lane_of
from switchyard.protocol.ports import (
    RACES,
    Claimed,
    DeadLetters,
    EntryGone,
    Held,
    JobChanged,
    JobStore,
    LaneFull,
    ObjectLocked,
    Target,
)

_FULL_LANE_SECONDS = (20, 60)
"""How long a message stays away without a waiting room: jittered, so that messages don't come back together."""


class Outcome(Enum):
    """What became of a request that needs no further delivery."""

    STARTED = "started"
    HELD = "held"
    ADOPTED = "adopted"
    DUPLICATE = "duplicate"
    CANCELLED = "cancelled"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Starts jobs.

    `targets` by type, `lanes` and `dead_letters` by name of the whole lane. `max_refusals` bounds how often a job from
    the waiting room is refused before it is given up. Without `waiting_room`, a request that finds its lane full raises
    LaneIsFull.
    """

    store: JobStore
    targets: Mapping[str, Target]
    lanes: Mapping[str, Lane]
    dead_letters: Mapping[str, DeadLetters]
    grace: timedelta
    max_refusals: int
    waiting_room: bool = True
    _noted: set[tuple[str, int]] = field(default_factory=set)

    def dispatch(self, request: WorkRequest) -> Outcome:
        """Sees to it that the request's work is done exactly once.

        Raises RetryableError where a later delivery has to look again, StartFailed where the target did not take the
        job and the claim has been undone.
        """
        whole = self.lanes[lane_of(request.lane)]
        self._note_layout(whole)
        lane = whole.shard_for(request.job_id)
        request = replace(request, lane=lane.name)
        seen = _as_announced(request) if request.announced else None  # nearly always true, and it saves the read
        for _ in range(RACES):
            step = self._without_claim(request, seen) or self._claim(request, seen, lane)
            if isinstance(step, Outcome):
                return step
            seen = step.found
        raise Contended(f"job {request.job_id} changed {RACES} times while it was being claimed")

    def start_waiting(self, lane_name: str) -> int:
        """Starts waiting jobs, oldest first, while the lane has slots free; gives their number.

        Entries that must wait for older work on the same job or object are passed over. Stops at the first start that
        fails: what refused one job would refuse the next. A lane that this deployment doesn't have is left alone.
        """
        lane = find(self.lanes, lane_name)
        if lane is None:
            return 0
        slots = self.store.slots(lane)
        free = lane.limit - len(slots.holders)
        started = 0
        if free <= 0 or slots.waiting <= 0:
            return started
        for entry in self.store.waiting(lane):
            job = self._claim_waiting(entry, lane)
            if job is None:
                continue
            if isinstance(job, LaneFull):
                break
            if self._start(job, entry) is Outcome.STARTED:
                observability.count(Metric.RELEASED)
                started += 1
            if started == free:
                break
        return started

    def adopt(self, job: Job) -> Outcome:
        """Finds out what became of a claim older than its grace period, and starts the job again if nothing did."""
        target_id = self._target(job).find(job)
        if target_id is not None:
            self._record(job, target_id)
            observability.count(Metric.ADOPTED)
            logger.info("adopted", job_id=job.id, fence=job.fence, target_id=target_id)
            return Outcome.ADOPTED
        match self.store.raise_fence(job):
            case Claimed(again):
                logger.warning("starting again: the claim came to nothing", job_id=job.id, fence=again.fence)
                return self._dispatched(again)
            case JobChanged(found):
                return self._end_if_cancelled(job, found) or self._duplicate(job.request)

    def give_up(self, request: WorkRequest, error: SwitchyardError) -> None:
        """Marks a job as failed whose message has just gone to the dead-letter queue, unless it runs after all."""
        job = self.store.get(request.job_id)
        if job and job.status is Status.PENDING and job.request.source.version == request.source.version:
            self.store.give_up(job, _job_error(error))

    # ---- steps ------------------------------------------------------------------------------------------------------

    def _note_layout(self, lane: Lane) -> None:
        # Before anything is put into a shard, so that the reconciler knows of it when the layout has long changed; once
        # in a process, since it costs a call.
        if lane.shards > 1 and (lane.name, lane.shards) not in self._noted:
            self.store.note_layouts(lane, frozenset({lane.shards}))
            self._noted.add((lane.name, lane.shards))

    def _without_claim(self, request: WorkRequest, seen: Job | None) -> Outcome | None:
        """What becomes of a request whose job is already known; None where it is to be claimed."""
        match judge(seen, request, now=clock.now(), grace=self.grace):
            case Verdict.DUPLICATE:
                return self._duplicate(request)
            case Verdict.WITHDRAWN:
                logger.info("withdrawn", job_id=request.job_id, version=request.source.version)
                return Outcome.WITHDRAWN
            case Verdict.WAIT_BEHIND:
                behind = _in_the_lane_of(seen, request)
                self.store.hold_behind(behind)
                return self._held(behind)
            case Verdict.IN_FLIGHT:
                raise ClaimInFlight(f"job {request.job_id} is being started", self.grace.total_seconds())
            case Verdict.ADOPT if seen is not None:
                return self.adopt(seen)
        return None

    def _claim(self, request: WorkRequest, seen: Job | None, lane: Lane) -> Outcome | JobChanged:
        match self.store.claim(request, seen, lane, fifo=self.waiting_room):
            case Claimed(job):
                return self._dispatched(job)
            case ObjectLocked(lock):
                return self._locked_out(request, seen, lock)
            case JobChanged() as changed:
                return changed
            case LaneFull() | EntryGone():
                return self._lane_full(request, seen)

    def _dispatched(self, job: Job) -> Outcome:
        outcome = self._start(job)
        if outcome is Outcome.STARTED:
            observability.count(Metric.DISPATCHED)
        return outcome

    def _start(self, job: Job, entry: WaitEntry | None = None) -> Outcome:
        """Starts a claimed job; CANCELLED where it could not be started and nobody wants it any more."""
        try:
            target_id = self._target(job).start(job)
        except StartFailed as error:
            if cancelled := self._undo(job, entry, error):
                return cancelled
            raise
        except OutcomeUnknown as error:
            logger.warning("start: outcome unknown", job_id=job.id, fence=job.fence, reason=str(error))
            raise
        self._record(job, target_id)
        observability.since(Metric.TIME_TO_START, job.request.sent_at)
        logger.info("started", job_id=job.id, fence=job.fence, target_id=target_id, lane=job.request.lane)
        return Outcome.STARTED

    def _target(self, job: Job) -> Target:
        name = job.request.target.type
        if name not in self.targets:  # its request was frozen by a deployment that had one
            raise StartRefused(f"this deployment has no target {name!r}")
        return self.targets[name]

    def _record(self, job: Job, target_id: str) -> None:
        """Notes the run of a claim, and stops it where the job was cancelled before anybody could know of the run."""
        changed = self.store.record_start(job, target_id)
        found = changed.found if changed else None
        if found is None or not found.cancel_requested or found.fence != job.fence:
            return
        self.store.advance(job.id, job.fence, target_id, Status.SUBMITTED, attempts=0)
        logger.info("stopping: cancelled while it was being started", job_id=job.id, target_id=target_id)
        try:
            self._target(job).stop(target_id)
        except Unavailable as error:
            logger.warning("not stopped: left to the reconciler", job_id=job.id, reason=str(error))

    def _undo(self, job: Job, entry: WaitEntry | None, error: StartFailed) -> Outcome | None:
        """Takes a claim back, or ends it where it was cancelled."""
        logger.warning("start: refused", job_id=job.id, fence=job.fence, error_type=error.code, reason=str(error))
        back = None
        if entry is not None:
            attempts = entry.attempts + isinstance(error, StartRefused)
            back = WaitEntry(entry.request, attempts) if attempts < self.max_refusals else None
        if changed := self.store.undo_claim(job, _job_error(error), entry=back):
            return self._end_if_cancelled(job, changed.found)
        if entry is not None and back is None:
            # Its own message is long gone: write a new one, so that a redrive can bring the job back.
            self.dead_letters[lane_of(job.request.lane)].send_request(job.request, error)
            self.give_up(job.request, error)
        return None

    def _end_if_cancelled(self, job: Job, found: Job | None) -> Outcome | None:
        """Ends a claim that came to no run, where that is what stood in the way of going on with it."""
        if found is None or found.fence != job.fence or not found.cancel_requested:
            return None
        if found.status is Status.CLAIMED:
            self.store.finish(found, Status.CANCELLED, error=None, target_id=None, attempts=0)
            logger.info("cancelled before it was started", job_id=job.id, fence=job.fence)
            self._start_waiting_quietly(job.request.lane)
        return Outcome.CANCELLED

    def _lane_full(self, request: WorkRequest, seen: Job | None) -> Outcome | JobChanged:
        if not self.waiting_room:
            pause = random.uniform(*_FULL_LANE_SECONDS)  # noqa: S311 - jitter, not a secret
            raise LaneIsFull(f"lane {request.lane} has no free slot", pause)
        match self.store.hold(request, seen):
            case JobChanged() as changed:
                return changed
            case ObjectLocked(lock):
                return self._locked_out(request, seen, lock)
            case Held():
                return self._held(request)

    def _held(self, request: WorkRequest) -> Outcome:
        observability.count(Metric.HELD)
        logger.info("held", job_id=request.job_id, lane=request.lane)
        # A slot that went free since the claim was refused has nobody else to fill it.
        self._start_waiting_quietly(request.lane)
        return Outcome.HELD

    def _start_waiting_quietly(self, lane: str) -> None:
        """Starts waiting jobs, whose troubles are not those of the message in hand: it has been dealt with."""
        try:
            self.start_waiting(lane)
        except (StartFailed, OutcomeUnknown) as error:
            logger.warning("a waiting job could not be started now", lane=lane, error_type=error.code)

    def _locked_out(self, request: WorkRequest, seen: Job | None, lock: ObjectLock) -> Outcome | JobChanged:
        """Another job works on the object: the same upload told twice under two ids, or a newer upload."""
        holder = self.store.get(lock.job_id)
        if (
            holder is None
            or lock.version == request.source.version
            or not is_newer_work(request.source, holder.request.source, holder.accepted_at)
        ):
            return self._duplicate(request)
        behind = _in_the_lane_of(holder, request)
        held = self.store.hold(behind, seen, lock_object=False)
        return held if isinstance(held, JobChanged) else self._held(behind)

    def _duplicate(self, request: WorkRequest) -> Outcome:
        observability.count(Metric.DUPLICATES)
        logger.info("duplicate", job_id=request.job_id, version=request.source.version)
        return Outcome.DUPLICATE

    def _claim_waiting(self, entry: WaitEntry, lane: Lane) -> Job | LaneFull | None:
        """Claims a job out of the waiting room; None where its turn has not come or has gone."""
        seen = self.store.get(entry.request.job_id)
        for _ in range(RACES):
            if not self._may_leave_room(entry, seen):
                return None
            match self.store.claim(entry.request, seen, lane, entry=entry):
                case Claimed(job):
                    return job
                case LaneFull() as full:
                    return full
                case EntryGone() | ObjectLocked():
                    return None
                case JobChanged(found):
                    seen = found
        return None

    def _may_leave_room(self, entry: WaitEntry, seen: Job | None) -> bool:
        same_work = seen is not None and seen.request.source.version == entry.request.source.version
        if same_work and seen is not None and seen.status is Status.WAITING:
            return True
        verdict = judge(seen, entry.request, now=clock.now(), grace=self.grace)
        if verdict is Verdict.START:
            return True
        if verdict is not Verdict.WAIT_BEHIND:  # it was started, or overtaken, by other means
            self.store.drop(entry)
        return False


def _as_announced(request: WorkRequest) -> Job:
    """The record of an announced request, as it stands until it is claimed for the first time."""
    return Job(request, Status.PENDING, fence=0, created_at=request.sent_at)


def _in_the_lane_of(other: Job | None, request: WorkRequest) -> WorkRequest:
    """A request that waits for another job's end waits in that job's shard: there its end starts the next one."""
    if other is None or lane_of(other.request.lane) != lane_of(request.lane):
        return request
    return replace(request, lane=other.request.lane)


def _job_error(error: SwitchyardError) -> JobError:
    return JobError(error.code, str(error)[:1000])
