"""Kills or freezes an invocation before or after any one of its AWS calls."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
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
                result = call(*args, **options)
                self.strike()
                return result
            self.strike()
            return call(*args, **options)

        return counted

    def strike(self) -> None:
        """What happens at the chosen call."""
        raise Killed


@dataclass
class Freeze(Countdown):
    """Stops an invocation at the chosen call until it is thawed: a slow one, that others overtake.

    Only one thread runs at a time: whoever starts or thaws an invocation waits until it freezes or ends.
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
            except BaseException as error:  # noqa: BLE001 - handed to the thread that asks
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
    """Everything `inner` does, with a countdown around every call."""

    def __init__(self, inner: object, countdown: Countdown) -> None:
        self._inner = inner
        self._countdown = countdown

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - it stands for anything
        value = getattr(self._inner, name)
        return self._countdown.around(value) if callable(value) else value  # a client has `exceptions` too
