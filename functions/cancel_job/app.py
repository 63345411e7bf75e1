"""The routes for work that is there: cancels jobs, erases their data, does work again, many at once; and lanes."""

from functools import cache, partial
from typing import Any

from switchyard import clients, cold_start, wiring
from switchyard.api.bulk import Bulk, OtherFunction
from switchyard.api.cancelling import Cancelling
from switchyard.api.erasing import Eraser
from switchyard.api.http import Api, Handler
from switchyard.api.repeats import Repeats
from switchyard.messages.kinds import VIDEO
from switchyard.observability import handler
from switchyard.protocol.jobs import TargetSpec
from switchyard.settings import CancelJobSettings
from switchyard.tables.records import Records


@cache
def api() -> Api:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = CancelJobSettings.from_env()
    records = Records(clients.dynamodb(), settings.jobs_table, settings.lanes_table)
    prefixes, index = (settings.upload_prefix, settings.torrent_prefix), wiring.search_index(settings)
    canceller = wiring.canceller(settings)
    cancelling = Cancelling(canceller)
    repeats = Repeats(
        records=records,
        store=canceller.store,
        sqs=clients.sqs(),
        queues={"batch": settings.video_queue_url, "ecs": settings.ecs_queue_url},
        target=TargetSpec(VIDEO.target, settings.batch_job_queue, settings.batch_job_definition),
        bucket=settings.s3_bucket,
        prefix=settings.upload_prefix,
        s3=clients.s3,
    )
    again: dict[str, Handler] = {"POST /videos": repeats.analyze, "POST /jobs/{jobId}/rerun": repeats.rerun}
    submit = OtherFunction(clients.functions, settings.submit_function).ask
    others = dict.fromkeys(("POST /process", "POST /jobs", "POST /torrents"), submit)
    eraser = Eraser(records, clients.s3, settings.s3_bucket, *prefixes, index)
    lanes = wiring.lane_routes(settings)
    routes: dict[str, Handler] = {
        **again,
        "DELETE /jobs/{jobId}": partial(cancelling.cancel_or_erase, eraser),
        "POST /jobs/bulk": Bulk(again | others | {"DELETE /jobs/{jobId}": cancelling.cancel}).bulk,
        "GET /lanes": lanes.list,
        "POST /lanes/{lane}/pause": lanes.pause,
        "POST /lanes/{lane}/resume": lanes.resume,
    }
    return wiring.api(settings, routes)


@handler
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answers one request of API Gateway's REST proxy integration."""
    return api().handle(event, context)


cold_start.prepare(api)
