"""Reads a message, dispatches its requests, and dead-letters those that can't be processed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from switchyard import clock
from switchyard.errors import (
    ClaimInFlight,
    NoFreeSlot,
    OutcomeUnknown,
    PermanentError,
    RetryableError,
    StartFailed,
    StartRefused,
    SwitchyardError,
)
from switchyard.messages.dead_letters import DeadLetterQueue
from switchyard.messages.envelope import Envelope, Parsed, json_object
from switchyard.messages.queues import Message
from switchyard.observability import logger
from switchyard.protocol.dispatch import Dispatcher
from switchyard.protocol.jobs import WorkRequest

type _Refused = list[tuple[WorkRequest, PermanentError]]


class RequestsFailed(RetryableError):
    """Some requests of a message failed; the others are done or `refused`. `failures` is never empty."""

    def __init__(self, failures: list[tuple[WorkRequest, RetryableError | StartFailed]], refused: _Refused) -> None:
        _, first = failures[0]
        super().__init__(str(first), getattr(first, "retry_after", None))
        self.failures = failures
        self.refused = refused
        self.code = first.code
        self.outage = first.outage


class Work(Protocol):
    """Reads the messages of a queue as requests."""

    def parse(self, body: str, envelope: Envelope) -> Parsed:
        """Reads a message body. Invalid content is in `rejected`, never raised."""

    def read(self, message: Mapping[str, Any], envelope: Envelope) -> WorkRequest:
        """Reads a decoded message that requests one job. Raises PermanentError if it can't be processed."""


@dataclass(slots=True, eq=False)
class Intake:
    """Handles a queue of requests. `handle` and `exhausted` are the callbacks of `queues.Queue`."""

    dispatcher: Dispatcher
    work: Work
    dead_letters: DeadLetterQueue

    def handle(self, message: Message) -> None:
        """Dispatches every request of a message, even if others fail.

        Raises:
            RequestsFailed: some requests must be retried.
        """
        parsed = self._parse(message)
        failures: list[tuple[WorkRequest, RetryableError | StartFailed]] = []
        refused: _Refused = []
        for request in parsed.requests:
            try:
                self.dispatcher.dispatch(request)
            except (RetryableError, StartFailed) as error:
                failures.append((request, error))
            except PermanentError as error:
                refused.append((request, error))
        if failures:
            raise RequestsFailed(failures, refused)
        # Last, so that a retried message is rejected once, not at every receive.
        self._reject(message, parsed, refused)

    def exhausted(self, message: Message, error: SwitchyardError) -> bool:
        """Gives up the requests that failed on the last receive, except those that the reconciler finishes."""
        failures, refused = (error.failures, error.refused) if isinstance(error, RequestsFailed) else ([], [])
        if any(self._comes_back(failure) for _, failure in failures):
            return False
        for request, failure in failures:
            if isinstance(failure, OutcomeUnknown | ClaimInFlight):
                logger.warning("left to the reconciler", job_id=request.job_id, error_type=failure.code)
                continue
            self.dead_letters.send_request(request, failure)
            self.dispatcher.give_up(request, failure)
        self._reject(message, self._parse(message), refused)
        return True

    def invoked(self, message: object, request_id: str) -> dict[str, str]:
        """Dispatches a message that is the event of an invocation, and returns the job's id and status.

        Retries of an asynchronous invocation have the same request id, so the job is started once.

        Raises:
            PermanentError: the message can't be processed.
            RetryableError, StartFailed: as `Dispatcher.dispatch`.
        """
        request = self.work.read(json_object(message), Envelope(request_id, clock.now()))
        outcome = self.dispatcher.dispatch(request)
        job = self.dispatcher.store.get(request.job_id)
        return {"jobId": request.job_id, "status": job.status if job else outcome.name}

    def _comes_back(self, failure: SwitchyardError) -> bool:
        """Whether the message must return to the queue instead of being given up.

        With AT_CAPACITY=return a message uses up most receives on a full lane, so the last one is not evidence against
        the request. The queue's redrive policy limits how often the message returns.
        """
        waits_in_queue = not self.dispatcher.waiting_room and not isinstance(failure, StartRefused)
        return isinstance(failure, NoFreeSlot) or (
            waits_in_queue and not isinstance(failure, OutcomeUnknown | ClaimInFlight)
        )

    def _parse(self, message: Message) -> Parsed:
        return self.work.parse(message.body, Envelope(message.id, message.sent_at, message.attributes.get("video_id")))

    def _reject(self, message: Message, parsed: Parsed, refused: _Refused) -> None:
        for request, error in refused:
            self.dead_letters.send_request(request, error)
        for rejected in parsed.rejected:
            video_id = message.attributes.get("video_id")
            self.dead_letters.send(rejected.body, rejected.error, video_id=video_id)
