"""Finds growth and lasting items in a series of samples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos import trends


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_a_straight_line_grows_as_it_is_steep(level: float, an_hour: float) -> None:
    points = [(at, level + an_hour * at / 3600) for at in range(0, 600, 10)]

    assert trends.slope(points) == pytest.approx(an_hour, abs=1e-3)


def test_one_sample_tells_nothing() -> None:
    assert trends.slope([(0, 5)]) == 0


def test_what_is_loaded_at_first_is_no_growth() -> None:
    points = [(0.0, 10.0), (60.0, 90.0), (120.0, 100.0), (180.0, 100.0), (240.0, 100.0)]

    assert trends.slope(trends.settled(points, after=120)) == 0


def test_what_comes_and_goes_between_the_looks_is_no_drift() -> None:
    assert trends.lasting([{"a"}, set(), {"a"}, {"b"}, {"a", "b"}], times=3) == set()


def test_what_stays_is_drift() -> None:
    assert trends.lasting([{"a"}, {"a", "b"}, {"a"}], times=3) == {"a"}
