"""The pace of calls to a provider that all invocations share: pauses, a daily budget, a rate, in one item of the table.

`State` and its transitions are pure. `Pace` writes each new state on the condition that the item hasn't changed since
it was seen. If the table can't be written, nothing is called: Unavailable.

    ready ──failure──▶ paused ──its end──▶ probing: one caller, everybody else stays paused ──success──▶ ready
                          ◀──failure: twice as long────────┘  (a probe that dies ends by itself)
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from time import sleep
from typing import TYPE_CHECKING, Any, cast

from switchyard import clock, observability
from switchyard.clients import translated
from switchyard.errors import Contended, SwitchyardError
from switchyard.function_jobs.jobs import Postponed
from switchyard.observability import Metric, logger
from switchyard.tables.items import Attribute, Item, Value, names_and_values, number, text

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_FIRST_PAUSE = 5_000
_LONGEST_PAUSE = 600_000
_LONGEST_ASKED = 3_600_000
"""The longest Retry-After that is honoured in full, in milliseconds."""
_REJECTED = 900_000
"""Milliseconds until a rejected key is tried again. It is also how Steam answers those who ignored its throttling."""
_PROBE = 60_000
"""Milliseconds after which a probe that reported nothing is considered dead."""
_LONGEST_TURN = 20_000
"""Milliseconds that a caller waits for its turn under a rate, rather than be postponed."""
_MARGIN = 1.1
"""Requests are spaced by this much more than the rate demands, since they reach the provider with jitter."""
_RACES = 20


class Reason(StrEnum):
    """Why nothing is called at the moment. The values are codes that callers may see."""

    THROTTLED = "THROTTLED"
    UNAVAILABLE = "UNAVAILABLE"
    KEY_REJECTED = "KEY_REJECTED"
    BUDGET_USED = "BUDGET_USED"
    BUSY = "BUSY"


class Paused(Postponed):
    """Nothing is called `until` then. `code` is a Reason."""

    def __init__(self, provider: str, reason: Reason, until: datetime) -> None:
        super().__init__(f"{provider} is not called at the moment: {reason}", until)
        self.code = reason


@dataclass(frozen=True, slots=True)
class Limits:
    """What a provider allows all callers together. Zero is no limit."""

    calls_per_day: int = 0
    calls_per_second: float = 0

    @property
    def spacing(self) -> int:
        """Milliseconds between two requests."""
        return round(1000 * _MARGIN / self.calls_per_second) if self.calls_per_second else 0


@dataclass(frozen=True, slots=True)
class State:
    """What all callers know of a provider. Times are epoch milliseconds.

    Attributes:
        by: A random name of the write, so that a caller whose response was lost knows its own.
        version: Counts the changes.
        paused_until: Nobody calls before; 0 if there is no pause. After a pause, the caller that probes sets it again.
        failures: Pauses in a row, without a success in between.
        day: The day of `calls`, UTC. It is not known when Steam's days begin.
        calls: Calls granted on that day.
        next_turn: When the next request may be sent, under a rate.
    """

    version: int = 0
    by: str = ""
    paused_until: int = 0
    reason: str = ""
    failures: int = 0
    day: str = ""
    calls: int = 0
    next_turn: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to make the calls asked for. `probe` is the pause that this probe holds, 0 if it is none."""

    failures: int = 0
    probe: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """No leave before `until`, in epoch milliseconds."""

    reason: Reason
    until: int


# ---- pure -----------------------------------------------------------------------------------------------------------


def granted(state: State, limits: Limits, calls: int, now: int) -> tuple[State, Grant, int] | Wait:
    """Grants calls: the new state, the grant, and when to send. Or says how long to wait."""
    if now < state.paused_until:
        return Wait(_reason(state.reason), state.paused_until)
    today = datetime.fromtimestamp(now / 1000, UTC).date()
    used = state.calls if state.day == today.isoformat() else 0
    if limits.calls_per_day and used + calls > limits.calls_per_day:
        tomorrow = datetime.combine(today + timedelta(days=1), datetime.min.time(), UTC)
        return Wait(Reason.BUDGET_USED, int(tomorrow.timestamp() * 1000))
    turn = max(now, state.next_turn)
    if turn - now > _LONGEST_TURN:
        return Wait(Reason.BUSY, turn - _LONGEST_TURN // 2)
    probe = now + _PROBE if state.failures else 0
    new = replace(
        state,
        version=state.version + 1,
        paused_until=probe,
        day=today.isoformat(),
        calls=used + calls,
        next_turn=turn + limits.spacing * calls if limits.spacing else 0,
    )
    return new, Grant(state.failures, probe), turn


def succeeded(state: State, grant: Grant) -> State:
    """Ends the pause of a probe."""
    if not grant.probe or state.paused_until != grant.probe:
        return state
    return replace(state, version=state.version + 1, paused_until=0, reason="", failures=0)


def failed(state: State, grant: Grant, reason: Reason, asked: float | None, now: int) -> State:
    """Pauses everybody: for the seconds that the provider asked for, or twice as long at each failure in a row.

    Calls granted before a pause may fail after it began. They may lengthen it, and never count as another failure.
    """
    if reason is Reason.KEY_REJECTED:
        length = _REJECTED
    elif asked is not None:
        length = min(max(int(asked * 1000), 1000), _LONGEST_ASKED)
    else:
        length = min(_FIRST_PAUSE * 2 ** min(grant.failures, 10), _LONGEST_PAUSE)
    until = now + length
    if until <= state.paused_until and state.paused_until != grant.probe:
        return state
    return replace(
        state,
        version=state.version + 1,
        paused_until=until,
        reason=reason.value,
        failures=max(state.failures, grant.failures + 1),
    )


def _reason(value: str) -> Reason:
    return Reason(value) if value in Reason else Reason.UNAVAILABLE


# ---- in the table ---------------------------------------------------------------------------------------------------

PK = Attribute("pk", lambda value: value.get("S"))
SK = Attribute("sk", lambda value: value.get("S"))
_VERSION = Attribute("version", lambda value: int(value.get("N", "0")))
_TEXTS = frozenset({"by", "reason", "day"})


class Pace:
    """A provider's pace. Every method raises Unavailable if the table can't be read or written."""

    def __init__(
        self, client: DynamoDBClient, library_table: str, provider: str, *, daily: int = 0, per_second: float = 0
    ) -> None:
        self._client = client
        self._table = library_table
        self._provider = provider
        self._limits = Limits(daily, per_second)
        self._seen = State()

    def acquire(self, calls: int = 1) -> Grant:
        """Takes the leave for `calls` requests, and sleeps until the first one's turn if there is a rate.

        Raises:
            Paused: nobody may call at the moment.
            Contended: others took leave at every attempt.
        """
        for _ in range(_RACES):
            now = _now()
            found = granted(self._seen, self._limits, calls, now)
            if isinstance(found, Wait):
                # What was seen may be old: a pause may be over, a day's budget larger.
                if self._is_fresh():
                    raise Paused(self._provider, found.reason, clock.from_epoch_ms(found.until))
                continue
            state, grant, turn = found
            if self._write(state):
                sleep(max(0, turn - _now()) / 1000)
                return grant
            sleep(random.uniform(0, 0.02))  # noqa: S311 - jitter, not a secret
        raise Contended(f"the pace of {self._provider} changed {_RACES} times while it was read")

    def succeed(self, grant: Grant) -> None:
        """Reports that the provider has answered. Writes only if that ends a pause."""
        if grant.probe:
            self._change(lambda state: succeeded(state, grant))

    def fail(self, grant: Grant, reason: Reason, asked: float | None = None) -> datetime:
        """Pauses everybody, and returns until when. `asked` is Retry-After in seconds.

        If the table can't be written, only this caller knows: others find out by a call of their own.
        """
        if reason is Reason.KEY_REJECTED:
            observability.count(Metric.KEY_REJECTED)
        state = failed(self._seen, grant, reason, asked, _now())
        try:
            state = self._change(lambda seen: failed(seen, grant, reason, asked, _now()))
        except SwitchyardError as error:
            logger.warning("pause not shared", provider=self._provider, error_type=type(error).__name__)
        logger.warning("paused", provider=self._provider, reason=reason, failures=state.failures)
        return clock.from_epoch_ms(state.paused_until)

    def _change(self, transition: Callable[[State], State]) -> State:
        for _ in range(_RACES):
            state = transition(self._seen)
            if state == self._seen or self._write(state):
                return self._seen
            sleep(random.uniform(0, 0.02))  # noqa: S311 - jitter, not a secret
        raise Contended(f"the pace of {self._provider} changed {_RACES} times while it was written")

    def _is_fresh(self) -> bool:
        """Reads the item. Whether it is as it was last seen."""
        with translated():
            answer = self._client.get_item(TableName=self._table, Key=self._key(), ConsistentRead=True)
        before, self._seen = self._seen, _state(answer.get("Item", {}))
        return before == self._seen

    def _write(self, state: State) -> bool:
        state = replace(state, by=secrets.token_hex(4))
        #   as seen ──▶ the new state
        condition = f"{_VERSION} = :seen" if self._seen.version else f"attribute_not_exists({PK})"
        values = {":seen": number(self._seen.version)} if self._seen.version else {}
        try:
            with translated():
                self._put(state, condition, values)
        except _Refused as refused:
            self._seen = refused.found
        else:
            self._seen = state
        return self._seen == state  # also if the SDK repeated a write whose response was lost

    def _put(self, state: State, condition: str, values: dict[str, Value]) -> None:
        try:
            self._client.put_item(
                TableName=self._table,
                Item={**self._key(), **_attributes(state)},
                ConditionExpression=condition,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **names_and_values(condition, values),
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            raise _Refused(_state(cast("dict[str, Any]", error.response).get("Item", {}))) from None

    def _key(self) -> dict[str, Value]:
        return {PK.name: text(f"PACE#{self._provider}"), SK.name: text("PACE")}


class _Refused(Exception):
    """Somebody else has changed the item; `found` is its state."""

    def __init__(self, found: State) -> None:
        super().__init__()
        self.found = found


def _attributes(state: State) -> dict[str, Value]:
    values = {each.name: getattr(state, each.name) for each in fields(State)}
    return {name: text(value) if name in _TEXTS else number(value) for name, value in values.items()}


def _state(item: Item) -> State:
    found: dict[str, Any] = {
        each.name: item[each.name].get("S", "") if each.name in _TEXTS else int(item[each.name].get("N", "0"))
        for each in fields(State)
        if each.name in item
    }
    return State(**found)


def _now() -> int:
    return int(clock.now().timestamp() * 1000)
