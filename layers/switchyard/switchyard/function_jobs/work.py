"""What a function's messages ask for, and how much time there is to do it. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from switchyard.messages.envelope import Rejected

_LEAST_RESERVE = 10.0
"""Seconds of an invocation reserved for the steps that end the work."""


class TimeLeft:
    """The time that Lambda says this invocation has left."""

    def __init__(self, milliseconds: Callable[[], int]) -> None:
        self._milliseconds = milliseconds
        self.total = self.seconds

    @property
    def seconds(self) -> float:
        """The time left, in seconds."""
        return self._milliseconds() / 1000

    def is_short(self) -> bool:
        """Whether the time left is needed to store what was done."""
        return self.seconds < max(_LEAST_RESERVE, self.total / 6)


class Work(Protocol):
    """A piece of work that a message asks for."""

    @property
    def body(self) -> str:
        """The message body that asks for this piece alone."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something that a message names and that asks for no work, and why."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Parsed[W: Work]:
    """What a message asks for; the lists may be empty. `message_id` is the original message's."""

    message_id: str
    work: list[W] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
