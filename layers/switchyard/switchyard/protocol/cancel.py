"""Cancels jobs. An unstarted job ends at once; a started one is stopped on its target and ends with its run."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from switchyard.errors import Contended, Unavailable
from switchyard.observability import logger
from switchyard.protocol.jobs import HOLDING_SLOT, TERMINAL, Job, is_other_work
from switchyard.protocol.ports import RACES, JobStore, Target


class Cancellation(Enum):
    """The result of a cancel."""

    CANCELLED = auto()
    """The job had no run and is CANCELLED."""
    REQUESTED = auto()
    """The run, if there is one yet, is being stopped. The job becomes CANCELLED, or COMPLETED if the run ends first."""
    ENDED = auto()
    """The job had already ended."""


@dataclass(frozen=True, slots=True)
class Canceller:
    """Cancels jobs. `targets` are by type; only their `stop` is called."""

    store: JobStore
    targets: Mapping[str, Target]

    def cancel(self, job: Job, *, by: str = "") -> Cancellation:
        """Cancels the work of `job` for the caller `by`, whatever its status is by now. Idempotent.

        Newer work under the same id is not cancelled.

        Raises:
            Contended: the job changed at every attempt.
        """
        found: Job | None = job
        for _ in range(RACES):
            if found is None or found.status in TERMINAL or is_other_work(job, found.request):
                return Cancellation.ENDED
            if found.status in HOLDING_SLOT:
                noted = self.store.request_cancel(found, by=by)
                if isinstance(noted, Job):
                    self._stop(noted, by)
                    return Cancellation.REQUESTED
                found = noted.found
            else:
                changed = self.store.cancel(found, by=by)
                if changed is None:
                    logger.info("cancelled", job_id=job.id, fence=job.fence, by=by)
                    return Cancellation.CANCELLED
                found = changed.found
        raise Contended(f"job {job.id} changed {RACES} times while it was being cancelled")

    def _stop(self, job: Job, by: str) -> None:
        """Stops the run, if it is known. If that fails, the reconciler retries, since the request is recorded."""
        target_id, target = job.authoritative_target_id, self.targets.get(job.request.target.type)
        logger.info("cancel requested", job_id=job.id, fence=job.fence, target_id=target_id, by=by)
        if target_id is None or target is None:
            return
        try:
            target.stop(job, target_id)
        except Unavailable as error:
            logger.warning("not stopped: left to the reconciler", job_id=job.id, reason=str(error))
