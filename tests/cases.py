"""Runs many cases in one test, for pure functions: there pytest's set-up takes longer than the test itself."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import pytest

type Test = Callable[..., None]


def cases(
    names: str | Sequence[str], values: Iterable[Any], ids: Iterable[Any] | Callable[[Any], str] | None = None
) -> Callable[[Test], Test]:
    """Parametrizes like `pytest.mark.parametrize`, but runs all cases in one test that reports every failed case.

    The test's fixtures are set up once: cases must not change them.

    Args:
        names: The name of the test's argument, or several names; then each value is a tuple.
        values: The cases.
        ids: A name for each case, shown on failure; by default the value.
    """
    found = list(values)
    called = [ids(each) for each in found] if callable(ids) else list(ids or map(repr, found))
    together = [(each,) for each in found] if isinstance(names, str) else found
    named = [names] if isinstance(names, str) else [*names]
    arguments = [dict(zip(named, each, strict=True)) for each in together]

    def decorate(test: Test) -> Test:
        @wraps(test)
        def every_case(**fixtures: Any) -> None:  # noqa: ANN401 - the test's fixtures
            failures: list[BaseException] = []
            for name, case in zip(called, arguments, strict=True):
                try:
                    test(**case, **fixtures)
                except (Exception, pytest.fail.Exception) as failure:  # noqa: BLE001 - it is raised below
                    failure.add_note(f"case: {name}")
                    failures.append(failure)
            if failures:
                raise BaseExceptionGroup(f"{len(failures)} of {len(arguments)} cases", failures)

        asked = inspect.signature(test)
        left = [each for name, each in asked.parameters.items() if name not in named]
        every_case.__signature__ = asked.replace(parameters=left)  # type: ignore[attr-defined] # pytest reads it
        return every_case

    return decorate
