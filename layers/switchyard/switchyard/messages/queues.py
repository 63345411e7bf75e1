"""Handles the SQS messages of an invocation in parallel, and delays those that are retried."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

from botocore.exceptions import BotoCoreError, ClientError

from switchyard import clock, observability
from switchyard.errors import RetryableError, StartFailed, SwitchyardError
from switchyard.observability import logger

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_MAX_BATCH = 10
_BACKOFF_BASE = 5
_BACKOFF_LIMIT = 900
_GROWTH, _OUTAGE_GROWTH = 2, 4
"""How fast pauses grow. During an outage five receives take eleven minutes or more, and not one and a half."""
_MAX_REASON_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """An SQS message."""

    body: str
    id: str
    sent_at: datetime
    receive_count: int
    receipt_handle: str
    attributes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Message:
        """Reads a record of a Lambda event (Lambda developer guide, "Using Lambda with Amazon SQS")."""
        about = record["attributes"]
        return cls(
            body=record["body"],
            id=record["messageId"],
            sent_at=clock.from_epoch_ms(int(about["SentTimestamp"])),
            receive_count=int(about["ApproximateReceiveCount"]),
            receipt_handle=record["receiptHandle"],
            attributes={
                name: value["stringValue"]
                for name, value in record.get("messageAttributes", {}).items()
                if "stringValue" in value
            },
        )


def is_of_queue(event: object) -> TypeGuard[dict[str, Any]]:
    """Whether an event brings messages of a queue. Other events are messages themselves; S3's have `Records` too."""
    match event:
        case {"Records": [{"eventSource": "aws:sqs"}, *_]}:
            return True
    return False


@dataclass(slots=True, eq=False)
class Queue:
    """Handles the messages of a queue.

    `handle` processes one message: if it returns, the message is deleted; if it raises, the message returns to the
    queue. `exhausted` is called if `handle` raises a retryable error on the last receive: if it returns True, the
    message is deleted.
    """

    client: SQSClient
    url: str
    max_receive_count: int
    handle: Callable[[Message], None]
    exhausted: Callable[[Message, SwitchyardError], bool]
    # Reused by later invocations, since starting the threads costs as much as a message.
    pool: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, _MAX_BATCH), repr=False)

    def consume(self, event: dict[str, Any]) -> dict[str, Any]:
        """Handles up to ten messages in parallel.

        Returns the partial batch response (Lambda developer guide, "Implementing partial batch responses").
        """
        records: list[dict[str, Any]] = event["Records"]
        if len(records) == 1:
            failed: Iterable[bool] = [self._fails(records[0])]
        else:
            failed = self.pool.map(observability.carrying_trace(self._fails), records)
        comes_back = [record["messageId"] for record, fails in zip(records, failed, strict=True) if fails]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in comes_back]}

    def _fails(self, record: Mapping[str, Any]) -> bool:
        """Handles a record. True if its message must return to the queue; `_handle` has logged why."""
        try:
            self._handle(Message.of(record))
        except Exception:  # noqa: BLE001 - a failed record must not fail its batch
            return True
        return False

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
            # A bug: no early retry, the queue's own visibility timeout and redrive policy apply.
            logger.exception("unexpected error", message_id=message.id, error_type=type(error).__name__)
            raise

    def _delay(self, message: Message, error: Exception, seconds: float | None) -> None:
        """Lets a message return before its visibility timeout, with jitter. If that fails, it only returns later."""
        if seconds is None:
            outage = not isinstance(error, SwitchyardError) or error.outage
            growth = _OUTAGE_GROWTH if outage else _GROWTH
            ceiling = min(_BACKOFF_LIMIT, _BACKOFF_BASE * growth**message.receive_count)
            seconds = random.uniform(ceiling / 2 if outage else _BACKOFF_BASE, ceiling)  # noqa: S311 - no secret
        logger.info(
            "message comes back",
            message_id=message.id,
            seconds=round(seconds),
            error_type=error.code if isinstance(error, SwitchyardError) else type(error).__name__,
            reason=str(error)[:_MAX_REASON_LENGTH],
        )
        try:
            self.client.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=message.receipt_handle, VisibilityTimeout=round(seconds)
            )
        except (ClientError, BotoCoreError) as failure:
            logger.warning("visibility unchanged", message_id=message.id, error_type=type(failure).__name__)
