"""The hop bench computes its tables from observed moments."""

from collections import Counter
from typing import Any

import pytest
from rich.table import Table

from bench.hop import Ends, Uploads, in_turns
from bench.hop_system import Way

CALLS = {"TransactWriteItems": 10.0, "SubmitJob": 20.0, "UpdateItem": 5.0}
NOBODY: Any = None
"""In the place of the system, which nobody asks for anything."""


def uploads(*, taken: float, done: float = 0.06) -> Uploads:
    """Builds one upload of each: ours with these moments, the other at work after 10 ms and done after 20."""
    ours = Way({"begun": 0.0, "uploaded": 0.01, "sent": 0.005, "entered": 0.01, "taken": taken, "done": done})
    hop = Way({"begun": 0.0, "uploaded": 0.01, "sent": 0.005, "entered": 0.01, "done": 0.02})
    return Uploads(NOBODY, NOBODY, NOBODY, [ours], [hop], [CALLS])


def cells(shown: Table, column: int) -> list[Any]:
    """Returns a column's cells."""
    return list(shown.columns[column].cells)


def test_everyone_has_as_many_turns_and_each_is_first_in_turn() -> None:
    seen: list[str] = []
    in_turns([lambda: seen.append("a"), lambda: seen.append("b")], 2)
    assert seen == ["a", "b", "b", "a"]


# Hop and calls are 45 ms; with 20 more the budget is used up.
@pytest.mark.parametrize(("taken", "says"), [(0.065, "kept"), (0.067, "OVER")])
def test_the_budget_is_the_hop_three_calls_and_a_little(taken: float, says: str) -> None:
    until_taken, _ = cells(uploads(taken=taken).budget(), -1)
    assert says in until_taken


# As above, but the other has answered only after 20 ms.
@pytest.mark.parametrize(("done", "says"), [(0.075, "kept"), (0.077, "OVER")])
def test_answers_are_compared_with_answers(done: float, says: str) -> None:
    _, until_done = cells(uploads(taken=0.05, done=done).budget(), -1)
    assert says in until_done


@pytest.mark.parametrize(("call", "says"), [("SubmitJob", "kept"), ("DescribeJobs", "OVER"), ("ListJobs", "OVER")])
def test_whoever_asks_batch_how_jobs_stand_is_polling(call: str, says: str) -> None:
    ends = Ends(NOBODY, NOBODY, "", batch_calls=[Counter(), Counter({call: 1})])
    assert says in cells(ends.calls(["GetItem"]), 1)[-1]
