"""The two roads of work from a queue to a target, with what protocol tests need to know of each.

Both use the same protocol, so they share its tests: each runs over both roads, with `pytestmark = OVER_BOTH`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import pytest

from switchyard.messages.kinds import IMAGES, VIDEO

type Item = Mapping[str, Any]


@dataclass(frozen=True)
class Road:
    """A queue, the function that reads it, and its lane and target.

    Attributes:
        dispatcher: The function's logical id.
        queue: The queue's logical id.
        limit: The parameter for the lane's number of slots.
        slots: The functions' variable for it.
        start: The call that starts a run.
        tries: How often the SDK makes that call before its outcome is unknown; SubmitJob can't be repeated.
        before_the_end: The target's names of a run's states, except the last.
    """

    name: str
    dispatcher: str
    queue: str
    dead_letters: str
    lane: str
    limit: str
    slots: str
    start: str
    tries: int
    before_the_end: tuple[str, ...]

    def __str__(self) -> str:
        """Returns the name for test ids."""
        return self.name


BATCH: Final = Road(
    name="batch",
    dispatcher="SqsToBatchFunction",
    queue="VideoQueue",
    dead_letters="VideoDeadLetterQueue",
    lane=VIDEO.lane,
    limit="MaxConcurrentJobs",
    slots=VIDEO.limit,
    start="SubmitJob",
    tries=1,
    before_the_end=("PENDING", "RUNNABLE", "STARTING", "RUNNING"),
)
ECS: Final = Road(
    name="ecs",
    dispatcher="DispatchToEcsFunction",
    queue="EcsQueue",
    dead_letters="EcsDeadLetterQueue",
    lane=IMAGES.lane,
    limit="MaxConcurrentImages",
    slots=IMAGES.limit,
    start="RunTask",
    tries=3,
    before_the_end=("PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"),
)
ROADS: Final = (BATCH, ECS)

OVER_BOTH: Final = pytest.mark.parametrize("road", ROADS, ids=str, indirect=True, scope="module")
"""Runs every test of a module over both roads."""


@dataclass(frozen=True)
class Start:
    """One run started on a target, as the target shows it. Times in epoch seconds."""

    id: str
    status: str
    environment: Mapping[str, str]
    exit_code: int | None
    attempts: tuple[tuple[float, float], ...]
    detail: Item


def of_batch(detail: Item) -> Start:
    """Builds a start from a Batch job of DescribeJobs."""
    return Start(
        id=detail["jobId"],
        status=detail["status"],
        environment=_pairs(detail["container"]["environment"]),
        exit_code=detail["container"].get("exitCode"),
        attempts=tuple((one["startedAt"] / 1000, one["stoppedAt"] / 1000) for one in detail["attempts"]),
        detail=detail,
    )


def of_ecs(detail: Item) -> Start:
    """Builds a start from an ECS task of DescribeTasks."""
    [container], [override] = detail["containers"], detail["overrides"]["containerOverrides"]
    ended = "startedAt" in detail and "stoppedAt" in detail
    return Start(
        id=detail["taskArn"],
        status=detail["lastStatus"],
        environment=_pairs(override["environment"]),
        exit_code=container.get("exitCode"),
        attempts=((_seconds(detail["startedAt"]), _seconds(detail["stoppedAt"])),) if ended else (),
        detail=detail,
    )


def _pairs(environment: list[dict[str, str]]) -> dict[str, str]:
    return {pair["name"]: pair["value"] for pair in environment}


def _seconds(moment: float | str) -> float:
    return datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else float(moment)
