"""Messages of the steam queue become imports: one for equal messages, dead letters for what can't succeed, waits."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest

from switchyard.function_jobs.intake import Intake
from switchyard.function_jobs.outbox import Outbox
from switchyard.function_jobs.repair import FunctionRepair
from switchyard.function_jobs.table import FunctionJobs
from switchyard.function_jobs.work import TimeLeft
from switchyard.messages.dead_letters import DeadLetterQueue
from switchyard.protocol.jobs import Status
from switchyard.steam.accounts import account
from switchyard.steam.messages import Wanted, body_of
from switchyard.steam.worker import ImportWorker
from switchyard.tables.records import Records
from tests.conftest import Aws
from tests.unit.steam.world import STEAM_ID, USER, SteamWorld

TIME: Final = TimeLeft(lambda: 300_000)
JOB: Final = Wanted(USER, account(STEAM_ID)).job_id
BODY: Final = {"userId": USER, "steamId": STEAM_ID}

type Deliver = Callable[..., bool]


@pytest.fixture
def jobs(aws: Aws) -> FunctionJobs:
    return FunctionJobs(aws.dynamodb, aws.jobs_table, keep_ended_jobs=timedelta(days=30))


@pytest.fixture
def deliver(aws: Aws, steam: SteamWorld, jobs: FunctionJobs) -> Deliver:
    """Returns a function that delivers a message to a new invocation, and says whether it must come back."""

    def delivered(message_id: str, body: object = BODY, *, sent_ago: float = 0, **attributes: str) -> bool:
        intake = Intake(
            ImportWorker(jobs, steam.importer()),
            Outbox(aws.sqs, aws.queue_url),
            3,
            DeadLetterQueue(aws.sqs, aws.dead_letter_queue_url),
        )
        sent_at = steam.time.now - timedelta(seconds=sent_ago)
        record = {
            "messageId": message_id,
            "receiptHandle": "handle",
            "body": json.dumps(body),
            "attributes": {
                "SentTimestamp": str(int(sent_at.timestamp() * 1000)),
                "ApproximateReceiveCount": "1",
            },
            "messageAttributes": {
                name: {"stringValue": value, "dataType": "String"} for name, value in attributes.items()
            },
        }
        return bool(intake.consume({"Records": [record]}, TIME)["batchItemFailures"])

    return delivered


def taken(aws: Aws, url: str) -> list[dict[str, Any]]:
    found: Any = aws.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
    return list(found.get("Messages", []))


def test_a_message_imports_a_library_and_ends_its_job(deliver: Deliver, steam: SteamWorld, jobs: FunctionJobs) -> None:
    steam.player(games=12)

    assert not deliver("m1")

    job = jobs.get(JOB)
    assert job is not None
    assert (job.status, job.user_id) == (Status.COMPLETED, USER)
    assert len(steam.live()) == 12


def test_ten_equal_messages_sent_at_once_are_one_import(
    deliver: Deliver, steam: SteamWorld, jobs: FunctionJobs
) -> None:
    steam.player(games=3)
    for number in range(10):
        steam.time.now += timedelta(seconds=1)
        assert not deliver(f"m{number}", sent_ago=number + 1)

    job = jobs.get(JOB)
    assert job is not None
    assert job.fence == 1
    assert steam.standin.operations().count("GetOwnedGames") == 1


def test_a_message_sent_after_the_import_began_begins_another(
    deliver: Deliver, steam: SteamWorld, jobs: FunctionJobs
) -> None:
    steam.player(games=3)
    deliver("m1")
    steam.time.now += timedelta(seconds=5)

    deliver("m2", sent_ago=1)
    deliver("m2", sent_ago=1)  # delivered twice

    job = jobs.get(JOB)
    assert job is not None
    assert job.fence == 2


def test_what_is_private_is_dead_lettered_and_fails_until_it_is_asked_for_again(
    deliver: Deliver, steam: SteamWorld, jobs: FunctionJobs, aws: Aws
) -> None:
    steam.player(private=True)
    assert not deliver("m1")
    job = jobs.get(JOB)
    assert job is not None
    assert job.error is not None
    assert (job.status, job.error.code) == (Status.FAILED, "GAME_DETAILS_PRIVATE")
    [dead] = taken(aws, aws.dead_letter_queue_url)
    assert dead["MessageAttributes"]["ErrorType"]["StringValue"] == "GAME_DETAILS_PRIVATE"

    steam.player(games=2)
    steam.time.now += timedelta(seconds=5)
    deliver("m2", json.loads(dead["Body"]))

    job = jobs.get(JOB)
    assert job is not None
    assert job.status is Status.COMPLETED


def test_a_throttled_import_waits_and_its_message_continues_it(
    deliver: Deliver, steam: SteamWorld, jobs: FunctionJobs, aws: Aws
) -> None:
    steam.player(games=2)
    steam.mood("throttle", times=1, retryAfter="0")

    assert not deliver("m1")

    job = jobs.get(JOB)
    assert job is not None
    assert job.waits_until is not None
    steam.time.now = job.waits_until + timedelta(seconds=1)
    counted: Any = aws.sqs.get_queue_attributes(QueueUrl=aws.queue_url, AttributeNames=["All"])["Attributes"]
    waiting = [counted["ApproximateNumberOfMessages"], counted["ApproximateNumberOfMessagesDelayed"]]
    assert sorted(waiting) == ["0", "1"]
    deliver("m2", begunBy="m1", continues=str(job.fence))

    job = jobs.get(JOB)
    assert job is not None
    assert (job.status, job.begun_by) == (Status.COMPLETED, "m1")


def test_what_can_t_be_read_is_dead_lettered(deliver: Deliver, aws: Aws) -> None:
    assert not deliver("m1", {"userId": USER})
    assert len(taken(aws, aws.dead_letter_queue_url)) == 1


def test_the_reconciler_asks_again_for_an_import_whose_message_was_never_sent(
    deliver: Deliver, steam: SteamWorld, jobs: FunctionJobs, aws: Aws
) -> None:
    """As a crash of the API between the record and the message leaves it."""
    steam.player(games=2)
    wanted = Wanted(USER, account(STEAM_ID))
    request = wanted.request(message_id="api", sent_at=steam.time.now)
    Records(aws.dynamodb, aws.jobs_table).announce(request, fingerprint="f")
    steam.time.now += timedelta(hours=2)

    FunctionRepair(jobs, aws.sqs, aws.queue_url, timedelta(hours=1), body_of).ask_again(wanted.job_id)

    [message] = taken(aws, aws.queue_url)
    deliver("m1", json.loads(message["Body"]))
    job = jobs.get(JOB)
    assert job is not None
    assert job.status is Status.COMPLETED
