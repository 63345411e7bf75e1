"""Moves messages from a dead-letter queue back to its queue, once the cause has been fixed. Needs the extra `aws`.

A message keeps its body and the attribute video_id, so that it is for the same job and version. It is deleted from the
dead-letter queue after it has been sent. If the process dies in between, the message is in both queues, and the next
redrive sends it again. That duplicate starts nothing, unless it names no version and its job has ended by then.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from switchyard_client.discovery import Aws
from switchyard_client.errors import SetupError
from switchyard_client.letters import Letter, Queue

QUEUES: Final[Mapping[Queue, tuple[str, str]]] = {
    "video": ("VideoDeadLetterQueueUrl", "VideoQueueUrl"),
    "ecs-jobs": ("EcsDeadLetterQueueUrl", "EcsQueueUrl"),
    "torrents": ("TorrentDeadLetterQueueUrl", "TorrentQueueUrl"),
    "steam": ("SteamDeadLetterQueueUrl", "SteamQueueUrl"),
    "track": ("TrackDeadLetterQueueUrl", "TrackQueueUrl"),
}
"""The stack's outputs with the URLs of the dead-letter queue and of the queue."""
KEPT: Final = "video_id"
"""The only attribute that a message keeps: it may name the job. The others say why the message was dead-lettered."""

SPARE_SECONDS: Final = 60
"""How long a message stays invisible beyond the time that moving all of them takes."""
LONGEST_SECONDS: Final = 12 * 3600
MOST_IN_HAND: Final = 10_000
"""SQS allows 120,000 messages of a queue to be in flight."""
QUIET_RECEIVES: Final = 2
"""After so many receives without a new message, all messages have been received."""
_NOT_OURS: Final = ("ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue")


@dataclass(frozen=True, slots=True)
class Redrive:
    """Moves messages from a dead-letter queue to its queue.

    All messages are received before the first is moved, so that one that fails again and comes back is not moved in
    circles. `wait` is how many seconds a receive waits for messages.
    """

    sqs: Any
    source: str
    destination: str
    wait: int = 1
    sleep: Callable[[float], None] = time.sleep

    def depth(self) -> int:
        """The approximate number of messages in the dead-letter queue, in flight or not."""
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.source, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def take(self, *, limit: int, seconds: float, types: Collection[str] = ()) -> list[Letter]:
        """Receive and hide up to `limit` messages for `seconds`, oldest first; with `types`, only those ErrorTypes."""
        wanted: dict[str, Letter] = {}
        others: dict[str, Letter] = {}
        quiet = 0
        try:
            while quiet < QUIET_RECEIVES and len(wanted) < limit and len(wanted) + len(others) < MOST_IN_HAND:
                before = len(wanted) + len(others)
                for letter in self._receive(round(seconds)):
                    fits = (not types or letter.error_type in types) and (len(wanted) < limit or letter.id in wanted)
                    # If a message is received twice, only the newer receipt is valid.
                    (wanted if fits else others)[letter.id] = letter
                quiet = 0 if len(wanted) + len(others) > before else quiet + 1
        except BaseException:
            self.release(wanted.values())
            raise
        finally:
            self.release(others.values())
        return sorted(wanted.values(), key=lambda letter: letter.sent_at)

    def _receive(self, seconds: int) -> Iterator[Letter]:
        answer = self.sqs.receive_message(
            QueueUrl=self.source,
            MaxNumberOfMessages=10,
            VisibilityTimeout=min(seconds, LONGEST_SECONDS),
            WaitTimeSeconds=self.wait,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        for message in answer.get("Messages", ()):
            attributes = message.get("MessageAttributes", {})
            yield Letter(
                message["MessageId"],
                message["ReceiptHandle"],
                message["Body"],
                datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC),
                {name: value["StringValue"] for name, value in attributes.items() if "StringValue" in value},
            )

    def release(self, letters: Collection[Letter]) -> None:
        """Make messages visible at once. If that fails for some, they become visible when their timeout ends."""
        listed = list(letters)
        for some in (listed[start : start + 10] for start in range(0, len(listed), 10)):
            entries: Any = [
                {"Id": str(number), "ReceiptHandle": letter.receipt, "VisibilityTimeout": 0}
                for number, letter in enumerate(some)
            ]
            self.sqs.change_message_visibility_batch(QueueUrl=self.source, Entries=entries)

    def move(self, letter: Letter) -> bool:
        """Send a message to its queue and delete it here; False if another receiver has it now.

        Raises:
            ClientError, BotoCoreError: a call failed. It would fail for the other messages too.
        """
        if not self._hold(letter):
            return False
        attributes: Any = {
            name: {"DataType": "String", "StringValue": letter.attributes[name]}
            for name in (KEPT,)
            if name in letter.attributes
        }
        self.sqs.send_message(QueueUrl=self.destination, MessageBody=letter.body, MessageAttributes=attributes)
        self.sqs.delete_message(QueueUrl=self.source, ReceiptHandle=letter.receipt)
        return True

    def discard(self, letter: Letter) -> bool:
        """Delete a message; False if another receiver has it now.

        Raises:
            ClientError, BotoCoreError: as `move`.
        """
        if not self._hold(letter):
            return False
        self.sqs.delete_message(QueueUrl=self.source, ReceiptHandle=letter.receipt)
        return True

    def _hold(self, letter: Letter) -> bool:
        """Keep a message invisible while it is moved; False if another receiver, such as a second redrive, has it."""
        try:
            self.sqs.change_message_visibility(
                QueueUrl=self.source, ReceiptHandle=letter.receipt, VisibilityTimeout=SPARE_SECONDS
            )
        except Exception as error:
            # botocore's ClientError, whose module only the extra has. A timeout's response is None.
            code = str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", ""))
            if not code.endswith(_NOT_OURS):
                raise
            return False
        return True

    def move_all(
        self, letters: Sequence[Letter], rate: float, moved: Callable[[Letter, bool], None], *, discard: bool = False
    ) -> None:
        """Move or discard messages at `rate` per second. On the first error, or if interrupted, release the rest."""
        left = list(letters)
        one = self.discard if discard else self.move
        try:
            while left:
                moved(left[0], one(left[0]))
                del left[0]
                if left:
                    self.sleep(1 / rate)
        finally:
            # Includes the message being moved, which may be in both queues.
            self.release(left)


def redrive(aws: Aws, queue: Queue) -> Redrive:
    """The redrive of a stack's queue.

    Raises:
        SetupError: There is no such stack, or it has no such queue.
    """
    outputs = aws.outputs()
    if missing := [name for name in QUEUES[queue] if name not in outputs]:
        raise SetupError(f"the stack {aws.stack} has no output {missing[0]}: is it a Switchyard stack?")
    source, destination = (outputs[name] for name in QUEUES[queue])
    return Redrive(aws.client("sqs"), source, destination)
