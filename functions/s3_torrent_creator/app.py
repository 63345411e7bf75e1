"""SQS (uploads, requests, segments of huge objects) or direct invocation: makes a torrent of each object."""

from functools import cache
from typing import Any

from switchyard import cold_start, wiring
from switchyard.function_jobs.intake import Context, Intake
from switchyard.observability import handler
from switchyard.settings import S3TorrentCreatorSettings
from switchyard.torrents.messages import Segment, Wanted


@cache
def function() -> Intake[Wanted | Segment]:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    return wiring.torrents(S3TorrentCreatorSettings.from_env())


@handler
def lambda_handler(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Handles SQS messages and returns the partial batch response, or handles the event as a request."""
    return function().handle(event, context)


cold_start.prepare(function)
