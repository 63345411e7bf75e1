"""Courses of events through the deployed system, each of which fails if a function lacks something it needs for them.

`proves` says which permissions a course is there for: the tool tries those courses first, and tests/template holds that
every permission of the template has one, or an excuse.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from local.environment import ROOT
from local.stack import LocalStack
from local.view import LANE
from tests.iam.permissions import Permission
from tests.integration.system import PATIENCE, Item, System

SLOTS: Final = {"pk": {"S": f"LANE#{LANE}"}, "sk": {"S": "SLOTS"}}
NOBODY: Final = {":nobody": {"SS": ["nobody"]}}
LAST_CHANCE: Final = 4
"""Refused starts after which the next is the last: one fewer than the template's MaxReceiveCount."""


class Hands(System):
    """A test's hands, with a patience of their own, and able to put things as a crash would have left them."""

    def __init__(self, stack: LocalStack, gates: Path, ledger: Path, patience: float = PATIENCE) -> None:
        super().__init__(stack, gates, ledger)
        self._patience = patience

    def until[Found](
        self, look: Callable[[], Found | None], what: str, *, seconds: float = PATIENCE, every: float = 0.1
    ) -> Found:
        """As `System.until`, for no longer than our patience lasts."""
        return super().until(look, what, seconds=min(seconds, self._patience), every=every)

    @property
    def _lanes(self) -> str:
        return self.stack.resource("LanesTable")

    def fill_lane(self) -> None:
        """Give the only slot to a job that nobody knows of: a slot that leaked."""
        self.stack.client("dynamodb").update_item(
            TableName=self._lanes, Key=SLOTS, UpdateExpression="ADD holders :nobody", ExpressionAttributeValues=NOBODY
        )

    def empty_lane(self) -> None:
        """Take it back, and start nobody: as whoever dies between the two."""
        self.stack.client("dynamodb").update_item(
            TableName=self._lanes,
            Key=SLOTS,
            UpdateExpression="DELETE holders :nobody",
            ExpressionAttributeValues=NOBODY,
        )

    def leave_a_last_chance(self) -> None:
        """Let every waiting job have been refused as often as it may be."""
        dynamodb = self.stack.client("dynamodb")
        waiting = dynamodb.query(
            TableName=self._lanes,
            KeyConditionExpression="pk = :lane AND begins_with(sk, :wait)",
            ExpressionAttributeValues={":lane": SLOTS["pk"], ":wait": {"S": "WAIT#"}},
        )["Items"]
        for entry in waiting:
            dynamodb.update_item(
                TableName=self._lanes,
                Key={"pk": entry["pk"], "sk": entry["sk"]},
                UpdateExpression="SET attempts = :attempts",
                ExpressionAttributeValues={":attempts": {"N": str(LAST_CHANCE)}},
            )

    def let_grace_pass(self, job: Item) -> None:
        """Let a job have been claimed an hour ago."""
        then = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.stack.client("dynamodb").update_item(
            TableName=self.stack.resource("JobsTable"),
            Key={"jobId": {"S": job["jobId"]}},
            UpdateExpression="SET claimedAt = :then",
            ExpressionAttributeValues={":then": {"S": then}},
        )

    def waiting(self) -> str:
        """Upload one that finds its lane full, and wait until it waits; its key."""
        key = self.upload()
        self.wait_for(key, "WAITING")
        return key

    def running(self) -> str:
        """Upload one that runs until it is released; its key."""
        key = self.upload(gate=True)
        self.wait_for(key, "RUNNING")
        return key

    @contextlib.contextmanager
    def started_unnoticed(self) -> Iterator[tuple[Item, Item]]:
        """A claim whose start succeeded, though nobody heard: the message that asked for it, and the job.

        Batch's answer was lost, its events are, and the run has not got as far as its worker's first word.
        """
        key = self.place()
        self.fault("events", "drop")
        self.fault("SubmitJob", "reset_after_effect", times=1)
        with self.booting(key):
            body = {"bucket": self.bucket, "key": key}
            message = self._delivery(body, self.send(body))
            job = self.wait_for(key, "CLAIMED")
            self.until(lambda: self.submissions(job["jobId"]), "the start that nobody heard of")
            self.let_grace_pass(job)
            yield message, job

    def _delivery(self, body: Item, message_id: str) -> dict[str, Any]:
        """The event of a later delivery of a message."""
        event: dict[str, Any] = json.loads((ROOT / "events" / "sqs_to_batch" / "plain_bucket_key.json").read_text())
        [record] = event["Records"]
        record |= {"messageId": message_id, "body": json.dumps(body)}
        record["attributes"]["ApproximateReceiveCount"] = "2"
        return event


@dataclass(frozen=True)
class Probe:
    """A course of events: raises AssertionError where it goes otherwise."""

    name: str
    run: Callable[[Hands], None]
    claims: frozenset[tuple[str, str]]

    def claimed(self, permission: Permission) -> bool:
        """Whether it is there for this permission."""
        return (permission.function, permission.what) in self.claims


PROBES: Final[list[Probe]] = []


def proves(**permissions: Sequence[str]) -> Callable[[Callable[[Hands], None]], Callable[[Hands], None]]:
    """Make a function a probe, there for these permissions of each function."""

    def register(run: Callable[[Hands], None]) -> Callable[[Hands], None]:
        claims = frozenset((function, what) for function, whats in permissions.items() for what in whats)
        PROBES.append(Probe(run.__name__.replace("_", " "), run, claims))
        return run

    return register


START: Final = (
    "batch:SubmitJob on job-queue, job-definition, job",
    "batch:TagResource on job-queue, job-definition, job",
)
FIND: Final = ("batch:ListJobs on *", "batch:DescribeJobs on *")


# ---- messages become jobs -------------------------------------------------------------------------------------------


@proves(
    sqs_to_batch=[
        "dynamodb:UpdateItem on JobsTable",
        "dynamodb:PutItem on LanesTable",
        "dynamodb:UpdateItem on LanesTable",
        *START,
    ],
    track_job=[
        "dynamodb:GetItem on JobsTable",
        "dynamodb:UpdateItem on JobsTable",
        "dynamodb:UpdateItem on LanesTable",
        "dynamodb:DeleteItem on LanesTable",
    ],
)
def an_upload_becomes_a_completed_job(system: Hands) -> None:
    key = system.upload()

    [job] = system.completed(key)

    system.drained("VideoQueue")
    system.drained("TrackQueue")
    assert not system.lane().holders, "its slot is still taken"
    assert len(system.submissions(job["jobId"])) == 1, "it was started twice"
    # Nothing else would notice if a function could not write its log.
    system.until(lambda: system.log("SqsToBatchFunction") or None, "the log of sqs_to_batch")
    system.until(lambda: system.log("TrackJobFunction") or None, "the log of track_job")


@proves(sqs_to_batch=["dynamodb:GetItem on JobsTable"])
def an_upload_told_twice_runs_once(system: Hands) -> None:
    key = system.running()

    system.send(
        {"eventType": "video-uploaded", "video": {"id": "another"}, "s3": {"bucket": system.bucket, "key": key}}
    )
    system.drained("VideoQueue")

    system.release(key)
    system.completed(key)


@proves(sqs_to_batch=["dynamodb:DeleteItem on LanesTable", "sqs:ChangeMessageVisibility on VideoQueue"])
def a_refused_start_is_tried_again_long_before_the_visibility_timeout(system: Hands) -> None:
    system.fault("SubmitJob", "refuse", times=1)

    system.completed(system.upload())


@proves(sqs_to_batch=["dynamodb:GetItem on LanesTable", "dynamodb:Query on LanesTable"])
def the_next_message_starts_those_who_wait_beside_a_free_slot(system: Hands) -> None:
    system.fill_lane()
    first = system.waiting()
    system.empty_lane()

    second = system.upload()

    system.completed(first, second)


@proves(sqs_to_batch=FIND)
def a_later_delivery_adopts_what_was_started_unnoticed(system: Hands) -> None:
    with system.started_unnoticed() as (message, job):
        assert system.invoke("SqsToBatchFunction", message) == {"batchItemFailures": []}, "the message is to come back"
        _is_adopted(system, job)


@proves(sqs_to_batch=["sqs:SendMessage on VideoDeadLetterQueue"])
def rubbish_is_dead_lettered(system: Hands) -> None:
    system.send("rubbish")

    _is_dead_lettered(system, "VideoDeadLetterQueue", "INVALID_MESSAGE")


# ---- jobs end, and others start -------------------------------------------------------------------------------------


@proves(
    track_job=[
        "dynamodb:GetItem on LanesTable",
        "dynamodb:Query on LanesTable",
        "dynamodb:PutItem on LanesTable",
        *START,
    ]
)
def the_next_job_starts_when_one_ends(system: Hands) -> None:
    first = system.running()
    second = system.waiting()

    system.release(first)

    system.completed(first, second)


@proves(track_job=["sqs:ChangeMessageVisibility on TrackQueue"])
def the_next_job_starts_soon_though_its_start_was_throttled(system: Hands) -> None:
    first = system.running()
    second = system.waiting()
    system.fault("SubmitJob", "throttle", times=1)

    system.release(first)

    system.completed(first, second)


@proves(track_job=["sqs:SendMessage on VideoDeadLetterQueue"])
def a_job_refused_too_often_is_dead_lettered_when_one_ends(system: Hands) -> None:
    first = system.running()
    second = system.waiting()
    system.leave_a_last_chance()
    system.fault("SubmitJob", "refuse", times=1)

    system.release(first)

    _is_given_up(system, second)


@proves(track_job=["sqs:SendMessage on TrackDeadLetterQueue"])
def a_state_change_that_is_none_is_dead_lettered(system: Hands) -> None:
    system.send("rubbish", "TrackQueue")

    _is_dead_lettered(system, "TrackDeadLetterQueue", "INVALID_MESSAGE")


# ---- what events missed is repaired ---------------------------------------------------------------------------------


@proves(
    reconcile_jobs=[
        "dynamodb:Query on JobsTable/index/byStatus",
        "dynamodb:GetItem on JobsTable",
        "dynamodb:UpdateItem on JobsTable",
        *FIND,
    ]
)
def the_reconciler_adopts_what_was_started_unnoticed(system: Hands) -> None:
    with system.started_unnoticed() as (_, job):
        system.invoke("ReconcileJobsFunction")
        _is_adopted(system, job)


@proves(
    reconcile_jobs=[
        "dynamodb:ConditionCheckItem on JobsTable",
        "dynamodb:GetItem on LanesTable",
        "dynamodb:PutItem on LanesTable",
        "dynamodb:UpdateItem on LanesTable",
        "dynamodb:DeleteItem on LanesTable",
        "dynamodb:Query on LanesTable",
        *START,
    ]
)
def the_reconciler_frees_a_leaked_slot_and_starts_who_waits(system: Hands) -> None:
    system.fill_lane()
    key = system.waiting()

    system.invoke("ReconcileJobsFunction")

    system.completed(key)


@proves(reconcile_jobs=["sqs:SendMessage on VideoDeadLetterQueue"])
def a_job_refused_too_often_is_dead_lettered_by_the_reconciler(system: Hands) -> None:
    system.fill_lane()
    key = system.waiting()
    system.leave_a_last_chance()
    system.fault("SubmitJob", "refuse", times=1)

    with contextlib.suppress(AssertionError):  # a refused start is a failure of its run too
        system.invoke("ReconcileJobsFunction")

    _is_given_up(system, key)


@proves(reconcile_jobs=["sqs:SendMessage on ReconcileDeadLetterQueue"])
def a_failed_run_of_the_reconciler_is_dead_lettered(system: Hands) -> None:
    system.running()
    system.fault("DescribeJobs", "refuse")

    # Not waiting for its answer, as the schedule does it.
    system.stack.client("lambda").invoke(
        FunctionName=system.stack.resource("ReconcileJobsFunction"), InvocationType="Event", Payload=b"{}"
    )

    system.until(lambda: system.messages("ReconcileDeadLetterQueue") or None, "the dead letter")
    system.until(lambda: system.log("ReconcileJobsFunction") or None, "the log of reconcile_jobs")


def _is_adopted(system: Hands, job: Item) -> None:
    found = system.job(job["source"]["key"]) or {}
    started = [run["jobId"] for run in system.submissions(job["jobId"])]
    assert [found.get("targetId")] == started, "the run was not adopted"


def _is_given_up(system: Hands, key: str) -> None:
    _is_dead_lettered(system, "VideoDeadLetterQueue", "START_REFUSED")
    system.wait_for(key, "FAILED")


def _is_dead_lettered(system: Hands, queue: str, error_type: str) -> None:
    dead = system.until(lambda: system.messages(queue) or None, "the dead letter")
    assert [message["attributes"].get("ErrorType") for message in dead] == [error_type], "another dead letter came"
