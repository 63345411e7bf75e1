"""Any call of the room fails, or its invocation dies there, before or after the call's effect: the job ends rightly."""

from collections.abc import Callable
from datetime import timedelta
from itertools import count, product

import pytest

from tests.model.invocations import Fault, Kind, Life
from tests.unit.function_jobs.world import QUEUE, RoomWorld


def usual(room: RoomWorld) -> None:
    """Sets up a count that succeeds."""


def paused(room: RoomWorld) -> None:
    """Sets up one that must wait for longer than a message can."""
    room.service.pause = room.time.now + timedelta(minutes=20)


def private(room: RoomWorld) -> None:
    """Sets up one that can't succeed."""
    room.service.is_private = True


def cancelled(room: RoomWorld) -> None:
    """Sets up a job that is cancelled while it waits."""
    paused(room)
    room.deliver_visible()
    room.cancel()
    room.time.advance(timedelta(minutes=15))


ROADS: dict[Callable[[RoomWorld], None], tuple[str | None, str | None]] = {
    usual: ("COMPLETED", None),
    paused: ("COMPLETED", None),
    private: ("FAILED", "PRIVATE"),
    cancelled: ("CANCELLED", None),
}


FAULTS = (
    Fault(Kind.KILL),
    Fault(Kind.KILL, after_effect=True),
    Fault(Kind.LOSE, lasting=True),
    Fault(Kind.LOSE, after_effect=True),
    Fault(Kind.LOSE, after_effect=True, lasting=True),
    Fault(Kind.THROTTLE, lasting=True),
)


@pytest.mark.parametrize("road", ROADS, ids=lambda road: road.__name__)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_whatever_fails_the_job_ends_once_and_rightly(
    road: Callable[[RoomWorld], None], fault: Fault, room: RoomWorld
) -> None:
    for number in count():
        start_over(room)
        before = len(room.dead_letters)
        room.ask()
        road(room)
        [kept] = room.sqs.visible(QUEUE)
        invocation = room.deliver(kept, Life({number: fault}))
        room.settle(timedelta(minutes=50))
        assert room.outcome() == ROADS[road], number
        assert room.messages == [], number
        assert sum(room.done.values()) <= 1, number
        lettered = room.dead_letters[before:]
        assert set(lettered) == ({"PRIVATE"} if road is private else set()), number
        if not invocation.struck:
            return


@pytest.mark.parametrize("after_effect", [False, True])
def test_of_two_runs_only_the_last_ends_the_job(after_effect: bool, room: RoomWorld) -> None:  # noqa: FBT001
    """A message is delivered twice. The first delivery freezes, the second too, then both go on."""
    for calls in product(range(1, 5), repeat=2):
        start_over(room)
        kept = room.ask()
        first, second = (
            room.deliver(kept, Life({number: Fault(Kind.FREEZE, after_effect=after_effect)})) for number in calls
        )
        first.thaw()
        second.thaw()
        room.settle(timedelta(minutes=5))
        row = room.row()
        assert (row["status"], row["result"]["file"]) == ("COMPLETED", f"{row['fence']}.json"), calls
        assert (sum(room.done.values()), room.messages) == (1, []), calls


def start_over(room: RoomWorld) -> None:
    """Forgets the job."""
    room.service.pause, room.service.is_private = None, False
    room.aws.dynamodb.delete_item(TableName=room.aws.jobs_table, Key={"jobId": {"S": "count-ada"}})
    room.time.advance(timedelta(seconds=1))
    room.done.clear()
