"""Boxes on pictures: plain arithmetic, in pixels, with the origin at the top left. Standard library only."""

from collections.abc import Iterable
from dataclasses import dataclass

type Box = tuple[float, float, float, float]
"""x1, y1, x2, y2: the edges, so that a box over the whole of a picture is (0, 0, width, height)."""

MAX_DETECTIONS = 100
"""Kept for one picture: the most certain ones. More than that is a texture, not a list of things."""


@dataclass(frozen=True, slots=True)
class Detection:
    """Something that was found: what, how surely (0 to 1), where."""

    label: str
    confidence: float
    box: Box


def scaled(box: Box, across: float, down: float) -> Box:
    """The same box on a picture that is larger by these factors."""
    x1, y1, x2, y2 = box
    return x1 * across, y1 * down, x2 * across, y2 * down


def clipped(box: Box, width: int, height: int) -> list[int] | None:
    """The box in whole pixels, as much of it as is on the picture; None where nothing is."""
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
    """Without those that overlap a surer one of the same label by more than `limit`: non-maximum suppression.

    Args:
        found: in any order; the answer doesn't depend on it.
        limit: intersection over union.
        most: how many are kept at most.

    Returns:
        The surest first.
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
    """A picture fitted into a frame of another shape: as large as it goes, in the middle, padded on two sides.

    Attributes:
        picture: width and height of the picture as it is.
        size: width and height of it in the frame.
        left: pixels of padding before it.
        top: pixels of padding above it.
    """

    picture: tuple[int, int]
    size: tuple[int, int]
    left: int
    top: int

    @classmethod
    def fitted(cls, picture: tuple[int, int], frame: tuple[int, int]) -> "Letterbox":
        """How `picture` (width, height) fits into `frame` (width, height)."""
        scale = min(frame[0] / picture[0], frame[1] / picture[1])
        size = max(1, round(picture[0] * scale)), max(1, round(picture[1] * scale))
        return cls(picture, size, (frame[0] - size[0]) // 2, (frame[1] - size[1]) // 2)

    def unframed(self, box: Box) -> Box:
        """From the frame's coordinates to the picture's."""
        x1, y1, x2, y2 = box
        moved = x1 - self.left, y1 - self.top, x2 - self.left, y2 - self.top
        return scaled(moved, self.picture[0] / self.size[0], self.picture[1] / self.size[1])
