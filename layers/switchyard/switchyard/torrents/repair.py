"""Requests stalled torrents again: their message was lost, or their invocations died too often."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, override

from switchyard import clock
from switchyard.clients import translated
from switchyard.errors import ForeignRow
from switchyard.observability import logger
from switchyard.protocol.jobs import Status
from switchyard.protocol.ports import Repair
from switchyard.torrents.messages import message
from switchyard.torrents.table import TorrentJobs

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@dataclass(slots=True, eq=False)
class TorrentRepair(Repair):
    """Sends requests to the torrents' queue. `grace` is how long a job may go without a heartbeat."""

    jobs: TorrentJobs
    client: SQSClient
    queue_url: str
    grace: timedelta

    @override
    @translated()
    def ask_again(self, job_id: str) -> None:
        try:
            job = self.jobs.get(job_id)
        except ForeignRow:
            return  # the table has logged it
        if job is None or job.request is None or job.status not in (Status.PENDING, Status.RUNNING):
            return
        if job.alive_at is None or clock.now() - job.alive_at < self.grace:
            return
        source = job.request.source
        logger.warning("torrent requested again", job_id=job.id, fence=job.fence, job_status=job.status)
        body = message(source.bucket, source.key, source.version)
        self.client.send_message(QueueUrl=self.queue_url, MessageBody=body)
