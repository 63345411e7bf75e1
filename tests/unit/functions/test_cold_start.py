"""A function's init: the parts built before the first event, and errors left for events to report."""

import subprocess
import sys

import pytest

from bench.environment import ROOT, variables
from bench.init import STARTS
from switchyard import cold_start

IN_LAMBDA = {"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"}
TELL = "import app; print(app.{}.cache_info().currsize)"


def started(function: str, code: str, **changed: str) -> str:
    """Returns the output of a fresh process that imported the function as Lambda does."""
    path = [ROOT / "functions" / function, ROOT / "layers" / "switchyard"]
    environ = {**variables(traced=None, path=path), **IN_LAMBDA, **changed}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("function", STARTS)
def test_a_function_s_parts_are_made_when_it_is_imported(function: str) -> None:
    made = STARTS[function].code.partition("(")[0].removeprefix("app.")
    assert started(function, TELL.format(made)) == "1"


def test_wrong_settings_are_not_told_by_a_start_but_by_the_first_event() -> None:
    tell = "import app\ntry: app.api()\nexcept Exception as error: print(error)"
    assert started("cancel_job", tell, JOBS_TABLE="") == "bad configuration: JOBS_TABLE is missing"


def test_nothing_is_made_where_this_is_not_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_INITIALIZATION_TYPE", raising=False)
    made: list[bool] = []
    cold_start.prepare(lambda: made.append(True))
    assert not made
