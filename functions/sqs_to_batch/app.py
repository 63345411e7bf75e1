"""SQS or direct invocation → Batch: starts exactly one job for each video that a message asks to process."""

from functools import cache
from typing import Any

from switchyard import clients, cold_start, wiring
from switchyard.messages.intake import Intake
from switchyard.messages.queues import Queue, is_of_queue
from switchyard.messages.videos import VideoWork
from switchyard.observability import handler
from switchyard.protocol.jobs import TargetSpec
from switchyard.settings import SqsToBatchSettings


@cache
def function() -> tuple[Queue, Intake]:
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
    queue = Queue(clients.sqs(), settings.queue_url, settings.max_receive_count, intake.handle, intake.exhausted)
    return queue, intake


@handler
def lambda_handler(event: object, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's own
    """Handles up to ten SQS messages and returns the partial batch response, or handles the event as a message."""
    queue, intake = function()
    return queue.consume(event) if is_of_queue(event) else intake.invoked(event, context.aws_request_id)


cold_start.prepare(function)
