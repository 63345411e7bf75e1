"""Handles the torrent function's messages and invocations: parses them, makes torrents, dead-letters the rest."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from switchyard import clock, observability
from switchyard.errors import PermanentError, SwitchyardError, Unavailable
from switchyard.messages.envelope import Envelope, json_object
from switchyard.messages.queues import Message, Queue
from switchyard.observability import logger
from switchyard.torrents.creator import Creator, TimeLeft, Unfinished
from switchyard.torrents.messages import Parsed, Segment, Wanted

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from switchyard.messages.dead_letters import DeadLetterQueue

_HIDDEN = 60
"""Visibility timeout in seconds: if the invocation is killed, its message comes back after that."""
_RENEWED = 20
"""Seconds between extensions of the visibility timeout while a message is being handled."""


@dataclass(slots=True, eq=False)
class Intake:
    """Handles events: of the queue's event source mapping, and of direct invocations."""

    creator: Creator
    client: SQSClient
    queue_url: str
    max_receive_count: int
    dead_letters: DeadLetterQueue
    _queue: Queue = field(init=False)
    _time: TimeLeft = field(init=False)
    """Of the current invocation: an execution environment runs one at a time."""

    def __post_init__(self) -> None:
        self._queue = Queue(self.client, self.queue_url, self.max_receive_count, self._handle, self._exhausted)

    # ---- by queue ---------------------------------------------------------------------------------------------------

    def consume(self, event: dict[str, Any], time: TimeLeft) -> dict[str, Any]:
        """Handles an SQS event; the response names the messages that must come back."""
        self._time = time
        return self._queue.consume(event)

    def _handle(self, message: Message) -> None:
        """Handles a message. One that asks for several torrents is split into a message for each."""
        with self._hidden(message):
            self._handle_hidden(message)

    def _handle_hidden(self, message: Message) -> None:
        envelope = Envelope(message.id, message.sent_at)
        parsed = self._noted(self.creator.work.parse(message.body, envelope), envelope)
        if len(parsed.work) > 1:
            self.creator.outbox.send([each.body for each in parsed.work])
        else:
            for work in parsed.work:
                self._do_or_reject(work, parsed, message)
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
            self.client.change_message_visibility(
                QueueUrl=self.queue_url, ReceiptHandle=message.receipt_handle, VisibilityTimeout=_HIDDEN
            )
        except (ClientError, BotoCoreError) as error:
            logger.warning("visibility unchanged", message_id=message.id, error_type=type(error).__name__)

    def _do_or_reject(self, work: Wanted | Segment, parsed: Parsed, message: Message) -> None:
        try:
            self._do(work, Envelope(parsed.message_id, message.sent_at))
        except PermanentError as error:
            self.dead_letters.send(message.body, error)
        except (ClientError, BotoCoreError) as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error

    def _exhausted(self, message: Message, error: SwitchyardError) -> bool:
        """Dead-letters a message whose last receive failed too. A redrive sends it again."""
        self.dead_letters.send(message.body, error)
        if isinstance(error, Unfinished):
            self.creator.give_up(error)
        return True

    # ---- by invocation ----------------------------------------------------------------------------------------------

    def invoked(self, event: object, request_id: str, time: TimeLeft) -> dict[str, Any]:
        """Handles an event that came without a queue, and returns the job as it then is.

        If S3 asks for several torrents in one event, the response lists their jobs. Lambda gives every retry of an
        asynchronous invocation the same request id, so a retry is not new work.

        Raises:
            SwitchyardError, ClientError, BotoCoreError: the work could not be done.
        """
        self._time = time
        envelope = Envelope(request_id, clock.now())
        parsed = self._noted(self.creator.work.read(json_object(event), envelope), envelope)
        for rejected in parsed.rejected:
            raise rejected.error
        envelope = replace(envelope, message_id=parsed.message_id)
        answers = [self._job(self._do(work, envelope)) for work in parsed.work]
        answers += [{"ignored": ignored.reason} for ignored in parsed.ignored]
        return answers[0] if len(answers) == 1 else {"torrents": answers}

    def _job(self, job_id: str) -> dict[str, Any]:
        job = self.creator.jobs.get(job_id)
        if job is None:
            return {"ignored": "not the current version of the object"}
        told: dict[str, Any] = {"jobId": job.id, "status": job.status}
        told |= {name: job.result[name] for name in ("infohash", "magnet", "torrentKey") if name in job.result}
        return told | ({"error": {"code": job.error.code, "message": job.error.message}} if job.error else {})

    # ---- both -------------------------------------------------------------------------------------------------------

    def _noted(self, parsed: Parsed, envelope: Envelope) -> Parsed:
        for ignored in parsed.ignored:
            logger.info("ignored", message_id=envelope.message_id, key=ignored.key, reason=ignored.reason)
        return parsed

    def _do(self, work: Wanted | Segment, envelope: Envelope) -> str:
        if isinstance(work, Segment):
            return self.creator.hash_segment(work, self._time)
        return self.creator.make(work, envelope, self._time)
