"""SQS or direct invocation → ECS: starts exactly one task for each job message."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from switchyard import clients, clock, cold_start, wiring
from switchyard.messages.envelope import Envelope, json_object
from switchyard.messages.intake import Intake
from switchyard.messages.queues import Queue
from switchyard.messages.tasks import TaskWork
from switchyard.observability import handler
from switchyard.protocol.dispatch import Dispatcher
from switchyard.settings import DispatchToEcsSettings


def invoked(dispatcher: Dispatcher, work: TaskWork, message: object, request_id: str) -> dict[str, str]:
    """Dispatches a job message that is the invocation's event, and returns the job's id and status.

    Retries of an asynchronous invocation have the same request id, so the job is started once.

    Raises:
        PermanentError: the message can't be processed.
        RetryableError, StartFailed: as `Dispatcher.dispatch`.
    """
    request = work.read(json_object(message), Envelope(request_id, clock.now()))
    outcome = dispatcher.dispatch(request)
    job = dispatcher.store.get(request.job_id)
    return {"jobId": request.job_id, "status": job.status if job else outcome.name}


@cache
def function() -> tuple[Queue, Callable[[object, str], dict[str, str]]]:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = DispatchToEcsSettings.from_env()
    dispatcher = wiring.dispatcher(settings)
    work = wiring.task_work(settings)
    intake = Intake(dispatcher, work, wiring.dead_letter_queue(settings.ecs_dead_letter_queue_url))
    queue = Queue(clients.sqs(), settings.queue_url, settings.max_receive_count, intake.handle, intake.exhausted)
    return queue, partial(invoked, dispatcher, work)


@handler
def lambda_handler(event: object, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's own
    """Handles up to ten SQS messages and returns the partial batch response, or handles the event as a job message."""
    queue, directly = function()
    if isinstance(event, dict) and "Records" in event:
        return queue.consume(event)
    return directly(event, context.aws_request_id)


cold_start.prepare(function)
