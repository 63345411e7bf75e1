"""The messages that s3_torrent_creator sends: segments to its own queue, and requests to seed finished torrents."""

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
    """Sends to the torrents' queue and to the seeding jobs' queue. An empty `seeding_queue_url` turns seeding off."""

    client: SQSClient
    queue_url: str
    seeding_queue_url: str = ""

    def send(self, bodies: list[str]) -> None:
        """Sends messages to the torrents' queue.

        Raises:
            Unavailable: SQS accepted only some of them.
        """
        for at in range(0, len(bodies), _MAX_BATCH):
            batch = bodies[at : at + _MAX_BATCH]
            answer = self.client.send_message_batch(
                QueueUrl=self.queue_url,
                Entries=[{"Id": str(number), "MessageBody": body} for number, body in enumerate(batch)],
            )
            if answer.get("Failed"):
                raise Unavailable(f"SQS accepted {len(batch) - len(answer['Failed'])} of {len(batch)} messages")

    def seed(self, run: TorrentRun, torrent: Torrent, torrent_key: str) -> str | None:
        """Submits a job that seeds a torrent, once per torrent. Returns its id, or None if seeding is off."""
        if not self.seeding_queue_url:
            return None
        name, given = f"{run.job_id}-seed", {SEEDING.field: torrent_key}
        body = task_body(SEEDING.name, name, torrent.infohash, given, user_id=run.user_id or None)
        self.client.send_message(QueueUrl=self.seeding_queue_url, MessageBody=body)
        return name
