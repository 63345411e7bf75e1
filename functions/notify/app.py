"""DynamoDB stream (changes of jobs): announces jobs that began to run or have ended."""

from functools import cache
from typing import Any

from switchyard import cold_start, wiring
from switchyard.notifications.stream import Notifier
from switchyard.observability import handler
from switchyard.settings import NotifySettings


@cache
def notifier() -> Notifier:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    return wiring.notifier(NotifySettings.from_env())


@handler
def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Handles records of the stream and returns the partial batch response."""
    return notifier().consume(event)


cold_start.prepare(notifier)
