"""SQS (deliveries): posts events to the URLs of webhooks, and nothing else."""

from functools import cache
from typing import Any

from switchyard import cold_start, wiring
from switchyard.messages.queues import Queue
from switchyard.observability import handler
from switchyard.settings import DeliverWebhookSettings


@cache
def function() -> Queue:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    return wiring.deliveries(DeliverWebhookSettings.from_env())


@handler
def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Handles up to ten deliveries and returns the partial batch response."""
    return function().consume(event)


cold_start.prepare(function)
