"""SQS or direct invocation → ECS: starts exactly one task for each job message."""

from functools import cache
from typing import Any

from switchyard import clients, cold_start, wiring
from switchyard.messages.intake import Intake
from switchyard.messages.queues import Queue, is_of_queue
from switchyard.observability import handler
from switchyard.settings import DispatchToEcsSettings


@cache
def function() -> tuple[Queue, Intake]:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = DispatchToEcsSettings.from_env()
    dead_letters = wiring.dead_letter_queue(settings.ecs_dead_letter_queue_url)
    intake = Intake(wiring.dispatcher(settings), wiring.task_work(settings), dead_letters)
    queue = Queue(clients.sqs(), settings.queue_url, settings.max_receive_count, intake.handle, intake.exhausted)
    return queue, intake


@handler
def lambda_handler(event: object, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's own
    """Handles up to ten SQS messages and returns the partial batch response, or handles the event as a job message."""
    queue, intake = function()
    return queue.consume(event) if is_of_queue(event) else intake.invoked(event, context.aws_request_id)


cold_start.prepare(function)
