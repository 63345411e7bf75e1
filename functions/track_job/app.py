"""State changes of Batch jobs and ECS tasks (EventBridge → SQS) → status, a free slot, the next waiting job."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from switchyard import clients, cold_start, wiring
from switchyard.errors import InvalidMessage, SwitchyardError, Unavailable
from switchyard.messages.dead_letters import DeadLetterQueue
from switchyard.messages.queues import Message, Queue
from switchyard.observability import handler, logger
from switchyard.protocol.jobs import Run
from switchyard.protocol.tracking import Tracker
from switchyard.settings import TrackJobSettings
from switchyard.targets import batch, ecs

READERS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Run | None]]] = {
    "Batch Job State Change": ("jobId", batch.run_of),
    "ECS Task State Change": ("taskArn", ecs.run_of),
}
"""Which field of an event's detail names the run, and what reads it, by `detail-type`."""


@dataclass(slots=True, eq=False)
class TrackJob:
    """Reads state changes and applies them; what isn't one goes to `rejected`."""

    tracker: Tracker
    rejected: DeadLetterQueue

    def handle(self, message: Message) -> None:
        """Applies one state change; those of jobs that aren't ours are ignored."""
        try:
            run = _run(message.body)
        except InvalidMessage as error:
            self.rejected.send(message.body, error)
            return
        if run is None:
            logger.info("ignored: not one of our jobs", message_id=message.id)
            return
        self.tracker.apply(run)

    def exhausted(self, message: Message, error: SwitchyardError) -> bool:
        """The reconciler sees to what this change could not: it asks the target, and starts waiting jobs.

        A message that only met a failing service comes back, in the end to the dead-letter queue.
        """
        if isinstance(error, Unavailable):
            return False
        logger.warning("left to the reconciler", message_id=message.id, error_type=error.code)
        return True


def _run(body: str) -> Run | None:
    try:
        event = json.loads(body)
        kind, detail = event["detail-type"], event["detail"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidMessage("not an EventBridge event") from None
    if not isinstance(kind, str) or kind not in READERS:
        raise InvalidMessage("neither a Batch job's nor an ECS task's state change")
    name, run_of = READERS[kind]
    if not isinstance(detail, dict) or not isinstance(detail.get(name), str):
        raise InvalidMessage(f"{kind}: the detail names no {name}")
    try:
        return run_of(detail)
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError):
        # AWS documents the shape. What hasn't got it fails somewhere in the reading, and would on every receive.
        raise InvalidMessage(f"{kind}: the detail is not of the documented shape") from None


@cache
def function() -> Queue:
    """Made once an execution environment: at its start, or where that fails, by each event, with a clear error."""
    settings = TrackJobSettings.from_env()
    track = TrackJob(
        tracker=wiring.tracker(wiring.dispatcher(settings)),
        rejected=wiring.dead_letter_queue(settings.track_dead_letter_queue_url),
    )
    return Queue(clients.sqs(), settings.queue_url, settings.max_receive_count, track.handle, track.exhausted)


@handler
def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Handles up to ten state changes; gives the partial batch response."""
    return function().consume(event)


cold_start.prepare(function)
