"""State changes of Batch jobs (EventBridge → SQS) → status, a free slot, the next waiting job."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from switchyard import clients, wiring
from switchyard.errors import InvalidMessage, SwitchyardError
from switchyard.observability import handler, logger
from switchyard.queues import DeadLetterQueue, Message, Queue
from switchyard.settings import TrackJobSettings
from switchyard.targets import batch
from switchyard.tracking import Tracker


@dataclass(frozen=True, slots=True)
class TrackJob:
    """Reads state changes and applies them; what isn't one goes to `rejected`."""

    tracker: Tracker
    rejected: DeadLetterQueue

    def handle(self, message: Message) -> None:
        """Applies one state change; those of jobs that aren't ours are ignored."""
        try:
            detail = _detail(message.body)
        except InvalidMessage as error:
            self.rejected.send(message.body, error)
            return
        run = batch.run_of(detail)
        if run is None:
            logger.info("ignored: not one of our jobs", message_id=message.id)
            return
        self.tracker.apply(run)

    def exhausted(self, message: Message, error: SwitchyardError) -> bool:
        """The reconciler sees to what this change could not: it asks the target, and starts waiting jobs."""
        logger.warning("left to the reconciler", message_id=message.id, error_type=error.code)
        return True


def _detail(body: str) -> dict[str, Any]:
    try:
        detail = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidMessage("not an EventBridge event") from None
    if not isinstance(detail, dict) or not isinstance(detail.get("jobId"), str):
        raise InvalidMessage("not a Batch job state change")
    return detail


@cache
def function() -> Queue:
    """Made once an execution environment, by its first event: bad settings then fail with a clear error."""
    settings = TrackJobSettings.from_env()
    track = TrackJob(
        tracker=wiring.tracker(wiring.dispatcher(settings)),
        rejected=DeadLetterQueue(clients.sqs(), settings.track_dead_letter_queue_url),
    )
    return Queue(clients.sqs(), settings.queue_url, settings.max_receive_count, track.handle, track.exhausted)


@handler
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Handles up to ten state changes; gives the partial batch response."""
    return function().consume(event, context)
