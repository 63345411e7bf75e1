"""Finds and repairs what crashes and lost events left behind. Every step is idempotent.

The status index is eventually consistent. It only says which jobs to check; each is read again before any change.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby

from switchyard import clock, observability
from switchyard.errors import ForeignRow, JobExists, JobIdTaken, RetryableError, StartFailed
from switchyard.observability import Metric, logger
from switchyard.protocol.dispatch import Dispatcher
from switchyard.protocol.jobs import HOLDING_SLOT, TERMINAL, Job, JobError, Run, Status, Verdict, judge
from switchyard.protocol.lanes import Lane, Slots
from switchyard.protocol.ports import ActiveJob, JobStore, Repair, Target
from switchyard.protocol.tracking import Tracker

_LOST = JobError("TARGET_LOST", "the target no longer knows the run and never reported how it ended")


class _Pass:
    """The findings and failures of one pass.

    Failures are collected, so that the pass goes on. Any other exception is a bug and ends it.
    """

    def __init__(self) -> None:
        self.active: list[ActiveJob] = []
        self.waiting: list[ActiveJob] = []
        self.forgotten: list[ActiveJob] = []
        self.waits: list[timedelta] = []
        self._errors: list[Exception] = []

    @contextmanager
    def noted(self, job_id: str | None = None) -> Iterator[None]:
        try:
            yield
        except ForeignRow:
            logger.info("skipped: the job's row is not ours", job_id=job_id)
        except (JobIdTaken, JobExists) as error:
            logger.warning("left alone", job_id=job_id, error_type=error.code)
        except (RetryableError, StartFailed) as error:
            logger.warning("a repair failed", job_id=job_id, error_type=type(error).__name__, reason=str(error))
            self._errors.append(error)

    def raise_any(self) -> None:
        if self._errors:
            raise ExceptionGroup("some repairs failed", self._errors)


@dataclass(slots=True, eq=False)
class Reconciler:
    """Reconciles the jobs of every lane with their targets.

    Jobs of a lane or target that this deployment doesn't have, or no longer has, are skipped.

    Attributes:
        pending_grace: How long an accepted job may stay PENDING before it is dispatched again.
        stuck_after: How long a run may wait for capacity before it counts as stuck.
        repairs: By lane, for jobs that functions run, which have no slots and no target.
        beat: Called with the ids of all jobs that wait or run, to tell others that these are alive.
        kinds: The kind of each lane, by its name. A row that names another kind's lane is not ours.
    """

    store: JobStore
    dispatcher: Dispatcher
    tracker: Tracker
    pending_grace: timedelta
    stuck_after: timedelta
    repairs: Mapping[str, Repair] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    beat: Callable[[Sequence[str]], None] = lambda _: None

    def run(self) -> None:
        """Makes one pass. If a step fails, or the repair of one job, the others still run.

        Raises:
            ExceptionGroup: all failures, at the end of the pass, so that the function's error alarm fires.
        """
        this = _Pass()
        steps: list[Callable[[], None]] = [
            lambda: self._adopt_stale_claims(this),
            lambda: self._list(this),
            lambda: self.beat(list(dict.fromkeys(job.id for job in (*this.active, *this.waiting)))),
            lambda: self._retake_slots(this),
            lambda: self._catch_up(this),
            lambda: self._restart_pending(this),
            lambda: self._ask_again(this),
            lambda: self._mend_lanes(this),
            lambda: _report(this.waits),
        ]
        for step in steps:
            with this.noted():
                step()
        this.raise_any()

    def _list(self, this: _Pass) -> None:
        for status in (Status.SUBMITTED, Status.RUNNING):
            this.active.extend(self.store.by_status(status))
        this.waiting.extend(self.store.by_status(Status.WAITING))

    # ---- claims ----------------------------------------------------------------------------------------------------

    def _adopt_stale_claims(self, this: _Pass) -> None:
        for listed in self.store.by_status(Status.CLAIMED):
            if not self._older(listed.claimed_at, self.dispatcher.grace) or self._target_of(listed) is None:
                continue
            with this.noted(listed.id):
                job = self._read(listed)
                if job and self._is_stale(job):
                    self.dispatcher.adopt(job)

    def _is_stale(self, job: Job) -> bool:
        return judge(job, job.request, now=clock.now(), grace=self.dispatcher.grace) is Verdict.ADOPT

    # ---- runs ------------------------------------------------------------------------------------------------------

    def _catch_up(self, this: _Pass) -> None:
        """Updates jobs from their targets. A failure of one queue or cluster doesn't affect the others' jobs."""
        stuck = 0
        for (_, queue), jobs in groupby(sorted(this.active, key=_place), key=_place):
            listed = list(jobs)
            target = self._target_of(listed[0])
            if target is not None:
                with this.noted():
                    stuck += self._catch_up_with(target, queue, listed, this)
        observability.count(Metric.STUCK_RUNNABLE, stuck)

    def _catch_up_with(self, target: Target, queue: str, jobs: Iterable[ActiveJob], this: _Pass) -> int:
        """Applies the state of a target's runs, stops cancelled ones, and fails those that the target no longer knows.

        Returns the number of stuck runs.
        """
        stuck = 0
        listed = self._by_claim(jobs, target, this)
        for run in target.describe(dict.fromkeys(target_id for target_id, _, _ in listed), queue):
            job = listed.pop((run.target_id, run.job_id, run.fence), None)
            if job is None:  # the row that names this run is another job's, and its own run is unknown
                continue
            stuck += self._is_stuck(run)
            with this.noted(job.id):
                if run.status is not job.status:
                    self.tracker.apply(self._as_the_row_names_it(target, run))
                if job.cancel_requested and run.status not in TERMINAL:
                    self._stop(target, run)
        for (target_id, _, _), job in listed.items():
            with this.noted(job.id):
                self._lose(target, job, target_id)
        return stuck

    def _as_the_row_names_it(self, target: Target, run: Run) -> Run:
        """The run by the id that its row names, if that is the id of no run: workers may write it.

        Otherwise, the end of the run would not be the job's, and the job would hold its slot for ever.
        """
        job = self.store.get(run.job_id) if run.status in TERMINAL else None
        if job is None or job.run_id in (None, run.target_id):
            return run
        named = target.describe([job.run_id], job.request.target.queue)
        exists = any((each.job_id, each.fence) == (job.id, job.fence) for each in named)
        return run if exists else replace(run, target_id=job.run_id)

    def _stop(self, target: Target, run: Run) -> None:
        """Stops a run of a cancelled job: an earlier stop was never sent, or failed."""
        job = self.store.get(run.job_id)
        if job and job.cancel_requested:
            target.stop(job, run.target_id)

    def _by_claim(
        self, jobs: Iterable[ActiveJob], target: Target, this: _Pass
    ) -> dict[tuple[str, str, int], ActiveJob]:
        """The jobs by target id, job id and fence. Several rows may name one run, which is one job's at most."""
        listed: dict[tuple[str, str, int], ActiveJob] = {}
        for job in jobs:
            target_id = job.target_id
            with this.noted(job.id):
                if target_id is None:
                    # Its worker reported RUNNING, but no target id was ever recorded.
                    known = self.store.get(job.id)
                    target_id = target.find(known) if known else None
                if target_id is None:
                    self._lose(target, job, "unknown")
                else:
                    listed[target_id, job.id, job.fence] = job
        return listed

    def _target_of(self, job: ActiveJob) -> Target | None:
        return self.dispatcher.targets.get(_target_type(job))

    def _is_stuck(self, run: Run) -> bool:
        if not self._older(run.queued_since, self.stuck_after):
            return False
        logger.warning("stuck: no capacity for the run", job_id=run.job_id, target_id=run.target_id)
        return True

    def _lose(self, target: Target, job: ActiveJob, target_id: str) -> None:
        # A target may not yet list a run that it has just accepted. A row without the time was never claimed.
        if job.claimed_at is None or self._older(job.claimed_at, self.dispatcher.grace):
            lost = Run(target_id, job.id, job.fence, Status.FAILED, error=_LOST)
            self.tracker.apply(self._as_the_row_names_it(target, lost))

    # ---- lost slots ------------------------------------------------------------------------------------------------

    def _retake_slots(self, this: _Pass) -> None:
        """Returns lost slots to running jobs before others take them, for example after LanesTable was restored."""
        active = _by_lane(this.active)
        for lane in self.dispatcher.lanes.values():
            listed = active.get(lane.name)
            if not listed:
                continue
            with this.noted():
                holders = set(self.store.holders(lane))
                for job in listed:
                    if job.id not in holders:
                        with this.noted(job.id):
                            self._retake_slot(lane, job)

    def _retake_slot(self, lane: Lane, listed: ActiveJob) -> None:
        job = self._read(listed)
        if job and _holds_slot_in(lane, job) and self._runs(job) and self.store.retake_slot(lane, job):
            logger.warning("a running job had lost its slot", job_id=job.id, lane=lane.name)

    def _runs(self, job: Job) -> bool:
        """Whether the target knows a run of this claim: a row alone takes no slot, since other programs write rows."""
        target = self.dispatcher.targets.get(job.request.target.type)
        if target is None:
            return False
        target_id = job.authoritative_target_id or target.find(job)
        runs = target.describe([target_id] if target_id else [], job.request.target.queue)
        return any((run.job_id, run.fence) == (job.id, job.fence) and run.status not in TERMINAL for run in runs)

    # ---- accepted, never started -----------------------------------------------------------------------------------

    def _restart_pending(self, this: _Pass) -> None:
        for listed in self.store.by_status(Status.PENDING):
            if not self._older(listed.created_at, self.pending_grace):
                break  # oldest first
            if listed.lane in self.repairs:
                this.forgotten.append(listed)
            if listed.lane not in self.dispatcher.lanes:
                continue
            with this.noted(listed.id):
                job = self._read(listed)
                if job and job.status is Status.PENDING and not job.is_placeholder:
                    self.dispatcher.dispatch(job.request)

    def _ask_again(self, this: _Pass) -> None:
        for listed in (*this.forgotten, *this.active):
            if repair := self.repairs.get(listed.lane):
                with this.noted(listed.id):
                    repair.ask_again(listed.id)

    # ---- lanes -----------------------------------------------------------------------------------------------------

    def _mend_lanes(self, this: _Pass) -> None:
        active, waiting = _by_lane(this.active), _by_lane(this.waiting)
        for lane in self.dispatcher.lanes.values():
            with this.noted():
                seen = self.store.slots(lane)
                holders, entries = set(self.store.holders(lane)), [*self.store.entries(lane)]
                later = sum(entry.later for entry in entries)
                actual = replace(seen, taken=len(holders), waiting=len(entries) - later, later=later)
                self._correct(lane, seen, actual)
                this.waits.extend(max(clock.now() - entry.request.due, timedelta()) for entry in entries)
                for job_id in sorted(holders - {job.id for job in active.get(lane.name, ())}):
                    with this.noted(job_id):
                        self._free_if_leaked(lane, job_id)
                listed = waiting.get(lane.name, ())
                self._return_to_room(listed, {entry.request.job_id for entry in entries}, this)
                if entries or listed:
                    self.dispatcher.start_waiting(lane.name)

    def _correct(self, lane: Lane, seen: Slots, actual: Slots) -> None:
        if actual != seen and self.store.recount(lane, seen, actual):
            logger.warning("corrected the counts of a lane", lane=lane.name, counted=str(seen), actual=str(actual))

    def _free_if_leaked(self, lane: Lane, job_id: str) -> None:
        job = self.store.get(job_id)
        if job is not None and _holds_slot_in(lane, job):
            return
        if self.store.free_leaked_slot(lane, job_id, job):
            logger.warning("freed a leaked slot", job_id=job_id, lane=lane.name)

    def _return_to_room(self, listed: Sequence[ActiveJob], inside: AbstractSet[str], this: _Pass) -> None:
        """Puts jobs back that have lost their place."""
        for each in listed:
            if each.id in inside:
                continue
            with this.noted(each.id):
                job = self._read(each)
                if job and job.status is Status.WAITING and self._older(job.created_at, self.dispatcher.grace):
                    logger.warning("a waiting job had lost its place in the waiting room", job_id=job.id)
                    self.store.hold_behind(job.request)

    def _read(self, listed: ActiveJob) -> Job | None:
        """Reads a listed job.

        Raises:
            ForeignRow: the row is not ours, or in the lane of another kind.
        """
        job = self.store.get(listed.id)
        if job and job.has_request and self.kinds.get(job.request.lane, job.request.kind) != job.request.kind:
            raise ForeignRow(f"job {job.id!r} is in the lane of another kind")
        return job

    def _older(self, moment: datetime | None, age: timedelta) -> bool:
        return moment is not None and clock.now() - moment >= age


def _by_lane(jobs: Iterable[ActiveJob]) -> dict[str, list[ActiveJob]]:
    by_lane: dict[str, list[ActiveJob]] = {}
    for job in jobs:
        by_lane.setdefault(job.lane, []).append(job)
    return by_lane


def _holds_slot_in(lane: Lane, job: Job) -> bool:
    return job.status in HOLDING_SLOT and job.request.lane == lane.name


def _target_type(job: ActiveJob) -> str:
    return job.target.type if job.target else ""


def _place(job: ActiveJob) -> tuple[str, str]:
    return _target_type(job), job.target.queue if job.target else ""


def _report(waits: list[timedelta]) -> None:
    """Emits how many jobs wait and how long the oldest has, over all lanes, for the alarms."""
    observability.count(Metric.JOBS_WAITING, len(waits))
    observability.seconds(Metric.OLDEST_WAIT, max(waits, default=timedelta()))
