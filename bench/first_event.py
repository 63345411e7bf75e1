"""Runs a function's first event in a fresh process: import, init and one answer.

A local endpoint stands in for all of AWS, so that the process imports only the function's own modules.
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
    "vectors": [],
    "Entries": [{"EventId": "e1"}],
}
"""The endpoint's answer to every call: it has what each service needs."""

_CODE = """
import json, sys, types
import app
context = types.SimpleNamespace(
    function_name="f", memory_limit_in_mb=512, aws_request_id="r", get_remaining_time_in_millis=lambda: 30_000,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:f",
)
with open(sys.argv[1]) as event:
    answer = app.lambda_handler(json.load(event), context) or {{}}
if answer.get("batchItemFailures") or answer.get("statusCode", 200) not in (*range(500), {}):
    sys.exit(f"the first event went wrong: {{answer}}")
print()
{}
"""


def after_first_event(function: str, tell: str, *, url: str, path: Sequence[Path], bare: bool = True) -> str:
    """Runs the statement `tell` after a function's first event, X-Ray on, and returns the last line it prints.

    Args:
        function: the function's name under `functions/`.
        tell: a Python statement that prints one line.
        url: address of the endpoint that answers with `ANSWER`.
        path: folders where its imports are found.
        bare: whether to leave out the packages of this process's environment. Otherwise search_media has no index,
            because the model may not be here, and answers 501.
    """
    command = [sys.executable, *(["-S"] if bare else []), "-c", _CODE.format(200 if bare else 501, tell)]
    environment = {
        **variables(traced=True, path=[FUNCTIONS[function].folder, *path], function=function if bare else ""),
        "AWS_ENDPOINT_URL": url,
    }
    done = subprocess.run(
        [*command, os.fspath(FUNCTIONS[function].event)], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.splitlines()[-1]
