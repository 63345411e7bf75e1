"""Answers `DELETE /jobs/{jobId}`: cancels a job, or erases the data of one that has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from switchyard.api.access import find_job, foreign_row
from switchyard.api.http import Problem, Request, Response, invalid
from switchyard.errors import ForeignRow
from switchyard.protocol.cancel import Cancellation, Canceller
from switchyard.protocol.jobs import TERMINAL, Job, Status

if TYPE_CHECKING:
    from switchyard.api.erasing import Eraser


@dataclass(slots=True, eq=False)
class Cancelling:
    """The handlers."""

    canceller: Canceller

    def cancel(self, request: Request) -> Response:
        """Cancels a job that the caller may see.

        Raises:
            Problem: 404 for no such job, or another user's; 409 if it has ended, or its row is not ours.
        """
        job = find_job(request, self.canceller.store.get, _owner)
        ended = _end(self.canceller, request, job)
        if ended is None:
            raise Problem(409, "ALREADY_ENDED", "The job has ended.")
        return Response(200 if ended["status"] == Status.CANCELLED else 202, ended)

    def cancel_or_erase(self, eraser: Eraser, request: Request) -> Response:
        """Cancels a job. With `data=true`, erases its data if it has already ended.

        Raises:
            Problem: as `cancel`; 400 for an invalid query; 403 if the upload may not be erased.
        """
        with_upload = _is_set(request, "upload")
        if not (_is_set(request, "data") or with_upload):
            return self.cancel(request)
        job = find_job(request, self.canceller.store.get, _owner)
        places = eraser.places(request, job, with_upload=with_upload)
        if job.status in TERMINAL:
            erased = eraser.erase(job, places)
            return Response(200 if erased else 202, {"jobId": job.id, "status": job.status, "erased": erased})
        # The data of a job that ends now may still change: it is erased by a later request.
        ended = _end(self.canceller, request, job) or {"jobId": job.id, "status": job.status}
        return Response(202, {**ended, "erased": False})


def _owner(job: Job) -> str | None:
    return job.request.user_id


def _end(canceller: Canceller, request: Request, job: Job) -> dict[str, Any] | None:
    """Cancels a job, and says what becomes of it. None if it has ended."""
    try:
        cancellation = canceller.cancel(job, by=request.caller)
    except ForeignRow:  # it was changed since it was read
        raise foreign_row() from None
    match cancellation:
        case Cancellation.CANCELLED:
            return {"jobId": job.id, "status": Status.CANCELLED}
        case Cancellation.REQUESTED:
            return {"jobId": job.id, "status": job.status, "cancelRequested": True}
        case Cancellation.ENDED:
            return None


def _is_set(request: Request, name: str) -> bool:
    value = request.query.get(name, "false")
    if value not in ("true", "false"):
        raise invalid(f"{name} must be true or false")
    return value == "true"
