"""POST /imports/steam: one job per user and account, recorded before its message is sent; lists of up to a thousand."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import given

from switchyard import clock
from switchyard.api.http import Api, ApiAuth
from switchyard.function_jobs.work import parse
from switchyard.messages.envelope import Envelope
from switchyard.messages.kinds import STEAM_IMPORT
from switchyard.protocol.jobs import Status
from switchyard.steam.messages import read
from switchyard.steam.submission import ImportSubmission
from switchyard.tables.items import PlainItem
from switchyard.tables.records import Records
from tests.cases import cases
from tests.conftest import Aws
from tests.corpus.bodies import HOSTILE
from tests.fakes.crashing import Countdown, Crashing, Killed
from tests.rest import Answer, ask
from tests.strategies import anything

ROUTE: Final = "POST /imports/steam"
ID: Final = "76561197960287930"
ONE: Final = {"userId": "user-42", "steamId": ID}
LOST: Final = ReadTimeoutError(endpoint_url="https://sqs")


@dataclass
class Asking:
    """The route on one moto account with replaceable clients, and its results."""

    aws: Aws
    dynamodb: Any = None
    sqs: Any = None
    seen: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, body: object = ONE, *, auth: ApiAuth = "api-key", **more: Any) -> Answer:  # noqa: ANN401 - as `event`
        submission = ImportSubmission(
            Records(self.dynamodb or self.aws.dynamodb, self.aws.jobs_table),
            self.sqs or self.aws.sqs,
            self.aws.queue_url,
        )
        return ask(Api({ROUTE: submission.ask}, auth=auth), ROUTE, body, **more)

    def messages(self) -> list[dict[str, Any]]:
        """Returns every message ever queued."""
        asked: Any = {"QueueUrl": self.aws.queue_url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 43_200}
        while found := self.aws.sqs.receive_message(**asked).get("Messages"):
            self.seen += [json.loads(message["Body"]) for message in found]
        return self.seen

    def jobs(self) -> list[PlainItem]:
        items = self.aws.dynamodb.scan(TableName=self.aws.jobs_table)["Items"]
        found = [Records(self.aws.dynamodb, self.aws.jobs_table).read(item["jobId"]["S"]) for item in items]
        return [record for record in found if record is not None]

    def stands(self, status: str, **more: str) -> None:
        """Changes the only job as the function does."""
        [job] = self.jobs()
        values: Any = {"status": status, "kind": STEAM_IMPORT.name, **more}
        self.aws.dynamodb.update_item(
            TableName=self.aws.jobs_table,
            Key={"jobId": {"S": job["jobId"]}},
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in values),
            ExpressionAttributeNames={f"#{name}": name for name in values},
            ExpressionAttributeValues={f":{name}": {"S": value} for name, value in values.items()},
        )

    def row(self) -> dict[str, Any]:
        [item] = self.aws.dynamodb.scan(TableName=self.aws.jobs_table)["Items"]
        return item


@pytest.fixture
def asking(aws: Aws) -> Asking:
    return Asking(aws)


def refused(body: object = None, **more: Any) -> Answer:  # noqa: ANN401 - as `event`
    """Checks that a request is refused without any call to AWS, so that nothing is stored or sent."""
    no_client: Any = None
    answer = ask(Api({ROUTE: ImportSubmission(Records(no_client, ""), no_client, "queue").ask}), ROUTE, body, **more)
    assert 400 <= answer.status < 500, answer
    return answer


def account(number: int) -> dict[str, str]:
    return {"userId": f"user-{number}", "steamId": str(int(ID) + number)}


# ---- one ------------------------------------------------------------------------------------------------------------


def test_an_import_is_accepted_recorded_and_queued(asking: Asking) -> None:
    answer = asking.ask()
    assert (answer.status, answer.body["status"], answer.body["success"]) == (202, "PENDING", True)
    assert [(job["jobId"], job["kind"], job["status"], job["userId"]) for job in asking.jobs()] == [
        (answer.body["jobId"], STEAM_IMPORT.name, "PENDING", "user-42")
    ]
    [message] = asking.messages()
    [wanted] = parse(read, json.dumps(message), Envelope("m", clock.now())).work
    assert wanted.job_id == answer.body["jobId"]


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_a_request_for_an_import_under_way_is_the_same_job(asking: Asking, status: str) -> None:
    first = asking.ask()
    asking.stands(status)
    second = asking.ask()
    assert (second.status, second.body["jobId"], second.body["status"]) == (202, first.body["jobId"], status)
    assert len(asking.jobs()) == 1
    # The message of a job that is PENDING may have been lost: it is sent again, and is harmless if it was not.
    assert len(asking.messages()) == (2 if status == "PENDING" else 1)


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELLED"])
def test_after_its_end_an_import_is_asked_for_anew(asking: Asking, status: str) -> None:
    asking.ask()
    asking.stands(status, endedAt="2026-11-22T12:00:00.000Z", cancelRequestedAt="2026-11-22T12:00:00.000Z")
    created = asking.row()["createdAt"]
    assert asking.ask().body["status"] == "PENDING"
    row = asking.row()
    assert (row["status"]["S"], row["createdAt"]) == ("PENDING", created)
    assert not {"endedAt", "result", "error", "ttl", "cancelRequestedAt", "startedAt"} & row.keys()
    assert len(asking.messages()) == 2


def test_the_fence_of_an_ended_import_stays(asking: Asking) -> None:
    asking.ask()
    asking.stands("COMPLETED")
    key = {"jobId": asking.row()["jobId"]}
    asking.aws.dynamodb.update_item(
        TableName=asking.aws.jobs_table,
        Key=key,
        UpdateExpression="SET fence = :three",
        ExpressionAttributeValues={":three": {"N": "3"}},
    )
    asking.ask()
    assert asking.row()["fence"] == {"N": "3"}


@pytest.mark.parametrize("status", ["PENDING", "RUNNING", "COMPLETED", "FAILED"])
def test_a_repeated_key_asks_for_nothing_more(asking: Asking, status: str) -> None:
    key = {"idempotency-key": "order-1"}
    first = asking.ask(headers=key)
    asking.stands(status)
    second = asking.ask(headers=key)
    assert (second.status, second.body["jobId"], second.body["status"]) == (202, first.body["jobId"], status)
    assert asking.row()["status"]["S"] == status
    assert len(asking.messages()) == (2 if status == "PENDING" else 1)


def test_another_key_or_another_caller_s_begins_the_import_again(asking: Asking) -> None:
    for caller in ("a", "a", "b"):
        asking.ask(headers={"idempotency-key": "order-1"}, identity={"apiKeyId": caller})
        asking.stands("COMPLETED")
    assert len(asking.messages()) == 2


@pytest.mark.parametrize(
    "row", [{"kind": "torrent", "userId": "user-42"}, {"kind": STEAM_IMPORT.name, "userId": "user-43"}], ids=str
)
def test_an_id_that_other_work_has_is_a_conflict(asking: Asking, row: dict[str, str]) -> None:
    asking.ask()
    asking.stands("COMPLETED", **row)
    answer = asking.ask()
    assert (answer.status, answer.body["error"]) == (409, "JOB_ID_TAKEN")
    assert asking.row()["status"]["S"] == "COMPLETED"


def test_without_a_queue_nothing_is_imported(asking: Asking) -> None:
    submission = ImportSubmission(Records(asking.aws.dynamodb, asking.aws.jobs_table), asking.aws.sqs, "")
    assert ask(Api({ROUTE: submission.ask}), ROUTE, ONE).status == 501
    assert asking.jobs() == []


# ---- whose ----------------------------------------------------------------------------------------------------------


def test_a_user_s_import_is_their_own(asking: Asking) -> None:
    asking.ask({"steamId": ID}, user="user-7", auth="cognito")
    assert [job["userId"] for job in asking.jobs()] == ["user-7"]


def test_a_user_imports_nothing_for_another(asking: Asking) -> None:
    assert asking.ask(ONE, user="user-7", auth="cognito").status == 403
    listed = asking.ask({"imports": [ONE, {"steamId": ID}]}, user="user-7", auth="cognito")
    assert [each.get("error") for each in listed.body["imports"]] == ["FORBIDDEN", None]
    assert [job["userId"] for job in asking.jobs()] == ["user-7"]


# ---- what is refused ------------------------------------------------------------------------------------------------


@cases("body", [*HOSTILE.values()], ids=[*HOSTILE])
def test_what_is_no_request_is_refused(body: str | None) -> None:
    refused(raw=body)


@given(anything)
def test_whatever_is_sent_is_answered(body: object) -> None:
    assert refused(body).status in {400, 413}


@cases(
    ("body", "error"),
    [
        ({"steamId": ID}, "INVALID_REQUEST"),
        ({"userId": "user-42"}, "INVALID_REQUEST"),
        ({**ONE, "userId": "\x07"}, "INVALID_REQUEST"),
        ({**ONE, "imports": [ONE]}, "INVALID_REQUEST"),
        ({"userId": "user-42", "imports": [ONE]}, "INVALID_REQUEST"),
        ({"imports": []}, "INVALID_REQUEST"),
        ({"imports": [ONE] * 1001}, "INVALID_REQUEST"),
        ({**ONE, "steamId": int(ID)}, "INVALID_REQUEST"),
        ({**ONE, "steamId": ID[:-1]}, "INVALID_STEAM_ID"),
        ({**ONE, "steamId": "https://example.com/id/name"}, "INVALID_STEAM_ID"),
    ],
    ids=str,
)
def test_a_request_that_can_t_work_is_refused(body: object, error: str) -> None:
    assert refused(body).body["error"] == error


def test_a_key_that_is_none_is_refused() -> None:
    assert refused(ONE, headers={"idempotency-key": " "}).status == 400


# ---- many -----------------------------------------------------------------------------------------------------------


def test_a_thousand_are_accepted_in_batches(asking: Asking) -> None:
    answer = asking.ask({"imports": [account(number) for number in range(1000)]})
    assert answer.status == 207
    assert len({each["jobId"] for each in answer.body["imports"]}) == 1000
    assert {job["jobId"] for job in asking.jobs()} == {each["jobId"] for each in answer.body["imports"]}
    counted = asking.aws.sqs.get_queue_attributes(QueueUrl=asking.aws.queue_url, AttributeNames=["All"])["Attributes"]
    assert counted["ApproximateNumberOfMessages"] == "1000"


def test_each_import_of_a_list_has_its_own_answer(asking: Asking) -> None:
    imports = [account(1), {**account(2), "steamId": "77"}, {"steamId": ID}, account(3)]
    answer = asking.ask({"imports": imports})
    assert [each.get("error") for each in answer.body["imports"]] == [None, "INVALID_STEAM_ID", "INVALID_REQUEST", None]
    assert len(asking.messages()) == 2


def test_an_account_that_is_listed_twice_is_imported_once(asking: Asking) -> None:
    answer = asking.ask({"imports": [account(1)] * 3})
    assert len({each["jobId"] for each in answer.body["imports"]}) == 1
    assert len(asking.messages()) == 1


@dataclass
class Refusing:
    """SQS that does not take some messages of a batch."""

    real: Any
    refuse: Callable[[dict[str, str]], bool]

    def send_message_batch(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - a call's parameters
        failed = [entry for entry in call["Entries"] if self.refuse(json.loads(entry["MessageBody"]))]
        taken = [entry for entry in call["Entries"] if entry not in failed]
        if taken:
            self.real.send_message_batch(**{**call, "Entries": taken})
        return {"Failed": [{"Id": each["Id"], "Code": "InternalError", "SenderFault": False} for each in failed]}


def test_what_sqs_does_not_take_is_told_and_left_undone(asking: Asking) -> None:
    asking.sqs = Refusing(asking.aws.sqs, lambda body: body["userId"] in {"user-3", "user-14"})
    answer = asking.ask({"imports": [account(number) for number in range(20)]})
    failed = [number for number, each in enumerate(answer.body["imports"]) if not each["success"]]
    assert failed == [3, 14]
    assert {answer.body["imports"][number]["error"] for number in failed} == {"UNAVAILABLE"}
    assert len(asking.jobs()) == len(asking.messages()) == 18
    asking.sqs = None
    assert all(each["success"] for each in asking.ask({"imports": [account(3), account(14)]}).body["imports"])
    assert len(asking.messages()) == 20


# ---- faults ---------------------------------------------------------------------------------------------------------


@dataclass
class Failing:
    """A client of which one operation fails, before or after its effect."""

    real: Any
    operation: str
    after_effect: bool

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the client
        real = getattr(self.real, name)
        if name != self.operation:
            return real

        def failing(**call: Any) -> None:  # noqa: ANN401 - a call's parameters
            if self.after_effect:
                real(**call)
            raise LOST

        return failing


@pytest.mark.parametrize("after_effect", [False, True], ids=["before", "after"])
def test_a_message_that_may_be_lost_leaves_no_record_and_can_be_asked_for_again(
    asking: Asking, *, after_effect: bool
) -> None:
    asking.sqs = Failing(asking.aws.sqs, "send_message_batch", after_effect)
    assert asking.ask().status == 503
    assert asking.jobs() == []  # a message that was sent nevertheless begins the job by itself
    asking.sqs = None
    assert asking.ask().status == 202
    assert len(asking.jobs()) == 1


def test_an_ended_import_whose_message_is_lost_stays_pending_for_the_reconciler(asking: Asking) -> None:
    asking.ask()
    asking.stands("COMPLETED")
    asking.sqs = Failing(asking.aws.sqs, "send_message_batch", after_effect=False)
    assert asking.ask().status == 503
    assert asking.row()["status"]["S"] == Status.PENDING
    assert "heartbeatAt" in asking.row()  # from which the reconciler counts


@pytest.mark.parametrize("calls", range(4))
@pytest.mark.parametrize("after_effect", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("stood", ["", "COMPLETED"], ids=["new", "ended"])
def test_a_request_killed_at_any_call_can_be_repeated(
    asking: Asking, calls: int, stood: str, *, after_effect: bool
) -> None:
    key = {"idempotency-key": "order-2"}
    if stood:
        asking.ask()
        asking.stands(stood)
    before = len(asking.messages())
    countdown = Countdown(calls, after_effect)
    asking.dynamodb, asking.sqs = Crashing(asking.aws.dynamodb, countdown), Crashing(asking.aws.sqs, countdown)
    with suppress(Killed):
        asking.ask(headers=key)
    asking.dynamodb = asking.sqs = None

    assert asking.ask(headers=key).status == 202
    assert [job["status"] for job in asking.jobs()] == ["PENDING"]
    assert len(asking.messages()) > before
