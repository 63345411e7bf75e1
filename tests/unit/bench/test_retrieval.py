"""The talks and questions by which the search is measured: every answer is said, once, at a time."""

from pathlib import Path

import pytest

from bench import retrieval
from bench.retrieval import Talk, asked
from switchyard.search.chunks import chunks_of
from switchyard.search.ports import Match

TALKS = {path.stem: Talk.read(path) for path in Path(retrieval.__file__).parent.glob("talks/*.txt")}


def test_there_are_twenty_questions_over_ten_talks_of_minutes() -> None:
    assert (len(asked("question")), len(TALKS)) == (20, 10)
    assert all(talk.segments[-1]["end"] > 120 for talk in TALKS.values())


@pytest.mark.parametrize("question", [*asked("question"), *asked("term")], ids=lambda each: each.ask)
def test_every_answer_is_said_once(question: retrieval.Asked) -> None:
    talk = TALKS[question.talk]
    assert sum(segment["text"].count(question.answer) for segment in talk.segments) == 1
    assert 0 <= talk.second(question.answer) <= talk.segments[-1]["end"]


def test_an_answer_that_nobody_gives_is_an_error() -> None:
    with pytest.raises(ValueError, match="nobody says"):
        TALKS["bread"].second("croissants")


def test_only_the_chunk_with_the_answer_is_right() -> None:
    question = asked("question")[2]
    assert question.talk == "bread"
    [chunk] = [each for each in chunks_of(TALKS["bread"].segments) if "floats in a glass" in each.text]
    right = Match({"job": "bread", "start": round(chunk.start, 2)}, 0.9)
    others = [Match({"job": "bread", "start": 400.0}, 0.9), Match({"job": "clinic", "start": chunk.start}, 0.9)]
    assert retrieval._rank([*others, right], question, TALKS["bread"]) == 3
    assert retrieval._rank(others, question, TALKS["bread"]) == float("inf")
