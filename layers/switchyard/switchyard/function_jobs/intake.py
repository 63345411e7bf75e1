"""Handles a function's messages and invocations: parses them, has the work done, dead-letters the rest."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from switchyard import clock, observability
from switchyard.errors import PermanentError, SwitchyardError, Unavailable
from switchyard.function_jobs.jobs import GIVEN_UP, Failed, FunctionJob, Unfinished, Waiting
from switchyard.function_jobs.outbox import Outbox, continued
from switchyard.function_jobs.table import FunctionJobs
from switchyard.function_jobs.work import Parsed, TimeLeft, Work, parse
from switchyard.messages.envelope import Envelope, json_object
from switchyard.messages.queues import Message, Queue
from switchyard.observability import logger
from switchyard.protocol.jobs import JobError

if TYPE_CHECKING:
    from switchyard.messages.dead_letters import DeadLetterQueue

_HIDDEN = 60
"""Visibility timeout in seconds: if the invocation is killed, its message comes back after that."""
_RENEWED = 20
"""Seconds between extensions of the visibility timeout while a message is being handled."""


class Worker[W: Work](Protocol):
    """What a function does: the part of it that is not the same for all."""

    plural: ClassVar[str]
    """The name of a list of its jobs, in the answer to a direct invocation that asked for several."""

    @property
    def jobs(self) -> FunctionJobs:
        """The jobs of its kind."""

    def read(self, message: Mapping[str, Any], envelope: Envelope, body: str = "", /) -> Parsed[W]:
        """Reads a decoded message, as a `Reader`."""

    def handle(self, work: W, envelope: Envelope, time: TimeLeft) -> str:
        """Does the work within `FunctionJobs.ending`. Returns the id of the job, which has the outcome.

        Raises:
            PermanentError: there is no job for this. The message is dead-lettered.
            RetryableError, ClientError, BotoCoreError: a retry may succeed.
        """

    def answer(self, job: FunctionJob | None) -> dict[str, Any]:
        """What a direct invocation is told besides the job's id, status and error; all of it, if there is no job."""


class Context(Protocol):
    """What is used of the context that Lambda gives a handler."""

    @property
    def aws_request_id(self) -> str:
        """The id of the invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """How much time the invocation has left."""


@dataclass(slots=True, eq=False)
class Intake[W: Work]:
    """Handles events: of the queue's event source mapping, and of direct invocations."""

    worker: Worker[W]
    outbox: Outbox
    max_receive_count: int
    dead_letters: DeadLetterQueue
    _queue: Queue = field(init=False)
    _time: TimeLeft = field(init=False)
    """Of the current invocation: an execution environment runs one at a time."""

    def __post_init__(self) -> None:
        client, url = self.outbox.client, self.outbox.queue_url
        self._queue = Queue(client, url, self.max_receive_count, self._handle, self._exhausted)

    def handle(self, event: dict[str, Any], context: Context) -> dict[str, Any]:
        """Handles the event of a function: an SQS event, or a request of its own."""
        time = TimeLeft(context.get_remaining_time_in_millis)
        match event:
            case {"Records": [{"eventSource": "aws:sqs"}, *_]}:
                return self.consume(event, time)
        return self.invoked(event, context.aws_request_id, time)

    # ---- by queue ---------------------------------------------------------------------------------------------------

    def consume(self, event: dict[str, Any], time: TimeLeft) -> dict[str, Any]:
        """Handles an SQS event; the response names the messages that must come back."""
        self._time = time
        return self._queue.consume(event)

    def _handle(self, message: Message) -> None:
        """Handles a message. One that asks for several pieces of work is split into a message for each."""
        with self._hidden(message):
            self._handle_hidden(message)

    def _handle_hidden(self, message: Message) -> None:
        message_id, fence = continued(message)
        envelope = Envelope(message_id, message.sent_at, continues=fence)
        parsed, envelope = self._noted(parse(self.worker.read, message.body, envelope), envelope)
        if len(parsed.work) > 1:
            self.outbox.send([each.body for each in parsed.work])
        else:
            for work in parsed.work:
                self._do_or_reject(work, envelope, message)
        for rejected in parsed.rejected:  # last, or a message that comes back would be dead-lettered at each receive
            self.dead_letters.send(rejected.body, rejected.error)

    @contextmanager
    def _hidden(self, message: Message) -> Iterator[None]:
        """Keeps a message invisible while it is handled, a minute at a time.

        The queue's own visibility timeout exceeds the longest invocation many times over. With this, a message whose
        invocation was killed comes back within a minute.
        """
        self._hide(message)
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(_RENEWED):
                self._hide(message)

        thread = threading.Thread(target=observability.carrying_trace(renew), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _hide(self, message: Message) -> None:
        """Extends the visibility timeout. It may fail: at worst, the message is handled twice, or comes back late."""
        try:
            self.outbox.client.change_message_visibility(
                QueueUrl=self.outbox.queue_url, ReceiptHandle=message.receipt_handle, VisibilityTimeout=_HIDDEN
            )
        except (ClientError, BotoCoreError) as error:
            logger.warning("visibility unchanged", message_id=message.id, error_type=type(error).__name__)

    def _do_or_reject(self, work: W, envelope: Envelope, message: Message) -> None:
        try:
            self.worker.handle(work, envelope, self._time)
        except Waiting as wait:
            self.outbox.send_later(work.body, wait)  # and only then this message is deleted
        except PermanentError as error:
            self.dead_letters.send(message.body, error)
            self._fail(error)
        except (ClientError, BotoCoreError) as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error

    def _fail(self, error: PermanentError) -> None:
        if isinstance(error, Failed):
            self.worker.jobs.fail(error.run, JobError(error.code, str(error)))

    def _exhausted(self, message: Message, error: SwitchyardError) -> bool:
        """Dead-letters a message whose last receive failed too, and fails its job. A redrive begins it again."""
        self.dead_letters.send(message.body, error)
        if isinstance(error, Unfinished):
            self.worker.jobs.fail(error.run, JobError(GIVEN_UP, f"{error.code}: {error}"))
        return True

    # ---- by invocation ----------------------------------------------------------------------------------------------

    def invoked(self, event: object, request_id: str, time: TimeLeft) -> dict[str, Any]:
        """Handles an event that came without a queue, and returns the job as it then is.

        If one event asks for several, the response lists their jobs. Lambda gives every retry of an asynchronous
        invocation the same request id, so a retry is not new work. A job that must wait goes on by a message.

        Raises:
            SwitchyardError, ClientError, BotoCoreError: the work could not be done.
        """
        self._time = time
        envelope = Envelope(request_id, clock.now())
        parsed, envelope = self._noted(self.worker.read(json_object(event), envelope), envelope)
        for rejected in parsed.rejected:
            raise rejected.error
        answers = [self._told(self._do(work, envelope)) for work in parsed.work]
        answers += [{"ignored": ignored.reason} for ignored in parsed.ignored]
        return answers[0] if len(answers) == 1 else {self.worker.plural: answers}

    def _do(self, work: W, envelope: Envelope) -> str:
        try:
            return self.worker.handle(work, envelope, self._time)
        except Failed as error:
            self._fail(error)
            return error.run.job_id
        except Waiting as wait:
            self.outbox.send_later(work.body, wait)
            return wait.run.job_id

    def _told(self, job_id: str) -> dict[str, Any]:
        job = self.worker.jobs.get(job_id)
        if job is None:
            return self.worker.answer(job)
        told: dict[str, Any] = {"jobId": job.id, "status": job.status} | self.worker.answer(job)
        return told | ({"error": {"code": job.error.code, "message": job.error.message}} if job.error else {})

    # ---- both -------------------------------------------------------------------------------------------------------

    def _noted(self, parsed: Parsed[W], envelope: Envelope) -> tuple[Parsed[W], Envelope]:
        for ignored in parsed.ignored:
            logger.info("ignored", message_id=envelope.message_id, key=ignored.key, reason=ignored.reason)
        return parsed, replace(envelope, message_id=parsed.message_id)
