"""`make up` notices functions that can't be imported, without invoking one."""

from pathlib import Path
from typing import Any

import pytest

from local import functions
from local.environment import ROOT
from tests.unit.local.stack import FakeStack

GOOD = "import os, boto3, shared\nassert os.environ['NAME'] == 'value'\ndef handler(event, context): ..."


def imported(tmp_path: Path, **modules: str) -> dict[str, str]:
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "shared.py").touch()
    asked: dict[str, Any] = {}
    for name, text in modules.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.py").write_text(text)
        asked[name] = {"code": str(tmp_path / name), "handler": "app.handler", "variables": {"NAME": "value"}}
    return functions.imported(asked, layer)


def test_a_function_has_its_layer_its_variables_and_the_runtimes_packages(tmp_path: Path) -> None:
    assert imported(tmp_path, good=GOOD) == {}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "import os\nimport no_such_package",
            "ModuleNotFoundError: No module named 'no_such_package' (app.py, line 2)",
        ),
        ("import rich", "ModuleNotFoundError: No module named 'rich' (app.py, line 1)"),
        ("import ministack", "ModuleNotFoundError: No module named 'ministack' (app.py, line 1)"),
        ("x = 1 / 0", "ZeroDivisionError: division by zero (app.py, line 1)"),
        ("def handler(:", "SyntaxError"),
        ("def other(): ...", "AttributeError"),
        ("import sys; sys.exit('gone')", "SystemExit: gone"),
        ("import os; os._exit(3)", "ended Python"),
    ],
)
def test_the_error_of_a_function_that_fails_is_told_and_the_others_are_fine(
    tmp_path: Path, text: str, error: str
) -> None:
    errors = imported(tmp_path, bad=text, good=GOOD)

    assert errors.keys() == {"bad"}
    assert error in errors["bad"]


def test_what_one_function_prints_or_changes_reaches_no_other(tmp_path: Path) -> None:
    changes = "import os; print('{}'); os.environ['NAME'] = 'other'\ndef handler(event, context): ..."

    assert imported(tmp_path, first=changes, second=GOOD) == {}


@pytest.mark.parametrize("name", ["SqsToBatchFunction", "sqs_to_batch", "sqs-to-batch", "SqsToBatch"])
def test_a_function_is_known_by_every_spelling(name: str) -> None:
    stack = FakeStack()

    assert functions.logical_id(stack, name) == "SqsToBatchFunction"  # type: ignore[arg-type]
    assert functions.logical_id(stack, "no_such") is None  # type: ignore[arg-type]


def test_a_functions_name_is_its_folders() -> None:
    stack = FakeStack()
    folders = {each.name for each in (ROOT / "functions").iterdir() if each.is_dir()}
    stack.resources = {each.name: "" for each in functions.BUILD.iterdir()} if functions.BUILD.exists() else {}
    stack.resources |= {"S3TorrentCreatorFunction": "", "MediaBucket": ""}

    assert set(functions.names(stack)) <= folders  # type: ignore[arg-type]
    assert "s3_torrent_creator" in functions.names(stack)  # type: ignore[arg-type]
