"""Applies the state changes of Batch jobs and ECS tasks that EventBridge sends to a queue."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from switchyard.errors import InvalidMessage, SwitchyardError, Unavailable
from switchyard.messages.dead_letters import DeadLetterQueue
from switchyard.messages.queues import Message
from switchyard.messages.wakes import lane_to_wake
from switchyard.observability import logger
from switchyard.protocol.jobs import Run
from switchyard.protocol.tracking import Tracker
from switchyard.targets import batch, ecs

_READERS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Run | None]]] = {
    "Batch Job State Change": ("jobId", batch.run_of),
    "ECS Task State Change": ("taskArn", ecs.run_of),
}
"""By `detail-type`: the field of the detail that identifies the run, and the function that reads it."""


@dataclass(slots=True, eq=False)
class Changes:
    """Handles the queue of state changes, and of lanes to wake. Other messages go to `rejected`."""

    tracker: Tracker
    rejected: DeadLetterQueue

    def handle(self, message: Message) -> None:
        """Applies a state change, or starts a lane's waiting jobs. Ignores runs that aren't ours.

        Raises:
            RetryableError, StartFailed: as `Tracker.apply`.
        """
        if lane := lane_to_wake(message.body):
            self.tracker.dispatcher.start_waiting(lane)
            return
        try:
            run = read(message.body)
        except InvalidMessage as error:
            self.rejected.send(message.body, error)
            return
        if run is None:
            logger.info("ignored: not one of our jobs", message_id=message.id)
            return
        self.tracker.apply(run)

    def exhausted(self, message: Message, error: SwitchyardError) -> bool:
        """Leaves the run to the reconciler, which describes it and starts waiting jobs.

        If a service was unavailable, the message returns to the queue, which finally dead-letters it.
        """
        if isinstance(error, Unavailable):
            return False
        logger.warning("left to the reconciler", message_id=message.id, error_type=error.code)
        return True


def read(body: str) -> Run | None:
    """Reads a state change as the run that it describes. None if the run isn't ours.

    Raises:
        InvalidMessage: not a state change of a Batch job or an ECS task.
    """
    try:
        event = json.loads(body)
        kind, detail = event["detail-type"], event["detail"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidMessage("not an EventBridge event") from None
    if not isinstance(kind, str) or kind not in _READERS:
        raise InvalidMessage("not a state change of a Batch job or an ECS task")
    name, run_of = _READERS[kind]
    if not isinstance(detail, dict) or not isinstance(detail.get(name), str):
        raise InvalidMessage(f"{kind}: the detail names no {name}")
    try:
        return run_of(detail)
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError):
        # An event without the documented shape fails anywhere in `run_of`, and would again on every receive.
        raise InvalidMessage(f"{kind}: the detail doesn't have the documented shape") from None
