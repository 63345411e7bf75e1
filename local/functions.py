"""The deployed functions: their names, and whether they can be imported."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from local.emulator import isolated
from local.environment import ROOT
from local.stack import LocalStack

BUILD: Final = ROOT / ".aws-sam" / "build"


def names(stack: LocalStack) -> dict[str, str]:
    """Logical ids of the deployed functions by the name of their folder, such as `sqs_to_batch`."""
    return {_folder(each): each for each in sorted(stack.resources) if each.endswith("Function")}


def logical_id(stack: LocalStack, name: str) -> str | None:
    """A function's logical id by any spelling: SqsToBatchFunction, sqs-to-batch or sqs_to_batch; None if unknown."""
    return names(stack).get(_folder(name))


def broken(stack: LocalStack) -> dict[str, str]:
    """Import each deployed function with its own variables; the errors by folder name.

    Functions are not invoked. As on Lambda, they can import only the layer's and the runtime's packages.
    """
    deployed: Mapping[str, Mapping[str, Any]] = {
        each["FunctionName"]: each
        for page in stack.client("lambda").get_paginator("list_functions").paginate()
        for each in page["Functions"]
    }
    functions = {}
    for name, logical in names(stack).items():
        found = deployed[stack.resource(logical)]
        functions[name] = {
            "code": str(BUILD / logical),
            "handler": found["Handler"],
            "variables": found.get("Environment", {}).get("Variables", {}),
        }
    return imported(functions, BUILD / "SwitchyardLayer" / "python")


def imported(functions: Mapping[str, Mapping[str, Any]], layer: Path) -> dict[str, str]:
    """Import functions, each described as in `isolation/import_functions.py`; the errors by name."""
    command, env = isolated("import_functions")
    done = subprocess.run(
        command,
        env=env,
        input=json.dumps({"layer": str(layer), "functions": functions}),
        capture_output=True,
        text=True,
        check=True,
    )
    errors: dict[str, str] = json.loads(done.stdout)
    return errors


def _folder(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_").removesuffix("_function")
