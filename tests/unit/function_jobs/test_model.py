"""Messages, faults, pauses, cancels, lost messages and redrives in any mix: then all work ends, and none ends twice."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from moto import mock_aws

from switchyard import clock
from switchyard.function_jobs.jobs import GIVEN_UP
from switchyard.observability import logger
from switchyard.protocol.jobs import TERMINAL
from tests.conftest import Aws, _clients
from tests.model.invocations import LIVES, Invocation, Life
from tests.tables import create_tables
from tests.unit.function_jobs.world import DEAD, GRACE, QUEUE, RoomWorld, Wanted
from tests.world import Time

USERS = st.sampled_from(("ada", "bob"))
INDEX = st.integers(0, 100)
# A message's own time says whether it was answered, so clocks are right here. Wrong ones only delay a job.
RIGHT_CLOCKS = LIVES.map(lambda life: replace(life, clock=timedelta()))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Turns off the log, which would take longer than everything else."""
    level = logger.log_level
    logger.setLevel("CRITICAL")
    yield
    logger.setLevel(level)


class Room(RuleBasedStateMachine):
    """The counting function, and everything that happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.moto = mock_aws()
        self.moto.start()
        dynamodb, sqs = _clients()
        self.room = RoomWorld(Aws(dynamodb, sqs, *create_tables(dynamodb), "", ""), Time())
        self.now, clock.now = clock.now, lambda: self.room.time.now
        self.asked: set[str] = set()
        self.frozen: list[Invocation] = []

    def teardown(self) -> None:
        try:
            self._settle()
        finally:
            for invocation in self.frozen:
                invocation.abandon()
            clock.now = self.now
            self.moto.stop()

    # ---- what happens -----------------------------------------------------------------------------------------------

    @rule(user=USERS, copies=st.integers(1, 3))
    def ask(self, user: str, copies: int) -> None:
        self._tick()
        self.asked.add(user)
        for _ in range(copies):
            self.room.ask(user)

    @rule(user=USERS)
    def announce(self, user: str) -> None:
        self._tick()
        self.room.announce(user)

    @precondition(lambda self: self.room.messages)
    @rule(index=INDEX, life=RIGHT_CLOCKS, is_early=st.booleans())
    def deliver(self, index: int, life: Life, is_early: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        """Delivers a message, now and then one that another invocation has, as SQS may."""
        self._tick()
        messages = self.room.messages if is_early else self.room.sqs.visible(QUEUE)
        if messages:
            invocation = self.room.deliver(messages[index % len(messages)], life)
            self.frozen += [invocation] * invocation.is_frozen

    @precondition(lambda self: self.frozen)
    @rule(index=INDEX)
    def thaw(self, index: int) -> None:
        self.frozen.pop(index % len(self.frozen)).thaw()

    @rule(seconds=st.sampled_from((1, 30, 61, 900, 4000)))
    def wait(self, seconds: int) -> None:
        self.room.time.advance(timedelta(seconds=seconds))

    @rule(minutes=st.sampled_from((None, 1, 20, 300)), is_down=st.booleans(), is_private=st.booleans())
    def change_mood(self, minutes: int | None, is_down: bool, is_private: bool) -> None:  # noqa: FBT001 - as above
        pause = None if minutes is None else self.room.time.now + timedelta(minutes=minutes)
        self.room.service.pause, self.room.service.is_down, self.room.service.is_private = pause, is_down, is_private

    @rule(user=USERS)
    def cancel(self, user: str) -> None:
        self._tick()
        self.room.cancel(user)

    @rule()
    def reconcile(self) -> None:
        self.room.reconcile()

    @rule(index=INDEX)
    def lose(self, index: int) -> None:
        """Loses a message of a job that the table knows."""
        under_way = {row["jobId"] for row in self.room.rows() if row["status"] not in TERMINAL}
        messages = [kept for kept in self.room.messages if f"count-{_user(kept)}" in under_way]
        if messages:
            del self.room.sqs.on(QUEUE)[messages[index % len(messages)].id]

    @precondition(lambda self: self.room.sqs.on(DEAD))
    @rule()
    def redrive(self) -> None:
        self._tick()
        for kept in list(self.room.sqs.on(DEAD).values()):
            self.room.sqs.put(QUEUE, kept.body)

    # ---- what holds -------------------------------------------------------------------------------------------------

    @invariant()
    def each_is_completed_once_by_the_last_run(self) -> None:
        assert all(times == 1 for times in self.room.done.values())
        for row in self.room.rows():
            assert row["status"] != "COMPLETED" or row["result"]["file"] == f"{row['fence']}.json"

    @invariant()
    def what_has_failed_has_a_dead_letter(self) -> None:
        letters = {_user(kept) for kept in self.room.sqs.on(DEAD).values()}
        for row in self.room.rows():
            error = row.get("error", {})
            if row["status"] == "FAILED" and not (error["code"] == GIVEN_UP and error["message"].startswith("begun")):
                assert row["userId"] in letters

    def _settle(self) -> None:
        """Ends all trouble: then every job ends, and every request has its job or is a dead letter."""
        self.room.service.pause, self.room.service.is_down, self.room.service.is_private = None, False, False
        for invocation in self.frozen:
            invocation.thaw()
        for _ in range(12):
            self.room.settle()
            if not self.room.messages and all(row["status"] in TERMINAL for row in self.room.rows()):
                break
            self.room.time.advance(GRACE)
            self.room.reconcile()
        else:
            raise AssertionError("it never ends")
        self.each_is_completed_once_by_the_last_run()
        self.what_has_failed_has_a_dead_letter()
        letters = {_user(kept) for kept in self.room.sqs.on(DEAD).values()}
        assert self.asked <= letters | {row["userId"] for row in self.room.rows()}

    def _tick(self) -> None:
        self.room.time.advance(timedelta(milliseconds=1))


def _user(kept: Any) -> str:  # noqa: ANN401 - a Kept
    return next(user for user in ("ada", "bob") if kept.body == Wanted(user).body)


TestRoom = Room.TestCase
TestRoom.settings = settings(max_examples=max(10, settings().max_examples // 20), stateful_step_count=30)
