"""The shared pace: its transitions by properties, and many callers at once on one table."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from switchyard.outside.sites import retry_after
from switchyard.steam.pace import (
    Grant,
    Limits,
    Pace,
    Paused,
    Reason,
    State,
    Wait,
    failed,
    granted,
    succeeded,
)
from tests.cases import cases
from tests.unit.steam.world import TABLE, SteamWorld

NOW = 1_795_000_000_000
DAILY = 50


class Callers(RuleBasedStateMachine):
    """Callers take leave, and report, in any order and at any time; some die and never report."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.now = NOW
        self.out: list[Grant] = []
        self.sent: list[int] = []
        self.granted_on: dict[str, int] = {}
        self.paused_until = 0

    @rule(milliseconds=st.integers(0, 90_000_000))
    def wait(self, milliseconds: int) -> None:
        self.now += milliseconds

    @rule(calls=st.integers(1, 4))
    def take(self, calls: int) -> None:
        before = self.state
        found = granted(before, Limits(DAILY, 4), calls, self.now)
        if isinstance(found, Wait):
            assert found.until > self.now
            assert before == self.state
            return
        self.state, grant, turn = found
        assert self.now >= self.paused_until, "nobody calls during a pause"
        if before.failures:
            assert grant.probe == self.state.paused_until > self.now, "a probe keeps the others away"
            self.paused_until = grant.probe
        day = datetime.fromtimestamp(self.now / 1000, UTC).date().isoformat()
        self.granted_on[day] = self.granted_on.get(day, 0) + calls
        self.sent += [turn + number * 275 for number in range(calls)]
        self.out.append(grant)

    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        if self.out:
            grant = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
            self.state = succeeded(self.state, grant)
            if grant.probe and grant.probe == self.paused_until:
                self.paused_until = 0
                assert self.state.failures == 0

    @rule(data=st.data(), reason=st.sampled_from(Reason), asked=st.none() | st.floats(0, 1e6))
    def fail(self, data: st.DataObject, reason: Reason, asked: float | None) -> None:
        if self.out:
            grant = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
            self.state = failed(self.state, grant, reason, asked, self.now)
            if self.paused_until not in (0, grant.probe):
                assert self.state.paused_until >= self.paused_until, "no pause gets shorter"
            assert self.now < self.state.paused_until <= max(self.now + 3_600_000, self.paused_until)
            self.paused_until = self.state.paused_until

    @invariant()
    def never_over_the_budget(self) -> None:
        assert all(calls <= DAILY for calls in self.granted_on.values())

    @invariant()
    def never_more_than_four_a_second(self) -> None:
        times = sorted(self.sent)
        assert all(later - earlier > 1000 for earlier, later in zip(times, times[4:], strict=False))


TestCallers = Callers.TestCase


@cases(
    ("header", "seconds"),
    [
        *(
            ("0", 0),
            ("120", 120),
            (" 7 ", 7),
            ("Sun, 22 Nov 2026 13:01:00 GMT", 60),
            ("Sun, 22 Nov 2026 12:00:00 GMT", 0),
        ),
        *((None, None), ("", None), ("soon", None), ("-5", None), ("1.5", None), ("9" * 20, None), ("٣", None)),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, datetime(2026, 11, 22, 13, tzinfo=UTC)) == seconds


@given(st.text())
def test_any_header_is_read(header: str) -> None:
    found = retry_after(header, datetime(2026, 11, 22, tzinfo=UTC))
    assert found is None or found >= 0


class OneAtATime:
    """moto isn't safe for threads: every call is made alone. Between calls anything may happen."""

    def __init__(self, client: object) -> None:
        self._client = client
        self._lock = Lock()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of a client
        found = getattr(self._client, name)
        if name == "exceptions":
            return found

        def alone(**arguments: object) -> object:
            with self._lock:
                return found(**arguments)

        return alone


def test_callers_at_once_each_get_a_turn_of_their_own(steam: SteamWorld) -> None:
    client = OneAtATime(steam.dynamodb)

    def take(_: int) -> int:
        steam.pace("igdb", client).acquire()
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(16))) == 16
    seen = Pace(cast("Any", client), TABLE, "igdb", per_second=4)
    seen._is_fresh()
    start = int(steam.time.now.timestamp() * 1000)
    assert (seen._seen.calls, seen._seen.next_turn - start) == (16, 16 * 275)


def test_ten_callers_after_a_pause_are_one_probe(steam: SteamWorld) -> None:
    client = OneAtATime(steam.dynamodb)
    pace = steam.pace("steam", client)
    until = pace.fail(pace.acquire(), Reason.THROTTLED, 60)
    steam.time.now = until + timedelta(milliseconds=1)

    def take(_: int) -> bool:
        try:
            return steam.pace("steam", client).acquire().probe > 0
        except Paused:
            return False

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(take, range(10))) == 1


def test_a_write_whose_response_was_lost_is_known_as_ones_own(
    steam: SteamWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK repeats it, and the repetition is refused."""
    put = steam.dynamodb.put_item

    def twice(**arguments: Any) -> Any:  # noqa: ANN401 - as boto3's
        put(**arguments)
        return put(**arguments)

    monkeypatch.setattr(steam.dynamodb, "put_item", twice)
    pace = steam.pace()
    pace.acquire(4)
    assert pace._seen.calls == 4
