"""What a file may cost, by its size: pictures and sound while they are decoded, and seconds.

A megabyte can hold days of pictures that repeat the one before. Ordinary video stays far below these limits, however
dense, slow or long it is.
"""

import time
from collections.abc import Callable

from switchyard_worker import PermanentFailure

PIXELS_PER_BYTE = 20_000
"""Five times those of a lecture of slides, the emptiest video that people keep: 1080p at 100 kbit/s has 4,000."""
_PICTURE = 1_000_000  # comparing pictures of any size costs as much as decoding so many pixels
_SAMPLE = 70  # the same of one sample of one channel, resampled to 48 kHz and measured
_FRAME_OF_SAMPLES = 50_000
_RESAMPLED = 48_000

_LEAST_SECONDS = 1800
_BYTES_PER_SECOND = 250_000  # analysed on a slow machine; dense files, even of 8K, are several times as fast
_SLOWEST = 0.5  # seconds per second of video, on a slow machine
_THINNEST = 16_000  # a second of length counts only if the file has so many bytes for it
_SHARE_OF_TIME = 0.95  # the rest is for saving the results


class Budget:
    """Counts the cost of one file's pass.

    Args:
        size: the file's, in bytes.
        duration: seconds, as the file says; None if it doesn't.
        free: pixels that any file may unpack to, however small it is.
        max_seconds: how long the attempt may run before Batch ends it. Batch would try again, to the same end.
        clock: seconds since any moment.
    """

    def __init__(
        self,
        size: int,
        duration: float | None,
        free: int,
        max_seconds: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pixels = max(free, PIXELS_PER_BYTE * size)
        length = min(duration or 0.0, size / _THINNEST)
        wanted = _LEAST_SECONDS + size / _BYTES_PER_SECOND + _SLOWEST * length
        self.seconds = min(wanted, _SHARE_OF_TIME * max_seconds)
        self._clock = clock
        self._end = clock() + self.seconds
        self._spent = 0.0

    def pictures(self, pixels: int, count: int = 1) -> None:
        """Spend on `count` pictures of as many pixels each.

        Raises:
            PermanentFailure: the file costs too much.
        """
        self._spend(count * (pixels + _PICTURE))

    def look_ahead(self, pixels: int, count: int) -> None:
        """Check that `count` pictures could be paid for; raises as `pictures`, and spends nothing."""
        self.pictures(pixels, count)
        self._spent = 0.0

    def sound(self, samples: int, rate: int, channels: int) -> None:
        """Spend on a frame of sound; raises as `pictures`."""
        self._spend(_FRAME_OF_SAMPLES + _SAMPLE * channels * samples * _RESAMPLED / max(rate, 1))

    def time(self) -> None:
        """Check the time.

        Raises:
            PermanentFailure: the pass takes too long.
        """
        if self._clock() > self._end:
            raise PermanentFailure(
                "TOO_COSTLY", f"the file takes longer to decode than the {self.seconds:,.0f} s that its size allows"
            )

    def _spend(self, pixels: float) -> None:
        self._spent += pixels
        if self._spent > self.pixels:
            raise PermanentFailure(
                "TOO_COSTLY", f"the file unpacks to more than the {self.pixels:,} pixels that its size allows"
            )
