"""What `bench.search` measures, each in its own process: `python -m bench.search_subjects NAME '{"url": "http://…"}'`.

Each line on stdin, `{"invocations": 4}`, asks for that many; the answer is a line on stdout with `cpu`, in seconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from bench.environment import ROOT

QUERY = "when do they postpone the release?"


def ours() -> Callable[[], object]:
    """The function: one request over the API."""
    import app  # type: ignore[import-not-found]  # noqa: PLC0415 - PYTHONPATH selects the function

    event = json.loads((ROOT / "events" / "search_media" / "search.json").read_text())
    event["body"] = json.dumps({"query": QUERY})
    context = SimpleNamespace(
        function_name="f",
        memory_limit_in_mb=1769,
        aws_request_id="7c9e6679-7425-40de-944b-e07fc1f90ae7",
        get_remaining_time_in_millis=lambda: 30_000,
        invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:f",
    )

    def search() -> None:
        answer = app.lambda_handler(event, context)
        if answer["statusCode"] != 200 or not json.loads(answer["body"])["hits"]:
            sys.exit(f"the search went wrong: {answer}")

    return search


def embedding() -> Callable[[], object]:
    """Nothing but the question's vector."""
    from switchyard_embedding.embedder import Embedder  # noqa: PLC0415 - only this one's

    embedder = Embedder()
    return lambda: embedder.embed([QUERY])


def call() -> Callable[[], object]:
    """Nothing but the call of the index, by boto3."""
    import boto3  # noqa: PLC0415 - only this one's

    client: Any = boto3.client("s3vectors")
    asked = {"indexArn": os.environ["SEARCH_INDEX_ARN"], "topK": 50, "queryVector": {"float32": [0.05] * 384}}
    return lambda: client.query_vectors(**asked, returnMetadata=True)


def main(name: str, options: str) -> None:
    """Answers until stdin ends."""
    os.environ["AWS_ENDPOINT_URL"] = json.loads(options)["url"]
    # The function writes its logs to stdout, which is for answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    subject = {"ours": ours, "embedding": embedding, "call": call}[name]()
    for line in sys.stdin:
        begun = time.process_time()
        for _ in range(json.loads(line)["invocations"]):
            subject()
        print(json.dumps({"cpu": time.process_time() - begun}), file=answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
