"""Functions see what AWS Lambda would give them and no more: a dependency the layer lacks must fail here too."""

import io
import json
import uuid
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.stack import LocalStack

type Run = Callable[[str], Any]

IMPORTS = """
import importlib
def lambda_handler(event, context):
    return importlib.import_module(event["module"]).__file__
"""


@pytest.fixture(scope="module")
def imported(stack: LocalStack) -> Iterator[Run]:
    """Imports a module in a function that has Switchyard's layer; where it was found."""
    client = stack.client("lambda")
    of = client.get_function_configuration(FunctionName=stack.resource("SqsToBatchFunction"))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("app.py", IMPORTS)
    name = f"imports-{uuid.uuid4()}"
    client.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler="app.lambda_handler",
        Role=of["Role"],
        Layers=[layer["Arn"] for layer in of["Layers"]],
        Code={"ZipFile": archive.getvalue()},
    )

    def run(module: str) -> Any:  # noqa: ANN401 - whatever the function answers
        answer = client.invoke(FunctionName=name, Payload=json.dumps({"module": module}).encode())
        return json.load(answer["Payload"])

    yield run
    client.delete_function(FunctionName=name)


@pytest.mark.parametrize("module", ["ministack", "hypercorn", "samtranslator", "cryptography"])
def test_what_only_the_emulator_holds_is_missing(imported: Run, module: str) -> None:
    assert f"No module named '{module}'" in json.dumps(imported(module))


@pytest.mark.parametrize("module", ["boto3", "botocore"])
def test_boto3_is_the_lambda_runtimes(imported: Run, module: str) -> None:
    assert "/.venvs/runtime/" in imported(module)


@pytest.mark.parametrize("module", ["switchyard", "aws_lambda_powertools", "aws_xray_sdk"])
def test_the_rest_comes_from_the_layer(imported: Run, module: str) -> None:
    assert "/layer_0/python/" in imported(module)


def test_a_function_may_do_what_its_role_allows_and_no_more(stack: LocalStack) -> None:
    """The emulator checks policies, so a missing grant is found here and not in production."""
    sts, role = stack.client("sts"), stack.resource("TrackJobRole")
    arn = stack.client("iam").get_role(RoleName=role)["Role"]["Arn"]
    credentials = sts.assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    s3 = stack.client(
        "s3",
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )

    with pytest.raises(ClientError, match="AccessDenied"):
        s3.list_objects_v2(Bucket=stack.resource("MediaBucket"))
