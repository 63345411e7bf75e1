"""The rules let through the state changes of our own runs, in the states that AWS tells of."""

from typing import Any

from switchyard.protocol.jobs import Job, Status
from switchyard.targets import batch, ecs
from tests.requests import SENT_AT, request
from tests.template.rendering import TEMPLATE, load


def _detail(rule: str) -> dict[str, Any]:
    detail: dict[str, Any] = load(TEMPLATE).of_type("AWS::Events::Rule")[rule]["EventPattern"]["detail"]
    return detail


def test_only_tasks_of_ours_are_told_of() -> None:
    """On a shared cluster, other services' deployments would fill the queue."""
    [pattern] = _detail("EcsStateChangeRule")["startedBy"]
    assert ecs.token_of(Job(request(), Status.CLAIMED, fence=1, created_at=SENT_AT)).startswith(pattern["prefix"])
    assert not "ecs-svc/1234567890123456789".startswith(pattern["prefix"])


def test_no_state_is_waited_for_that_batch_does_not_tell_of() -> None:
    """There is no event for a submission.

    https://docs.aws.amazon.com/batch/latest/userguide/batch_job_events.html
    """
    told = set(batch._STATUSES) - {"SUBMITTED"}
    assert set(_detail("BatchStateChangeRule")["status"]) <= told
