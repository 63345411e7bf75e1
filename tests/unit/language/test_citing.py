"""What is kept of a model's answer: sentences with citations that exist, and quotations that are in what they cite."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from switchyard.language.citing import Cited, cited, is_in, line_of, parsed, passages, quoted
from tests.cases import cases

SAID = {
    1: "We will release on the third of May,",
    2: "unless the tests find something.",
    3: "Ada said: nobody works on Sunday!",
}


def sentence(text: object, *cites: object) -> dict[str, object]:
    return {"text": text, "cites": list(cites)}


@cases(
    ("told", "kept"),
    [
        (sentence("They release in May.", 1), [Cited("They release in May.", (1,))]),
        (sentence("They release in May.", 2, 1, 1, 99), [Cited("They release in May.", (1, 2))]),
        (sentence("They release in May.", 99), []),
        (sentence("They release in May.", "1", 1.0, *[True, None], [1]), []),
        (sentence("They release in May."), []),
        (sentence("", 1), []),
        (sentence(7, 1), []),
        ({"text": "They release in May."}, []),
        ("They release in May.", []),
        (sentence('Ada said "nobody works on Sunday".', 3), [Cited('Ada said "nobody works on Sunday".', (3,))]),
        (sentence('Ada said "everybody works on Sunday".', 3), []),
        (sentence('Ada said "nobody works on Sunday".', 1), []),
        (
            sentence("Ada sagte „nobody works“ und «on Sunday».", 3),
            [Cited("Ada sagte „nobody works“ und «on Sunday».", (3,))],
        ),
        (sentence("Ada sagte „niemand arbeitet“.", 3), []),
        (sentence("It says “…”.", 3), []),
    ],
)
def test_a_sentence_is_kept_with_what_it_can_cite(told: object, kept: list[Cited]) -> None:
    assert cited([told], SAID, 5) == kept


@cases("told", [None, "text", 7, {}, {"text": "a"}, [[]], [None]])
def test_any_other_shape_is_no_sentence(told: object) -> None:
    assert cited(told, SAID, 5) == quoted(told, SAID, 5) == []


@cases(
    ("text", "cites", "holds"),
    [
        ("we will RELEASE on the third of May", [1], True),
        ("third of May, unless the tests", [1, 2], True),
        ("third of May, unless the tests", [1], False),
        ("find something. Ada said", [2, 3], True),
        ("third of May Ada said", [1, 3], False),
        ("we release", [1], False),
        ("lease on the third", [1], False),
        ("…", [1], False),
    ],
)
def test_a_highlight_is_in_the_words_that_it_cites(text: str, cites: list[int], holds: bool) -> None:  # noqa: FBT001
    assert bool(quoted([sentence(text, *cites)], SAID, 5)) is holds


def test_no_more_than_asked_for() -> None:
    assert len(cited([sentence(f"Sentence {n}.", 1) for n in range(9)], SAID, 5)) == 5


TEXTS = st.text(max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 20) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["text", "cites", "x"]), inner),
    max_leaves=20,
)
SENTENCES = st.lists(st.fixed_dictionaries({"text": TEXTS, "cites": st.lists(st.integers(-2, 12))}) | JSON, max_size=6)


@given(SENTENCES | JSON, st.dictionaries(st.integers(0, 10), TEXTS, max_size=6), st.integers(0, 4))
def test_whatever_is_kept_cites_what_there_is(told: Any, sources: dict[int, str], most: int) -> None:  # noqa: ANN401
    kept = cited(told, sources, most)
    assert len(kept) <= most
    for each in kept:
        assert each.text == line_of(each.text, 600) != ""
        assert each.cites
        assert list(each.cites) == sorted(set(each.cites))
        assert set(each.cites) <= sources.keys()
    for each in quoted(told, sources, most):
        assert is_in(each.text, each.cites, sources)


@given(st.dictionaries(st.integers(0, 99), TEXTS, min_size=1))
def test_passages_are_one_line_each_and_close_no_tag(texts: dict[int, str]) -> None:
    written = passages({number: {"text": text} for number, text in texts.items()})
    lines = [json.loads(line) for line in written.split("\n")]
    assert {each["n"]: each["text"] for each in lines} == texts
    assert "<" not in written


@cases(
    ("answer", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Here it is:\n```json\n{"a": {"b": []}}\n```\nAnything else?', {"a": {"b": []}}),
        ('{"a": [1, 2', None),
        ("<html><body>502</body></html>", None),
        ("[1]", None),
        ("", None),
        ("}{", None),
        ('{"a":' * 10_000 + "}" * 10_000, None),
    ],
)
def test_the_json_of_an_answer_is_found(answer: str, found: object) -> None:
    assert parsed(answer) == found


@given(st.text() | st.text(alphabet=st.characters(), max_size=60), st.integers(10, 50))
def test_a_line_is_short_and_printable(text: str, most: int) -> None:
    line = line_of(text, most)
    assert len(line) <= most
    assert line == "" or line.isprintable()
    line.encode()
