"""Applies the state changes of runs to their jobs. Events may be repeated and out of order."""

from dataclasses import dataclass

from switchyard import clock, observability
from switchyard.errors import Contended, ForeignRow
from switchyard.observability import Metric, logger
from switchyard.protocol.dispatch import Dispatcher
from switchyard.protocol.jobs import HOLDING_SLOT, TERMINAL, Attempt, Job, JobError, Run, Status, tried_again
from switchyard.protocol.ports import RACES, JobStore


@dataclass(slots=True, eq=False)
class Tracker:
    """Updates jobs from the state of their runs. A job has at most `max_attempts` runs, if its target makes no more."""

    store: JobStore
    dispatcher: Dispatcher
    max_attempts: int = 3

    def apply(self, run: Run) -> bool:
        """Updates the job of a run. True if that changed its status.

        Ignores events of older claims, of runs other than the job's current one, and late events. The end of a run
        frees its slot and starts the next waiting job. A repeated end does so too, since the first delivery may have
        died in between. A run that fails after a cancel request makes its job CANCELLED; one that succeeds, COMPLETED.
        A job whose failed run may be tried again becomes WAITING.

        Raises:
            Contended: the job changed at every attempt.
            StartFailed, OutcomeUnknown: as `Dispatcher.start_waiting`.
        """
        if run.status not in TERMINAL:
            return self.store.advance(
                run.job_id, run.fence, run.target_id, run.status, attempts=run.attempts, log_stream=run.log_stream
            )
        try:
            job, to = self._end(run)
        except ForeignRow:
            logger.info("ignored: the job's row is not ours", job_id=run.job_id, fence=run.fence)
            self._free_slot(run.job_id)
            return False
        if job is None:
            logger.info("ignored: not the job's current run", job_id=run.job_id, fence=run.fence)
            return False
        changed = job.status not in TERMINAL and to is not job.status
        if changed:
            logger.info("ended", job_id=job.id, fence=run.fence, job_status=to, target_id=run.target_id)
            if to is Status.FAILED:
                observability.count(Metric.FAILED)
        self.dispatcher.start_waiting(job.request.lane)
        return changed

    def _end(self, run: Run) -> tuple[Job | None, Status]:
        """Ends the job of a run. Returns the job as it was, None if the run is none of its own, and its new status."""
        for _ in range(RACES):
            job = self.store.get(run.job_id)
            if job is not None and any(each.target_id == run.target_id for each in job.attempts):
                return job, job.status
            if job is None or not _is_current(run, job):
                return None, run.status
            if again := self._to_try_again(run, job):
                if self.store.retry(job, again):
                    self.dispatcher.wakes.wake(again.request.lane, again.request.due)
                    return job, Status.WAITING
                continue
            cancelled = job.cancel_requested and run.status is Status.FAILED
            to, error = (Status.CANCELLED, None) if cancelled else (run.status, run.error)
            attempts = len(job.attempts) + run.attempts
            if self.store.finish(
                job, to, error=error, target_id=run.target_id, attempts=attempts, log_stream=run.log_stream
            ):
                return job, to
        raise Contended(f"job {run.job_id} changed {RACES} times while its end was being recorded")

    def _to_try_again(self, run: Run, job: Job) -> Job | None:
        """The job with its next attempt, if there is to be one."""
        if not run.may_retry or job.cancel_requested or job.status in TERMINAL:
            return None
        error = job.error or run.error or JobError("", "")
        return tried_again(job, Attempt(run.target_id, error, clock.now()), limit=self.max_attempts)

    def _free_slot(self, job_id: str) -> None:
        """Frees the slot of a job whose row is not ours, so that no row can keep a lane's only slot."""
        for lane in self.dispatcher.lanes.values():
            if self.store.free_foreign_slot(lane, job_id):
                self.dispatcher.start_waiting(lane.name)


def _is_current(run: Run, job: Job) -> bool:
    """Whether the run's end is the job's end.

    A job that waits again, for a newer version, still has the fence of its last run.
    """
    was_started = job.status in HOLDING_SLOT or job.status in TERMINAL
    return was_started and job.fence == run.fence and job.authoritative_target_id in (None, run.target_id)
