"""An index of the stand-in in memory: filters and full text, held against the plain way to compute them."""

import math
import operator
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.vectors.filters import FilterError
from local.vectors.fulltext import FullText
from local.vectors.table import Table

SCALARS = st.sampled_from(["a", "b", "1", 1, 2.5, -1, True, False])
METADATA = st.dictionaries(
    st.sampled_from("kxy"), SCALARS | st.lists(st.sampled_from(["a", "b", 1]), min_size=1, max_size=3)
)
NUMBERS = st.sampled_from([-1, 0, 1, 2.5])
CONDITIONS = st.one_of(
    SCALARS,
    st.fixed_dictionaries({}, optional={"$eq": SCALARS, "$ne": SCALARS, "$exists": st.booleans()}).filter(bool),
    st.fixed_dictionaries(
        {}, optional={"$in": st.lists(SCALARS, min_size=1, max_size=3), "$nin": st.lists(SCALARS, min_size=1)}
    ).filter(bool),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("$gt", "$gte", "$lt", "$lte"), NUMBERS)).filter(bool),
)
FILTERS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(st.sampled_from("kxyz"), CONDITIONS, min_size=1, max_size=2),
    lambda inner: st.dictionaries(
        st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3), min_size=1
    ),
    max_leaves=5,
)
ORDERS: dict[str, Callable[[float, float], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def same(left: object, right: object) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def holds(name: str, present: bool, value: Any, operand: Any) -> bool:  # noqa: ANN401, FBT001 - values of JSON
    if name == "$exists":
        return present == bool(operand)
    if name in ORDERS:
        return isinstance(value, int | float) and not isinstance(value, bool) and ORDERS[name](value, operand)
    values = value if isinstance(value, list) else [value]
    wanted = operand if isinstance(operand, list) else [operand]
    return any(same(each, one) for each in values for one in wanted) == (name in ("$eq", "$in"))


def matches(metadata: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """A filter for one vector, the plain way."""
    for key, condition in wanted.items():
        if key in ("$and", "$or"):
            if not (all if key == "$and" else any)(matches(metadata, each) for each in condition):
                return False
            continue
        value = metadata.get(key)
        for name, operand in (condition if isinstance(condition, dict) else {"$eq": condition}).items():
            if not holds(name, key in metadata, value, operand):
                return False
    return True


@settings(max_examples=150, deadline=None)
@given(st.lists(METADATA, min_size=1, max_size=12), st.sets(st.integers(0, 11)), FILTERS)
def test_a_filter_selects_what_it_says(rows: list[dict[str, Any]], removed: set[int], wanted: dict[str, Any]) -> None:
    table = Table(2, "cosine", [], [])
    for number, metadata in enumerate(rows):
        table.put(str(number), np.array([1, 0], np.float32), {"k": "a", "x": 1})  # replaced by the next line
        table.put(str(number), np.array([1, number], np.float32), metadata)
    for number in removed:
        table.remove(str(number))
    expected = {str(n) for n, metadata in enumerate(rows) if n not in removed and matches(metadata, wanted)}
    assert {each.key for each in table.query(100, np.array([1, 1], np.float32), {}, wanted)} == expected


@pytest.mark.parametrize(
    "wanted",
    [
        *(
            [],
            "x",
            {"$and": []},
            {"$or": {}},
            {"$eq": 1},
            {"k": {}},
            {"k": None},
            {"k": {"$in": []}},
            {"k": {"$gt": "a"}},
        ),
        *({"k": {"$exists": 1}}, {"k": {"$eq": [1]}}, {"k": {"$gte": True}}, {"$not": {}}, {"secret": 1}),
    ],
)
def test_other_filters_are_refused(wanted: object) -> None:
    table = Table(1, "cosine", ["secret"], [])
    table.put("a", np.array([1], np.float32), {"k": 1})
    with pytest.raises(FilterError):
        table.query(1, np.array([1], np.float32), {}, wanted)


def test_a_deep_filter_is_refused() -> None:
    wanted: dict[str, Any] = {"k": 1}
    for _ in range(100):
        wanted = {"$and": [wanted]}
    with pytest.raises(FilterError):
        Table(1, "cosine", [], []).query(1, np.array([1], np.float32), {}, wanted)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6), min_size=1, max_size=8), st.sets(st.integers(0, 7)))
def test_bm25_is_that_of_the_formula(texts: list[list[str]], removed: set[int]) -> None:
    index = FullText()
    for row, words in enumerate(texts):
        index.add(row, " ".join(words))
    for row in removed & set(range(len(texts))):
        index.remove(row, " ".join(texts[row]))
    alive = {row: Counter(words) for row, words in enumerate(texts) if row not in removed}
    mean = max(sum(each.total() for each in alive.values()), 1) / max(len(alive), 1)
    for row, score in enumerate(index.scores("A b", len(texts))):
        expected = 0.0
        for word in "ab":
            count = alive.get(row, Counter())[word]
            having = sum(word in each for each in alive.values())
            if count:
                length = alive[row].total()
                rarity = math.log(1 + (len(alive) - having + 0.5) / (having + 0.5))
                expected += rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / mean))
        assert score == pytest.approx(expected, rel=1e-5)


def test_a_large_index_answers_quickly() -> None:
    """Not the promise, which a bench measures: only that no step takes time per row in Python."""
    random = np.random.default_rng(1)
    table = Table(16, "cosine", ["text"], ["text"])
    for number, vector in enumerate(random.standard_normal((20_000, 16), np.float32)):
        table.put(str(number), vector, {"owner": str(number % 10), "start": number, "text": "one two"})
    wanted = {"$and": [{"owner": {"$eq": "3"}}, {"start": {"$gte": 100}}, {"start": {"$lt": 9000}}]}
    begun = time.process_time()
    found = table.query(10, random.standard_normal(16, np.float32), {"text": "two"}, wanted)
    assert time.process_time() - begun < 0.5
    assert len(found) == 10
    assert {int(each.key) % 10 for each in found} == {3}
