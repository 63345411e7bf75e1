"""What a video may cost by its size: ordinary ones are far below, hostile ones above."""

from dataclasses import dataclass

import pytest

from analyze_video.budget import Budget
from switchyard_worker import PermanentFailure
from tests.cases import cases

FREE = 400 * 10**9
HOUR = 3600.0
MEGABYTE = 10**6


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Video:
    """A video with stereo sound at 48 kHz, and how many seconds its pass took."""

    megabytes: float
    hours: float
    width: int
    height: int
    rate: float
    took: float
    sound: bool = True


ORDINARY = {
    "a lecture of slides, 100 kbit/s": Video(90, 2, 1920, 1080, 25, 1500),
    "a camera that watches a wall for a day": Video(540, 24, 1280, 720, 15, 7200, sound=False),
    "a talk recorded at 1080p, ten hours": Video(2500, 10, 1920, 1080, 30, 7000),
    "an hour of 4K on a slow machine": Video(18_000, 1, 3840, 2160, 60, 14_000),
    "ten minutes of 8K": Video(6000, 1 / 6, 7680, 4320, 60, 13_000),
    "a clip of a telephone": Video(0.3, 1 / 60, 176, 144, 15, 5),
    "an hour of nothing at 1080p": Video(8, 1, 1920, 1080, 25, 900),
    "an audiobook with a cover, 24 kbit/s": Video(108, 10, 1280, 720, 1, 900),
    "slow motion, 240 pictures a second": Video(150, 1 / 60, 1920, 1080, 240, 120),
}


@cases("video", ORDINARY.values(), ids=ORDINARY)
def test_an_ordinary_video_is_not_refused(video: Video) -> None:
    clock, seconds = Clock(), video.hours * HOUR
    budget = Budget(round(video.megabytes * MEGABYTE), seconds, FREE, 6 * 3600, clock)
    budget.look_ahead(video.width * video.height, round(seconds * video.rate))
    budget.pictures(video.width * video.height, round(seconds * video.rate))
    if video.sound:
        budget.sound(round(seconds * 48_000), 48_000, 2)
    clock.now += video.took
    budget.time()


HOSTILE = {
    "4K that stands still": Video(10, 40, 4096, 2160, 25, 0, sound=False),
    "8K that stands still": Video(1, 2, 8192, 4320, 25, 0, sound=False),
    "a thousand hours of a picture of one pixel": Video(20, 1000, 1, 1, 25, 0, sound=False),
}


@cases("video", HOSTILE.values(), ids=HOSTILE)
def test_a_small_file_that_unpacks_to_days_is_refused(video: Video) -> None:
    budget = Budget(round(video.megabytes * MEGABYTE), None, FREE, 14_400)
    for ask in (budget.look_ahead, budget.pictures):
        with pytest.raises(PermanentFailure, match="pixels that its size allows") as refused:
            ask(video.width * video.height, round(video.hours * HOUR * video.rate))
        assert refused.value.code == "TOO_COSTLY"


@cases(("samples", "rate", "channels"), [(960, 8_000, 1), (960, 48_000, 2), (8, 4_000, 64)])
def test_sound_is_paid_for_as_it_is_measured(samples: int, rate: int, channels: int) -> None:
    """A week of it in ten megabytes is refused before a third is measured."""
    budget = Budget(10 * MEGABYTE, None, FREE, 14_400)
    for _ in range(round(7 * 24 * HOUR * rate / samples / 3)):
        try:
            budget.sound(samples, rate, channels)
        except PermanentFailure:
            return
    pytest.fail("a third was measured")


@cases(
    ("size", "duration", "seconds"),
    [
        (MEGABYTE, None, 1804),
        (10 * MEGABYTE, 1e9, 1800 + 40 + 312.5),
        (900 * MEGABYTE, 2 * HOUR, 1800 + 3600 + 3600),
        (10**11, 100 * HOUR, 0.95 * 14_400),
    ],
)
def test_time_is_up_for_a_file_of_its_size(size: int, duration: float | None, seconds: float) -> None:
    clock = Clock()
    budget = Budget(size, duration, FREE, 14_400, clock)
    clock.now += seconds
    budget.time()
    clock.now += 0.1
    with pytest.raises(PermanentFailure, match="takes longer to decode than the"):
        budget.time()
