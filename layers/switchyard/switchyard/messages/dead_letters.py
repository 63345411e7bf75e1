"""The dead-letter queues, as whoever gives a message up writes to them. What reads queues is `queues`."""

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
    """Where messages go that we give up on ourselves, with the reason."""

    client: SQSClient
    url: str

    @override
    @translated()
    def send_request(self, request: WorkRequest, error: SwitchyardError) -> None:
        self.send(redrive_body(request), error)

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
