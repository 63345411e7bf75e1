"""What the function that makes torrents sends: segments to its own queue, finished torrents to be seeded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from switchyard.errors import Unavailable
from switchyard.messages.kinds import SEEDING
from switchyard.messages.redrive import task_body
from switchyard.torrents.format.metainfo import Torrent
from switchyard.torrents.jobs import TorrentRun

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_MAX_BATCH = 10


@dataclass(slots=True, eq=False)
class Outbox:
    """The queues that messages are sent to: ours, and that of seeding jobs, empty where nothing seeds."""

    client: SQSClient
    queue_url: str
    seeding_queue_url: str = ""

    def send(self, bodies: list[str]) -> None:
        """Sends messages to our own queue, all of them or some: RetryableError then."""
        for at in range(0, len(bodies), _MAX_BATCH):
            batch = bodies[at : at + _MAX_BATCH]
            answer = self.client.send_message_batch(
                QueueUrl=self.queue_url,
                Entries=[{"Id": str(number), "MessageBody": body} for number, body in enumerate(batch)],
            )
            if answer.get("Failed"):
                raise Unavailable(f"SQS took {len(batch) - len(answer['Failed'])} messages of {len(batch)}")

    def seed(self, run: TorrentRun, torrent: Torrent, torrent_key: str) -> str | None:
        """Has a finished torrent seeded; the same one again is the same job. Gives that job's id."""
        if not self.seeding_queue_url:
            return None
        name, given = f"{run.job_id}-seed", {SEEDING.field: torrent_key}
        body = task_body(SEEDING.name, name, torrent.infohash, given, user_id=run.user_id or None)
        self.client.send_message(QueueUrl=self.seeding_queue_url, MessageBody=body)
        return name
