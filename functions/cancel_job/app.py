"""DELETE /jobs/{jobId}: ends a job that has not started, stops one that runs, and erases the data of one that ended.

Also GET /lanes, POST /lanes/{lane}/pause and POST /lanes/{lane}/resume.
"""

from functools import cache, partial
from typing import Any

from switchyard import clients, cold_start, wiring
from switchyard.api.access import find_job, foreign_row
from switchyard.api.erasing import Eraser
from switchyard.api.http import Api, Handler, Problem, Request, Response, invalid
from switchyard.errors import ForeignRow
from switchyard.observability import handler
from switchyard.protocol.cancel import Cancellation, Canceller
from switchyard.protocol.jobs import TERMINAL, Status
from switchyard.settings import CancelJobSettings
from switchyard.tables.records import Records


def cancel(canceller: Canceller, eraser: Eraser, request: Request) -> Response:
    """Cancels a job that the caller may see. With `data=true`, erases its data if it has already ended.

    Raises:
        Problem: 400 for an invalid query; 403 if the upload may not be erased; 404 if there is no such job, or it is
            not the caller's; 409 if it has ended and nothing is to be erased, or its row is not ours.
    """
    with_upload = _is_set(request, "upload")
    erases = _is_set(request, "data") or with_upload
    job = find_job(request, canceller.store.get, lambda found: found.request.user_id)
    # The data of a job that ends now may still change: it is erased by a later request.
    later = {"erased": False} if erases else {}
    if erases:
        places = eraser.places(request, job, with_upload=with_upload)
        if job.status in TERMINAL:
            erased = eraser.erase(job, places)
            return Response(200 if erased else 202, {"jobId": job.id, "status": job.status, "erased": erased})
    try:
        cancellation = canceller.cancel(job, by=request.caller)
    except ForeignRow:  # it was changed since it was read
        raise foreign_row() from None
    match cancellation:
        case Cancellation.CANCELLED:
            return Response(202 if erases else 200, {"jobId": job.id, "status": Status.CANCELLED, **later})
        case Cancellation.REQUESTED:
            return Response(202, {"jobId": job.id, "status": job.status, "cancelRequested": True, **later})
        case Cancellation.ENDED if erases:
            return Response(202, {"jobId": job.id, "status": job.status, **later})
        case Cancellation.ENDED:
            raise Problem(409, "ALREADY_ENDED", "The job has ended.")


def _is_set(request: Request, name: str) -> bool:
    value = request.query.get(name, "false")
    if value not in ("true", "false"):
        raise invalid(f"{name} must be true or false")
    return value == "true"


@cache
def api() -> Api:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = CancelJobSettings.from_env()
    records = Records(clients.dynamodb(), settings.jobs_table)
    prefixes, index = (settings.upload_prefix, settings.torrent_prefix), wiring.search_index(settings)
    eraser = Eraser(records, clients.s3, settings.s3_bucket, *prefixes, index)
    handle = partial(cancel, wiring.canceller(settings), eraser)
    lanes = wiring.lane_routes(settings)
    routes: dict[str, Handler] = {
        "DELETE /jobs/{jobId}": handle,
        "GET /lanes": lanes.list,
        "POST /lanes/{lane}/pause": lanes.pause,
        "POST /lanes/{lane}/resume": lanes.resume,
    }
    return Api(routes, settings.cors_origins, settings.api_auth)


@handler
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answers one request of API Gateway's REST proxy integration."""
    return api().handle(event, context)


cold_start.prepare(api)
