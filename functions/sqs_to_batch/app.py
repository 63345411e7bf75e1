"""SQS → Batch: starts exactly one job for each video that a message asks to process."""

from functools import cache
from typing import Any

from switchyard import clients, cold_start, wiring
from switchyard.messages.intake import Intake
from switchyard.messages.queues import Queue
from switchyard.messages.videos import VideoWork
from switchyard.observability import handler
from switchyard.protocol.jobs import TargetSpec
from switchyard.settings import SqsToBatchSettings


@cache
def function() -> Queue:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = SqsToBatchSettings.from_env()
    intake = Intake(
        dispatcher=wiring.dispatcher(settings),
        work=VideoWork(
            lane=settings.lane,
            target=TargetSpec("batch", settings.batch_job_queue, settings.batch_job_definition),
            id_pattern=settings.video_id_pattern,
            allowed_buckets=settings.source_buckets,
            bucket=settings.s3_bucket,
            upload_prefix=settings.upload_prefix,
            task_tokens=settings.task_tokens,
        ),
        dead_letters=wiring.dead_letter_queue(settings.dead_letter_queue_url),
    )
    return Queue(clients.sqs(), settings.queue_url, settings.max_receive_count, intake.handle, intake.exhausted)


@handler
def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Handles up to ten SQS messages and returns the partial batch response."""
    return function().consume(event)


cold_start.prepare(function)
