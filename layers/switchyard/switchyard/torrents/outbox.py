"""The messages that s3_torrent_creator sends: segments to its own queue, and requests to seed finished torrents."""

from __future__ import annotations

from dataclasses import dataclass

from switchyard.function_jobs.jobs import FunctionRun
from switchyard.function_jobs.outbox import Outbox
from switchyard.messages.kinds import SEEDING
from switchyard.messages.redrive import task_body
from switchyard.torrents.format.metainfo import Torrent


@dataclass(slots=True, eq=False)
class TorrentOutbox(Outbox):
    """Sends to the torrents' queue and to the seeding jobs' queue. An empty `seeding_queue_url` turns seeding off."""

    seeding_queue_url: str = ""

    def seed(self, run: FunctionRun, torrent: Torrent, torrent_key: str) -> str | None:
        """Submits a job that seeds a torrent, once per torrent. Returns its id, or None if seeding is off."""
        if not self.seeding_queue_url:
            return None
        name, given = f"{run.job_id}-seed", {SEEDING.field: torrent_key}
        body = task_body(SEEDING.name, name, torrent.infohash, given, user_id=run.user_id or None)
        self.client.send_message(QueueUrl=self.seeding_queue_url, MessageBody=body)
        return name
