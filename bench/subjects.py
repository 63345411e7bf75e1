"""The measured subjects, each in its own process: `python -m bench.subjects NAME '{"active": 1000}'`.

Each line on stdin, `{"invocations": 4, "messages": 10}`, asks for that many invocations with that many fresh messages
each. The answer is a line on stdout: `cpu` and `wall` (seconds), `calls`, `came_back`, and `memory`, the most bytes
held at any moment beyond those held before. `bench.measure.Probe` is the other end.
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import boto3
from botocore import xform_name

from bench.active import Active
from bench.aws import Aws
from bench.baseline import UsualApi, UsualCheck, usual_way
from bench.environment import LANE_LIMIT, ROOT, VARIABLES
from bench.measure import forget_peak, resident
from bench.requests import REQUESTS, ApiRequest

type Event = dict[str, Any]
type Handler = Callable[[Event, object], object]

_NO_LIMIT = 1_000_000
_KEPT_FREE = 100
"""Slots left for a bench's own messages, so that the lane is not full."""


class Context(NamedTuple):
    """The context that Lambda passes to a handler."""

    function_name: str = "sqs_to_batch"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:sqs_to_batch"
    aws_request_id: str = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

    def get_remaining_time_in_millis(self) -> int:
        """Returns the time at the start of an invocation."""
        return 30_000


class Subject(NamedTuple):
    """A subject to measure.

    `events` builds the events of that many invocations with that many fresh messages each. `check` gets the answers and
    the calls, returns how many messages went back to their queue, and raises if the subject did other work.
    """

    handler: Handler
    events: Callable[[int, int], list[Event]]
    check: Callable[[list[Any], Counter[str]], int]


# ---- dispatching -----------------------------------------------------------------------------------------------------


def uploads(invocations: int, messages: int) -> list[Event]:
    """Builds events of fresh messages: the sample of S3's notification, each for its own upload."""
    record = _sample_record("sqs_to_batch", "s3_put")
    known = json.loads(record["body"])["Records"][0]["s3"]["object"]["key"].split("/")[-1][:36]
    return _fresh(record, known, invocations, messages)


def image_jobs(invocations: int, messages: int) -> list[Event]:
    """Builds events of fresh job messages: the sample with two images, each as its own job."""
    record = _sample_record("dispatch_to_ecs", "images")
    return _fresh(record, json.loads(record["body"])["jobId"], invocations, messages)


def announced_jobs(invocations: int, messages: int) -> list[Event]:
    """Builds the same messages as the API sends them: recorded first."""
    from switchyard import clients, wiring  # noqa: PLC0415 - the other subjects' processes have no layer
    from switchyard.messages.envelope import Envelope  # noqa: PLC0415
    from switchyard.settings import SubmitJobSettings  # noqa: PLC0415
    from switchyard.tables.records import Records  # noqa: PLC0415

    work = wiring.task_work(SubmitJobSettings.from_env())
    records = Records(clients.dynamodb(), VARIABLES["JOBS_TABLE"])
    made = image_jobs(invocations, messages)
    for record in (record for event in made for record in event["Records"]):
        message = json.loads(record["body"]) | {"version": str(uuid.uuid4()), "announced": True}
        record["body"] = json.dumps(message)
        (request,) = work.parse(record["body"], Envelope(record["messageId"], datetime.now(UTC))).requests
        records.announce(request, fingerprint="")
    return made


def _sample_event(function: str, name: str) -> Event:
    event: Event = json.loads((ROOT / "events" / function / f"{name}.json").read_text())
    return event


def _sample_record(function: str, name: str) -> dict[str, Any]:
    record: dict[str, Any] = _sample_event(function, name)["Records"][0]
    return record


def _fresh(record: dict[str, Any], known: str, invocations: int, messages: int) -> list[Event]:
    def one() -> dict[str, Any]:
        return {**record, "messageId": str(uuid.uuid4()), "body": record["body"].replace(known, str(uuid.uuid4()))}

    return [{"Records": [one() for _ in range(messages)]} for _ in range(invocations)]


def _dispatched(events: Callable[[int, int], list[Event]], handler: Handler) -> Subject:
    """Returns a subject that starts one job or task for every message that doesn't come back."""
    wanted = 0

    def counted(invocations: int, messages: int) -> list[Event]:
        nonlocal wanted
        wanted = invocations * messages
        return events(invocations, messages)

    def check(answers: list[Any], calls: Counter[str]) -> int:
        came_back = sum(len(answer["batchItemFailures"]) for answer in answers if answer is not None)
        if calls["SubmitJob"] + calls["RunTask"] != wanted - came_back:
            raise RuntimeError(f"{wanted} messages, of which {came_back} came back, were dispatched by {calls}")
        return came_back

    return Subject(handler, counted, check)


def ours(aws: Aws) -> Subject:
    """The function as deployed, with the layer on PYTHONPATH."""
    from switchyard import clients  # noqa: PLC0415 - as in `announced_jobs`

    return _dispatched(uploads, _our_function(aws, clients.dynamodb, clients.sqs, clients.batch, clients.batch_submit))


def task(aws: Aws) -> Subject:
    """The dispatcher to ECS, reading its queue."""
    from switchyard import clients  # noqa: PLC0415 - as in `announced_jobs`

    return _dispatched(image_jobs, _our_function(aws, clients.dynamodb, clients.sqs, clients.ecs))


def announced(aws: Aws) -> Subject:
    """The dispatcher to ECS, with jobs that the API accepted."""
    return _dispatched(announced_jobs, task(aws).handler)


def floor(aws: Aws) -> Subject:
    """Three bare boto3 calls per message, with exactly the parameters ours sends, from default clients."""
    from switchyard import clients  # noqa: PLC0415 - as in `announced_jobs`

    calls: list[tuple[str, dict[str, Any]]] = []

    def note(params: dict[str, Any], event_name: str, **_: object) -> None:
        calls.append((event_name.rsplit(".", maxsplit=1)[-1], params))

    handler = ours(Aws()).handler
    handler(uploads(1, 1)[0], Context())  # calls that a process makes once are done
    watched = (clients.dynamodb(), clients.batch_submit())
    for client in watched:
        client.meta.events.register("provide-client-params", note)
    handler(uploads(1, 1)[0], Context())

    batch, dynamodb = _canned(boto3.client("batch"), aws), _canned(boto3.client("dynamodb"), aws)
    methods = {
        "TransactWriteItems": dynamodb.transact_write_items,
        "SubmitJob": batch.submit_job,
        "UpdateItem": dynamodb.update_item,
    }
    if [name for name, _ in calls] != list(methods):
        raise RuntimeError(f"one message should be three calls, not {calls}")

    def bare(event: Event, _context: object) -> None:
        for _ in event["Records"]:
            for name, params in calls:
                methods[name](**params)

    return _dispatched(uploads, bare)


def usual(aws: Aws, *, thorough: bool = False) -> Subject:
    """The usual way."""
    function = usual_way(limit=_NO_LIMIT, table=VARIABLES["JOBS_TABLE"], thorough=thorough)
    for client in (function.batch, function.dynamodb):
        _canned(client, aws)
    return _dispatched(uploads, function.lambda_handler)


def thorough(aws: Aws) -> Subject:
    """The usual way in its best form."""
    return usual(aws, thorough=True)


# ---- the API ---------------------------------------------------------------------------------------------------------


def our_api(aws: Aws, request: ApiRequest) -> Subject:
    """A function of the API as deployed."""
    from switchyard import clients  # noqa: PLC0415 - as in `announced_jobs`

    made = (clients.dynamodb, clients.sqs, clients.s3, clients.functions)
    return _requests(request, _our_function(aws, *made), request.status)


def usual_api(aws: Aws, request: ApiRequest) -> Subject:
    """The usual way, which has no 304: it answers with the whole status."""
    api = UsualApi(VARIABLES["S3_BUCKET"], VARIABLES["JOBS_TABLE"], VARIABLES["QUEUE_URL"])
    for client in (api.s3, api.dynamodb, api.sqs):
        _canned(client, aws)
    handlers = {"presign_upload": api.presign, "submit_job": api.submit, "get_job": api.status}
    return _requests(request, handlers[request.function], 200 if request.repeated else request.status)


def _requests(request: ApiRequest, handler: Handler, status: int) -> Subject:
    """Returns a subject that answers one request repeatedly, always with `status`."""
    event = _sample_event(request.function, request.sample)
    if request.body is not None:
        event["body"] = request.body
    if request.repeated:
        first: Any = handler(event, Context())
        event["headers"]["If-None-Match"] = first["headers"].get("ETag", "")

    def check(answers: list[Any], _calls: Counter[str]) -> int:
        statuses = {answer["statusCode"] for answer in answers}
        if statuses != {status}:
            raise RuntimeError(f"{request.name}: answered with {statuses}")
        return 0

    return Subject(handler, lambda invocations, _: [deepcopy(event) for _ in range(invocations)], check)


# ---- the reconciler --------------------------------------------------------------------------------------------------

_READS = {"Query", "GetItem", "DescribeJobs", "DescribeTasks"}


def reconciler(aws: Aws) -> Subject:
    """A pass of the function as deployed. With nothing to repair it only reads."""
    from switchyard import clients  # noqa: PLC0415 - as in `announced_jobs`

    return _passes(_our_function(aws, clients.dynamodb, clients.sqs, clients.batch, clients.ecs))


def bare_pass(aws: Aws) -> Subject:
    """The calls of such a pass with the same parameters, by default clients that ignore the answers."""
    from switchyard import clients  # noqa: PLC0415 - as in `announced_jobs`

    calls: list[tuple[str, str, dict[str, Any]]] = []

    def note(params: dict[str, Any], event_name: str, **_: object) -> None:
        service, operation = event_name.split(".")[1:]
        calls.append((service, operation, deepcopy(params)))

    watched = (clients.dynamodb(), clients.batch(), clients.ecs())
    for each in watched:
        each.meta.events.register("provide-client-params", note)
    reconciler(aws).handler(_sample_event("reconcile_jobs", "schedule"), Context())

    bare = {name: _canned(boto3.client(name), aws) for name in ("dynamodb", "batch", "ecs")}
    methods = [(getattr(bare[service], xform_name(operation)), params) for service, operation, params in calls]

    def handler(_event: Event, _context: object) -> None:
        for method, params in methods:
            method(**params)

    return _passes(handler)


def usual_check(aws: Aws) -> Subject:
    """The usual way's scheduled check."""
    check = UsualCheck(VARIABLES["JOBS_TABLE"])
    for client in (check.batch, check.dynamodb):
        _canned(client, aws)
    return _passes(check.lambda_handler)


def _passes(handler: Handler) -> Subject:
    event = _sample_event("reconcile_jobs", "schedule")

    def check(_answers: list[Any], calls: Counter[str]) -> int:
        if calls.keys() - _READS:
            raise RuntimeError(f"there was nothing to repair, and yet {calls}")
        return 0

    return Subject(handler, lambda invocations, _: [event] * invocations, check)


# ---- all of them -----------------------------------------------------------------------------------------------------


def _our_function(aws: Aws, *clients: Callable[[], Any]) -> Handler:
    for client in clients:
        _canned(client(), aws)
    handler: Handler = importlib.import_module("app").lambda_handler  # PYTHONPATH selects the function
    return handler


def _canned(client: Any, aws: Aws) -> Any:  # noqa: ANN401 - any of boto3's clients
    client.meta.events.register_first("before-send", aws.answer)
    if aws.parsed:
        call, kept = client._make_api_call, {}  # noqa: SLF001 - where tests stub AWS too

        def answered(operation: str, params: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as botocore's
            if operation not in kept:
                kept[operation] = call(operation, params)
            return kept[operation]

        client._make_api_call = answered  # noqa: SLF001
    return client


SUBJECTS: Mapping[str, Callable[[Aws], Subject]] = {
    "ours": ours,
    "floor": floor,
    "usual": usual,
    "thorough": thorough,
    "task": task,
    "announced": announced,
    **{name: partial(our_api, request=request) for name, request in REQUESTS.items()},
    **{f"usual-{name}": partial(usual_api, request=each) for name, each in REQUESTS.items() if each.is_usual},
}

_PASSES: Mapping[str, Callable[[Aws], Subject]] = {
    "reconciler": reconciler,
    "bare-pass": bare_pass,
    "usual-check": usual_check,
}
"""Subjects that run in an account whose tables have active jobs."""


@contextmanager
def real_conditions(active: int) -> Iterator[None]:
    """Sets up the template's tables on moto with a slot taken per active job: claims are decided, not canned."""
    from moto import mock_aws  # noqa: PLC0415 - only subjects with tables need it

    from switchyard.messages.kinds import IMAGES, VIDEO  # noqa: PLC0415 - as in `announced_jobs`
    from switchyard.protocol.lanes import lane_key  # noqa: PLC0415 - as in `announced_jobs`
    from tests.tables import create_tables  # noqa: PLC0415 - as moto

    with mock_aws():
        dynamodb = boto3.client("dynamodb")
        _, lanes_table = create_tables(dynamodb)
        # Only slots, no records: a claim doesn't read other jobs' records, and moto copies a table at each transaction.
        taken = {"N": str(min(active, LANE_LIMIT - _KEPT_FREE))}
        for kind in (VIDEO, IMAGES):
            slots: dict[str, Any] = {"pk": {"S": lane_key(kind.lane)}, "sk": {"S": "SLOTS"}, "taken": taken}
            dynamodb.put_item(TableName=lanes_table, Item=slots)
        yield


def _xray_daemon() -> socket.socket:
    """Opens a socket that receives trace segments, as in Lambda; nobody reads them."""
    daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    daemon.bind(("127.0.0.1", 0))
    os.environ["AWS_XRAY_DAEMON_ADDRESS"] = f"127.0.0.1:{daemon.getsockname()[1]}"
    return daemon


def main(name: str, settings: str) -> None:
    """Answers until stdin ends."""
    options = json.loads(settings)
    moto = options.pop("moto", False)
    # The function writes its logs as in Lambda, but to /dev/null; answers use a duplicate of stdout.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    aws = (Active if name in _PASSES else Aws)(**options, tables=not moto)
    with _xray_daemon(), real_conditions(aws.active) if moto else nullcontext():
        subject = {**SUBJECTS, **_PASSES}[name](aws)
        for line in sys.stdin:
            print(json.dumps(_sample(subject, aws, **json.loads(line))), file=answers)


def _sample(subject: Subject, aws: Aws, *, invocations: int, messages: int) -> dict[str, Any]:
    prepared = subject.events(invocations, messages)
    before, held = Counter(aws.calls), resident("VmRSS")
    forget_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    answers = [subject.handler(event, Context()) for event in prepared]
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    calls = aws.calls - before
    memory = resident("VmHWM") - held
    return {"cpu": cpu, "wall": wall, "calls": calls, "came_back": subject.check(answers, calls), "memory": memory}


if __name__ == "__main__":
    main(*sys.argv[1:])
