"""SQS: the messages of one invocation side by side, each on its own; retries that wait; the dead-letter queue."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor,
    EventType,
    async_process_partial_response,
)
from botocore.exceptions import BotoCoreError, ClientError

from switchyard import clock, observability
from switchyard.errors import RetryableError, StartFailed, SwitchyardError
from switchyard.observability import Metric, logger

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from mypy_boto3_sqs import SQSClient

_MAX_BATCH = 10
_BACKOFF_BASE = 5
_BACKOFF_LIMIT = 900
_MAX_ATTRIBUTE = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """An SQS message: what a record handler sees of it."""

    body: str
    id: str
    sent_at: datetime
    receive_count: int
    receipt_handle: str
    attributes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, record: SQSRecord) -> Message:
        """Reads a record of a Lambda event."""
        return cls(
            body=record.body,
            id=record.message_id,
            sent_at=clock.from_epoch_ms(int(record.attributes.sent_timestamp)),
            receive_count=int(record.attributes.approximate_receive_count),
            receipt_handle=record.receipt_handle,
            attributes={
                name: value["stringValue"]
                for name, value in record.raw_event.get("messageAttributes", {}).items()
                if "stringValue" in value
            },
        )


@dataclass(frozen=True, slots=True)
class Queue:
    """Handles the messages of a queue.

    `handle` deals with one message: returning acknowledges it, raising brings it back. `exhausted` is asked on a
    message's last receive, when `handle` says it should come back once more: True acknowledges it.
    """

    client: SQSClient
    url: str
    max_receive_count: int
    handle: Callable[[Message], None]
    exhausted: Callable[[Message, SwitchyardError], bool]

    def consume(self, event: dict[str, Any], context: object) -> dict[str, Any]:
        """Handles up to ten messages side by side; the answer names those that are to come back."""
        with ThreadPoolExecutor(_MAX_BATCH) as pool:
            handle = observability.carrying_trace(self._handle)

            async def on_a_thread(record: SQSRecord) -> None:
                await asyncio.get_running_loop().run_in_executor(pool, handle, Message.of(record))

            processor = AsyncBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
            response = async_process_partial_response(event, on_a_thread, processor, cast("Any", context))
            return dict(response)

    def _handle(self, message: Message) -> None:
        try:
            self.handle(message)
        except (RetryableError, StartFailed) as error:
            if message.receive_count >= self.max_receive_count and self.exhausted(message, error):
                return
            self._delay(message, error, getattr(error, "retry_after", None))
            raise
        except (ClientError, BotoCoreError) as error:
            self._delay(message, error, None)
            raise
        except Exception as error:
            # Ours to mend, not to retry in a hurry: the queue's own visibility timeout and redrive policy apply.
            logger.exception("unexpected error", message_id=message.id, error_type=type(error).__name__)
            raise

    def _delay(self, message: Message, error: Exception, seconds: float | None) -> None:
        """Brings a message back sooner than its visibility timeout would, with jitter. A convenience: may fail."""
        if seconds is None:
            ceiling = min(_BACKOFF_LIMIT, _BACKOFF_BASE * 2**message.receive_count)
            seconds = random.uniform(_BACKOFF_BASE, ceiling)  # noqa: S311 - jitter, not a secret
        logger.info(
            "message comes back",
            message_id=message.id,
            seconds=round(seconds),
            error_type=error.code if isinstance(error, SwitchyardError) else type(error).__name__,
            reason=str(error)[:_MAX_ATTRIBUTE],
        )
        try:
            self.client.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=message.receipt_handle, VisibilityTimeout=round(seconds)
            )
        except (ClientError, BotoCoreError) as failure:
            logger.warning("visibility unchanged", message_id=message.id, error_type=type(failure).__name__)


@dataclass(frozen=True, slots=True)
class DeadLetterQueue:
    """Where messages go that we give up on ourselves, with the reason."""

    client: SQSClient
    url: str

    def send(self, body: str, error: SwitchyardError, *, video_id: str | None = None) -> None:
        """Sends a message with `ErrorType` and `ErrorMessage` attributes; the caller then acknowledges the original.

        `video_id` is the original's attribute of that name, without which a redrive would be for another job.
        """
        text = "".join(c if c.isprintable() else "?" for c in str(error))[:_MAX_ATTRIBUTE]
        attributes = {"ErrorType": error.code, "ErrorMessage": text or error.code}
        if video_id:
            attributes["video_id"] = video_id
        self.client.send_message(
            QueueUrl=self.url,
            MessageBody=body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        )
        observability.count(Metric.REJECTED)
        logger.warning("dead-lettered", error_type=error.code, reason=text)
