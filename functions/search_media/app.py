"""POST /search: finds the moment of a video in which something is said or shown. Read-only."""

from functools import cache
from typing import Any

from switchyard import clients, cold_start, wiring
from switchyard.api.http import Api
from switchyard.api.search import Search
from switchyard.observability import handler
from switchyard.settings import SearchMediaSettings


@cache
def api() -> Api:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = SearchMediaSettings.from_env()
    search = Search(
        wiring.search_index(settings),
        wiring.embedding(settings),
        clients.s3,
        settings.s3_bucket,
        settings.upload_prefix,
        settings.result_url_seconds,
        wiring.answers(settings),
    )
    return wiring.api(settings, {"POST /search": search.search})


@handler
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answers one request of API Gateway's REST proxy integration."""
    return api().handle(event, context)


cold_start.prepare(api)
