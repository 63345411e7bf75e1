"""What a function's messages ask for, and how much time there is to do it. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from switchyard.errors import InvalidMessage
from switchyard.messages.envelope import Envelope, Rejected, decode

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


class Reader[W: Work](Protocol):
    """Reads a decoded message. Invalid content is in `rejected`, with the message's body, never raised."""

    def __call__(self, message: Mapping[str, Any], envelope: Envelope, body: str = "", /) -> Parsed[W]:
        """Returns what the message asks for."""


def parse[W: Work](read: Reader[W], body: str, envelope: Envelope) -> Parsed[W]:
    """Decodes a message body and reads it. Never raises for what the body holds."""
    try:
        message = decode(body)
    except InvalidMessage as error:
        return Parsed(envelope.message_id, rejected=[Rejected(error, body)])
    return read(message, envelope, body)
