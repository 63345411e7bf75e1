"""Runs a job through all functions and records each step's calls and request units.

`python -m bench.course ROAD '{"active": 1000, …}'` prints the steps as one line of JSON. moto stands in for DynamoDB,
so that conditions are decided and items grow. `bench.aws` stands in for Batch, ECS and SQS.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import boto3
from moto import mock_aws

from bench.aws import Aws
from bench.baseline import usual_way
from bench.environment import ROOT, VARIABLES
from bench.subjects import Context, image_jobs, uploads
from bench.units import Meter
from tests.tables import create_tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


type Event = dict[str, Any]
type Road = Literal["batch", "ecs", "usual", "thorough"]

OF_BATCH: Final = ("RUNNING", "SUCCEEDED")
"""A job's states ("Job states", Batch user guide) that the template's rule lets through."""
OF_ECS: Final = ("PENDING", "RUNNING", "STOPPED")
"""A task's states ("Task lifecycle", ECS developer guide) that the template's rule lets through."""
WAITING: Final = 30
"""Jobs that wait ahead of ours, if it waits. One page holds fewer, so more of them would cost nothing more."""


@dataclass(frozen=True)
class Options:
    """The initial state: number of active jobs, and `waits`: whether no slot is free."""

    active: int = 0
    waits: bool = False


@dataclass(frozen=True)
class Step:
    """One invocation, or one write by the worker (then `function` is empty).

    `calls` counts all AWS calls by operation. `writes`, `indexes` and `reads` are DynamoDB's units. `logged`, `came`
    and `sent` are bytes: of log lines, of the received message, of sent messages.
    """

    name: str
    function: str
    calls: Mapping[str, int]
    writes: int
    indexes: int
    reads: float
    logged: int
    came: int
    sent: tuple[int, ...]


class Recorder:
    """Runs the functions and records each step's usage."""

    def __init__(self, aws: Aws, meter: Meter, log: int) -> None:
        self.steps: list[Step] = []
        self.bodies: list[str] = []
        self._aws = aws
        self._meter = meter
        self._log = log
        self._handlers: dict[str, Callable[[Event, object], Any]] = {}

    def watch(self, client: Any) -> None:  # noqa: ANN401 - any of boto3's clients
        """Answers and records a client's calls."""
        client.meta.events.register_first("before-send", self._aws.answer)
        if client.meta.service_model.service_name == "dynamodb":
            self._meter.watch(client)
        client.meta.events.register("provide-client-params.sqs.SendMessage", self._sent)

    def invoke(self, name: str, function: str, event: Event) -> Any:  # noqa: ANN401 - a handler's answer
        """Invokes a function and records it as a step."""
        came = sum(len(record["body"].encode()) for record in event.get("Records", ()))
        return self.note(name, function, lambda: self._handler(function)(event, Context()), came=came)

    def note(self, name: str, function: str, work: Callable[[], Any], *, came: int = 0) -> Any:  # noqa: ANN401 - any answer
        """Does a step's work and records it."""
        calls, bill, sent = Counter(self._aws.calls), deepcopy(self._meter.bill), len(self.bodies)
        logged = os.fstat(self._log).st_size
        answer = work()
        sys.stdout.flush()
        after = self._meter.bill
        self.steps.append(
            Step(
                name,
                function,
                dict(self._aws.calls - calls),
                after.writes - bill.writes,
                after.indexes - bill.indexes,
                after.reads - bill.reads,
                os.fstat(self._log).st_size - logged,
                came,
                tuple(len(body.encode()) for body in self.bodies[sent:]),
            )
        )
        return answer

    def _handler(self, function: str) -> Callable[[Event, object], Any]:
        if function not in self._handlers:
            # Every function's module is named app, and each one must be loaded separately.
            spec = importlib.util.spec_from_file_location(f"{function}_app", ROOT / "functions" / function / "app.py")
            assert spec is not None  # noqa: S101 - the file is there
            assert spec.loader is not None  # noqa: S101
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # dataclasses look up their own module
            spec.loader.exec_module(module)
            self._handlers[function] = module.lambda_handler
        return self._handlers[function]

    def _sent(self, params: Mapping[str, Any], **_: object) -> None:
        self.bodies.append(params["MessageBody"])


# ---- the roads -------------------------------------------------------------------------------------------------------


def batch(recorder: Recorder, client: DynamoDBClient, options: Options) -> None:
    """Records an upload that becomes a Batch job and completes."""
    if options.waits:
        # Our job waits behind others. Each job that ends starts the oldest waiting one, so enough ends start ours.
        runs = _upload()
        recorder.invoke("", "sqs_to_batch", runs)
        for _ in range(WAITING):
            recorder.invoke("", "sqs_to_batch", _upload())
        recorder.steps.clear()
        recorder.invoke("message", "sqs_to_batch", _upload())
    else:
        runs = _upload()
        recorder.invoke("message", "sqs_to_batch", runs)
    key = json.loads(runs["Records"][0]["body"])["Records"][0]["s3"]["object"]["key"]
    job = _job(client, key.split("/")[-1][:36])
    *changes, end = (_of_batch(job, status) for status in OF_BATCH)
    _follow(recorder, client, job, changes, end)


def ecs(recorder: Recorder, client: DynamoDBClient, _options: Options) -> None:
    """Records an API request that becomes an ECS task and completes."""
    request = json.loads((ROOT / "events" / "submit_job" / "process.json").read_text())
    answer = recorder.invoke("request", "submit_job", request)
    (body,) = recorder.bodies
    event = image_jobs(1, 1)[0]
    event["Records"][0]["body"] = body
    recorder.invoke("message", "dispatch_to_ecs", event)
    job = _job(client, json.loads(answer["body"])["jobId"])
    *changes, end = (_of_ecs(job, status) for status in OF_ECS)
    _follow(recorder, client, job, changes, end)
    asked = json.loads((ROOT / "events" / "get_job" / "job.json").read_text())
    asked["pathParameters"] = {"jobId": job["jobId"]["S"]}
    recorder.invoke("status asked for once", "get_job", asked)


def _upload() -> Event:
    return uploads(1, 1)[0]


def _job(client: DynamoDBClient, job_id: str) -> dict[str, Any]:
    return dict(client.get_item(TableName=VARIABLES["JOBS_TABLE"], Key={"jobId": {"S": job_id}})["Item"])


def _follow(
    recorder: Recorder, client: DynamoDBClient, job: Mapping[str, Any], changes: list[Event], end: Event
) -> None:
    """Records the job's state changes, the worker's writes and the end."""
    from switchyard_worker import Record, WorkerEnvironment  # noqa: PLC0415 - the usual way has no layer

    for change in changes:
        recorder.invoke("state change", "track_job", change)
    watched = boto3.client("dynamodb")
    recorder.watch(watched)
    environment = WorkerEnvironment.from_env(
        {
            "JOB_ID": job["jobId"]["S"],
            "JOBS_TABLE": VARIABLES["JOBS_TABLE"],
            "FENCE": job["fence"]["N"],
            "AWS_BATCH_JOB_ID": job["targetId"]["S"],
            "S3_BUCKET": VARIABLES["S3_BUCKET"],
        }
    )
    record = Record(watched, environment)
    progress = {"percent": 50, "message": "looking at scene 7 of 14"}
    result = {"runId": environment.run_id, "summary": f"{environment.results_prefix}summary.json", "scenes": 14}
    recorder.note("worker: fence check", "", record.start)
    recorder.note("worker: one heartbeat", "", lambda: record.beat(progress))
    recorder.note("worker: result", "", lambda: record.finish(result, progress))
    recorder.invoke("end", "track_job", end)
    ended = _job(client, job["jobId"]["S"])["status"]["S"]
    if ended != "COMPLETED":
        raise RuntimeError(f"the job is {ended}")


def _of_batch(job: Mapping[str, Any], status: str) -> Event:
    def tell(detail: dict[str, Any]) -> None:
        detail["status"] = status
        detail["jobId"] = job["targetId"]["S"]
        _claim(detail["container"]["environment"], job)

    return _change("succeeded" if status == "SUCCEEDED" else "running", tell)


def _of_ecs(job: Mapping[str, Any], status: str) -> Event:
    def tell(detail: dict[str, Any]) -> None:
        detail["lastStatus"] = status
        detail["taskArn"] = job["targetId"]["S"]
        _claim(detail["overrides"]["containerOverrides"][0]["environment"], job)

    return _change("task_succeeded" if status == "STOPPED" else "task_running", tell)


def _claim(environment: list[dict[str, str]], job: Mapping[str, Any]) -> None:
    told = {"JOB_ID": job["jobId"]["S"], "FENCE": job["fence"]["N"]}
    environment[:] = [{**pair, "value": told.get(pair["name"], pair["value"])} for pair in environment]


def _change(sample: str, tell: Callable[[dict[str, Any]], None]) -> Event:
    event: Event = json.loads((ROOT / "events" / "track_job" / f"{sample}.json").read_text())
    (record,) = event["Records"]
    body = json.loads(record["body"])
    tell(body["detail"])
    record |= {"body": json.dumps(body, separators=(",", ":")), "messageId": str(uuid.uuid4())}
    return event


def usual(recorder: Recorder, _client: DynamoDBClient, options: Options, *, thorough: bool = False) -> None:
    """Records the usual way with one message: it starts the job, or returns the message if no slot is free."""
    # It sees at most five hundred jobs, so it would never notice that a higher limit is reached.
    function = usual_way(
        limit=1 if options.waits else options.active + 1, table=VARIABLES["JOBS_TABLE"], thorough=thorough
    )
    for client in (function.batch, function.dynamodb):
        recorder.watch(client)
    event = _upload()
    came = len(event["Records"][0]["body"].encode())
    recorder.note("message", "sqs_to_batch", lambda: function.lambda_handler(event, Context()), came=came)


# ---- initial state ---------------------------------------------------------------------------------------------------


def _fill(client: DynamoDBClient, lanes_table: str, lane: str, options: Options) -> None:
    """Counts the slots that active jobs hold, but writes nothing else of them, since a claim reads nothing else."""
    from switchyard.protocol.lanes import lane_key  # noqa: PLC0415 - as above

    taken = {"N": str(options.active)}
    client.put_item(TableName=lanes_table, Item={"pk": {"S": lane_key(lane)}, "sk": {"S": "SLOTS"}, "taken": taken})


def _limit(options: Options) -> int:
    """Returns a limit with one free slot."""
    return options.active + 1


def _steps(road: Road, options: Options) -> Iterator[Step]:
    given = {name: f"{_limit(options)}" for name in ("MAX_CONCURRENT_JOBS", "MAX_CONCURRENT_IMAGES")}
    os.environ.update(given)
    aws = Aws(active=options.active, tables=False)
    with tempfile.TemporaryFile() as log, mock_aws():
        os.dup2(log.fileno(), 1)
        client = boto3.client("dynamodb")
        tables = create_tables(client)
        recorder = Recorder(aws, Meter(client, tables, indexed=road in {"batch", "ecs"}), log.fileno())
        match road:
            case "usual" | "thorough":
                usual(recorder, client, options, thorough=road == "thorough")
            case _:
                from switchyard import clients  # noqa: PLC0415 - as above
                from switchyard.messages.kinds import IMAGES, VIDEO  # noqa: PLC0415 - as above

                for each in (clients.dynamodb, clients.sqs, clients.batch, clients.batch_submit, clients.ecs):
                    recorder.watch(each())
                _fill(client, tables[1], (VIDEO if road == "batch" else IMAGES).lane, options)
                (batch if road == "batch" else ecs)(recorder, client, options)
        yield from recorder.steps


def main(road: Road, options: str) -> None:
    """Prints the steps."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    steps = [asdict(step) for step in _steps(road, Options(**json.loads(options)))]
    print(json.dumps(steps), file=answers)


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type] # an unknown road runs nothing
