"""Follows runs: moves the status by what the target says of them, in whatever order and number it says it."""

from dataclasses import dataclass

from switchyard import observability
from switchyard.errors import Contended
from switchyard.observability import Metric, logger
from switchyard.protocol.dispatch import Dispatcher
from switchyard.protocol.jobs import HOLDING_SLOT, TERMINAL, Job, Run, Status
from switchyard.protocol.ports import RACES, JobStore


@dataclass(slots=True, eq=False)
class Tracker:
    """Applies what is known of runs to their jobs."""

    store: JobStore
    dispatcher: Dispatcher

    def apply(self, run: Run) -> bool:
        """Moves the job of a run; True where that changed anything.

        News of an older claim, of another run than the one that counts, or from behind, change nothing. The end of a
        run frees its slot, and the next waiting job is started: also when the news comes a second time, since the
        first delivery may have died in between. A run that fails after its cancel was asked for has been cancelled; one
        that had done its work by then is COMPLETED.
        """
        if run.status not in TERMINAL:
            return self.store.advance(run.job_id, run.fence, run.target_id, run.status, attempts=run.attempts)
        ended, job, to = False, None, run.status
        for _ in range(RACES):
            job = self.store.get(run.job_id)
            if job is None or not _counts(run, job):
                logger.info("ignored: not the run that counts", job_id=run.job_id, fence=run.fence)
                return False
            cancelled = job.cancel_requested and run.status is Status.FAILED
            to, error = (Status.CANCELLED, None) if cancelled else (run.status, run.error)
            ended = self.store.finish(job, to, error=error, target_id=run.target_id, attempts=run.attempts)
            if ended:
                break
        if job is None or not ended:
            raise Contended(f"job {run.job_id} changed {RACES} times while its end was being noted")
        if job.status not in TERMINAL:
            logger.info("ended", job_id=job.id, fence=run.fence, job_status=to, target_id=run.target_id)
            if to is Status.FAILED:
                observability.count(Metric.FAILED)
        self.dispatcher.start_waiting(job.request.lane)
        return job.status not in TERMINAL


def _counts(run: Run, job: Job) -> bool:
    """Whether a run is the one whose end is the job's end.

    A job that waits again, for a newer version, still has the fence of the run before.
    """
    was_started = job.status in HOLDING_SLOT or job.status in TERMINAL
    return was_started and job.fence == run.fence and job.authoritative_target_id in (None, run.target_id)
