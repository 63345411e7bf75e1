"""Finds growth and drift in a series of samples. Pure."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise

type Point = tuple[float, float]
"""A time in seconds, and the value measured then."""

HOUR = 3600.0


def slope(points: Sequence[Point]) -> float:
    """Returns the growth per hour, by least squares; 0 if there are too few points."""
    if len(points) < 2:
        return 0.0
    middle = sum(at for at, _ in points) / len(points)
    level = sum(value for _, value in points) / len(points)
    spread = sum((at - middle) ** 2 for at, _ in points)
    return HOUR * sum((at - middle) * (value - level) for at, value in points) / spread if spread else 0.0


def settled(points: Sequence[Point], *, after: float) -> list[Point]:
    """Drops the points of the first `after` seconds, when processes warm up."""
    return [point for point in points if point[0] - points[0][0] >= after]


def lasting(looks: Iterable[AbstractSet[str]], times: int) -> set[str]:
    """Returns what was in `times` consecutive samples: what comes and goes between two of them is no drift."""
    found: set[str] = set()
    streaks: dict[str, int] = {}
    for look in looks:
        streaks = {each: streaks.get(each, 0) + 1 for each in look}
        found |= {each for each, streak in streaks.items() if streak >= times}
    return found


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns the lowest, the median and the highest value."""
    ordered = sorted(values)
    return (ordered[0], ordered[len(ordered) // 2], ordered[-1]) if ordered else (0.0, 0.0, 0.0)


def longest_gap(times: Sequence[float]) -> float:
    """Returns the longest time between two samples."""
    return max((later - sooner for sooner, later in pairwise(times)), default=0.0)
