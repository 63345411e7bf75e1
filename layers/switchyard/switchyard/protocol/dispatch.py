"""The dispatch protocol: starts exactly one job for a request, within the lane's limit.

    claim ──▶ start ──▶ record          three AWS calls per message, however many jobs are active

If the lane is full, the request goes to the waiting room, and the end of a job starts the next one from there. If the
target takes no job, the job waits too, and the lane pauses: then one job at a time is tried (docs/adr/0028). If the
outcome of a start is unknown, the claim stays. After its grace period, the next delivery or the reconciler adopts the
run of that claim, or starts the job again under a higher fence. A claim with a cancel request is never started again.
docs/architecture.md explains each step.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from itertools import islice, takewhile

from switchyard import clock, observability
from switchyard.errors import (
    ClaimInFlight,
    Contended,
    ForeignRow,
    JobExists,
    JobIdTaken,
    NoFreeSlot,
    OutcomeUnknown,
    StartFailed,
    StartRefused,
    StartThrottled,
    SwitchyardError,
    Unavailable,
)
from switchyard.observability import Metric, logger
from switchyard.protocol.jobs import (
    Job,
    JobError,
    Status,
    Verdict,
    WorkRequest,
    are_different_owners,
    is_newer_work,
    judge,
    lane_of,
)
from switchyard.protocol.lanes import Lane, ObjectLock, Pause, WaitEntry
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
    Wakes,
)

_ADMITTED_AT_ONCE = 50
"""How many jobs one look at a lane lets into the waiting room. The next look goes on."""


class Outcome(Enum):
    """The result of a request that needs no further delivery."""

    STARTED = auto()
    HELD = auto()
    ADOPTED = auto()
    DUPLICATE = auto()
    CANCELLED = auto()
    WITHDRAWN = auto()


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Starts jobs.

    Attributes:
        targets: By type.
        lanes: By name.
        dead_letters: By name of the lane.
        wakes: Asked to look at a lane again when its pause is over.
        grace: The age at which a claim may be adopted.
        max_refusals: After this many refused starts, a job from the waiting room is given up.
        waiting_room: Whether requests wait for a slot. If not, a request for a full lane raises NoFreeSlot.
        full_lane_pause: How long a message of a full lane stays away at least. A random pause, up to three times as
            long, spreads the retries.
    """

    store: JobStore
    targets: Mapping[str, Target]
    lanes: Mapping[str, Lane]
    dead_letters: Mapping[str, DeadLetters]
    wakes: Wakes
    grace: timedelta
    max_refusals: int
    waiting_room: bool = True
    full_lane_pause: timedelta = timedelta(seconds=20)

    def dispatch(self, request: WorkRequest) -> Outcome:
        """Starts the request's job, lets it wait, or finds that it needs no start.

        Raises:
            RetryableError: a later delivery must try again.
            JobIdTaken, JobExists: the job's id belongs to other work, for good.
            ForeignRow: the job's row is not ours.
            StartFailed: the target did not accept the job, and the claim has been undone. StartThrottled only without
                a waiting room.
        """
        lane = self.lanes[request.lane]
        seen = _as_announced(request) if request.announced else None  # nearly always right, and saves a read
        for _ in range(RACES):
            step = self._without_claim(request, seen) or self._claim(_with_owner(request, seen), seen, lane)
            if isinstance(step, Outcome):
                return step
            seen = step.found
        raise Contended(f"job {request.job_id} changed {RACES} times while it was being claimed")

    def start_waiting(self, lane_name: str) -> int:
        """Starts waiting jobs, next first, while the lane has free slots. Returns the number started.

        Skips entries that wait for older work on the same job or object. Ignores a lane that this deployment doesn't
        have. Starts nothing while the lane is paused, and tries one job when the pause is over.

        Raises:
            StartRefused, OutcomeUnknown: a start failed. The others are not tried, since they would fail too.
        """
        lane = self.lanes.get(lane_of(lane_name))
        if lane is None:
            return 0
        slots, now = self.store.slots(lane), clock.now()
        waiting = slots.waiting + (self._admit_due(lane, now) if slots.later else 0)
        free = lane.limit - slots.taken
        if free <= 0 or waiting <= 0 or (slots.pause and not slots.pause.is_over(now)):
            return 0
        started, tried = 0, slots.pause and slots.pause.again(now)
        for entry, job in self._claimed_in_order(lane, slots.pause, tried):
            outcome = self._start(job, entry)
            if outcome is Outcome.HELD or (tried and outcome is Outcome.CANCELLED):
                break  # there was no room
            if outcome is Outcome.STARTED:
                observability.count(Metric.RELEASED)
                started += 1
                if tried:
                    self.store.set_pause(lane, tried, None)
                    tried = None
            if started == free:
                break
        return started

    def adopt(self, job: Job) -> Outcome:
        """Records the run of a claim that is older than its grace period, or starts the job again if there is none.

        While an operator has paused the lane, the claim stays as it is.
        """
        target_id = self._target(job).find(job)
        if target_id is not None:
            self._record(job, target_id)
            observability.count(Metric.ADOPTED)
            logger.info("adopted", job_id=job.id, fence=job.fence, target_id=target_id)
            return Outcome.ADOPTED
        if self._is_stopped(job.request.lane):
            logger.info("left: an operator has paused the lane", job_id=job.id, lane=job.request.lane)
            return Outcome.HELD
        match self.store.raise_fence(job):
            case Claimed(again):
                logger.warning("starting again: the claim led to no run", job_id=job.id, fence=again.fence)
                return self._dispatched(again)
            case JobChanged(found):
                return self._end_if_cancelled(job, found) or self._duplicate(job.request)

    def _is_stopped(self, lane_name: str) -> bool:
        """Whether an operator has paused a lane."""
        lane = self.lanes.get(lane_of(lane_name))
        pause = self.store.slots(lane).pause if lane else None
        return pause is not None and pause.until is None

    def give_up(self, request: WorkRequest, error: SwitchyardError) -> None:
        """Marks a job FAILED whose message has just gone to the dead-letter queue, unless it was started meanwhile."""
        with suppress(ForeignRow):  # a row that is not ours stays as it is
            job = self.store.get(request.job_id)
            if job and job.status is Status.PENDING and job.request.is_same_work(request):
                self.store.give_up(job, _job_error(error))

    # ---- steps ------------------------------------------------------------------------------------------------------

    def _without_claim(self, request: WorkRequest, seen: Job | None) -> Outcome | JobChanged | None:
        """Handles a request whose job needs no claim. None if the job must be claimed."""
        match judge(seen, request, now=clock.now(), grace=self.grace):
            case Verdict.DUPLICATE:
                return self._add_owner(seen, request) or self._add_token(seen, request) or self._duplicate(request)
            case Verdict.WITHDRAWN:
                logger.info("withdrawn", job_id=request.job_id, version=request.source.version)
                return Outcome.WITHDRAWN
            case Verdict.WAIT_BEHIND:
                self.store.hold_behind(request)
                return self._held(request)
            case Verdict.TAKEN | Verdict.EXISTS as verdict:
                raise _refusal(verdict, request)
            case Verdict.IN_FLIGHT:
                raise ClaimInFlight(f"job {request.job_id} is being started", self.grace.total_seconds())
            case Verdict.ADOPT if seen is not None:
                added = self._add_owner(seen, request) or self._add_token(seen, request)
                return added or self.adopt(_owned(seen, request))
        return None

    def _add_token(self, seen: Job | None, request: WorkRequest) -> JobChanged | None:
        """Has the job's end told to the task of a request that needs no run of its own."""
        same = seen is not None and seen.request.asks_for_the_same(request)
        return self.store.add_token(seen, request.task_token) if seen and same and request.task_token else None

    def _claim(self, request: WorkRequest, seen: Job | None, lane: Lane) -> Outcome | JobChanged:
        if request.start_after and request.start_after > clock.now():
            return self._hold(request, seen)
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
        """Starts a claimed job. HELD if it waits for room, CANCELLED if it was cancelled before it could start."""
        try:
            target_id = self._target(job).start(job)
        except StartFailed as error:
            if settled := self._undo(job, entry, error):
                return settled
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
        if name not in self.targets:  # the deployment that accepted the job had one
            raise StartRefused(f"this deployment has no target {name!r}")
        return self.targets[name]

    def _record(self, job: Job, target_id: str) -> None:
        """Records the run of a claim, and stops it if a cancel was requested before the run was known."""
        try:
            changed = self.store.record_start(job, target_id)
        except ForeignRow:
            return  # the run has begun, and its end frees the slot
        found = changed.found if changed else None
        if found is None or not found.cancel_requested or found.fence != job.fence:
            return
        self.store.advance(job.id, job.fence, target_id, Status.SUBMITTED, attempts=0)
        logger.info("stopping: cancelled while it was being started", job_id=job.id, target_id=target_id)
        try:
            self._target(job).stop(job, target_id)
        except Unavailable as error:
            logger.warning("not stopped: left to the reconciler", job_id=job.id, reason=str(error))

    def _undo(self, job: Job, entry: WaitEntry | None, error: StartFailed) -> Outcome | None:
        """Undoes a claim whose start failed, or marks the job CANCELLED if a cancel was requested.

        HELD if the target takes no job at the moment: the job waits for room, and only a refusal counts.
        """
        logger.warning("start: refused", job_id=job.id, fence=job.fence, error_type=error.code, reason=str(error))
        waits = isinstance(error, StartThrottled) and (entry is not None or self.waiting_room)
        attempts = (entry.attempts if entry else 0) + (not waits)
        back = None
        if waits or (entry is not None and attempts < self.max_refusals):
            back = WaitEntry(entry.request if entry else job.request, attempts)
        try:
            changed = self.store.undo_claim(job, None if waits else _job_error(error), entry=back)
        except ForeignRow:
            self.store.free_foreign_slot(self.lanes[job.request.lane], job.id)
            changed, back = None, None
        if changed:
            return self._end_if_cancelled(job, changed.found)
        if waits:
            lane = self.lanes.get(job.request.lane)
            if lane is not None:
                self._pause(lane, None, Pause.begin(clock.now(), error.code))
            return Outcome.HELD
        if entry is not None and back is None:
            # The job's own message was deleted long ago. A new one lets a redrive start the job.
            self.dead_letters[job.request.lane].send_request(job.request, error)
            self.give_up(job.request, error)
        return None

    def _pause(self, lane: Lane, seen: Pause | None, to: Pause) -> bool:
        """Pauses the lane, and asks to be woken when that is over. False if others changed its pause meanwhile."""
        paused = self.store.set_pause(lane, seen, to)
        if paused:
            until = to.until or clock.now()
            logger.warning("lane paused", lane=lane.name, error_type=to.reason, until=clock.iso(until), tries=to.tries)
            self.wakes.wake(lane.name, until)
        return paused

    def _end_if_cancelled(self, job: Job, found: Job | None) -> Outcome | None:
        """Marks the job CANCELLED if a cancel request is why the claim cannot continue."""
        if found is None or found.fence != job.fence or not found.cancel_requested:
            return None
        if found.status is Status.CLAIMED:
            self.store.finish(found, Status.CANCELLED, error=None, target_id=None, attempts=0)
            logger.info("cancelled before it was started", job_id=job.id, fence=job.fence)
            self._start_waiting_quietly(job.request.lane)
        return Outcome.CANCELLED

    def _lane_full(self, request: WorkRequest, seen: Job | None) -> Outcome | JobChanged:
        if not self.waiting_room:
            shortest = self.full_lane_pause.total_seconds()
            pause = random.uniform(shortest, 3 * shortest)  # noqa: S311 - jitter, not a secret
            raise NoFreeSlot(f"lane {request.lane} has no free slot", pause)
        return self._hold(request, seen)

    def _hold(self, request: WorkRequest, seen: Job | None) -> Outcome | JobChanged:
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
        if request.start_after:
            self.wakes.wake(request.lane, request.start_after)
        # Nothing else would fill a slot that was freed since the claim was refused.
        self._start_waiting_quietly(request.lane)
        return Outcome.HELD

    def _start_waiting_quietly(self, lane: str) -> None:
        """Starts waiting jobs and only logs their failures, since the message in hand is done."""
        try:
            self.start_waiting(lane)
        except (StartRefused, OutcomeUnknown) as error:
            logger.warning("a waiting job could not be started", lane=lane, error_type=error.code)

    def _locked_out(self, request: WorkRequest, seen: Job | None, lock: ObjectLock) -> Outcome | JobChanged:
        """Handles a request whose object another job has locked: one upload under two ids, or a newer upload."""
        holder = self.store.get(lock.job_id)
        if (
            holder is None
            or lock.version == request.source.version
            or not is_newer_work(request.source, holder.request.source, holder.accepted_at)
        ):
            taken = holder is not None and are_different_owners(holder.request, request)
            if seen is not None and seen.status is Status.PENDING and seen.request.is_same_work(request):
                # Accepted before the other job was. Nothing would start it any more, so it must not stay PENDING.
                code = JobIdTaken.code if taken else "DUPLICATE"
                self.store.give_up(seen, JobError(code, f"job {lock.job_id} works on the same object"))
            if taken:
                raise JobIdTaken(f"job {lock.job_id} of another owner works on the object of job {request.job_id}")
            if self._add_owner(holder, request) or self._add_token(holder, request):
                return JobChanged(seen)
            return self._duplicate(request)
        held = self.store.hold(request, seen, lock_object=False)
        return held if isinstance(held, JobChanged) else self._held(request)

    def _add_owner(self, job: Job | None, request: WorkRequest) -> JobChanged | None:
        """Records the owner of an upload that was announced without one first: S3 names none, a backend does."""
        if job is None or job.request.user_id or not request.user_id or not job.request.source.is_at(request.source):
            return None
        if changed := self.store.add_owner(job, request.user_id):
            return changed
        logger.info("owner added", job_id=job.id)
        return None

    def _duplicate(self, request: WorkRequest) -> Outcome:
        observability.count(Metric.DUPLICATES)
        logger.info("duplicate", job_id=request.job_id, version=request.source.version)
        return Outcome.DUPLICATE

    def _admit_due(self, lane: Lane, now: datetime) -> int:
        """Lets jobs whose time has come into the waiting room, so that no newcomer overtakes them. Returns how many."""
        due = takewhile(lambda entry: entry.request.due <= now, self.store.later(lane))
        return sum(self.store.admit(entry) for entry in islice(due, _ADMITTED_AT_ONCE))

    def _claimed_in_order(
        self, lane: Lane, pause: Pause | None, longer: Pause | None
    ) -> Iterator[tuple[WaitEntry, Job]]:
        """Claims waiting jobs one by one. In a paused lane, the first claim needs the right to try a job."""
        # A thousand versions of one object may wait for one job. When it ends, a pass follows that finds it ended.
        busy: dict[str, Job] = {}
        now = clock.now()
        for entry in self.store.waiting(lane):
            if entry.request.start_after and entry.request.start_after > now:
                continue  # an earlier version put it here
            if longer and not self._pause(lane, pause, longer):
                return  # somebody else tries a job
            longer = None
            job = self._claim_waiting(entry, lane, busy)
            if isinstance(job, LaneFull):
                return
            if job is not None:
                yield entry, job

    def _claim_waiting(self, entry: WaitEntry, lane: Lane, busy: dict[str, Job]) -> Job | LaneFull | None:
        """Claims a waiting job. None if it must wait on, or no longer waits.

        `busy` has the jobs of this pass that work for older entries, as they were read.
        """
        try:
            return self._claim_entry(entry, lane, busy)
        except ForeignRow:
            return None  # the store has logged it; the entry waits until somebody mends the row

    def _claim_entry(self, entry: WaitEntry, lane: Lane, busy: dict[str, Job]) -> Job | LaneFull | None:
        seen = busy.pop(entry.request.job_id, None) or self.store.get(entry.request.job_id)
        for _ in range(RACES):
            step = self._leave_room(entry, seen, lane, busy)
            if not isinstance(step, JobChanged):
                return step
            seen = step.found
        return None

    def _leave_room(
        self, entry: WaitEntry, seen: Job | None, lane: Lane, busy: dict[str, Job]
    ) -> Job | LaneFull | JobChanged | None:
        """Claims a waiting job, drops an entry that need not wait any longer, or lets it wait on."""
        request = _with_owner(entry.request, seen)
        verdict = judge(seen, request, now=clock.now(), grace=self.grace)
        waits = seen is not None and seen.status is Status.WAITING and seen.request.is_same_work(request)
        if waits or (verdict is Verdict.START and not _was_run_while_waiting(seen, request)):
            match self.store.claim(request, seen, lane, entry=entry):
                case Claimed(job):
                    return job
                case EntryGone() | ObjectLocked():
                    return None
                case LaneFull() | JobChanged() as refused:
                    return refused
        if seen is not None and verdict is Verdict.WAIT_BEHIND:
            busy[seen.id] = seen
            return None
        if verdict in {Verdict.TAKEN, Verdict.EXISTS}:
            self.dead_letters[request.lane].send_request(request, _refusal(verdict, request))
        return self.store.drop(entry, seen)  # it was started, superseded or refused


def _owned(job: Job, request: WorkRequest) -> Job:
    """The job with the owner that `request`, the same work, may have added."""
    return replace(job, request=replace(job.request, user_id=job.request.user_id or request.user_id))


def _with_owner(request: WorkRequest, seen: Job | None) -> WorkRequest:
    """The request with the owner that the job of the same work has by now."""
    if seen is None or request.user_id or not seen.request.is_same_work(request):
        return request
    return replace(request, user_id=seen.request.user_id)


def _as_announced(request: WorkRequest) -> Job:
    """The record of an announced request, as stored until its first claim."""
    return Job(request, Status.PENDING, fence=0, created_at=request.sent_at)


def _was_run_while_waiting(seen: Job | None, request: WorkRequest) -> bool:
    """Whether a plain message waited behind other work while a later announcement of its object was run."""
    return (
        seen is not None
        and seen.claimed_at is not None
        and request.source.is_object
        and request.source.is_at(seen.request.source)
        and request.source.written_at is None
        and not seen.never_started
        and request.sent_at <= seen.claimed_at
    )


def _refusal(verdict: Verdict, request: WorkRequest) -> JobIdTaken | JobExists:
    if verdict is Verdict.EXISTS:
        return JobExists(f"the job {request.job_id} exists with another input")
    return JobIdTaken(f"the job id {request.job_id} belongs to a job of another kind or owner")


def _job_error(error: SwitchyardError) -> JobError:
    return JobError(error.code, str(error)[:1000])
