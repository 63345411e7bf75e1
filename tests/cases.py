"""Many cases in one test: for pure functions, where pytest's set-up of a test takes longer than the test itself."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import pytest

type Test = Callable[..., None]


def cases(
    names: str | Sequence[str], values: Iterable[Any], ids: Iterable[Any] | Callable[[Any], str] | None = None
) -> Callable[[Test], Test]:
    """As `pytest.mark.parametrize`, but all cases run in one test, which then tells of every case that failed.

    Fixtures that the test asks for are set up once: the cases must leave them as they are.

    Args:
        names: The name of the test's argument; or those of several, each value being a tuple then.
        values: The cases.
        ids: What to call each case in a failure; without, it is called by its value.
    """
    found = list(values)
    called = [ids(each) for each in found] if callable(ids) else list(ids or map(repr, found))
    together = [(each,) for each in found] if isinstance(names, str) else found
    named = [names] if isinstance(names, str) else [*names]
    arguments = [dict(zip(named, each, strict=True)) for each in together]

    def decorate(test: Test) -> Test:
        @wraps(test)
        def every_case(**fixtures: Any) -> None:  # noqa: ANN401 - what the test asks for
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
        every_case.__signature__ = asked.replace(parameters=left)  # type: ignore[attr-defined] # what pytest reads
        return every_case

    return decorate
