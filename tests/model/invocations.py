"""One invocation with faults: a wrong clock, and calls that kill it, freeze it, fail or return no answer."""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import Any

import hypothesis.strategies as st
from botocore.exceptions import ClientError, ReadTimeoutError

from switchyard.errors import OutcomeUnknown, StartThrottled, Unavailable
from tests.fakes.crashing import Freeze, Killed


class Kind(Enum):
    """The kind of a fault."""

    KILL = "killed"
    FREEZE = "frozen"
    LOSE = "no answer"
    FAIL = "answer 500"
    THROTTLE = "throttled"


@dataclass(frozen=True)
class Fault:
    """A fault at a call. A throttled call never takes effect; any other may have.

    A `lasting` fault hits every attempt of the SDK, any other only the first one.
    """

    kind: Kind
    after_effect: bool = False
    lasting: bool = False

    def __str__(self) -> str:
        """Returns the fault in words, as the key of its count."""
        effect = "after" if self.after_effect and self.kind is not Kind.THROTTLE else "before"
        if self.kind in {Kind.KILL, Kind.FREEZE}:
            return f"{self.kind.value} {effect} a call's effect"
        return f"{self.kind.value} {effect} the effect, {'at every attempt' if self.lasting else 'once'}"


@dataclass(frozen=True)
class Life:
    """One invocation's plan: faults by number of the call, and the error of its clock."""

    faults: Mapping[int, Fault] = field(default_factory=dict)
    clock: timedelta = timedelta()


CALM = Life()

# FREEZE is most frequent, because it lets others interleave between a read and the write that depends on it.
_FAULTS = st.builds(Fault, st.sampled_from([*Kind, Kind.FREEZE, Kind.FREEZE]), st.booleans(), st.booleans())
# AWS's clocks are off by milliseconds. The protocol must also survive hours, longer than any grace period.
_CLOCKS = st.sampled_from([0, 0, 0, 1, -1, 5, -5, 60, -60, 600, -600, 7200, -7200])
LIVES = st.builds(
    Life,
    st.dictionaries(st.integers(0, 4) | st.integers(0, 12), _FAULTS, max_size=2),
    _CLOCKS.map(lambda seconds: timedelta(seconds=seconds)),
)


@dataclass(frozen=True)
class Service:
    """How a service's faults look to the calling code once the SDK has given up, by name of the call.

    `repeated` names calls that take effect, or are refused, a second time when the SDK retries them.
    """

    lost: Callable[[str], Exception]
    throttled: Callable[[str], Exception]
    repeated: Collection[str] = ()


def _timeout(call: str) -> Exception:
    return ReadTimeoutError(endpoint_url=call)


def _throttling(call: str) -> Exception:
    return ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, call)


# The store's other methods are transactions with a token: a retry only returns the first answer.
_UPDATES = frozenset(
    {"add_owner", "record_start", "raise_fence", "give_up", "request_cancel", "advance", "recount", "set_pause"}
)
TABLES = Service(lambda _: Unavailable("read timeout"), lambda _: Unavailable("slow down"), _UPDATES)
QUEUES = Service(_timeout, _throttling, frozenset({"send_message"}))
TARGETS = Service(
    lambda call: OutcomeUnknown("read timeout", 1) if call == "start" else Unavailable("read timeout"),
    lambda call: StartThrottled("slow down") if call == "start" else Unavailable("slow down"),
    frozenset({"start"}),  # the SDK must not retry it, but a proxy might: the worker's check has to tell them apart
)


_this_thread = threading.local()


def current() -> "Invocation | None":
    """Returns this thread's invocation; None in the test's own thread."""
    return getattr(_this_thread, "invocation", None)


class Invocation:
    """One run of a function, whose calls go through `meet`. `struck` holds the faults that have hit it."""

    def __init__(self, life: Life, tally: Counter[str]) -> None:
        self.life = life
        self.struck: list[Fault] = []
        self._tally = tally
        self._calls = 0
        self._last_call: object = None
        self._gate = Freeze()
        self._is_dead = False
        if life.clock:
            tally["clocks skewed"] += 1

    @property
    def is_frozen(self) -> bool:
        """Returns whether it is stopped until `thaw`."""
        return self._gate.is_frozen

    @property
    def error(self) -> BaseException | None:
        """Returns the exception it ended with; None without one."""
        return self._gate.error

    def run(self, work: Callable[[], object]) -> None:
        """Runs the invocation until it freezes or ends."""

        def live() -> None:
            _this_thread.invocation = self
            try:
                work()
            finally:
                _this_thread.invocation = None

        if any(fault.kind is Kind.FREEZE for fault in self.life.faults.values()):
            self._gate.run(live)
            return
        try:
            live()
        except BaseException as error:  # noqa: BLE001 - kept in `error`, as Freeze does
            self._gate.error = error

    def thaw(self) -> None:
        """Resumes the invocation and waits for its end."""
        self._gate.thaw()

    def abandon(self) -> None:
        """Ends the invocation where it is frozen."""
        self._gate.abandon()

    def fault_of(self, call: object) -> Fault | None:
        """Returns the fault that hits this attempt of a call, if any. A dead invocation makes no calls."""
        if self._is_dead:
            raise Killed
        if call == self._last_call:
            fault = self.life.faults.get(self._calls - 1)
            return fault if fault and fault.lasting and fault.kind is not Kind.FREEZE else None
        self._last_call = call
        fault = self.life.faults.get(self._calls)
        self._calls += 1
        if fault is not None:
            self.struck.append(fault)
            self._tally[str(fault)] += 1
        return fault

    def stop_here(self, fault: Fault) -> None:
        """Dies or freezes if the fault is of that kind."""
        if fault.kind is Kind.KILL:
            self._is_dead = True
            raise Killed
        if fault.kind is Kind.FREEZE and not self._gate.is_frozen:
            self._gate.strike()

    def meet(self, name: str, call: Callable[[], Any], service: Service) -> Any:  # noqa: ANN401 - the call's result
        """Makes a call with its fault."""
        fault = self.fault_of(object())
        if fault is None:
            return call()
        if fault.kind is Kind.THROTTLE:
            if fault.lasting:
                raise service.throttled(name)
            return call()
        if not fault.after_effect:
            self.stop_here(fault)
            if fault.lasting and fault.kind in {Kind.LOSE, Kind.FAIL}:
                raise service.lost(name)
            return call()
        answer = call()
        self.stop_here(fault)
        if fault.kind is Kind.FREEZE:
            return answer
        again = call() if name in service.repeated else answer
        if fault.lasting:
            raise service.lost(name)
        return again


class Shaky:
    """Wraps `inner` so that its calls hit the current invocation's faults."""

    def __init__(self, inner: object, service: Service) -> None:
        self._inner = inner
        self._service = service

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - it stands for anything
        value = getattr(self._inner, name)
        return partial(self._call, name, value) if callable(value) else value

    def _call(self, name: str, call: Callable[..., Any], *args: object, **options: object) -> Any:  # noqa: ANN401
        invocation = current()
        once = partial(call, *args, **options)
        return once() if invocation is None else invocation.meet(name, once, self._service)
