"""State changes of Batch jobs and ECS tasks (EventBridge → SQS): updates jobs, frees slots, starts waiting jobs."""

from functools import cache
from typing import Any

from switchyard import clients, cold_start, wiring
from switchyard.messages.changes import Changes
from switchyard.messages.queues import Queue
from switchyard.observability import handler
from switchyard.settings import TrackJobSettings


@cache
def function() -> Queue:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = TrackJobSettings.from_env()
    changes = Changes(
        tracker=wiring.tracker(settings, wiring.dispatcher(settings)),
        rejected=wiring.dead_letter_queue(settings.track_dead_letter_queue_url),
    )
    return Queue(clients.sqs(), settings.queue_url, settings.max_receive_count, changes.handle, changes.exhausted)


@handler
def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Handles up to ten state changes and returns the partial batch response."""
    return function().consume(event)


cold_start.prepare(function)
