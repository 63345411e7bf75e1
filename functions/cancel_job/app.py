"""DELETE /jobs/{jobId}: ends a job that has not started, and stops one that runs."""

from functools import cache, partial
from typing import Any

from switchyard import cold_start, wiring
from switchyard.api.access import find_job
from switchyard.api.http import Api, Problem, Request, Response
from switchyard.observability import handler
from switchyard.protocol.cancel import Cancellation, Canceller
from switchyard.protocol.jobs import Status
from switchyard.settings import CancelJobSettings


def cancel(canceller: Canceller, request: Request) -> Response:
    """Cancels a job that the caller may see.

    Raises:
        Problem: 404 if there is no such job, or it is not the caller's; 409 if it has ended, or its row is not ours.
    """
    job = find_job(request, canceller.store.get, lambda found: found.request.user_id)
    match canceller.cancel(job, by=request.caller):
        case Cancellation.CANCELLED:
            return Response(200, {"jobId": job.id, "status": Status.CANCELLED})
        case Cancellation.REQUESTED:
            return Response(202, {"jobId": job.id, "status": job.status, "cancelRequested": True})
        case Cancellation.ENDED:
            raise Problem(409, "ALREADY_ENDED", "The job has ended.")


@cache
def api() -> Api:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = CancelJobSettings.from_env()
    return Api(
        {"DELETE /jobs/{jobId}": partial(cancel, wiring.canceller(settings))}, settings.cors_origins, settings.api_auth
    )


@handler
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answers one request of API Gateway's REST proxy integration."""
    return api().handle(event, context)


cold_start.prepare(api)
