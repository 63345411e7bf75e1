"""SQS (requests) or direct invocation: copies a player's Steam library and says what has changed."""

from functools import cache
from typing import Any

from switchyard import cold_start, wiring
from switchyard.function_jobs.intake import Intake
from switchyard.function_jobs.work import TimeLeft
from switchyard.observability import handler
from switchyard.settings import ImportSteamLibrarySettings
from switchyard.steam.messages import Wanted


@cache
def function() -> Intake[Wanted]:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    return wiring.steam_imports(ImportSteamLibrarySettings.from_env())


@handler
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's own
    """Handles SQS messages and returns the partial batch response, or handles the event as a request."""
    time = TimeLeft(context.get_remaining_time_in_millis)
    match event:
        case {"Records": [{"eventSource": "aws:sqs"}, *_]}:
            return function().consume(event, time)
    return function().invoked(event, context.aws_request_id, time)


cold_start.prepare(function)
