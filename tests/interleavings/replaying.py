"""Runs an actor up to its next call of a port.

An actor is ordinary code: it can't be suspended within a call. So each step runs it from its beginning, answers the
calls it has already made from memory, performs one more, and leaves it at the call after that. The code is
deterministic once the clock stands still, so what it has been answered says everything about where it is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from switchyard.errors import OutcomeUnknown, StartThrottled, SwitchyardError, Unavailable
from switchyard.protocol.lanes import Slots


class Fault(StrEnum):
    """What goes wrong with a call, or with the actor before it."""

    THROTTLE = "throttle"
    """The call has no effect and fails."""
    UNKNOWN = "unknown"
    """The call takes effect, and fails."""
    KILL = "kill"
    """The actor ends before the call."""


READS = frozenset({"get", "slots", "holders", "entries", "waiting", "later", "by_status", "find", "describe"})


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a call: a value or an error. `mark` tells it apart from others."""

    call: str
    value: Any
    error: SwitchyardError | None
    mark: int

    def give(self) -> Any:  # noqa: ANN401 - any port's answer
        """Returns the value, or raises the error."""
        if self.error is not None:
            raise self.error
        return iter(self.value) if isinstance(self.value, list) else self.value


class _AtNextCall(BaseException):
    """Leaves the actor's code; no `except Exception` stops it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an actor has come: its answers so far, and how it ended, None while it goes on."""

    answers: tuple[Answer, ...]
    next_call: str
    ended: str | None = None
    past: int = 0
    """A hash of the answers."""

    @property
    def key(self) -> tuple[object, ...]:
        """Tells this progress apart from others of the same actor."""
        return (self.past, self.next_call, self.ended)

    @property
    def succeeded(self) -> bool:
        """Whether the actor has ended and need not be repeated."""
        return self.ended == "ok"


class Ports:
    """The ports of one actor during one step. `wrap` puts a real port behind it."""

    def __init__(self, answers: tuple[Answer, ...], fault: Fault | None, *, performing: bool) -> None:
        self.answers = list(answers)
        self.next_call = ""
        self._position = 0
        self._fault = fault
        self._performing = performing

    def wrap(self, port: object) -> Any:  # noqa: ANN401 - stands for any port
        """Returns a port whose calls are answered from memory, or performed if it is their turn."""
        return _Port(self, port)

    def call(self, name: str, perform: Callable[[], Any]) -> Any:  # noqa: ANN401 - any port's answer
        """Answers a call."""
        if self._position == len(self.answers):
            if not self._performing:
                self.next_call = name
                raise _AtNextCall
            self._performing = False
            self.answers.append(_answer(name, perform, self._fault))
        self._position += 1
        return self.answers[self._position - 1].give()


class _Port:
    def __init__(self, ports: Ports, port: object) -> None:
        self._ports = ports
        self._port = port

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._port, name)
        return lambda *args, **options: self._ports.call(name, lambda: method(*args, **options))


def _answer(name: str, perform: Callable[[], Any], fault: Fault | None) -> Answer:
    if fault is Fault.THROTTLE:
        return _failed(name, StartThrottled("throttled") if name == "start" else Unavailable("throttled"))
    try:
        value = perform()
    except SwitchyardError as refused:
        return _failed(name, refused)
    if isinstance(value, Iterator):
        value = list(value)
    if fault is Fault.UNKNOWN:
        return _failed(name, OutcomeUnknown("timed out", 1) if name == "start" else Unavailable("timed out"))
    # Two counts of a lane are equal if they differ only in its moves, but lead to different writes.
    told = (value.moves, value) if isinstance(value, Slots) else tuple(value) if isinstance(value, list) else value
    return Answer(name, value, None, hash(told))


def _failed(name: str, error: SwitchyardError) -> Answer:
    return Answer(name, None, error, hash((type(error), str(error))))


def advance(
    run: Callable[[Ports], object], answers: tuple[Answer, ...], *, performing: bool, fault: Fault | None = None
) -> Progress:
    """Runs an actor with the answers it has had, lets it make one more call if `performing`, and stops it at the next.

    An error that the actor's function may raise ends it; any other exception is a bug, and is raised.
    """
    ports = Ports(answers, fault, performing=performing)
    ended: str | None = "ok"
    try:
        run(ports)
    except _AtNextCall:
        ended = None
    except SwitchyardError as error:
        ended = error.code
    return Progress(tuple(ports.answers), ports.next_call, ended, hash(tuple(each.mark for each in ports.answers)))
