"""SQS (uploads, requests, segments of huge objects) or direct invocation: makes a torrent of each object."""

from functools import cache
from typing import Any

from switchyard import cold_start, wiring
from switchyard.function_jobs.intake import Intake
from switchyard.function_jobs.work import TimeLeft
from switchyard.observability import handler
from switchyard.settings import S3TorrentCreatorSettings
from switchyard.torrents.messages import Segment, Wanted


@cache
def function() -> Intake[Wanted | Segment]:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = S3TorrentCreatorSettings.from_env()
    creator = wiring.torrent_creator(settings)
    dead_letters = wiring.dead_letter_queue(settings.dead_letter_queue_url)
    return Intake(creator, creator.outbox, settings.max_receive_count, dead_letters)


@handler
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's own
    """Handles SQS messages and returns the partial batch response, or handles the event as a request."""
    time = TimeLeft(context.get_remaining_time_in_millis)
    match event:
        case {"Records": [{"eventSource": "aws:sqs"}, *_]}:
            return function().consume(event, time)
    return function().invoked(event, context.aws_request_id, time)


cold_start.prepare(function)
