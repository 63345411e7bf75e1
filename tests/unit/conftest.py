"""A world in memory and a clock that stands still, for whoever asks."""

import pytest

from switchyard import clock
from tests.world import Time, World


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock, "now", lambda: time.now)
    return time


@pytest.fixture
def world(time: Time) -> World:
    return World()
