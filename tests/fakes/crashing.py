"""Kills an invocation before or after any one of its AWS calls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Killed(BaseException):
    """The process is gone. Not an Exception: nothing may catch it."""


@dataclass
class Countdown:
    """Kills at call number `calls` (from zero; None never), with the call's effect or without it."""

    calls: int | None = None
    after_effect: bool = False

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: object, **options: object) -> object:
            if self.calls is None:
                return call(*args, **options)
            self.calls -= 1
            if self.calls >= 0:
                return call(*args, **options)
            if self.after_effect:
                call(*args, **options)
            raise Killed

        return counted


class Crashing:
    """Everything `inner` does, with a countdown around every call."""

    def __init__(self, inner: object, countdown: Countdown) -> None:
        self._inner = inner
        self._countdown = countdown

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - it stands for anything
        return self._countdown.around(getattr(self._inner, name))
