"""SQS or direct invocation → ECS: each job message becomes exactly one task."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from switchyard import clients, clock, cold_start, wiring
from switchyard.messages.envelope import Envelope, json_object
from switchyard.messages.intake import Intake
from switchyard.messages.queues import Queue
from switchyard.messages.tasks import TaskWork
from switchyard.observability import handler
from switchyard.protocol.dispatch import Dispatcher
from switchyard.settings import DispatchToEcsSettings


@dataclass(slots=True, eq=False)
class DispatchToEcs:
    """What both ways in have in common, and the queue."""

    dispatcher: Dispatcher
    work: TaskWork
    queue: Queue

    def invoked(self, message: object, request_id: str) -> dict[str, str]:
        """Handles one job message that came without a queue; raises what keeps it from being done.

        Lambda gives every retry of an asynchronous invocation the same request id: the same work, done once.
        """
        request = self.work.read(json_object(message), Envelope(request_id, clock.now()))
        outcome = self.dispatcher.dispatch(request)
        job = self.dispatcher.store.get(request.job_id)
        return {"jobId": request.job_id, "status": job.status if job else outcome.name}


@cache
def function() -> DispatchToEcs:
    """Made once an execution environment: at its start, or where that fails, by each event, with a clear error."""
    settings = DispatchToEcsSettings.from_env()
    dispatcher = wiring.dispatcher(settings, at_capacity=settings.at_capacity)
    work = wiring.task_work(settings)
    intake = Intake(dispatcher, work, wiring.dead_letter_queue(settings.ecs_dead_letter_queue_url))
    queue = Queue(clients.sqs(), settings.queue_url, settings.max_receive_count, intake.handle, intake.exhausted)
    return DispatchToEcs(dispatcher, work, queue)


@handler
def lambda_handler(event: object, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's own
    """Handles up to ten SQS messages and gives the partial batch response, or handles the event as a job message."""
    if isinstance(event, dict) and "Records" in event:
        return function().queue.consume(event)
    return function().invoked(event, context.aws_request_id)


cold_start.prepare(function)
