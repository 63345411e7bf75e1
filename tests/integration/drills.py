"""Runs the drills of tests/drills, each on an idle system. They take minutes: only `make drill` runs them."""

import pytest

from tests.drills import DRILLS
from tests.integration.system import System


@pytest.mark.parametrize("name", DRILLS)
def test_a_drill(system: System, name: str) -> None:
    print(f"\n{name}")  # noqa: T201 - the drill's output

    DRILLS[name](system, _say)


def _say(text: str) -> None:
    for line in text.splitlines():
        print(f"  {line.rstrip()}", flush=True)  # noqa: T201 - as above
