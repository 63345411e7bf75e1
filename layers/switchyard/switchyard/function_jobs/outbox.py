"""Sends messages to the function's own queue: parts of its work, and messages that come back later."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING, Final

from switchyard import clock
from switchyard.errors import Unavailable
from switchyard.function_jobs.jobs import Waiting
from switchyard.messages.envelope import is_identifier

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

    from switchyard.messages.queues import Message

MAX_BATCH = 10
"""Messages that SQS takes at once."""
_MAX_DELAY = 900
"""Seconds (Amazon SQS API reference, SendMessage)."""

_BEGUN_BY: Final = "begunBy"
_CONTINUES: Final = "continues"
_FENCE: Final = re.compile("[0-9]{1,15}")


@dataclass(slots=True, eq=False)
class Outbox:
    """Sends to the queue that the function reads."""

    client: SQSClient
    queue_url: str

    def send(self, bodies: list[str]) -> None:
        """Sends messages.

        Raises:
            Unavailable: SQS accepted only some of them.
        """
        for batch in batched(bodies, MAX_BATCH, strict=False):
            if lost := post(self.client, self.queue_url, batch):
                raise Unavailable(f"SQS accepted {len(batch) - len(lost)} of {len(batch)} messages")

    def send_later(self, body: str, wait: Waiting) -> None:
        """Sends a message that continues a waiting job, as a new message, so that waiting uses up no receives.

        It comes at the end of the wait, or before a longer one, and then is sent again. It names the message that began
        the job, so that it is no new request, and the run, so that it does nothing once the job was begun again.
        """
        seconds = math.ceil((wait.until - clock.now()).total_seconds())
        named = {_BEGUN_BY: wait.run.begun_by or "", _CONTINUES: str(wait.run.fence)}
        self.client.send_message(
            QueueUrl=self.queue_url,
            MessageBody=body,
            DelaySeconds=min(max(seconds, 0), _MAX_DELAY),
            MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in named.items()},
        )


def post(client: SQSClient, queue_url: str, bodies: Sequence[str]) -> dict[int, str]:
    """Sends up to ten messages. Returns SQS's error code for each that it refused, by the message's place.

    Raises:
        ClientError, BotoCoreError: no message is known to be accepted.
    """
    entries: list[SendMessageBatchRequestEntryTypeDef] = [
        {"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies)
    ]
    refused = client.send_message_batch(QueueUrl=queue_url, Entries=entries).get("Failed", [])
    return {int(each["Id"]): each["Code"] for each in refused}


def continued(message: Message) -> tuple[str, int | None]:
    """The id of the message that began the job, and the fence of the run to continue. Else the message's own id, None.

    Anyone who may send to the queue may send these attributes. At worst, work is begun once more.
    """
    begun_by, fence = message.attributes.get(_BEGUN_BY), message.attributes.get(_CONTINUES, "")
    if is_identifier(begun_by) and _FENCE.fullmatch(fence):
        return begun_by, int(fence)
    return message.id, None
