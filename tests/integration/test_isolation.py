"""Functions run with only what Lambda gives them: the runtime's packages and their layer."""

import io
import json
import zipfile
from collections.abc import Iterator

import pytest

from tests.integration.system import System

PROBE = """
import importlib

def lambda_handler(event, context):
    found = {}
    for name in event["modules"]:
        try:
            found[name] = importlib.import_module(name).__file__
        except ImportError:
            found[name] = None
    return found
"""
LAYER = ("switchyard", "aws_lambda_powertools", "aws_xray_sdk")
RUNTIME = ("boto3", "botocore")
EMULATOR = ("ministack", "samtranslator", "hypercorn", "cryptography", "yaml")
"""What the emulator has installed for itself."""


@pytest.fixture(scope="module")
def importable(scene: System) -> Iterator[dict[str, str | None]]:
    """Where a function with Switchyard's layer imports each module from; None where it can't."""
    client, like = scene.stack.client("lambda"), scene.stack.resource("SqsToBatchFunction")
    configuration = client.get_function_configuration(FunctionName=like)
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("probe.py", PROBE)
    client.create_function(
        FunctionName="probe",
        Runtime=configuration["Runtime"],
        Role=configuration["Role"],
        Handler="probe.lambda_handler",
        Code={"ZipFile": code.getvalue()},
        Layers=[layer["Arn"] for layer in configuration["Layers"]],
        Timeout=30,
    )
    try:
        event = {"modules": [*LAYER, *RUNTIME, *EMULATOR]}
        answer = client.invoke(FunctionName="probe", Payload=json.dumps(event).encode())
        yield json.load(answer["Payload"])
    finally:
        client.delete_function(FunctionName="probe")


@pytest.mark.parametrize("module", LAYER)
def test_what_the_layer_holds_comes_from_the_layer(importable: dict[str, str | None], module: str) -> None:
    found = importable[module]

    assert found is not None
    assert "/python/" in found
    assert "site-packages" not in found


@pytest.mark.parametrize("module", RUNTIME)
def test_the_sdk_comes_from_the_runtime_and_not_from_the_layer(importable: dict[str, str | None], module: str) -> None:
    found = importable[module]

    assert found is not None
    assert "/.venvs/runtime/" in found


@pytest.mark.parametrize("module", EMULATOR)
def test_what_only_the_emulator_has_is_hidden(importable: dict[str, str | None], module: str) -> None:
    assert importable[module] is None
