"""Sends messages to dead-letter queues, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, override

from switchyard import observability
from switchyard.clients import translated
from switchyard.messages.redrive import redrive_body
from switchyard.observability import Metric, logger
from switchyard.protocol.ports import DeadLetters

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from switchyard.errors import SwitchyardError
    from switchyard.protocol.jobs import WorkRequest

_MAX_ATTRIBUTE = 1000


@dataclass(slots=True, eq=False)
class DeadLetterQueue(DeadLetters):
    """A dead-letter queue for messages that Switchyard gives up before the queue's redrive policy does."""

    client: SQSClient
    url: str

    @override
    @translated()
    def send_request(self, request: WorkRequest, error: SwitchyardError) -> None:
        self.send(redrive_body(request), error)

    def send(self, body: str, error: SwitchyardError, *, video_id: str | None = None) -> None:
        """Sends a message with the attributes `ErrorType` and `ErrorMessage`. The caller then deletes the original.

        `video_id` is the original's attribute of that name. Without it, a redrive would start another job.
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
