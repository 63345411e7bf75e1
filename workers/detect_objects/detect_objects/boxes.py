"""Arithmetic with boxes on pictures, in pixels, with the origin at the top left. Standard library only."""

from collections.abc import Iterable
from dataclasses import dataclass

type Box = tuple[float, float, float, float]
"""x1, y1, x2, y2: the edges. A box over the whole picture is (0, 0, width, height)."""

MAX_DETECTIONS = 100
"""Maximum detections per picture, highest confidence first. More are a texture, not a list of objects."""


@dataclass(frozen=True, slots=True)
class Detection:
    """An object found: label, confidence (0 to 1), box."""

    label: str
    confidence: float
    box: Box


def scaled(box: Box, across: float, down: float) -> Box:
    """The same box on a picture scaled by these factors."""
    x1, y1, x2, y2 = box
    return x1 * across, y1 * down, x2 * across, y2 * down


def clipped(box: Box, width: int, height: int) -> list[int] | None:
    """The part of the box that is on the picture, in whole pixels; None if there is none."""
    x1, x2 = (round(min(max(edge, 0), width)) for edge in (box[0], box[2]))
    y1, y2 = (round(min(max(edge, 0), height)) for edge in (box[1], box[3]))
    return [x1, y1, x2, y2] if x1 < x2 and y1 < y2 else None


def overlap(one: Box, other: Box) -> float:
    """Intersection over union, 0 to 1."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    if across <= 0 or down <= 0:
        return 0.0
    return across * down / (_area(one) + _area(other) - across * down)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def suppressed(found: Iterable[Detection], limit: float, most: int) -> list[Detection]:
    """Non-maximum suppression: drop detections that overlap a better one of the same label by more than `limit`.

    Args:
        found: in any order; the result doesn't depend on it.
        limit: intersection over union.
        most: maximum number of detections to keep.

    Returns:
        The detections kept, highest confidence first.
    """
    kept: list[Detection] = []
    for each in sorted(found, key=lambda one: (-one.confidence, one.label, one.box)):
        if len(kept) == most:
            break
        if all(each.label != other.label or overlap(each.box, other.box) <= limit for other in kept):
            kept.append(each)
    return kept


@dataclass(frozen=True, slots=True)
class Letterbox:
    """A picture fitted into a frame of another shape: as large as possible, centred, padded on two sides.

    Attributes:
        picture: original width and height of the picture.
        size: its width and height in the frame.
        left: pixels of padding on its left.
        top: pixels of padding above it.
    """

    picture: tuple[int, int]
    size: tuple[int, int]
    left: int
    top: int

    @classmethod
    def fitted(cls, picture: tuple[int, int], frame: tuple[int, int]) -> "Letterbox":
        """Fit `picture` (width, height) into `frame` (width, height)."""
        scale = min(frame[0] / picture[0], frame[1] / picture[1])
        size = max(1, round(picture[0] * scale)), max(1, round(picture[1] * scale))
        return cls(picture, size, (frame[0] - size[0]) // 2, (frame[1] - size[1]) // 2)

    def unframed(self, box: Box) -> Box:
        """Convert a box from the frame's coordinates to the picture's."""
        x1, y1, x2, y2 = box
        moved = x1 - self.left, y1 - self.top, x2 - self.left, y2 - self.top
        return scaled(moved, self.picture[0] / self.size[0], self.picture[1] / self.size[1])
