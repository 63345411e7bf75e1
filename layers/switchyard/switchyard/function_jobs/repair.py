"""Requests stalled jobs again: their message was lost, or their invocations died too often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, override

from switchyard import clock
from switchyard.clients import translated
from switchyard.errors import ForeignRow
from switchyard.function_jobs.table import FunctionJobs
from switchyard.observability import logger
from switchyard.protocol.jobs import Status, WorkRequest
from switchyard.protocol.ports import Repair

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@dataclass(slots=True, eq=False)
class FunctionRepair(Repair):
    """Sends requests to a function's queue.

    Attributes:
        grace: How long a job may go without a heartbeat, or after the end of its wait.
        body: Returns the message body that asks for a job's work.
    """

    jobs: FunctionJobs
    client: SQSClient
    queue_url: str
    grace: timedelta
    body: Callable[[WorkRequest], str]

    @override
    @translated()
    def ask_again(self, job_id: str) -> None:
        try:
            job = self.jobs.get(job_id)
        except ForeignRow:
            return  # the table has logged it
        if job is None or job.request is None or job.status not in (Status.PENDING, Status.RUNNING):
            return
        if job.waits_until is not None and job.cancel_requested:
            self.jobs.cancel(job)
            return
        if job.quiet_since is None or clock.now() - job.quiet_since < self.grace:
            return
        logger.warning("requested again", job_id=job.id, kind=job.kind, fence=job.fence, job_status=job.status)
        self.client.send_message(QueueUrl=self.queue_url, MessageBody=self.body(job.request))
