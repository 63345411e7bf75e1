"""When a request is sent again, and after how long."""

import enum
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

BUSY: Final = frozenset({429})
"""The request was turned away before it took effect."""
LOST: Final = frozenset({502, 503, 504})
"""The request may have taken effect."""


class Repeat(enum.Enum):
    """When sending a request a second time does no harm."""

    ALWAYS = enum.auto()
    """It changes nothing, changes the same thing again, or wastes at most something that expires."""
    WITH_KEY = enum.auto()
    """The API recognizes the second by its idempotency key, which is sent with every try."""
    UNLESS_IT_ARRIVED = enum.auto()
    """It would do a thing twice: only if it certainly had no effect."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how patiently.

    Attributes:
        attempts: Tries in all.
        base: The longest first pause (seconds). It doubles with each try, and each pause is a random part of it.
        longest: No pause is longer (seconds), unless the server asks for it.
        patience: A `Retry-After` beyond this (seconds) ends the tries.
    """

    attempts: int = 6
    base: float = 0.5
    longest: float = 20.0
    patience: float = 60.0

    def pause(self, tried: int, retry_after: float | None = None) -> float | None:
        """Seconds until the next try, after `tried` tries; None if there is none."""
        if tried >= self.attempts or (retry_after or 0) > self.patience:
            return None
        jitter = random.uniform(0, min(self.longest, self.base * 2 ** (tried - 1)))  # noqa: S311 - no secret
        return jitter + (retry_after or 0)


def again(status: int, repeat: Repeat) -> bool:
    """Whether a response with this status may be followed by the same request."""
    return status in BUSY or (status in LOST and repeat is not Repeat.UNLESS_IT_ARRIVED)


def seconds_of(header: str | None) -> float | None:
    """The value of `Retry-After`, seconds or a date, as seconds from now; None if there is none."""
    if not header:
        return None
    try:
        return max(0.0, float(int(header)))
    except ValueError:
        pass
    try:
        then = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (then.astimezone(UTC) - datetime.now(UTC)).total_seconds())
