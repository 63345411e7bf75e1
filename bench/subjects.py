"""What is measured, each alone in a process: `python -m bench.subjects NAME '{"active": 1000}'`.

The process answers each line on stdin, `{"invocations": 4, "messages": 10}`, by one on stdout: what that many
invocations with that many fresh messages each took. See `bench.measure.Probe` for the other end.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import boto3

from bench.aws import Aws
from bench.baseline import usual_way
from bench.environment import LANE_LIMIT, ROOT, VARIABLES

type Handler = Callable[[dict[str, Any], object], object]

_NO_LIMIT = 1_000_000
_KEPT_FREE = 100
"""Slots left for a bench's own messages where the lane would otherwise be full."""


class Context(NamedTuple):
    """What Lambda tells a handler."""

    function_name: str = "sqs_to_batch"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:sqs_to_batch"
    aws_request_id: str = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

    def get_remaining_time_in_millis(self) -> int:
        """As at the start of an invocation."""
        return 30_000


def events(invocations: int, messages: int) -> list[dict[str, Any]]:
    """Lambda events of messages that nobody has seen yet: the sample of S3's notification, each for its own upload."""
    sample = (ROOT / "events" / "sqs_to_batch" / "s3_put.json").read_text()
    record = json.loads(sample)["Records"][0]
    known = json.loads(record["body"])["Records"][0]["s3"]["object"]["key"].split("/")[-1][:36]

    def fresh() -> dict[str, Any]:
        return {**record, "messageId": str(uuid.uuid4()), "body": record["body"].replace(known, str(uuid.uuid4()))}

    return [{"Records": [fresh() for _ in range(messages)]} for _ in range(invocations)]


def ours(aws: Aws) -> Handler:
    """The function as it is deployed; PYTHONPATH says from which layer."""
    from switchyard import clients  # noqa: PLC0415 - the other subjects' processes have no layer

    app = importlib.import_module("app")  # functions/sqs_to_batch
    for client in (clients.dynamodb(), clients.sqs(), clients.batch(), clients.batch_submit()):
        _canned(client, aws)
    handler: Handler = app.lambda_handler
    return handler


def floor(aws: Aws) -> Handler:
    """Three bare boto3 calls a message, with the very parameters that ours sends, from default clients."""
    from switchyard import clients  # noqa: PLC0415 - as in `ours`

    calls: list[tuple[str, dict[str, Any]]] = []

    def note(params: dict[str, Any], event_name: str, **_: object) -> None:
        calls.append((event_name.rsplit(".", maxsplit=1)[-1], params))

    watched = (clients.dynamodb(), clients.batch_submit())
    for client in watched:
        client.meta.events.register("provide-client-params", note)
    ours(Aws())(events(1, 1)[0], Context())

    batch, dynamodb = _canned(boto3.client("batch"), aws), _canned(boto3.client("dynamodb"), aws)
    methods = {
        "TransactWriteItems": dynamodb.transact_write_items,
        "SubmitJob": batch.submit_job,
        "UpdateItem": dynamodb.update_item,
    }
    if [name for name, _ in calls] != list(methods):
        raise RuntimeError(f"one message should be three calls, not {calls}")

    def handler(event: dict[str, Any], _context: object) -> None:
        for _ in event["Records"]:
            for name, params in calls:
                methods[name](**params)

    return handler


def usual(aws: Aws, *, thorough: bool = False) -> Handler:
    """The usual way."""
    function = usual_way(limit=_NO_LIMIT, table=VARIABLES["JOBS_TABLE"], thorough=thorough)
    for client in (function.batch, function.dynamodb):
        _canned(client, aws)
    return function.lambda_handler


def thorough(aws: Aws) -> Handler:
    """The usual way at its best."""
    return usual(aws, thorough=True)


def _canned(client: Any, aws: Aws) -> Any:  # noqa: ANN401 - any of boto3's clients
    client.meta.events.register_first("before-send", aws.answer)
    return client


SUBJECTS: Mapping[str, Callable[[Aws], Handler]] = {
    "ours": ours,
    "floor": floor,
    "usual": usual,
    "thorough": thorough,
}


def _real_conditions(active: int) -> AbstractContextManager[object]:
    """The template's tables on moto, with as many slots taken as jobs are active: claims are decided, not canned."""
    from moto import mock_aws  # noqa: PLC0415 - only where the tables are asked for

    from tests.tables import create_tables  # noqa: PLC0415 - as moto

    mocked = mock_aws()
    mocked.start()
    dynamodb = boto3.client("dynamodb")
    _, lanes_table = create_tables(dynamodb)
    # Only the slots: a claim reads nothing of other jobs' records, and moto copies a table at each transaction.
    holders = [str(uuid.uuid4()) for _ in range(min(active, LANE_LIMIT - _KEPT_FREE))]
    slots: dict[str, Any] = {"pk": {"S": "LANE#video"}, "sk": {"S": "SLOTS"}, "waiting": {"N": "0"}}
    dynamodb.put_item(TableName=lanes_table, Item=slots | ({"holders": {"SS": holders}} if holders else {}))
    return mocked


def _xray_daemon() -> socket.socket:
    """Something to send segments to, as in Lambda; nobody reads them."""
    daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    daemon.bind(("127.0.0.1", 0))
    os.environ["AWS_XRAY_DAEMON_ADDRESS"] = f"127.0.0.1:{daemon.getsockname()[1]}"
    return daemon


def main(name: str, settings: str) -> None:
    """Answers until stdin ends."""
    options = json.loads(settings)
    moto = options.pop("moto", False)
    # What a function logs is written, as in Lambda, but to nowhere; the answers have a way of their own.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    aws = Aws(**options, tables=not moto)
    with _xray_daemon(), _real_conditions(aws.active) if moto else nullcontext():
        handler = SUBJECTS[name](aws)
        for line in sys.stdin:
            print(json.dumps(_sample(handler, aws, **json.loads(line))), file=answers)


def _sample(handler: Handler, aws: Aws, *, invocations: int, messages: int) -> dict[str, Any]:
    prepared = events(invocations, messages)
    before = Counter(aws.calls)
    came_back = 0
    wall, cpu = time.perf_counter(), time.process_time()
    for event in prepared:
        answer = handler(event, Context())
        came_back += len(answer["batchItemFailures"]) if isinstance(answer, dict) else 0
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    dispatched = invocations * messages - came_back
    calls = aws.calls - before
    if calls["SubmitJob"] != dispatched:
        raise RuntimeError(f"{dispatched} of {invocations * messages} messages were dispatched by {calls}")
    return {"cpu": cpu, "wall": wall, "calls": calls, "came_back": came_back}


if __name__ == "__main__":
    main(*sys.argv[1:])
