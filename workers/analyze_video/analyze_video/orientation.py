"""How players turn and mirror a video's pictures: the display matrix of its container or its codec."""

import math
import struct
from typing import Any, NamedTuple


class Orientation(NamedTuple):
    """What makes a picture upright: mirrored left to right first, then turned by `degrees` counterclockwise."""

    degrees: int
    mirrored: bool

    @property
    def quarters(self) -> int:
        """The nearest number of quarter turns, 0 to 3."""
        return round(self.degrees / 90) % 4


UPRIGHT = Orientation(0, mirrored=False)


def orientation(frame: Any) -> Orientation:  # noqa: ANN401 - an av.VideoFrame
    """The orientation of a decoded picture."""
    from av.sidedata.sidedata import Type  # noqa: PLC0415 - the search's index needs no FFmpeg

    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    return UPRIGHT if matrix is None else of_matrix(bytes(matrix))


def of_matrix(matrix: bytes) -> Orientation:
    """Reads a display matrix as FFmpeg keeps it (libavutil/display.h): nine 32-bit numbers, a b u c d v x y w.

    It shows the pixel (x, y) at (ax + cy, bx + dy). Scales and a matrix that shows nothing are ignored.
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    degrees = round(-math.degrees(math.atan2(b, a))) if a or b else 0
    return Orientation(180 if degrees == -180 else degrees, mirrored=mirrored)
