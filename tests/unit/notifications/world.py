"""Webhooks on moto, with a queue whose delays pass on a clock that only the test moves."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from switchyard.messages.queues import Message
from switchyard.notifications.announcement import Announcement
from switchyard.notifications.deliveries import Deliverer, Outgoing, Post, Subscribers
from switchyard.notifications.table import Webhooks
from switchyard.notifications.webhooks import Webhook
from switchyard.outside import receivers
from switchyard.outside.secrets import Secret
from switchyard.protocol.jobs import Status
from switchyard.urls import allowed_network
from tests.fakes.crashing import Countdown, Crashing, Killed
from tests.fakes.dead_letters import FakeDeadLetters
from tests.tables import create_table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MASTER: Final = "m" * 64
HERE: Final = (allowed_network("127.0.0.0/8", loopback=True),)
MOST_DELAY: Final = 900


@dataclass
class DelayedQueue:
    """SQS as deliveries use it: messages by the time at which they can be received."""

    now: Callable[[], datetime]
    waiting: list[tuple[datetime, int, str]] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    refuses: int = 0
    _numbers: Any = field(default_factory=itertools.count)

    def send_message(self, *, MessageBody: str, MessageGroupId: str, DelaySeconds: int = 0, **_: object) -> None:  # noqa: N803 - boto3's
        assert 0 <= DelaySeconds <= MOST_DELAY
        self.groups.append(MessageGroupId)
        heapq.heappush(self.waiting, (self.now() + timedelta(seconds=DelaySeconds), next(self._numbers), MessageBody))

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803 - boto3's
        assert QueueUrl
        assert 1 <= len(Entries) <= 10
        refused, self.refuses = Entries[: self.refuses], 0
        for entry in Entries[len(refused) :]:
            self.send_message(MessageBody=entry["MessageBody"], MessageGroupId=entry["MessageGroupId"])
        return {"Failed": [{"Id": entry["Id"], "Code": "InternalError"} for entry in refused]}


def create_webhooks_table(client: "DynamoDBClient") -> Webhooks:
    """Creates the template's table."""
    create_table(client, "WebhooksTable")
    return Webhooks(client, "WebhooksTable")


@dataclass
class Hooks:
    """All parts, and the time."""

    dynamodb: "DynamoDBClient"
    post: Post = receivers.post
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    letters: FakeDeadLetters = field(default_factory=FakeDeadLetters)
    attempts: list[datetime] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.webhooks = create_webhooks_table(self.dynamodb)
        self.queue = DelayedQueue(lambda: self.time)
        self._numbers = itertools.count(1)

    def hook(self, url: str, owner: str = "user-1", **more: Any) -> Webhook:  # noqa: ANN401 - fields
        """Makes a webhook."""
        given: dict[str, Any] = {"event_types": frozenset({"job.completed", "job.failed"}), "kinds": frozenset()} | more
        webhook = Webhook(f"wh_{next(self._numbers):032x}", owner, url, created_at=self.time, **given)
        assert self.webhooks.create(webhook, "") is None
        return webhook

    def read(self, webhook: Webhook) -> Webhook:
        """A webhook as it now is."""
        found = self.webhooks.read(webhook.owner, webhook.id)
        assert found
        return found

    def tell(
        self, *job_ids: str, owner: str | None = "user-1", status: Status = Status.COMPLETED
    ) -> list[Announcement]:
        """Announces ends of jobs to the webhooks that want to hear of them."""
        told = [Announcement(job_id, "video-analysis", owner, status, 1, self.time) for job_id in job_ids]
        assert Subscribers(self.webhooks, Outgoing(self.queue, "queue")).tell(told) == set()  # type: ignore[arg-type]
        return told

    def deliverer(self, countdown: Countdown | None = None) -> Deliverer:
        """The function's own, on our clock."""
        countdown = countdown or Countdown()
        return Deliverer(
            Webhooks(Crashing(self.dynamodb, countdown), "WebhooksTable"),  # type: ignore[arg-type]  # a fake
            Outgoing(Crashing(self.queue, countdown), "queue"),  # type: ignore[arg-type]  # as above
            Secret(lambda: MASTER),
            self.letters,
            HERE,
            countdown.around(self._post),
            now=lambda: self.time,
        )

    def _post(self, *arguments: Any) -> Any:  # noqa: ANN401 - as `receivers.post`
        self.attempts.append(self.time)
        return self.post(*arguments)

    def run(
        self, *, until: timedelta = timedelta(days=5), most: int = 10_000, deliverer: Deliverer | None = None
    ) -> None:
        """Handles all messages as they become due, and moves the clock to each."""
        end = self.time + until
        deliverer = deliverer or self.deliverer()
        for number in range(most):
            if not self.queue.waiting or self.queue.waiting[0][0] > end:
                return
            due, _, body = heapq.heappop(self.queue.waiting)
            self.time = max(self.time, due)
            try:
                deliverer.handle(message(body, number))
            except Killed:  # its message comes back
                self.queue.send_message(MessageBody=body, MessageGroupId="", DelaySeconds=180)
                deliverer = self.deliverer()
        if most > 1:
            raise AssertionError("deliveries never end")

    def states(self, webhook: Webhook) -> list[str]:
        """The states of a webhook's deliveries, newest first."""
        return [each["state"]["S"] for each in self.webhooks.deliveries(webhook.id, 50)]


def message(body: str, number: int = 0) -> Message:
    """A message as it is received."""
    return Message(body, f"message-{number}", datetime.now(UTC), 1, "receipt")
