"""Scenarios on the deployed system. Each fails if a function lacks a permission it needs for it.

`proves` names a probe's permissions and its road (tests/integration/roads). The tool tries those probes first, and
tests/template checks that every permission of the template has a probe or an excuse.
"""

import contextlib
import json
import os
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from local import api
from local.environment import ROOT
from local.players import Players
from local.stack import STACK_NAME, VECTOR_INDEX, LocalStack
from tests.fakes.receiver import receiving
from tests.iam.permissions import Permission
from tests.integration.listening import listening, told
from tests.integration.roads import BATCH, ECS, Road
from tests.integration.system import PATIENCE, Item, System

PLAYER: Final = "76561197960287930"
OTHER: Final = "76561197960287931"
GAMES: Final = 5
NOBODY: Final = "nobody"
LAST_CHANCE: Final = 4
"""Refused starts that leave one last try: one fewer than the template's MaxReceiveCount."""


class Hands(System):
    """A system with its own patience, which can also set up states that a crash leaves."""

    def __init__(
        self, stack: LocalStack, gates: Path, ledger: Path, road: Road = BATCH, patience: float = PATIENCE
    ) -> None:
        super().__init__(stack, gates, ledger, road)
        self._patience = patience

    def until[Found](
        self, look: Callable[[], Found | None], what: str, *, seconds: float = PATIENCE, every: float = 0.1
    ) -> Found:
        """Waits like `System.until`, but no longer than our patience."""
        return super().until(look, what, seconds=min(seconds, self._patience), every=every)

    # ---- states that a crash leaves

    @property
    def _lanes(self) -> str:
        return self.stack.resource("LanesTable")

    @property
    def _slots(self) -> dict[str, Any]:
        return {"pk": {"S": f"LANE#{self.road.lane}"}, "sk": {"S": "SLOTS"}}

    def fill_lane(self) -> None:
        """Gives the only slot to an unknown job: a leaked slot."""
        self.stack.client("dynamodb").put_item(TableName=self._lanes, Item=self._hold)
        self._count(1)

    def empty_lane(self) -> None:
        """Frees the slot without starting a job, as a crash between the two does."""
        self.stack.client("dynamodb").delete_item(TableName=self._lanes, Key=self._hold)
        self._count(-1)

    def fill_lane_as_before(self) -> None:
        """Gives the only slot to an unknown job, as earlier versions wrote it."""
        self.stack.client("dynamodb").update_item(
            TableName=self._lanes,
            Key=self._slots,
            UpdateExpression="ADD holders :nobody",
            ExpressionAttributeValues={":nobody": {"SS": [NOBODY]}},
        )

    @property
    def _hold(self) -> dict[str, Any]:
        return {"pk": {"S": f"HOLDS#{self.road.lane}"}, "sk": {"S": NOBODY}}

    def _count(self, change: int) -> None:
        self.stack.client("dynamodb").update_item(
            TableName=self._lanes,
            Key=self._slots,
            UpdateExpression="ADD taken :change, moves :one",
            ExpressionAttributeValues={":change": {"N": str(change)}, ":one": {"N": "1"}},
        )

    def leave_a_last_chance(self) -> None:
        """Leaves every waiting job one last start."""
        dynamodb = self.stack.client("dynamodb")
        waiting = dynamodb.query(
            TableName=self._lanes,
            KeyConditionExpression="pk = :lane AND begins_with(sk, :wait)",
            ExpressionAttributeValues={":lane": self._slots["pk"], ":wait": {"S": "WAIT#"}},
        )["Items"]
        for entry in waiting:
            dynamodb.update_item(
                TableName=self._lanes,
                Key={"pk": entry["pk"], "sk": entry["sk"]},
                UpdateExpression="SET attempts = :attempts",
                ExpressionAttributeValues={":attempts": {"N": str(LAST_CHANCE)}},
            )

    def let_grace_pass(self, job: Item) -> None:
        """Moves a job's claim an hour into the past."""
        self._set(job, "claimedAt", _written(datetime.now(UTC) - timedelta(hours=1)))

    def want_cancelled(self, job: Item) -> None:
        """Records a job's cancel request without stopping its run, as a crash in between does."""
        self._set(job, "cancelRequestedAt", _written(datetime.now(UTC)))

    def let_it_be_silent(self, job: Item) -> None:
        """Moves a torrent job's last sign of life two hours into the past."""
        for attribute in ("createdAt", "updatedAt", "heartbeatAt"):
            self._set(job, attribute, _written(datetime.now(UTC) - timedelta(hours=2)))

    def let_it_be_pending(self, job: Item) -> None:
        """Makes a job pending without a message, as a crash before sending it does."""
        self._set(job, "status", "PENDING")

    def let_it_have_ended(self, key: str) -> None:
        """Ends a waiting job but leaves its entry in the waiting room."""
        self._set(self.wait_for(key, "WAITING"), "status", "CANCELLED")

    def _set(self, job: Item, attribute: str, value: str) -> None:
        self.stack.client("dynamodb").update_item(
            TableName=self.stack.resource("JobsTable"),
            Key={"jobId": {"S": job["jobId"]}},
            UpdateExpression="SET #attribute = :value",
            ExpressionAttributeNames={"#attribute": attribute},
            ExpressionAttributeValues={":value": {"S": value}},
        )

    @contextlib.contextmanager
    def target_silent(self) -> Iterator[None]:
        """Stops Batch and ECS from answering while the block runs. They handle the calls afterwards."""
        os.kill(self.stack.compute.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.stack.compute.pid, signal.SIGCONT)

    def let_it_be_cut_off(self, steam_id: str, plan: str) -> None:
        """Makes an account's last import one that was cut off after its plan was written."""
        self.stack.client("dynamodb").update_item(
            TableName=self.stack.resource("LibraryTable"),
            Key={"pk": {"S": "USER#user-1"}, "sk": {"S": f"ACCOUNT#{steam_id}"}},
            UpdateExpression="SET planKey = :plan",
            ExpressionAttributeValues={":plan": {"S": plan}},
        )

    # ---- steps

    @property
    def players(self) -> Players:
        """The stand-in for Steam and IGDB."""
        return Players(self.stack.steam.url)

    def player(self, steam_id: str) -> None:
        """Sets a player with some games, and Steam in a good mood."""
        self.players.calm()
        self.players.put(steam_id, games=GAMES)

    def waits(self, steam_id: str) -> bool:
        """Returns whether the import of a player waits, or is done after a wait."""
        return any("waitsUntil" in job or job["fence"] > 1 for job in self._imports(steam_id))

    def imported(self, steam_id: str) -> bool:
        """Returns whether a player's import is done."""
        return any(job["status"] == "COMPLETED" for job in self._imports(steam_id))

    def matched(self, steam_id: str) -> bool:
        """Returns whether games of a player were found in IGDB."""
        return any(job["result"]["matched"] for job in self._imports(steam_id))

    def _imports(self, steam_id: str) -> list[Item]:
        return [each for each in self._items() if each.get("request") and f'"steamId":"{steam_id}"' in each["request"]]

    def share(self) -> str:
        """Uploads an object that gets a torrent, and returns its key."""
        return self.place(f"recordings/{uuid.uuid4()}/clip.mp4")

    def scratch_uploads(self) -> set[str]:
        """Returns the ids of existing uploads that make S3 compute hashes."""
        found = self.stack.client("s3").list_multipart_uploads(Bucket=self.bucket, Prefix="torrent-scratch/")
        return {upload["UploadId"] for upload in found.get("Uploads", [])}

    def retried(self, function: str) -> bool:
        """Returns whether the function has returned a message to its queue."""
        return any(line.get("message") == "message comes back" for line in self.log(function))

    def waiting(self) -> str:
        """Uploads a video while the lane is full, waits until it is WAITING, and returns its key."""
        key = self.upload()
        self.wait_for(key, "WAITING")
        return key

    def running(self) -> str:
        """Uploads a video whose job runs until it is released, and returns its key."""
        key = self.upload(gate=True)
        self.wait_for(key, "RUNNING")
        # The target's event may come before the worker's fence check, which a cancel would end by itself.
        self.until(lambda: bool(self.runs(key)), "its worker to be at work")
        return key

    @contextlib.contextmanager
    def started_unnoticed(self) -> Iterator[tuple[Item, Item]]:
        """Yields the message and the job of a claim whose start succeeded unnoticed.

        The target's answer and its events are lost, and the run's worker has not started yet.
        """
        key = self.place()
        self.fault("events", "drop")
        self.fault(self.road.start, "reset_after_effect", times=self.road.tries)
        with self.booting(key):
            body = self.unversioned(key)
            message = self._delivery(body, self.send(body))
            job = self.wait_for(key, "CLAIMED")
            self.until(lambda: self.starts(job["jobId"]) or None, "the unnoticed start")
            self.until(lambda: self.fired(self.road.start) == self.road.tries, "the last lost answer")
            self.let_grace_pass(job)
            yield message, job

    def _delivery(self, body: Item, message_id: str) -> dict[str, Any]:
        """Returns the event of a later delivery of a message."""
        event: dict[str, Any] = json.loads((ROOT / "events" / "sqs_to_batch" / "plain_bucket_key.json").read_text())
        [record] = event["Records"]
        record |= {"messageId": message_id, "body": json.dumps(body)}
        record["attributes"]["ApproximateReceiveCount"] = "2"
        return event

    def state_change(self, key: str) -> Item:
        """Returns the state change event for the only run of an object's job."""
        job = self.job(key) or {}
        [run] = self.starts(job["jobId"])
        source, what = ("aws.batch", "Batch Job") if self.road is BATCH else ("aws.ecs", "ECS Task")
        return {"source": source, "detail-type": f"{what} State Change", "detail": run.detail}

    def stopped(self, job: Item) -> None:
        """Waits until the job's run was told to end. Its worker may also notice a cancel and end by itself."""

        def told() -> bool:
            runs = [run.detail for run in self.starts(job["jobId"])]
            return any(run.get("isTerminated") or run.get("stopCode") == "UserInitiated" for run in runs)

        self.until(told, "its run to be told to end")

    def logged(self, *functions: str) -> None:
        """Waits until each of the functions has logged something: no other check notices a missing log."""
        for function in functions:
            self.until(lambda: bool(self.log(function)), f"the log of {function}")  # noqa: B023 - called at once

    # ---- the API

    def ask(self, method: str, path: str, expected: int, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        """Sends a request to the API and returns the answer.

        Raises:
            AssertionError: If its status is not the expected one.
        """
        with api.client(self.stack) as client:
            answer = client.request(method, path, **request)
        assert answer.status_code == expected, f"{method} {path}: {answer.status_code} {answer.text[:80]}"
        return answer

    def submit(self, **headers: str) -> tuple[str, Item]:
        """Submits an image job over the API, and returns its object's key and the request's body."""
        key = self.place()
        body = {"imageUrls": [f"s3://{self.bucket}/{key}"], "userId": "user-1"}
        self.ask("POST", "/process", 202, json=body, headers=headers)
        return key, body

    def put(self, signed: Item) -> None:
        """Uploads with a presigned URL."""
        answer = httpx.put(signed["url"], headers=signed["headers"], content=b"x" * 16, trust_env=False)
        assert answer.status_code == 200, f"S3 answers {answer.status_code}"


@dataclass(frozen=True)
class Probe:
    """A scenario. Raises AssertionError if it does not go as expected."""

    name: str
    run: Callable[[Hands], None]
    road: Road
    claims: frozenset[tuple[str, str]]

    def claimed(self, permission: Permission) -> bool:
        """Returns whether the probe is meant to prove this permission."""
        return (permission.function, permission.what) in self.claims


PROBES: Final[list[Probe]] = []


def proves(
    road: Road = BATCH, **permissions: Sequence[str]
) -> Callable[[Callable[[Hands], None]], Callable[[Hands], None]]:
    """Registers a function as a probe over a road, for these permissions of each function."""

    def register(run: Callable[[Hands], None]) -> Callable[[Hands], None]:
        claims = frozenset((function, what) for function, whats in permissions.items() for what in whats)
        over = "" if road is BATCH else f", over {road}"
        PROBES.append(Probe(run.__name__.replace("_", " ") + over, run, road, claims))
        return run

    return register


START: Final = (
    "batch:SubmitJob on job-queue, job-definition, job",
    "batch:TagResource on job-queue, job-definition, job",
)
START_TASK: Final = (
    "ecs:RunTask on task-definition",
    "ecs:TagResource on task",
    "iam:PassRole on TaskRoleArns",
)
FIND: Final = ("batch:ListJobs on *", "batch:DescribeJobs on *")
STOP: Final = ("batch:DescribeJobs on *", "batch:TerminateJob on job")
STOP_TASK: Final = ("ecs:DescribeTasks on task", "ecs:StopTask on task")


# ---- messages become jobs -------------------------------------------------------------------------------------------


@proves(
    ECS,
    dispatch_to_ecs=[
        "dynamodb:UpdateItem on JobsTable",
        "dynamodb:PutItem on LanesTable",
        "dynamodb:UpdateItem on LanesTable",
        *START_TASK,
    ],
)
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
def a_requested_job_completes(system: Hands) -> None:
    key = system.upload()

    [job] = system.completed(key)

    system.drained()
    system.drained("TrackQueue")
    assert not system.lane().holders, "its slot is still taken"
    assert len(system.starts(job["jobId"])) == 1, "it was started twice"
    system.logged(system.road.dispatcher, "TrackJobFunction")


@proves(sqs_to_batch=["dynamodb:GetItem on JobsTable"])
def an_upload_announced_twice_runs_once(system: Hands) -> None:
    key = system.running()

    system.send(
        {"eventType": "video-uploaded", "video": {"id": "another"}, "s3": {"bucket": system.bucket, "key": key}}
    )
    system.drained()

    system.release(key)
    system.completed(key)


@proves(ECS, dispatch_to_ecs=["sqs:ChangeMessageVisibility on EcsQueue"])
@proves(sqs_to_batch=["dynamodb:DeleteItem on LanesTable", "sqs:ChangeMessageVisibility on VideoQueue"])
def a_refused_start_is_tried_again_long_before_the_visibility_timeout(system: Hands) -> None:
    system.fault(system.road.start, "refuse", times=1)

    system.completed(system.upload())


@proves(ECS, dispatch_to_ecs=["sqs:SendMessage on TrackQueue"])
@proves(sqs_to_batch=["sqs:SendMessage on TrackQueue"])
def a_job_that_found_no_room_starts_soon(system: Hands) -> None:
    system.fault(system.road.start, "throttle", times=system.road.tries)

    system.completed(system.upload())


@proves(
    ECS,
    dispatch_to_ecs=[
        "dynamodb:GetItem on JobsTable",
        "dynamodb:GetItem on LanesTable",
        "dynamodb:Query on LanesTable",
        "dynamodb:DeleteItem on LanesTable",
    ],
)
@proves(sqs_to_batch=["dynamodb:GetItem on LanesTable", "dynamodb:Query on LanesTable"])
def the_next_message_starts_jobs_that_wait_although_a_slot_is_free(system: Hands) -> None:
    first = _behind_a_leaked_slot(system)

    second = system.upload()

    system.completed(first, second)


@proves(ECS, dispatch_to_ecs=["dynamodb:ConditionCheckItem on JobsTable"])
@proves(sqs_to_batch=["dynamodb:ConditionCheckItem on JobsTable"])
def the_next_message_drops_an_entry_that_need_not_wait(system: Hands) -> None:
    system.let_it_have_ended(_behind_a_leaked_slot(system))

    system.completed(system.upload())


@proves(ECS, dispatch_to_ecs=["ecs:ListTasks on *"])
@proves(sqs_to_batch=FIND)
def a_later_delivery_adopts_a_run_that_started_unnoticed(system: Hands) -> None:
    with system.started_unnoticed() as (message, job):
        assert system.invoke(system.road.dispatcher, message) == {"batchItemFailures": []}, (
            "the message would come back"
        )
        _is_adopted(system, job)


@proves(ECS, dispatch_to_ecs=["sqs:SendMessage on EcsDeadLetterQueue"])
@proves(sqs_to_batch=["sqs:SendMessage on VideoDeadLetterQueue"])
def an_invalid_message_is_dead_lettered(system: Hands) -> None:
    system.send("rubbish")

    _is_dead_lettered(system, system.road.dead_letters, "INVALID_MESSAGE")


@proves(ECS, dispatch_to_ecs=STOP_TASK)
@proves(sqs_to_batch=STOP)
def a_job_cancelled_while_it_starts_is_stopped(system: Hands) -> None:
    key = system.place()
    with system.booting(key):
        with system.target_silent():
            system.send(system.unversioned(key))
            job = system.wait_for(key, "CLAIMED")
            system.ask("DELETE", f"/jobs/{job['jobId']}", 202)
        system.stopped(job)


# ---- objects get torrents --------------------------------------------------------------------------------------------


@proves(
    ECS,
    s3_torrent_creator=[
        "dynamodb:UpdateItem on JobsTable",
        "s3:GetObject on MediaBucket",
        "s3:GetObjectVersion on MediaBucket",
        "s3:GetObjectAttributes on MediaBucket",
        "s3:PutObject on MediaBucket",
        "sqs:SendMessage on EcsQueue",
    ],
)
def a_shared_object_gets_its_torrent_and_is_seeded(system: Hands) -> None:
    [job] = system.completed(system.share())

    found = system.stack.client("s3").head_object(Bucket=system.bucket, Key=job["result"]["torrentKey"])
    assert found["Metadata"]["info-hash"] == job["result"]["infohash"], "another torrent is there"
    seeding = f"{job['jobId']}-seed"
    system.until(lambda: any(each["jobId"] == seeding for each in system._items()), "the job that seeds it")
    system.logged("S3TorrentCreatorFunction")


@proves(s3_torrent_creator=["dynamodb:GetItem on JobsTable"])
def who_asks_for_a_torrent_directly_is_told_of_it(system: Hands) -> None:
    asked = {"bucket": system.bucket, "key": system.place()}

    assert system.invoke("S3TorrentCreatorFunction", asked)["status"] == "COMPLETED", "another answer"


@proves(s3_torrent_creator=["sqs:SendMessage on TorrentQueue"])
def several_objects_in_one_message_get_a_torrent_each(system: Hands) -> None:
    keys = [system.place(), system.place()]
    system.send({"Records": [system.notification(key)["Records"][0] for key in keys]}, "TorrentQueue")

    system.completed(*keys)


@proves(s3_torrent_creator=["sqs:ChangeMessageVisibility on TorrentQueue"])
def a_torrent_that_failed_is_tried_again_long_before_the_visibility_timeout(system: Hands) -> None:
    key = system.place()
    with system.variables("S3TorrentCreatorFunction", JOBS_TABLE="gone"):
        system.send({"bucket": system.bucket, "key": key}, "TorrentQueue")
        system.until(lambda: system.retried("S3TorrentCreatorFunction"), "the failure")

    system.completed(key)


@proves(s3_torrent_creator=["sqs:SendMessage on TorrentDeadLetterQueue"])
def an_invalid_torrent_request_is_dead_lettered(system: Hands) -> None:
    system.send("rubbish", "TorrentQueue")

    _is_dead_lettered(system, "TorrentDeadLetterQueue", "INVALID_MESSAGE")


@proves(s3_torrent_creator=["s3:PutObject on MediaBucket", "s3:AbortMultipartUpload on MediaBucket"])
def s3_is_asked_to_compute_hashes_and_no_upload_is_left_behind(system: Hands) -> None:
    """The emulator's copies return no hash, so the object is read after all."""
    key, before = system.place(), system.scratch_uploads()
    with system.variables("S3TorrentCreatorFunction", HASH_BY_COPY="true"):
        system.send({"bucket": system.bucket, "key": key}, "TorrentQueue")
        system.completed(key)

    assert system.scratch_uploads() <= before, "an upload is left behind"


# ---- jobs end, and others start -------------------------------------------------------------------------------------


@proves(ECS, track_job=START_TASK)
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


@proves(track_job=["dynamodb:ConditionCheckItem on JobsTable"])
def an_entry_that_need_not_wait_is_dropped_when_a_job_ends(system: Hands) -> None:
    first, second, third = system.running(), system.waiting(), system.waiting()
    system.let_it_have_ended(second)

    system.release(first)

    system.completed(third)


@proves(track_job=["sqs:ChangeMessageVisibility on TrackQueue"])
def the_next_job_starts_soon_after_a_refused_start(system: Hands) -> None:
    first = system.running()
    second = system.waiting()
    system.fault("SubmitJob", "refuse", times=1)

    system.release(first)

    system.completed(first, second)


@proves(track_job=["sqs:SendMessage on TrackQueue"])
def the_next_job_starts_soon_after_it_found_no_room(system: Hands) -> None:
    first = system.running()
    second = system.waiting()
    system.fault("SubmitJob", "throttle", times=1)

    system.release(first)

    system.completed(first, second)


@proves(ECS, track_job=["sqs:SendMessage on EcsDeadLetterQueue"])
@proves(track_job=["sqs:SendMessage on VideoDeadLetterQueue"])
def a_job_refused_too_often_is_dead_lettered_when_one_ends(system: Hands) -> None:
    first = system.running()
    second = system.waiting()
    system.leave_a_last_chance()
    system.fault(system.road.start, "refuse", times=1)

    system.release(first)

    _is_given_up(system, second)


@proves(track_job=["sqs:SendMessage on TrackDeadLetterQueue"])
def an_invalid_state_change_is_dead_lettered(system: Hands) -> None:
    system.send("rubbish", "TrackQueue")

    _is_dead_lettered(system, "TrackDeadLetterQueue", "INVALID_MESSAGE")


@proves(ECS, track_job=STOP_TASK)
@proves(track_job=STOP)
def a_waiting_job_cancelled_while_it_starts_is_stopped(system: Hands) -> None:
    first = system.upload()
    system.completed(first)
    system.drained("TrackQueue")
    end = system.state_change(first)
    second = _behind_a_leaked_slot(system)
    with system.booting(second):
        with system.target_silent():
            system.send(end, "TrackQueue")
            job = system.wait_for(second, "CLAIMED")
            system.ask("DELETE", f"/jobs/{job['jobId']}", 202)
        system.stopped(job)


# ---- libraries are imported -----------------------------------------------------------------------------------------


@proves(
    import_steam_library=[
        "dynamodb:GetItem on JobsTable",
        "dynamodb:UpdateItem on JobsTable",
        "dynamodb:PutItem on LibraryTable",
        "dynamodb:UpdateItem on LibraryTable",
        "dynamodb:ConditionCheckItem on LibraryTable",
        "dynamodb:Query on LibraryTable",
        "s3:PutObject on MediaBucket/results",
    ]
)
def a_library_is_imported(system: Hands) -> None:
    system.player(PLAYER)

    answer = system.invoke("ImportSteamLibraryFunction", {"userId": "user-1", "steamId": PLAYER})

    assert answer["result"]["added"] == GAMES, "games are missing"
    system.logged("ImportSteamLibraryFunction")


@proves(import_steam_library=["s3:GetObject on MediaBucket/results"])
def an_import_that_was_cut_off_is_finished(system: Hands) -> None:
    system.player(PLAYER)
    done = system.invoke("ImportSteamLibraryFunction", {"userId": "user-1", "steamId": PLAYER})
    system.let_it_be_cut_off(PLAYER, done["result"]["changesKey"])

    system.invoke("ImportSteamLibraryFunction", {"userId": "user-1", "steamId": PLAYER})

    assert any(line.get("message") == "continued" for line in system.log("ImportSteamLibraryFunction")), "it began anew"


@proves(import_steam_library=["sqs:SendMessage on SteamQueue", "dynamodb:GetItem on LibraryTable"])
def throttled_imports_wait_and_are_continued(system: Hands) -> None:
    for each in (PLAYER, OTHER):
        system.player(each)
    system.players.mood("*", "throttle", times=1, retryAfter="20")

    system.send({"userId": "user-1", "steamId": PLAYER}, "SteamQueue")
    system.until(lambda: system.waits(PLAYER) or None, "the throttled import to wait")
    system.send({"userId": "user-1", "steamId": OTHER}, "SteamQueue")
    system.until(lambda: system.waits(OTHER) or None, "the other import to wait")

    system.until(lambda: system.imported(PLAYER) and system.imported(OTHER), "both imports")
    assert not system.retried("ImportSteamLibraryFunction"), "their messages came back instead"


@proves(
    import_steam_library=[
        "sqs:ChangeMessageVisibility on SteamQueue",
        # Read by the process that the changed variables start; others have them in memory.
        "secretsmanager:GetSecretValue on SteamApiKeySecretArn",
        "secretsmanager:GetSecretValue on IgdbSecretArn",
    ]
)
def an_import_that_failed_is_tried_again_long_before_the_visibility_timeout(system: Hands) -> None:
    system.player(PLAYER)
    with system.variables("ImportSteamLibraryFunction", JOBS_TABLE="gone"):
        system.send({"userId": "user-1", "steamId": PLAYER}, "SteamQueue")
        system.until(lambda: system.retried("ImportSteamLibraryFunction"), "the failure")

    system.until(lambda: system.imported(PLAYER), "the import")
    assert system.matched(PLAYER), "IGDB was not asked"


@proves(import_steam_library=["sqs:SendMessage on SteamDeadLetterQueue"])
def an_invalid_import_is_dead_lettered(system: Hands) -> None:
    system.send("rubbish", "SteamQueue")

    _is_dead_lettered(system, "SteamDeadLetterQueue", "INVALID_MESSAGE")


# ---- others are told how jobs go ------------------------------------------------------------------------------------


@proves(notify=["events:PutEvents on event-bus"])
def an_end_is_put_on_the_event_bus(system: Hands) -> None:
    with listening(system.stack) as events:
        [job] = system.completed(system.upload())
        system.until(lambda: (job["jobId"], "COMPLETED") in told(events()), "the event")


@proves(
    notify=["dynamodb:Query on WebhooksTable", "sqs:SendMessage on WebhookQueue"],
    deliver_webhook=[
        "dynamodb:UpdateItem on WebhooksTable",
        "dynamodb:PutItem on WebhooksTable",
        "secretsmanager:GetSecretValue on WebhookSecret",
    ],
    manage_webhooks=[
        "dynamodb:PutItem on WebhooksTable",
        "dynamodb:Query on WebhooksTable",
        "dynamodb:GetItem on WebhooksTable",
        "dynamodb:DeleteItem on WebhooksTable",
        "secretsmanager:GetSecretValue on WebhookSecret",
    ],
)
def an_end_is_delivered_to_a_webhook(system: Hands) -> None:
    with receiving() as receiver:
        made = system.ask("POST", "/webhooks", 201, json={"url": receiver.url}).json()
        hook = f"/webhooks/{made['webhookId']}"
        try:
            receiver.secret = made["secret"]
            [job] = system.completed(system.upload())
            system.until(
                lambda: job["jobId"] in [event["data"]["jobId"] for event in receiver.verified], "the delivery"
            )
            system.until(lambda: system.ask("GET", f"{hook}/deliveries", 200).json()["deliveries"], "its outcome")
        finally:
            system.ask("DELETE", hook, 204)


@proves(
    deliver_webhook=["sqs:SendMessage on WebhookQueue"],
    manage_webhooks=["sqs:SendMessage on WebhookQueue", "dynamodb:UpdateItem on WebhooksTable"],
)
def a_failed_test_of_a_webhook_is_tried_again(system: Hands) -> None:
    with receiving() as receiver:
        made = system.ask("POST", "/webhooks", 201, json={"url": receiver.url}).json()
        hook = f"/webhooks/{made['webhookId']}"
        try:
            receiver.secret = system.ask("POST", f"{hook}/rotate", 200).json()["secret"]
            receiver.moods = [500]
            system.ask("POST", f"{hook}/test", 202)
            system.until(lambda: len(receiver.verified) == 2, "another attempt")
        finally:
            system.ask("DELETE", hook, 204)


@proves(deliver_webhook=["sqs:ChangeMessageVisibility on WebhookQueue"])
def a_delivery_that_failed_on_our_side_is_tried_again_long_before_the_visibility_timeout(system: Hands) -> None:
    with receiving() as receiver:
        made = system.ask("POST", "/webhooks", 201, json={"url": receiver.url}).json()
        hook = f"/webhooks/{made['webhookId']}"
        try:
            with system.variables("DeliverWebhookFunction", WEBHOOKS_TABLE="gone"):
                system.ask("POST", f"{hook}/test", 202)
                system.until(lambda: system.retried("DeliverWebhookFunction"), "the failure")
            system.until(lambda: receiver.requests, "the delivery")
        finally:
            system.ask("DELETE", hook, 204)


@proves(deliver_webhook=["sqs:SendMessage on WebhookDeadLetterQueue"])
def an_invalid_delivery_is_dead_lettered(system: Hands) -> None:
    system.send("rubbish", "WebhookQueue")

    _is_dead_lettered(system, "WebhookDeadLetterQueue", "INVALID_MESSAGE")


@proves(
    notify=["states:SendTaskSuccess on *", "states:SendTaskFailure on *"],
    reconcile_jobs=["dynamodb:BatchGetItem on JobsTable", "states:SendTaskHeartbeat on *"],
)
def tasks_of_step_functions_are_kept_alive_and_ended(system: Hands) -> None:
    """Nobody waits with these tokens, which is what Step Functions answers to who may ask it."""
    for plan in ({}, {"permanent": "AS_PLANNED"}):
        key = system.place(None, gate=True, **plan)
        system.send({"bucket": system.bucket, "key": key, "taskToken": f"nobody-s-{uuid.uuid4()}"})
        job = system.wait_for(key, "RUNNING")
        system.invoke("ReconcileJobsFunction")
        beats = [line for line in system.log("ReconcileJobsFunction") if "heartbeats" in line.get("message", "")]
        assert beats == [], "a heartbeat failed"
        system.release(key)
        system.until(partial(_was_told_to_its_task, system, job["jobId"]), "the task to be told")


def _was_told_to_its_task(system: Hands, job_id: str) -> bool:
    lines = [line for line in system.log("NotifyFunction") if line.get("job_id") == job_id]
    return any("no longer waits" in line.get("message", "") for line in lines)


@proves(notify=["sqs:SendMessage on NotifyDeadLetterQueue"])
def a_record_that_cannot_be_read_is_dead_lettered(system: Hands) -> None:
    system.invoke("NotifyFunction", {"Records": [{}]})

    _is_dead_lettered(system, "NotifyDeadLetterQueue", "NOT_READABLE")


# ---- what events missed is repaired ---------------------------------------------------------------------------------


@proves(ECS, reconcile_jobs=["ecs:ListTasks on *"])
@proves(
    reconcile_jobs=[
        "dynamodb:Query on JobsTable/index/byStatus",
        "dynamodb:GetItem on JobsTable",
        "dynamodb:UpdateItem on JobsTable",
        *FIND,
    ]
)
def the_reconciler_adopts_a_run_that_started_unnoticed(system: Hands) -> None:
    with system.started_unnoticed() as (_, job):
        system.invoke("ReconcileJobsFunction")
        _is_adopted(system, job)


@proves(ECS, reconcile_jobs=START_TASK)
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
def the_reconciler_frees_a_leaked_slot_and_starts_the_next_job(system: Hands) -> None:
    system.fill_lane()
    key = system.waiting()

    system.invoke("ReconcileJobsFunction")

    system.completed(key)


@proves(ECS, reconcile_jobs=STOP_TASK)
@proves(reconcile_jobs=STOP)
def the_reconciler_stops_the_run_of_a_job_to_cancel(system: Hands) -> None:
    key = system.place()
    with system.booting(key):  # its worker notices nothing
        system.send(system.unversioned(key))
        job = system.wait_for(key, "RUNNING")
        system.want_cancelled(job)

        system.invoke("ReconcileJobsFunction")

        system.stopped(job)


@proves(ECS, reconcile_jobs=["sqs:SendMessage on EcsDeadLetterQueue"])
@proves(reconcile_jobs=["sqs:SendMessage on VideoDeadLetterQueue"])
def a_job_refused_too_often_is_dead_lettered_by_the_reconciler(system: Hands) -> None:
    system.fill_lane()
    key = system.waiting()
    system.leave_a_last_chance()
    system.fault(system.road.start, "refuse", times=1)

    with contextlib.suppress(AssertionError):  # a refused start is a failure of its run too
        system.invoke("ReconcileJobsFunction")

    _is_given_up(system, key)


@proves(reconcile_jobs=["sqs:SendMessage on TrackQueue"])
def a_job_for_which_the_reconciler_found_no_room_starts_soon(system: Hands) -> None:
    system.fill_lane()
    key = system.waiting()
    system.fault(system.road.start, "throttle", times=system.road.tries)

    system.invoke("ReconcileJobsFunction")

    system.completed(key)


@proves(reconcile_jobs=["sqs:SendMessage on TorrentQueue"])
def the_reconciler_requests_an_abandoned_torrent_again(system: Hands) -> None:
    key = system.place()
    system.send({"bucket": system.bucket, "key": key}, "TorrentQueue")
    [job] = system.completed(key)
    system.drained("TorrentQueue")
    system.let_it_be_pending(job)
    system.let_it_be_silent(job)

    system.invoke("ReconcileJobsFunction")

    system.completed(key)


@proves(reconcile_jobs=["sqs:SendMessage on SteamQueue"])
def the_reconciler_requests_an_abandoned_import_again(system: Hands) -> None:
    system.player(PLAYER)
    done = system.invoke("ImportSteamLibraryFunction", {"userId": "user-1", "steamId": PLAYER})
    system.let_it_be_pending(done)
    system.let_it_be_silent(done)

    system.invoke("ReconcileJobsFunction")

    system.until(lambda: system.imported(PLAYER), "the import")


@proves(reconcile_jobs=["sqs:SendMessage on ReconcileDeadLetterQueue"])
def a_failed_run_of_the_reconciler_is_dead_lettered(system: Hands) -> None:
    system.running()
    system.fault("DescribeJobs", "refuse")

    # Asynchronously, like the schedule.
    system.stack.client("lambda").invoke(
        FunctionName=system.stack.resource("ReconcileJobsFunction"), InvocationType="Event", Payload=b"{}"
    )

    system.until(lambda: system.messages("ReconcileDeadLetterQueue") or None, "the dead letter")
    system.logged("ReconcileJobsFunction")


# ---- the API --------------------------------------------------------------------------------------------------------


@proves(presign_upload=["s3:PutObject on MediaBucket"])
def a_file_is_uploaded(system: Hands) -> None:
    wanted = {"filename": "a.jpg", "contentType": "image/jpeg", "kind": "image", "size": 16}

    system.put(system.ask("POST", "/uploads/presign", 200, json=wanted).json())


@proves(
    presign_upload=["s3:ListMultipartUploadParts on MediaBucket", "s3:AbortMultipartUpload on MediaBucket"],
)
def a_multipart_upload_is_listed_and_aborted(system: Hands) -> None:
    wanted = {"filename": "a.mkv", "contentType": "video/x-matroska", "size": 16}
    begun = system.ask("POST", "/uploads/multipart", 201, json=wanted).json()
    where = {"key": begun["key"], "uploadId": begun["uploadId"]}
    signed = system.ask("POST", "/uploads/multipart/parts", 200, json={**where, "parts": [{"partNumber": 1}]}).json()
    system.put(signed["parts"][0])

    assert system.ask("GET", "/uploads/multipart", 200, params=where).json()["parts"], "its part is not listed"
    system.ask("DELETE", "/uploads/multipart", 204, params=where)


@proves(get_job=["dynamodb:BatchGetItem on LanesTable"])
def a_waiting_job_is_shown(system: Hands) -> None:
    system.running()
    [job] = system.jobs(system.waiting())

    assert system.ask("GET", f"/jobs/{job['jobId']}", 200).json()["status"] == "WAITING", "it is not shown"


@proves(
    ECS,
    submit_job=["dynamodb:PutItem on JobsTable", "sqs:SendMessage on EcsQueue"],
    get_job=[
        "dynamodb:GetItem on JobsTable",
        "dynamodb:Query on JobsTable/index/byStatus, JobsTable/index/byUser, JobsTable/index/byKind",
        "s3:GetObject on MediaBucket/results, MediaBucket/recordings, MediaBucket/pieces/recordings, MediaBucket",
        "logs:GetLogEvents on ${JobLogs}, ${TaskLogs}",
    ],
)
def a_submitted_job_is_completed_and_found(system: Hands) -> None:
    key, _ = system.submit()

    [job] = system.completed(key)

    shown = system.ask("GET", f"/jobs/{job['jobId']}", 200).json()
    for link in shown["links"].values():
        assert httpx.get(link, trust_env=False).status_code == 200, "its result can't be read"
    for filters in ({"userId": "user-1"}, {"status": "COMPLETED"}, {"kind": "image-processing"}):
        listed = system.ask("GET", "/jobs", 200, params=filters).json()["jobs"]
        assert [each["jobId"] for each in listed] == [job["jobId"]], "it isn't listed"
    assert "lines" in system.ask("GET", f"/jobs/{job['jobId']}/logs", 200).json(), "its log can't be read"
    system.logged("SubmitJobFunction")


@proves(ECS, search_media=["s3:GetObject on MediaBucket/results, MediaBucket/recordings, MediaBucket"])
def a_found_moment_has_a_picture(system: Hands) -> None:
    job_id = str(uuid.uuid4())
    frame = f"results/{job_id}/frame.jpg"
    system.stack.client("s3").put_object(Bucket=system.bucket, Key=frame, Body=b"a picture")
    metadata = {"owner": "nobody", "job": job_id, "kind": "video-analysis", "start": 1, "end": 2, "frame": frame}
    vector = {"key": f"nobody/{job_id}/0000", "data": {"float32": [1.0] * 384}, "metadata": metadata}
    index = {"vectorBucketName": f"{STACK_NAME}-search", "indexName": VECTOR_INDEX["indexName"]}
    system.stack.client("s3vectors").put_vectors(**index, vectors=[vector])

    [hit] = system.ask("POST", "/search", 200, json={"query": "anything", "jobId": job_id}).json()["hits"]

    assert httpx.get(hit["links"]["frame"], trust_env=False).status_code == 200, "its picture can't be read"


@proves(ECS, submit_job=["dynamodb:UpdateItem on JobsTable"])
def a_repeated_request_is_queued_again(system: Hands) -> None:
    again = {"Idempotency-Key": str(uuid.uuid4())}
    key, body = system.submit(**again)
    [job] = system.completed(key)
    system.let_it_be_pending(job)

    system.ask("POST", "/process", 202, json=body, headers=again)


@proves(ECS, submit_job=["dynamodb:DeleteItem on JobsTable"])
def a_job_that_cannot_be_queued_leaves_no_record(system: Hands) -> None:
    with system.variables("SubmitJobFunction", QUEUE_URL=system.stack.resource("EcsQueue") + "-gone"):
        key = system.place()
        system.ask("POST", "/process", 503, json={"imageUrls": [f"s3://{system.bucket}/{key}"], "userId": "user-1"})

    assert system.job(key) is None, "its record is there"


@proves(
    submit_job=[
        "s3:GetObject on MediaBucket",
        "sqs:SendMessage on TorrentQueue",
    ]
)
def a_torrent_is_requested_over_the_api(system: Hands) -> None:
    key = system.share()
    [job] = system.completed(key)

    asked = system.ask("POST", "/torrents", 202, json={"key": key, "again": True}).json()

    assert asked["jobId"] == job["jobId"], "it is a different job"


@proves(
    submit_job=["sqs:SendMessage on SteamQueue"],
    get_job=[
        "dynamodb:Query on LibraryTable/index/byName, LibraryTable/index/byPlaytime, LibraryTable/index/byLastPlayed"
    ],
)
def an_import_is_requested_over_the_api_and_its_games_are_listed(system: Hands) -> None:
    system.player(PLAYER)

    system.ask("POST", "/imports/steam", 202, json={"userId": "user-1", "steamId": PLAYER})

    system.until(lambda: system.imported(PLAYER), "the import")
    for sort in ("name", "playtime", "lastPlayed"):
        games = system.ask("GET", "/users/user-1/games", 200, params={"sort": sort}).json()["games"]
        assert len(games) == GAMES, f"games are missing by {sort}"


@proves(
    cancel_job=[
        "dynamodb:GetItem on JobsTable",
        "dynamodb:UpdateItem on JobsTable",
        "dynamodb:UpdateItem on LanesTable",
        "dynamodb:DeleteItem on LanesTable",
    ]
)
def a_job_that_waits_is_cancelled(system: Hands) -> None:
    system.fill_lane()
    job = system.job(system.waiting()) or {}

    system.ask("DELETE", f"/jobs/{job['jobId']}", 200)

    assert system.lane().waiting == 0, "it still counts as waiting"


@proves(
    cancel_job=[
        "dynamodb:GetItem on LanesTable",
        "dynamodb:Query on LanesTable",
        "dynamodb:PutItem on LanesTable",
        "sqs:SendMessage on TrackQueue",
    ]
)
def a_lane_is_paused_and_resumed(system: Hands) -> None:
    system.fill_lane_as_before()
    paused = system.ask("POST", f"/lanes/{system.road.lane}/pause", 200).json()
    waits = system.waiting()
    shown = {lane["name"]: lane for lane in system.ask("GET", "/lanes", 200).json()["lanes"]}[system.road.lane]

    system.ask("POST", f"/lanes/{system.road.lane}/resume", 200)

    assert paused["paused"] == shown["paused"] == {"until": None, "reason": "OPERATOR"}
    assert shown["oldestWaitingSince"], "since when the first one waits isn't shown"
    system.wait_for(waits, "RUNNING", "COMPLETED")


@proves(ECS, cancel_job=STOP_TASK)
@proves(cancel_job=STOP)
def a_job_that_runs_is_cancelled(system: Hands) -> None:
    key = system.running()
    job = system.job(key) or {}

    system.ask("DELETE", f"/jobs/{job['jobId']}", 202)

    system.stopped(job)
    system.wait_for(key, "CANCELLED")


@proves(
    cancel_job=[
        "dynamodb:PutItem on JobsTable",
        "dynamodb:GetItem on LanesTable",
        "s3:GetObject on MediaBucket",
        "sqs:SendMessage on VideoQueue",
    ]
)
def a_video_is_analyzed_again(system: Hands) -> None:
    [job] = system.completed(system.upload())

    asked = system.ask("POST", f"/jobs/{job['jobId']}/rerun", 202).json()

    system.until(
        lambda: system.ask("GET", f"/jobs/{asked['jobId']}", 200).json()["status"] == "COMPLETED" or None, "the rerun"
    )


@proves(cancel_job=["dynamodb:DeleteItem on JobsTable"])
def a_rerun_that_cannot_be_queued_leaves_no_record(system: Hands) -> None:
    [job] = system.completed(system.upload())
    with system.variables("CancelJobFunction", VIDEO_QUEUE_URL=system.stack.resource("VideoQueue") + "-gone"):
        system.ask("POST", f"/jobs/{job['jobId']}/rerun", 503)

    assert len(system._items()) == 1, "its record is there"


@proves(ECS, cancel_job=["sqs:SendMessage on EcsQueue", "lambda:InvokeFunction on SubmitJobFunction"])
def many_tasks_are_requested_and_rerun_at_once(system: Hands) -> None:
    key = system.place()
    body = {"imageUrls": [f"s3://{system.bucket}/{key}"], "userId": "user-1"}
    wanted = {"requests": [{"action": "submit", "path": "/process", "body": body}]}
    [submitted] = system.ask("POST", "/jobs/bulk", 207, json=wanted).json()["responses"]
    assert submitted["status"] == 202, "it is not accepted"
    [job] = system.completed(key)

    wanted = {"requests": [{"action": "rerun", "jobId": job["jobId"]}]}
    [rerun] = system.ask("POST", "/jobs/bulk", 207, json=wanted).json()["responses"]

    assert rerun["status"] == 202, "it is not rerun"


@proves(
    cancel_job=[
        "s3:ListBucketVersions on MediaBucket",
        "s3:DeleteObject on MediaBucket/results, MediaBucket/recordings, MediaBucket/pieces, MediaBucket",
    ]
)
def the_data_of_an_ended_job_is_erased(system: Hands) -> None:
    [job] = system.completed(system.upload())
    kept = system.place(f"results/{job['jobId']}/a.json")

    system.ask("DELETE", f"/jobs/{job['jobId']}", 200, params={"data": "true"})

    left = system.stack.client("s3").list_object_versions(Bucket=system.bucket, Prefix=kept)
    assert "Versions" not in left, "a result is still there"


def _behind_a_leaked_slot(system: Hands) -> str:
    """Makes a job wait although a slot is free, as a crash after freeing it does, and returns its key."""
    system.fill_lane()
    key = system.waiting()
    system.empty_lane()
    return key


def _is_adopted(system: Hands, job: Item) -> None:
    [found] = [each for each in system._items() if each["jobId"] == job["jobId"]]
    started = [run.id for run in system.starts(job["jobId"])]
    assert [found.get("targetId")] == started, "the run was not adopted"


def _is_given_up(system: Hands, key: str) -> None:
    _is_dead_lettered(system, system.road.dead_letters, "START_REFUSED")
    system.wait_for(key, "FAILED")


def _is_dead_lettered(system: Hands, queue: str, error_type: str) -> None:
    dead = system.until(lambda: system.messages(queue) or None, "the dead letter")
    assert [message["attributes"].get("ErrorType") for message in dead] == [error_type], "another dead letter came"


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
