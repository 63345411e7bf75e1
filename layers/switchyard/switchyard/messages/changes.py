"""Reads the state changes of Batch jobs and ECS tasks, which EventBridge sends to a queue, and applies them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from switchyard.errors import InvalidMessage, SwitchyardError, Unavailable
from switchyard.messages.dead_letters import DeadLetterQueue
from switchyard.messages.queues import Message
from switchyard.observability import logger
from switchyard.protocol.jobs import Run
from switchyard.protocol.tracking import Tracker
from switchyard.targets import batch, ecs

_READERS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Run | None]]] = {
    "Batch Job State Change": ("jobId", batch.run_of),
    "ECS Task State Change": ("taskArn", ecs.run_of),
}
"""Which field of an event's detail names the run, and what reads it, by `detail-type`."""


@dataclass(slots=True, eq=False)
class Changes:
    """What the queue of state changes does with a message; what is no state change goes to `rejected`."""

    tracker: Tracker
    rejected: DeadLetterQueue

    def handle(self, message: Message) -> None:
        """Applies one state change; ignores those of jobs that aren't ours."""
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
        """Leaves it to the reconciler, which asks the target how the run stands and starts waiting jobs.

        A message that only met a failing service comes back, in the end to the dead-letter queue.
        """
        if isinstance(error, Unavailable):
            return False
        logger.warning("left to the reconciler", message_id=message.id, error_type=error.code)
        return True


def read(body: str) -> Run | None:
    """The run that a state change is about, as it then stood; None where it is not one of ours.

    Raises:
        InvalidMessage: this is no state change of a Batch job or an ECS task.
    """
    try:
        event = json.loads(body)
        kind, detail = event["detail-type"], event["detail"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidMessage("not an EventBridge event") from None
    if not isinstance(kind, str) or kind not in _READERS:
        raise InvalidMessage("neither a Batch job's nor an ECS task's state change")
    name, run_of = _READERS[kind]
    if not isinstance(detail, dict) or not isinstance(detail.get(name), str):
        raise InvalidMessage(f"{kind}: the detail names no {name}")
    try:
        return run_of(detail)
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError):
        # AWS documents the shape. What hasn't got it fails somewhere in the reading, and would on every receive.
        raise InvalidMessage(f"{kind}: the detail is not of the documented shape") from None
