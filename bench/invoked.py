"""Runs a function in its own process, as Lambda does: imports it, then passes it events from `bench.power`.

Each line on stdin is an event. The answer is a line on stdout: `wall` and `cpu` seconds, and `peak`, the most bytes of
memory held so far. The first line on stdout, before any event, reports the same for the import. It imports only what
Lambda's runtime has.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def main() -> None:
    """Answers until stdin ends."""
    # The function writes its logs as in Lambda, but to /dev/null; answers use a duplicate of stdout.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    context = SimpleNamespace(
        function_name="f",
        memory_limit_in_mb=512,
        aws_request_id="7c9e6679-7425-40de-944b-e07fc1f90ae7",
        get_remaining_time_in_millis=lambda: 30_000,
        invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:f",
    )
    sys.stdin.readline()  # until the process is in its control group
    print(json.dumps(_timed(lambda: __import__("app"))), file=answers)
    for line in sys.stdin:
        print(json.dumps(_timed(partial(_handled, json.loads(line), context))), file=answers)


def _handled(event: dict[str, Any], context: object) -> None:
    import app  # type: ignore[import-not-found]  # noqa: PLC0415 - PYTHONPATH selects the function

    answer = app.lambda_handler(event, context) or {}
    if answer.get("batchItemFailures") or answer.get("statusCode", 200) >= 500:
        sys.exit(f"the event went wrong: {answer}")


def _timed(work: Callable[[], object]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found  # noqa: S101 - Linux
    return {"wall": wall, "cpu": cpu, "peak": int(found[1]) * 1024}


if __name__ == "__main__":
    main()
