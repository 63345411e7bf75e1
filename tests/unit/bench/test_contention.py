"""The simulation of claims that meet, and what the client's retries make of them."""

import pytest

from bench.contention import simulate


@pytest.mark.parametrize("hold", [0.005, 0.02])
def test_of_a_hundred_claims_at_once_no_message_comes_back(hold: float) -> None:
    courses = [simulate(100, hold, seed) for seed in range(5)]
    assert sum(course.came_back for course in courses) == 0
    assert all(len(course.done) == 100 for course in courses)


def test_claims_one_after_the_other_take_one_call_each() -> None:
    assert simulate(1, 0.02, seed=1).calls == 1
