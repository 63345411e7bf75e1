"""Puts the parts together for the functions that start jobs: clients, store, lane, target, dispatcher."""

from switchyard import clients, observability
from switchyard.dispatch import Dispatcher
from switchyard.lanes import Lane
from switchyard.queues import DeadLetterQueue
from switchyard.settings import AtCapacity, LaneSettings
from switchyard.store import Store
from switchyard.targets.batch import BatchTarget
from switchyard.tracking import Tracker


def dispatcher(settings: LaneSettings, *, at_capacity: AtCapacity = "wait") -> Dispatcher:
    """The dispatcher of a function's lane. Also names the environment on its logs and metrics."""
    observability.configure(settings.environment)
    return Dispatcher(
        store=Store(clients.dynamodb(), settings.jobs_table, settings.lanes_table, keep_ended_jobs=settings.ttl_days),
        targets={
            "batch": BatchTarget(
                clients.batch(),
                clients.batch_submit(),
                jobs_table=settings.jobs_table,
                environment=settings.environment,
                grace_seconds=settings.claim_grace_seconds.total_seconds(),
            )
        },
        lanes={settings.lane: Lane(settings.lane, settings.max_concurrent_jobs)},
        dead_letters={settings.lane: DeadLetterQueue(clients.sqs(), settings.dead_letter_queue_url)},
        grace=settings.claim_grace_seconds,
        max_refusals=settings.max_receive_count,
        at_capacity=at_capacity,
    )


def tracker(dispatcher: Dispatcher) -> Tracker:
    """The tracker that starts waiting jobs by `dispatcher`."""
    return Tracker(dispatcher.store, dispatcher)
