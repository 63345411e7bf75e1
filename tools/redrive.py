"""Move messages from a dead-letter queue back to its queue, once the cause has been fixed.

QUEUE is video, ecs-jobs, torrents, steam or track. Without --apply, nothing is moved: the messages are only shown.
With --discard and an --error-type they are deleted instead: those that would fail again, so that the alarm ends.

It works on the local system, or with --stack on a stack in AWS with your own credentials. They must allow
cloudformation:DescribeStacks, sqs:ReceiveMessage, DeleteMessage, ChangeMessageVisibility and GetQueueAttributes on the
dead-letter queue, and sqs:SendMessage on the queue.

A message keeps its body and the attribute video_id, so that it is for the same job and version. It is deleted from the
dead-letter queue after it has been sent. If this command dies in between, the message is in both queues, and the next
redrive sends it again. That duplicate starts nothing, unless it names no version and its job has ended by then.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from local.environment import STATE, seal_this_process
from local.processes import end_like_ctrl_c
from local.stack import STACK_NAME, LocalStack, NotRunningError
from local.view import console
from tools.letters import NO_TYPE, About, Letter, Queue, about, plain

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

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
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Redrive:
    """Moves messages from a dead-letter queue to its queue.

    All messages are received before the first is moved, so that one that fails again and comes back is not moved in
    circles. `wait` is how many seconds a receive waits for messages.
    """

    sqs: "SQSClient"
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
        for some in batched(letters, 10, strict=False):
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
        except ClientError as error:
            if not error.response["Error"]["Code"].endswith(_NOT_OURS):
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


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("queue", metavar="QUEUE")
@click.option("--apply", is_flag=True, help="Move the messages. Without it, only show them.")
@click.option(
    "--error-type", "types", multiple=True, metavar="TYPE", help=f"Only this ErrorType; {NO_TYPE}: without one."
)
@click.option("--discard", is_flag=True, help="Delete the messages instead. Needs --error-type.")
@click.option(
    "--limit", default=1000, show_default=True, type=click.IntRange(1, MOST_IN_HAND), help="At most so many messages."
)
@click.option("--rate", default=10.0, show_default=True, type=click.FloatRange(0.1, 100), help="Messages per second.")
@click.option("--stack", metavar="NAME", help="A stack in AWS, instead of the local system.")
@click.option("--profile", help="Your AWS profile, with --stack.")
@click.option("--region", help="The stack's Region, if neither profile nor environment names it.")
@click.option(
    "--state", type=click.Path(file_okay=False, path_type=Path), default=STATE, help="As for `python -m local`."
)
def main(  # noqa: D103, PLR0913 - the module's docstring is its help; each argument is an option
    *,
    queue: str,
    apply: bool,
    types: tuple[str, ...],
    discard: bool,
    limit: int,
    rate: float,
    stack: str | None,
    profile: str | None,
    region: str | None,
    state: Path,
) -> None:
    end_like_ctrl_c()
    name = _known(queue)
    if discard and not types:
        raise click.UsageError("--discard deletes messages for good: say which, by --error-type")
    out = console()
    try:
        client, stack_name = _aws(stack, profile, region) if stack else _local(state)
        redrive = _redrive(client, stack_name, name)
        seconds = SPARE_SECONDS + limit / 10 + (limit / rate if apply else 0)
        letters = redrive.take(limit=limit, seconds=seconds, types=types)
        _work_off(redrive, name, letters, rate if apply else None, out, discard=discard)
    except (BotoCoreError, ClientError, NotRunningError) as error:
        raise click.ClickException(str(error)) from error


def _known(queue: str) -> Queue:
    if queue == "reconcile":
        raise click.UsageError(
            "its messages are failed runs of the reconciler, and the next run does all their work: "
            "they may stay (docs/runbook.md, reconcile_jobs errors)"
        )
    if queue not in QUEUES:
        raise click.UsageError(f"QUEUE must be one of {', '.join(QUEUES)}, not {queue!r}")
    return cast("Queue", queue)


type _Clients = Callable[[str], Any]


def _aws(stack: str, profile: str | None, region: str | None) -> tuple[_Clients, str]:
    session = boto3.Session(profile_name=profile, region_name=region)
    return cast("_Clients", session.client), stack


def _local(state: Path) -> tuple[_Clients, str]:
    seal_this_process()
    stack = LocalStack(state.resolve())
    return stack.client, STACK_NAME


def _redrive(client: _Clients, stack: str, queue: Queue) -> Redrive:
    described = client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())}
    if missing := [name for name in QUEUES[queue] if name not in outputs]:
        raise click.ClickException(f"the stack {stack} has no output {missing[0]}: is it a Switchyard stack?")
    source, destination = (outputs[name] for name in QUEUES[queue])
    return Redrive(client("sqs"), source, destination)


def _work_off(
    redrive: Redrive, queue: Queue, letters: list[Letter], rate: float | None, out: Console, *, discard: bool
) -> None:
    """Show the received messages; with a rate, move those that can be moved, or discard all. Release the others."""
    described = [(letter, about(queue, letter)) for letter in letters]
    movable = {letter.id: letter for letter, what in described if discard or not what.refused}
    moving: dict[str, Letter] = {}
    try:
        out.print(f"{len(letters)} of about {redrive.depth()} messages in {redrive.source}", markup=False)
        _show(described, out)
        if rate is not None:
            moving = movable
        elif movable:
            fate = "be deleted" if discard else f"go to {redrive.destination}"
            out.print(f"nothing was moved. With --apply (APPLY=1), {len(movable)} would {fate}")
    finally:
        redrive.release([letter for letter in letters if letter.id not in moving])
    if rate is not None:
        _move(redrive, list(moving.values()), rate, out, discard=discard)


def _move(redrive: Redrive, letters: list[Letter], rate: float, out: Console, *, discard: bool) -> None:
    counts: Counter[bool] = Counter()
    try:
        redrive.move_all(letters, rate, lambda _, moved: counts.update([moved]), discard=discard)
    finally:
        out.print(f"{counts[True]} of {len(letters)} {'deleted' if discard else f'moved to {redrive.destination}'}")
        if counts[False]:
            out.print(f"{counts[False]} were deleted, or received by another redrive")
        if left := len(letters) - counts.total():
            out.print(f"{left} not moved; the first of these may have been sent nevertheless")


def _show(described: Sequence[tuple[Letter, About]], out: Console) -> None:
    counts = Counter(letter.error_type for letter, _ in described)
    summary = Table(box=None, pad_edge=False, show_header=False)
    for error_type, count in counts.most_common():
        message = next(letter.error_message for letter, _ in described if letter.error_type == error_type)
        summary.add_row(f"{count:>6}", Text(plain(error_type, 40)), Text(plain(message, 80)))
    out.print(summary)
    table = Table("sent (UTC)", "ErrorType", "kind", "job", "about", box=None, pad_edge=False)
    for letter, what in described[:_SHOWN]:
        subject = f"stays: {what.refused}" if what.refused else what.subject
        cells = (letter.error_type, what.kind, what.job, subject)
        table.add_row(f"{letter.sent_at:%Y-%m-%d %H:%M}", *(Text(plain(cell, 60)) for cell in cells))
    if described:
        out.print(table)
    if len(described) > _SHOWN:
        out.print(f"… and {len(described) - _SHOWN} more")
    if nameless := sum(not what.names_version for _, what in described):
        out.print(f"without a version: {nameless}. Such a message runs again if its job has ended by then")


if __name__ == "__main__":
    main(prog_name="python -m tools.redrive")
