"""Kills or freezes an invocation before or after one of its AWS calls."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class Killed(BaseException):
    """The process was killed. It is not an Exception, so that no handler catches it."""


@dataclass
class Countdown:
    """Kills at call number `calls` (from zero; None: never), after or before the call takes effect."""

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
                result = call(*args, **options)
                self.strike()
                return result
            self.strike()
            return call(*args, **options)

        return counted

    def strike(self) -> None:
        """Acts at the chosen call."""
        raise Killed


@dataclass
class Freeze(Countdown):
    """Freezes an invocation at the chosen call until it is thawed, so that others overtake it.

    Only one thread runs at a time: the caller that starts or thaws an invocation waits until it freezes or ends.
    """

    _paused: threading.Event = field(default_factory=threading.Event)
    _resumed: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    error: BaseException | None = None
    is_frozen: bool = False
    _abandoned: bool = False

    def run(self, invocation: Callable[[], object]) -> None:
        """Runs the invocation until it freezes or ends."""

        def guarded() -> None:
            try:
                invocation()
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                self.error = error
            self._paused.set()

        self._thread = threading.Thread(target=guarded, daemon=True)
        self._thread.start()
        self._paused.wait()

    def strike(self) -> None:
        """Freezes, once."""
        self.calls = None
        self.is_frozen = True
        self._paused.set()
        self._resumed.wait()
        self.is_frozen = False
        if self._abandoned:
            raise Killed

    def thaw(self) -> None:
        """Lets the invocation run to its end."""
        self._paused.clear()
        self._resumed.set()
        if self._thread is not None:
            self._thread.join()

    def abandon(self) -> None:
        """Ends the invocation where it is frozen."""
        self._abandoned = True
        self.thaw()


class Crashing:
    """Wraps `inner` with a countdown around every call."""

    def __init__(self, inner: object, countdown: Countdown) -> None:
        self._inner = inner
        self._countdown = countdown

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of `inner`
        value = getattr(self._inner, name)
        return self._countdown.around(value) if callable(value) else value  # a client's `exceptions`, for example
