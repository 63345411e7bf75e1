"""Injects faults for tests: what AWS does now and then, at a moment that the test chooses.

`POST /_compute/faults` takes a JSON list of objects:

    operation       "SubmitJob", "RunTask", …, or "events" for the state change events
    mode            for an operation: throttle, error500, refuse, reset, reset_after_effect, cut_after_effect,
                    timeout_before_effect, timeout_after_effect; RunTask also: capacity, and quota: no vCPUs are left
                    on Fargate; for events: drop, duplicate, delay, reverse
    times           how many requests or events it hits; default: all, until cleared
    probability     how likely it hits a matching one; default: 1
    delaySeconds    timeout_*: how long the connection stays silent before it is cut (default: until the caller gives
                    up); delay: how late the event comes
    status          only events of this job or task status
    jobName         only this job name, or tasks with this startedBy or family; a trailing * matches any rest
    reason          capacity: the failure's reason (default: RESOURCE:CPU)
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from local.compute.config import Shape
from local.compute.errors import ClientError

EVENTS = "events"
REQUEST_MODES = (
    *("throttle", "error500", "refuse", "reset", "reset_after_effect", "cut_after_effect"),
    *("timeout_before_effect", "timeout_after_effect"),
)
_MODES = {EVENTS: ("drop", "duplicate", "delay", "reverse"), "RunTask": (*REQUEST_MODES, "capacity", "quota")}
DELAY_SECONDS = 2.0
"""The default delay of an event."""


@dataclass
class Fault:
    """One fault; `fired` counts its hits."""

    operation: str
    mode: str
    times: int | None = None
    probability: float = 1.0
    delaySeconds: float | None = None  # noqa: N815 - the API's spelling
    status: str | None = None
    jobName: str | None = None  # noqa: N815
    reason: str = "RESOURCE:CPU"
    fired: int = 0

    def __post_init__(self) -> None:
        """Refuse a mode that the operation doesn't have."""
        modes = _MODES.get(self.operation, REQUEST_MODES)
        if self.mode not in modes:
            raise ClientError(f"mode {self.mode!r} of {self.operation} must be one of {', '.join(modes)}")

    def hits(self, operation: str, names: Iterable[str], status: str | None) -> bool:
        """Whether this fault hits the request or event."""
        return (
            self.operation == operation
            and (self.times is None or self.fired < self.times)
            and self.status in {None, status}
            and (self.jobName is None or any(_same(self.jobName, name) for name in names))
            and random.random() < self.probability  # noqa: S311 - dice, not a secret
        )


class Faults:
    """The active faults, in the order they were added: the first one that matches is used."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, documents: Iterable[Shape]) -> None:
        """Add faults.

        Raises:
            ClientError: a fault has an unknown setting or mode.
        """
        try:
            self._faults += [Fault(**document) for document in documents]
        except TypeError as error:
            raise ClientError(str(error)) from error

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def report(self) -> list[Shape]:
        """All faults, with how often each has fired."""
        return [vars(fault) for fault in self._faults]

    def take(self, operation: str, names: Iterable[str], status: str | None = None) -> Fault | None:
        """Find the fault that hits this request or event, and count it; None if there is none."""
        for fault in self._faults:
            if fault.hits(operation, names, status):
                fault.fired += 1
                return fault
        return None


def _same(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
