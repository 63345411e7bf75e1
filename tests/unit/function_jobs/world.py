"""A function that does jobs itself, the simplest there is: it counts at a service. Tests set faults and time.

The room is the real one. The table is moto's; queue and service are models.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

from boto3.dynamodb.types import TypeDeserializer

from switchyard import clock
from switchyard.errors import InvalidMessage, PermanentError, Unavailable
from switchyard.function_jobs.intake import Intake
from switchyard.function_jobs.jobs import FunctionJob, FunctionRun, Postponed
from switchyard.function_jobs.outbox import Outbox
from switchyard.function_jobs.repair import FunctionRepair
from switchyard.function_jobs.table import FunctionJobs
from switchyard.function_jobs.work import Parsed, TimeLeft
from switchyard.messages.dead_letters import DeadLetterQueue
from switchyard.messages.envelope import Envelope, Rejected
from switchyard.protocol.cancel import Cancellation, Canceller
from switchyard.protocol.jobs import Job, Source, Status, TargetSpec, WorkRequest
from switchyard.tables.records import Records
from switchyard.tables.store import Store
from tests.conftest import Aws
from tests.model.invocations import CALM, QUEUES, Invocation, Life, Service, Shaky
from tests.model.sqs import Kept, ModelSqs, RedrivePolicy
from tests.model.tables import _items
from tests.world import Time

QUEUE, DEAD = "counts", "counts-dead"
MAX_RECEIVES = 3
GRACE = timedelta(hours=1)
KEEP = timedelta(days=30)
# The SDK sends a write again whose answer was lost.
TABLE = Service(QUEUES.lost, QUEUES.throttled, frozenset({"update_item"}))


class Private(PermanentError):
    """The service will never count this."""

    code = "PRIVATE"


@dataclass(frozen=True)
class Wanted:
    """A count for a user."""

    user: str

    @property
    def job_id(self) -> str:
        return f"count-{self.user}"

    @property
    def body(self) -> str:
        return json.dumps({"userId": self.user})

    def request(self, envelope: Envelope) -> WorkRequest:
        return WorkRequest(
            job_id=self.job_id,
            kind="count",
            lane="counts",
            target=TargetSpec("function", "", "counter"),
            source=Source("", "", "1", envelope.message_id),
            sent_at=envelope.sent_at,
            user_id=self.user,
            input={"userId": self.user},
        )


@dataclass
class CountingService:
    """What the function calls. It may be down, want no calls before `pause`, or refuse for good."""

    pause: datetime | None = None
    is_down: bool = False
    is_private: bool = False
    calls: int = 0

    def count(self) -> int:
        self.calls += 1
        if self.is_down:
            raise Unavailable("down")
        if self.pause is not None and clock.now() < self.pause:
            raise Postponed("the service wants a pause", self.pause, {"percent": 40})
        if self.is_private:
            raise Private("the user's numbers are private")
        return self.calls


@dataclass
class Counting:
    """The worker. An import is like it: a request that was sent before the last one began has been answered by that."""

    jobs: FunctionJobs
    service: CountingService
    done: Counter[tuple[str, str | None]]
    """How often which job was completed for which message."""
    plural: ClassVar[str] = "counts"

    def read(self, message: Mapping[str, Any], envelope: Envelope, body: str = "", /) -> Parsed[Wanted]:
        try:
            users = message["users"] if "users" in message else [message["userId"]]
        except KeyError:
            return Parsed(envelope.message_id, rejected=[Rejected(InvalidMessage("no userId"), body)])
        return Parsed(envelope.message_id, [Wanted(user) for user in users])

    def handle(self, work: Wanted, envelope: Envelope, time: TimeLeft) -> str:  # noqa: ARG002 - the protocol's
        begun = self.jobs.begin(
            work.request(envelope),
            again=lambda found: envelope.sent_at > (_answered_from(found) or clock.EPOCH),
            continues=envelope.continues,
        )
        if isinstance(begun, FunctionRun):
            with self.jobs.ending(begun, dead_letter=True):
                self.jobs.beat(begun, {"percent": 10, "message": "counting"})
                if self.jobs.complete(begun, {"count": self.service.count(), "file": f"{begun.fence}.json"}):
                    self.done[work.job_id, begun.begun_by] += 1
        return work.job_id

    def answer(self, job: FunctionJob | None) -> dict[str, Any]:
        return dict(job.result) if job else {}


def _answered_from(found: FunctionJob) -> datetime | None:
    return found.ended_at if found.status is Status.CANCELLED else found.started_at


@dataclass
class RoomWorld:
    """Table, queue, service and function."""

    aws: Aws
    time: Time
    service: CountingService = field(default_factory=CountingService)
    done: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    sqs: ModelSqs = field(init=False)

    def __post_init__(self) -> None:
        self.sqs = ModelSqs(self.time, {QUEUE: RedrivePolicy(DEAD, MAX_RECEIVES)})

    # ---- the function -----------------------------------------------------------------------------------------------

    def jobs(self) -> FunctionJobs:
        table = cast("Any", Shaky(self.aws.dynamodb, TABLE))
        return FunctionJobs(table, self.aws.jobs_table, keep_ended_jobs=KEEP)

    def intake(self) -> Intake[Wanted]:
        sqs = cast("Any", Shaky(self.sqs, QUEUES))
        worker = Counting(self.jobs(), self.service, self.done)
        return Intake(worker, Outbox(sqs, QUEUE), MAX_RECEIVES, DeadLetterQueue(sqs, DEAD))

    def deliver(self, kept: Kept, life: Life = CALM) -> Invocation:
        """Delivers a message to an invocation of its own."""
        invocation = Invocation(life, self.struck)
        record = self.sqs.receive(QUEUE, kept)

        def handle() -> None:
            if record is None:
                return
            answer = self.intake().consume({"Records": [record]}, TimeLeft(lambda: 300_000))
            if not answer["batchItemFailures"]:
                self.sqs.acknowledge(QUEUE, record)

        invocation.run(handle)
        return invocation

    def deliver_visible(self) -> bool:
        """Delivers every visible message. False if there is none."""
        visible = self.sqs.visible(QUEUE)
        for kept in visible:
            self.deliver(kept)
        return bool(visible)

    def settle(self, for_: timedelta = timedelta(minutes=20)) -> None:
        """Delivers messages for a while, each as soon as it is visible."""
        until = self.time.now + for_
        while self.time.now < until:
            while self.deliver_visible():
                pass
            self.time.advance(timedelta(seconds=30))

    def reconcile(self) -> None:
        """Repairs jobs as the reconciler does: those that its index lists."""
        repair = FunctionRepair(
            self.jobs(), cast("Any", self.sqs), QUEUE, GRACE, lambda request: json.dumps(request.input)
        )
        for row in self.rows():
            if row["status"] in (Status.PENDING, Status.RUNNING):
                repair.ask_again(row["jobId"])

    def ask(self, user: str = "ada") -> Kept:
        return self.sqs.put(QUEUE, Wanted(user).body)

    def announce(self, user: str = "ada") -> None:
        """Records a job as the API does, which then died before it sent the message."""
        request = Wanted(user).request(Envelope(f"announced at {self.time.now}", self.time.now))
        Records(self.aws.dynamodb, self.aws.jobs_table).announce(request, fingerprint="")

    def cancel(self, user: str = "ada") -> Cancellation | None:
        """Cancels a job as the API does. None if there is no such job."""
        store = Store(self.aws.dynamodb, self.aws.jobs_table, self.aws.lanes_table, keep_ended_jobs=KEEP)
        job = store.get(Wanted(user).job_id)
        return Canceller(store, {}).cancel(job) if isinstance(job, Job) else None

    # ---- results ----------------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        read = TypeDeserializer().deserialize
        found = sorted(_items(self.aws.jobs_table), key=lambda item: str(item["jobId"]))
        return [{name: read(value) for name, value in item.items()} for item in found]

    def row(self, user: str = "ada") -> dict[str, Any]:
        """The job's item; empty if there is none."""
        return next((row for row in self.rows() if row["jobId"] == Wanted(user).job_id), {})

    def outcome(self, user: str = "ada") -> tuple[str | None, str | None]:
        """A job's status and error code."""
        row = self.row(user)
        return row.get("status"), row.get("error", {}).get("code")

    @property
    def messages(self) -> list[Kept]:
        return list(self.sqs.on(QUEUE).values())

    @property
    def dead_letters(self) -> list[str]:
        """The dead letters' error types; empty for messages that SQS itself moved there."""
        return [kept.attributes.get("ErrorType", "") for kept in self.sqs.on(DEAD).values()]
