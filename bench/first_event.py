"""A function's first event, in a fresh process: its start, where it makes its parts, and one answer.

An endpoint of ours stands for all of AWS, so that nothing but the function's own is imported.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.environment import variables
from tools.functions import FUNCTIONS

ANSWER: Final[Mapping[str, Any]] = {
    "jobId": "b1",
    "Items": [],
    "jobs": [],
    "tasks": [{"taskArn": "t1"}],
    "failures": [],
}
"""What the endpoint answers to every call: DynamoDB, SQS, Batch and ECS each find in it what they want."""

_CODE = """
import json, sys, types
import app
context = types.SimpleNamespace(
    function_name="f", memory_limit_in_mb=512, aws_request_id="r", get_remaining_time_in_millis=lambda: 30_000,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:f",
)
with open(sys.argv[1]) as event:
    answer = app.lambda_handler(json.load(event), context) or {{}}
if answer.get("batchItemFailures") or answer.get("statusCode", 200) >= 500:
    sys.exit(f"the first event went wrong: {{answer}}")
print()
{}
"""


def after_first_event(function: str, tell: str, *, url: str, path: Sequence[Path], bare: bool = True) -> str:
    """The last line of what `tell`, a statement, prints once a function has had its first event, X-Ray on.

    Args:
        function: its name under `functions/`.
        tell: Python that prints one line.
        url: where the endpoint is that answers with `ANSWER`.
        path: where its imports are found.
        bare: without the packages of this process's own environment.
    """
    command = [sys.executable, *(["-S"] if bare else []), "-c", _CODE.format(tell)]
    environment = {
        **variables(traced=True, path=[FUNCTIONS[function].folder, *path]),
        "AWS_ENDPOINT_URL": url,
    }
    done = subprocess.run(
        [*command, os.fspath(FUNCTIONS[function].event)], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.splitlines()[-1]
