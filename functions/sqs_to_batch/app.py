"""SQS → Batch: each message asks for one or more videos to be processed; each becomes exactly one job."""

from functools import cache
from typing import Any

from switchyard import clients, wiring
from switchyard.errors import ClaimInFlight, LaneIsFull, OutcomeUnknown, RetryableError, StartFailed, SwitchyardError
from switchyard.jobs import TargetSpec
from switchyard.messages import Envelope, Parsed, VideoWork
from switchyard.observability import handler, logger
from switchyard.queues import Message, Queue
from switchyard.settings import SqsToBatchSettings


class SqsToBatch:
    """Reads messages, dispatches what they ask for, dead-letters what can't be."""

    def __init__(self, settings: SqsToBatchSettings) -> None:
        self._dispatcher = wiring.dispatcher(settings, at_capacity=settings.at_capacity)
        self._work = VideoWork(
            lane=settings.lane,
            target=TargetSpec("batch", settings.batch_job_queue, settings.batch_job_definition),
            id_pattern=settings.video_id_pattern,
            allowed_buckets=settings.source_buckets,
        )
        self.queue = Queue(clients.sqs(), settings.queue_url, settings.max_receive_count, self.handle, self.exhausted)

    def handle(self, message: Message) -> None:
        """Deals with every request of a message; raises the first that has to come back once all had their turn."""
        parsed = self._parse(message)
        to_retry: list[RetryableError | StartFailed] = []
        for request in parsed.requests:
            try:
                self._dispatcher.dispatch(request)
            except (RetryableError, StartFailed) as error:
                to_retry.append(error)
        if to_retry:
            raise to_retry[0]
        self._reject(message, parsed)  # last, so that a message that comes back is not rejected once a receive

    def exhausted(self, message: Message, error: SwitchyardError) -> bool:
        """The last receive failed too: to the dead-letter queue, unless the job is in the reconciler's hands."""
        if isinstance(error, LaneIsFull):
            return False  # not a fault: the queue's own redrive policy decides how long a message may wait
        parsed = self._parse(message)
        if isinstance(error, OutcomeUnknown | ClaimInFlight):
            logger.warning("left to the reconciler", message_id=message.id, error_type=error.code)
            self._reject(message, parsed)
            return True
        self._dead_letter(message, message.body, error)
        for request in parsed.requests:
            self._dispatcher.give_up(request, error)
        return True

    def _parse(self, message: Message) -> Parsed:
        return self._work.parse(message.body, Envelope(message.id, message.sent_at, message.attributes.get("video_id")))

    def _reject(self, message: Message, parsed: Parsed) -> None:
        for rejected in parsed.rejected:
            self._dead_letter(message, rejected.body, rejected.error)

    def _dead_letter(self, message: Message, body: str, error: SwitchyardError) -> None:
        self._dispatcher.dead_letters.send(body, error, video_id=message.attributes.get("video_id"))


@cache
def function() -> SqsToBatch:
    """Made once an execution environment, by its first event: bad settings then fail with a clear error."""
    return SqsToBatch(SqsToBatchSettings.from_env())


@handler
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Handles up to ten SQS messages; gives the partial batch response."""
    return function().queue.consume(event, context)
