"""Imports functions as Lambda would, and reports errors. `local.functions` runs it in the emulator's Python.

Standard input is JSON: `{"layer": folder, "functions": {name: {"code": folder, "handler": "app.lambda_handler",
"variables": {...}}}}`. Standard output is JSON too: errors by function name.
"""

import contextlib
import importlib
import json
import os
import sys
import traceback
from typing import Any


def _error(function: dict[str, Any]) -> str:
    """Import one function in a child process, so that it can't affect the others; its error, or an empty string."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os.write(writing, _tried(function).encode()[:4096])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return told or (f"importing it ended Python with status {status}" if status else "")


def _tried(function: dict[str, Any]) -> str:
    os.environ.update(function["variables"])
    sys.path.insert(1, function["code"])
    module, _, handler = function["handler"].rpartition(".")
    try:
        getattr(importlib.import_module(module), handler)
    except BaseException as error:  # noqa: BLE001 - a module may raise anything, SystemExit too
        # Frames of the import system itself say nothing.
        frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename.startswith("/")]
        last = [each for each in frames if os.fspath(each.filename) != __file__][-1:]
        where = "".join(f" ({os.path.relpath(each.filename, function['code'])}, line {each.lineno})" for each in last)
        return f"{type(error).__name__}: {error}{where}"
    return ""


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    sys.path.insert(0, asked["layer"])
    for shared in ("boto3", "aws_xray_sdk.core", "aws_lambda_powertools"):
        # Imported once here rather than in each child. A child that lacks one reports it.
        with contextlib.suppress(ImportError):
            importlib.import_module(shared)
    errors = {name: _error(function) for name, function in asked["functions"].items()}
    json.dump({name: error for name, error in errors.items() if error}, sys.stdout)
