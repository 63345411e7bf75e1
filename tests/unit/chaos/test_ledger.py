"""Reads the attempts from the jobs' ledger and the kills."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos import ledger
from tests.chaos.ledger import Attempt


def line(event: str, at: float, **changed: Any) -> str:  # noqa: ANN401 - fields of any kind
    told = {
        "pid": 7,
        "boot": 1.0,
        "job_id": "a",
        "version": "v1",
        "lane": "video",
        "fence": 1,
        "run_id": "r1",
        "number": 1,
        "outcome": "",
    }
    return json.dumps({**told, "event": event, "time": at, **changed})


def test_an_attempt_has_its_beginning_its_end_and_its_outcome() -> None:
    [attempt] = ledger.read([line("boot", 1), line("begin", 2), line("end", 3, outcome="done")])

    assert (attempt.begin, attempt.end, attempt.outcome) == (2, 3, "done")


def test_a_run_that_learns_its_id_late_has_it() -> None:
    [attempt] = ledger.read([line("boot", 1, run_id=""), line("begin", 2, run_id="task-1")])

    assert attempt.run_id == "task-1"


def test_one_that_was_never_let_has_no_span() -> None:
    [attempt] = ledger.read([line("boot", 1)])

    assert attempt.span is None


def test_one_that_was_killed_ends_when_it_was() -> None:
    [attempt] = ledger.read([line("boot", 1), line("begin", 2)], [(7, 2.5)])

    assert attempt.span == (2, 2.5)


def test_one_that_was_killed_after_its_end_and_before_its_exit_worked_until_its_end() -> None:
    [attempt] = ledger.read([line("boot", 1), line("begin", 2), line("end", 3, outcome="done")], [(7, 3.1)])

    assert (attempt.span, attempt.killed) == ((2, 3), 3.1)


def test_one_that_neither_ended_nor_was_killed_works_for_ever() -> None:
    [attempt] = ledger.read([line("boot", 1), line("begin", 2)])

    assert attempt.span == (2, float("inf"))


def test_a_kill_is_of_the_last_process_that_had_the_id_by_then() -> None:
    first, second = ledger.read([line("boot", 1), line("boot", 5, boot=5.0)], [(7, 3.0)])

    assert (first.killed, second.killed) == (3.0, None)


def test_a_line_that_its_writer_could_not_finish_is_left_out() -> None:
    assert len(ledger.read([line("boot", 1), '{"pid": 8, "bo'])) == 1


def test_an_end_and_a_begin_at_the_same_instant_are_not_at_once() -> None:
    lines = [line("begin", 1), line("end", 2), line("begin", 2, pid=8), line("end", 3, pid=8)]

    assert ledger.most_at_once(ledger.read(lines)) == 1


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=20))
def test_the_most_at_once_is_the_most_at_any_instant(spans: list[tuple[int, int]]) -> None:
    attempts = [
        Attempt("a", "v", "video", 1, "r", 1, boot=begin, begin=begin, end=begin + length) for begin, length in spans
    ]

    most = max((sum(begin <= at < begin + length for begin, length in spans) for at in range(71)), default=0)

    assert ledger.most_at_once(attempts) == most
