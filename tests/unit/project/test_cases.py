"""`cases` runs every case and names each one that fails."""

import pytest

from tests.cases import cases


def test_every_case_runs_and_each_that_fails_is_named() -> None:
    seen = []

    @cases("outer", [1, 2])
    @cases(("left", "right"), [("a", "b"), ("c", "d")], ids=["first", "second"])
    def test(outer: int, left: str, right: str, fixture: str) -> None:
        seen.append((outer, left, right, fixture))
        assert (outer, left) != (2, "c")

    with pytest.RaisesGroup(pytest.RaisesGroup(pytest.RaisesExc(AssertionError))) as raised:
        test(fixture="x")

    assert seen == [(1, "a", "b", "x"), (1, "c", "d", "x"), (2, "a", "b", "x"), (2, "c", "d", "x")]
    [of_outer] = raised.value.exceptions
    assert of_outer.__notes__ == ["case: 2"]
    assert isinstance(of_outer, BaseExceptionGroup)
    assert of_outer.exceptions[0].__notes__ == ["case: second"]


def test_a_case_that_should_have_raised_and_has_not_is_a_failure() -> None:
    @cases("value", ["1", "x"])
    def test(value: str) -> None:
        with pytest.raises(ValueError, match="invalid"):
            int(value)

    with pytest.raises(BaseExceptionGroup, match="1 of 2 cases") as raised:
        test()
    assert raised.value.exceptions[0].__notes__ == ["case: '1'"]


def test_a_case_that_is_skipped_skips() -> None:
    @cases("value", [1])
    def test(value: int) -> None:
        pytest.skip("not here")

    with pytest.raises(pytest.skip.Exception):
        test()
