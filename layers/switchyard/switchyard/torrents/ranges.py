"""Work on an object range by range: in order, by several threads, for as long as there is time."""

from __future__ import annotations

from collections.abc import Callable

type OutOfTime = Callable[[], bool]
"""Whether no more work should be begun. Asked by any thread."""

type Progress = Callable[[int], None]
"""Told how many bytes were done since it was told last, by any thread. What it raises ends the work, and passes."""
