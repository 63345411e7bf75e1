"""GET /jobs/{jobId} and its logs, GET /jobs, GET /users/{userId}/games and GET /openapi.json. Read-only."""

from functools import cache
from typing import Any

from switchyard import clients, cold_start, wiring
from switchyard.api import presentation
from switchyard.api.http import Api
from switchyard.api.logs import LogGroup, Logs
from switchyard.api.presentation import Presentation
from switchyard.api.results import Results
from switchyard.observability import handler
from switchyard.settings import GetJobSettings
from switchyard.steam.listing import Shelf
from switchyard.steam.table import Library
from switchyard.tables.records import Records


@cache
def api() -> Api:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = GetJobSettings.from_env()
    results = Results(
        clients.s3, settings.s3_bucket, settings.torrent_prefix, settings.result_url_seconds, settings.upload_prefix
    )
    records = Records(clients.dynamodb(), settings.jobs_table, settings.lanes_table)
    shown = Presentation(records, results)
    groups = {
        "batch": LogGroup(settings.job_log_group),
        "ecs": LogGroup(settings.task_log_group, f"{settings.task_log_prefix}/"),
    }
    routes = {
        "GET /jobs/{jobId}": shown.job,
        "GET /jobs/{jobId}/logs": Logs(records, clients.logs, groups).lines,
        "GET /jobs": shown.jobs,
        "GET /users/{userId}/games": Shelf(Library(clients.dynamodb(), settings.library_table)).games,
        "GET /openapi.json": presentation.document,
    }
    return wiring.api(settings, routes)


@handler
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answers one request of API Gateway's REST proxy integration."""
    return api().handle(event, context)


cold_start.prepare(api)
