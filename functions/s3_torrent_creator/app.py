"""SQS (uploads, requests, segments of huge objects) or direct invocation → a torrent of each object."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from switchyard import clients, cold_start, wiring
from switchyard.observability import handler
from switchyard.settings import S3TorrentCreatorSettings
from switchyard.torrents.creator import TimeLeft
from switchyard.torrents.intake import Intake


@cache
def function() -> Callable[[TimeLeft], Intake]:
    """Made once an execution environment: at its start, or where that fails, by each event, with a clear error."""
    settings = S3TorrentCreatorSettings.from_env()
    return partial(
        Intake,
        wiring.torrent_creator(settings),
        clients.sqs(),
        settings.queue_url,
        settings.max_receive_count,
        wiring.dead_letter_queue(settings.dead_letter_queue_url),
    )


@handler
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's own
    """Handles SQS messages and gives the partial batch response, or does what the event itself asks for."""
    intake = function()(TimeLeft(context.get_remaining_time_in_millis))
    match event:
        case {"Records": [{"eventSource": "aws:sqs"}, *_]}:
            return intake.consume(event)
    return intake.invoked(event, context.aws_request_id)


cold_start.prepare(function)
