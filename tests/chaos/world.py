"""Deploys the system with quick jobs in place of real ones, and reads its state from outside."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.request import ProxyHandler, Request, build_opener

from boto3.dynamodb.types import TypeDeserializer

from local.environment import STATE, bare
from local.processes import Process, free_ports, locked
from local.stack import LocalStack, Say
from local.view import QUEUES, View
from local.workers import TASKS, JobDefinition, TaskDefinition
from switchyard.messages.kinds import IMAGES, VIDEO
from tests import nursery as nurseries
from tests.chaos import ledger
from tests.chaos.ledger import Attempt

type Item = dict[str, Any]
"""A DynamoDB item or a JSON object."""

LANES: Final = (VIDEO.lane, IMAGES.lane)
"""The lanes that work is sent to."""
GRACE_SECONDS: Final = 60
"""The template's minimum."""
REDELIVERY_SECONDS: Final = 35
"""Seconds until a message is delivered again after its receiver was killed: more than the functions' 30 s, but less
than the template's minutes, so that a run takes less than an hour."""
DEAD_LETTERS: Final[Mapping[str, str]] = {
    "VideoDeadLetterQueue": "VideoQueue",
    "EcsDeadLetterQueue": "EcsQueue",
    "TorrentDeadLetterQueue": "TorrentQueue",
    "TrackDeadLetterQueue": "TrackQueue",
}
"""The dead-letter queues, each with its source queue."""
FUNCTIONS: Final = (
    *("SqsToBatchFunction", "DispatchToEcsFunction", "S3TorrentCreatorFunction", "TrackJobFunction"),
    *(
        "ReconcileJobsFunction",
        "PresignUploadFunction",
        "SubmitJobFunction",
        "GetJobFunction",
        "CancelJobFunction",
        "SearchMediaFunction",
    ),
)
TERMINAL: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED"})

_LATELY = 100_000
"""Bytes at the ledger's end that include every active job: some hundred lines per slot."""

_direct = build_opener(ProxyHandler({}))  # a proxy of the user's can't reach this machine's loopback address


@dataclass
class World:
    """The deployed system.

    Attributes:
        stack: The running stack.
        nursery: The process that forks the jobs' processes.
        ledger: The file where jobs record their runs.
        proxy_port: The port for functions' and workers' calls, unless they go to the emulator directly.
        kills: Killed processes of jobs, and when they were killed.
    """

    stack: LocalStack
    nursery: Process
    ledger: Path
    proxy_port: int | None
    kills: list[tuple[int, float]] = field(default_factory=list)

    @classmethod
    @contextlib.contextmanager
    def running(cls, folder: str, say: Say, *, slots: int, proxied: bool) -> Iterator[Self]:
        """Deploys a system under a folder of the local state, and ends it after the `with` block.

        Args:
            folder: The folder's name.
            say: Prints progress.
            slots: Slots per lane.
            proxied: Whether all calls go through a proxy at `proxy_port`, which the caller must run.
        """
        where = STATE / folder
        book, socket = where / "ledger", where / "nursery.sock"
        [port] = free_ports(1)
        through = {"HTTP_PROXY": f"http://127.0.0.1:{port}"} if proxied else {}
        job = JobDefinition(
            nurseries.command(socket),
            {"LEDGER": str(book), **({**through, "NO_PROXY": "", "no_proxy": ""} if proxied else {})},
            grace=5,
        )
        where.mkdir(parents=True, exist_ok=True)
        with locked(where / "session.lock"), contextlib.ExitStack() as ended:
            stack = LocalStack(
                where,
                parameters={
                    "MaxConcurrentJobs": str(slots),
                    "MaxConcurrentImages": str(slots),
                    "ClaimGraceSeconds": str(GRACE_SECONDS),
                    "ReconcileMinutes": "60",  # we invoke it ourselves, more often than a schedule can
                },
                definitions={"analyze-video": job},
                tasks={**TASKS, "detect-objects": TaskDefinition(job.command, job.environment, grace=5)},
                emulator_environment=through,
            )
            stack.down()  # left by a killed run
            book.unlink(missing_ok=True)
            ended.enter_context(stack.running(say))
            nursery = ended.enter_context(
                nurseries.serving(
                    socket, "tests.chaos.job:perform", env=bare(stack.emulator.url), log=stack.logs / "nursery.log"
                )
            )
            for queue in ("VideoQueue", "EcsQueue", "TorrentQueue", "TrackQueue"):
                stack.client("sqs").set_queue_attributes(
                    QueueUrl=stack.resource(queue), Attributes={"VisibilityTimeout": str(REDELIVERY_SECONDS)}
                )
            yield cls(stack, nursery, book, port if proxied else None)

    # ---- reading -----------------------------------------------------------------------------------------------------

    @property
    def bucket(self) -> str:
        """Returns the media bucket's name."""
        return self.stack.resource("MediaBucket")

    def jobs(self) -> dict[str, Item]:
        """Returns every item of JobsTable, by job id."""
        return {item["jobId"]: item for item in self._items("JobsTable")}

    def lanes(self) -> list[Item]:
        """Returns every item of LanesTable."""
        return self._items("LanesTable")

    def attempts(self) -> list[Attempt]:
        """Returns the attempts that the jobs recorded."""
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        return ledger.read(lines, self.kills)

    def depths(self) -> dict[str, tuple[int, int]]:
        """Returns each queue's messages: visible ones and ones in flight."""
        return View(self.stack).queues()

    def at_work(self) -> dict[str, set[str]]:
        """Returns the jobs that are active at Batch and ECS, by lane."""
        batch = (
            each["container"]["environment"]
            for status in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
            for each in self.ask_compute("GET", f"/_compute/jobs?limit=1000&status={status}")["jobs"]
        )
        ecs = (
            override["environment"]
            for status in ("PROVISIONING", "PENDING", "RUNNING", "STOPPING")
            for each in self.ask_compute("GET", f"/_compute/tasks?limit=1000&status={status}")["tasks"]
            for override in each["overrides"]["containerOverrides"]
        )
        return {VIDEO.lane: set(map(_job_id, batch)), IMAGES.lane: set(map(_job_id, ecs))}

    def holders(self) -> dict[str, set[str]]:
        """Returns the jobs that hold slots, by lane."""
        return {lane: set(View(self.stack).lane(lane).holders) for lane in LANES}

    def waiting(self) -> int:
        """Returns the number of waiting jobs that all lanes count."""
        return sum(View(self.stack).lane(lane).waiting for lane in LANES)

    def function_processes(self) -> list[tuple[int, str]]:
        """Returns the emulator's function processes: each process id, with the function's logical id."""
        names = {self.stack.resource(name): name for name in FUNCTIONS}
        found = []
        for pid in sorted(int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()):
            with contextlib.suppress(OSError):  # the process has ended meanwhile
                if os.getpgid(pid) == self.stack.emulator.pid:
                    command = Path(f"/proc/{pid}/cmdline").read_text()
                    found += [(pid, name) for full, name in names.items() if f"ministack-lambda-{full}-" in command]
        return found

    def job_processes(self) -> list[tuple[int, str]]:
        """Returns the processes of jobs that recorded their job: for others, a kill could not be attributed."""
        nursery = self.nursery.pid
        children = Path(f"/proc/{nursery}/task/{nursery}/children").read_text().split()
        noted = self.ledger.read_bytes()[-_LATELY:] if self.ledger.exists() else b""
        return [(int(pid), "job") for pid in children if b'"pid": %d,' % int(pid) in noted]

    def logged(self, messages: Mapping[str, str]) -> dict[str, int]:
        """Counts how often functions logged these messages.

        Args:
            messages: The name for each logged message.
        """
        counts = dict.fromkeys(messages.values(), 0)
        for function in FUNCTIONS:
            for line in self.stack.function_log(function):
                if line.text.startswith("{"):
                    name = messages.get(json.loads(line.text).get("message", ""))
                    if name:
                        counts[name] += 1
        return counts

    def quiet(self) -> bool:
        """Returns whether queues and tables show nothing left to do."""
        busy = any(self.depths()[queue] != (0, 0) for queue in QUEUES if "DeadLetter" not in queue)
        return not busy and all(job["status"] in TERMINAL for job in self.jobs().values())

    def _items(self, table: str) -> list[Item]:
        read = TypeDeserializer().deserialize
        pages = self.stack.client("dynamodb").get_paginator("scan")
        return [
            {name: read(value) for name, value in raw.items()}
            for page in pages.paginate(TableName=self.stack.resource(table), ConsistentRead=True)
            for raw in page["Items"]
        ]

    # ---- acting ------------------------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Invokes the reconciler asynchronously, like its schedule."""
        self.stack.client("lambda").invoke(
            FunctionName=self.stack.resource("ReconcileJobsFunction"), InvocationType="Event", Payload=b"{}"
        )

    def impatient(self) -> None:
        """Lets the reconciler pick up pending jobs after a minute instead of an hour."""
        client, name = self.stack.client("lambda"), self.stack.resource("ReconcileJobsFunction")
        variables = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        client.update_function_configuration(
            FunctionName=name, Environment={"Variables": {**variables, "PENDING_GRACE_SECONDS": str(GRACE_SECONDS)}}
        )

    def ask_compute(self, method: str, path: str, body: object = None) -> Item:
        """Calls the stand-in for Batch and ECS for something that AWS has no call for."""
        data = None if body is None else json.dumps(body).encode()
        with _direct.open(Request(self.stack.compute.url + path, data, method=method), timeout=30) as answer:  # noqa: S310 - our own address
            found = json.loads(answer.read() or b"{}")
            return found if isinstance(found, dict) else {"faults": found}

    def dead_letters(self) -> list["DeadLetter"]:
        """Takes every message out of the dead-letter queues."""
        return [letter for queue in (*DEAD_LETTERS, "ReconcileDeadLetterQueue") for letter in self._take(queue)]

    def redrive(self, letter: "DeadLetter") -> None:
        """Sends a dead letter back to its source queue unchanged."""
        attributes = {"video_id": letter.attributes["video_id"]} if "video_id" in letter.attributes else {}
        self.stack.client("sqs").send_message(
            QueueUrl=self.stack.resource(DEAD_LETTERS[letter.queue]),
            MessageBody=letter.body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        )

    def _take(self, queue: str) -> Iterator["DeadLetter"]:
        sqs, url = self.stack.client("sqs"), self.stack.resource(queue)
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]).get(
            "Messages"
        ):
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                attributes = message.get("MessageAttributes", {})
                yield DeadLetter(
                    queue, message["Body"], {name: value["StringValue"] for name, value in attributes.items()}
                )


@dataclass(frozen=True)
class DeadLetter:
    """A message of a dead-letter queue."""

    queue: str
    body: str
    attributes: Mapping[str, str]

    @property
    def reason(self) -> str:
        """Returns why it was dead-lettered."""
        if self.queue not in DEAD_LETTERS:
            return "a failed invocation"
        return self.attributes.get("ErrorType", "received too often (the queue's own redrive policy)")


def _job_id(pairs: list[dict[str, str]]) -> str:
    return next((pair["value"] for pair in pairs if pair["name"] == "JOB_ID"), "")
