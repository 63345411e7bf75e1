"""An alarm clock for lanes in memory."""

from datetime import datetime


class FakeWakes:
    """Keeps which lane is to be woken, and when."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, datetime]] = []

    def wake(self, lane: str, at: datetime) -> None:
        self.asked.append((lane, at))
