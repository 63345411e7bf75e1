"""The strip: small pictures at even times, in one image, with an index in WebVTT for players' scrubbing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analyze_video.markup import timestamp
from analyze_video.orientation import Orientation

MOST = 200
"""Pictures. With more, the time between two is doubled, so a long video has 100 to 200 at even times."""
_EDGE = 160  # pixels of a picture's longer edge
_COLUMNS = 10
_FIRST_INTERVAL = 1.0  # seconds


@dataclass(frozen=True)
class Thumbnail:
    """A small picture, shown from `at` seconds on: BGR bytes, not yet upright."""

    at: float
    pixels: Any


class Thumbnails:
    """Keeps pictures of a video of unknown length, in memory: at most 15 MB.

    Args:
        pixel_aspect: a pixel's width divided by its height.
    """

    def __init__(self, pixel_aspect: float) -> None:
        self.kept: list[Thumbnail] = []
        self._pixel_aspect = pixel_aspect
        self._interval = _FIRST_INTERVAL
        self._next = 0.0

    def add(self, picture: Any, at: float) -> None:  # noqa: ANN401 - a numpy array
        """Consider a picture, shown at `at` seconds. Times ascend."""
        if at < self._next:
            return
        self.kept.append(Thumbnail(at, small(picture, self._pixel_aspect)))
        while len(self.kept) > MOST:
            self._interval *= 2
            first: dict[float, Thumbnail] = {}
            for each in self.kept:
                first.setdefault(each.at // self._interval, each)
            self.kept = list(first.values())
        self._next = (math.floor(at / self._interval) + 1) * self._interval


def small(picture: Any, pixel_aspect: float) -> Any:  # noqa: ANN401 - numpy arrays
    """The picture with square pixels and its longer edge as the strip has it."""
    import cv2  # noqa: PLC0415 - the index needs no OpenCV

    height, width = picture.shape[:2]
    scale = _EDGE / max(width * pixel_aspect, height)
    size = max(1, round(width * pixel_aspect * scale)), max(1, round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def sheet(thumbnails: Sequence[Thumbnail], orientation: Orientation) -> tuple[bytes, tuple[int, int]]:
    """The pictures upright in rows, as JPEG, and the size of each. There is at least one.

    Args:
        thumbnails: the pictures.
        orientation: what makes them upright.
    """
    import cv2  # noqa: PLC0415 - as above
    import numpy as np  # noqa: PLC0415

    shown = [np.fliplr(each.pixels) if orientation.mirrored else each.pixels for each in thumbnails]
    upright = [np.rot90(pixels, orientation.quarters) for pixels in shown]
    height, width = upright[0].shape[:2]
    columns = min(_COLUMNS, len(upright))
    whole = np.zeros((math.ceil(len(upright) / columns) * height, columns * width, 3), np.uint8)
    for number, pixels in enumerate(upright):
        x, y = place(number, (width, height))
        whole[y : y + height, x : x + width] = pixels
    _, encoded = cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return encoded.tobytes(), (width, height)


def place(number: int, size: tuple[int, int]) -> tuple[int, int]:
    """Left and top of a picture in the sheet, in pixels."""
    row, column = divmod(number, _COLUMNS)
    return column * size[0], row * size[1]


def index(name: str, times: Sequence[float], size: tuple[int, int], duration: float) -> str:
    """The index in WebVTT: each cue is a picture's time, and where it is in the image (Media Fragments, `#xywh=`).

    Args:
        name: the image's file name.
        times: when the pictures are shown, ascending.
        size: of a picture, width and height.
        duration: the video's, in seconds.
    """
    cues = ["WEBVTT"]
    for number, (start, end) in enumerate(zip(times, [*times[1:], max(duration, times[-1])], strict=True)):
        x, y = place(number, size)
        begin, finish = timestamp(start, "."), timestamp(max(end, start + 0.001), ".")
        cues.append(f"{begin} --> {finish}\n{name}#xywh={x},{y},{size[0]},{size[1]}")
    return "\n\n".join(cues) + "\n"
