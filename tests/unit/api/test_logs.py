"""GET /jobs/{jobId}/logs: whose lines are shown, page by page, and what happens if CloudWatch Logs can't answer."""

import base64
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchyard import clock
from switchyard.api.http import Api
from switchyard.api.logs import MAX_LINE, LogGroup, Logs
from switchyard.protocol.jobs import Status
from switchyard.tables.records import Records
from tests.conftest import Aws
from tests.rest import Answer, ask

ROUTE = "GET /jobs/{jobId}/logs"
JOBS, TASKS, OTHERS = "/aws/batch/job", "/tasks", "/somebody-else-s"
STREAM = "analyze-video/default/0a1b"
CONTROL = {chr(number) for number in (*range(32), *range(127, 160))} - {"\t"}
NOTHING: dict[str, Any] = {"lines": [], "cursor": None}


@dataclass
class Reading:
    """The route on one moto account."""

    aws: Aws
    client: Any

    def ask(self, *, user: str | None = None, job: str = "a", **query: str) -> Answer:
        groups = {"batch": LogGroup(JOBS), "ecs": LogGroup(TASKS, "worker/")}
        logs = Logs(Records(self.aws.dynamodb, self.aws.jobs_table), lambda: self.client, groups)
        return ask(Api({ROUTE: logs.lines}), ROUTE, path={"jobId": job}, query=query, user=user)

    def job(
        self, stream: str | None = STREAM, *, target: str = "batch", status: Status = Status.RUNNING, owner: str = ""
    ) -> None:
        row: dict[str, Any] = {"jobId": {"S": "a"}, "status": {"S": status}, "target": {"M": {"type": {"S": target}}}}
        row |= {"logStream": {"S": stream}} if stream else {}
        row |= {"userId": {"S": owner}} if owner else {}
        self.aws.dynamodb.put_item(TableName=self.aws.jobs_table, Item=row)

    def write(self, *lines: str, group: str = JOBS, stream: str = STREAM) -> None:
        names = {each["logStreamName"] for each in self.client.describe_log_streams(logGroupName=group)["logStreams"]}
        if stream not in names:
            self.client.create_log_stream(logGroupName=group, logStreamName=stream)
        now = int(clock.now().timestamp() * 1000)
        events = [{"timestamp": now + number, "message": line} for number, line in enumerate(lines)]
        self.client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)

    def messages(self, **query: str) -> list[str]:
        return [line["message"] for line in self.ask(**query).body["lines"]]


@pytest.fixture
def reading(aws: Aws) -> Reading:
    client = boto3.client("logs", region_name="us-east-1")
    for group in (JOBS, TASKS, OTHERS):
        client.create_log_group(logGroupName=group)
    return Reading(aws, client)


class Failing:
    """A client of CloudWatch Logs whose only call fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.exceptions = boto3.client("logs", region_name="us-east-1").exceptions

    def get_log_events(self, **_: object) -> None:
        raise self._error


def error(code: str) -> ClientError:
    kind: type[ClientError] = boto3.client("logs", region_name="us-east-1").exceptions.from_code(code)
    return kind({"Error": {"Code": code, "Message": "x"}}, "GetLogEvents")


def test_the_pages_have_every_line_once_and_oldest_first(reading: Reading) -> None:
    reading.job(status=Status.COMPLETED)
    wanted = [f"line {number}" for number in range(25)]
    reading.write(*wanted)
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = reading.ask(limit="10", **({"cursor": cursor} if cursor else {})).body
        found += [line["message"] for line in page["lines"]]
        cursor, pages = page["cursor"], pages + 1
    assert (found, pages) == (wanted, 4)


def test_a_line_says_when_it_was_written(reading: Reading) -> None:
    reading.job()
    reading.write("hello")
    [line] = reading.ask().body["lines"]
    assert abs((clock.parse(line["time"]) - clock.now()).total_seconds()) < 60


def test_the_log_of_a_running_job_can_be_followed(reading: Reading) -> None:
    reading.job()
    reading.write("one")
    first = reading.ask().body["cursor"]
    assert reading.ask(cursor=first).body == {"lines": [], "cursor": first}
    reading.write("two")
    assert reading.messages(cursor=first) == ["two"]
    reading.job(status=Status.FAILED)
    last = reading.ask(cursor=first).body["cursor"]
    assert reading.ask(cursor=last).body == NOTHING


def test_the_log_of_a_task_is_in_the_tasks_group(reading: Reading) -> None:
    reading.job("worker/0a1b", target="ecs")
    reading.write("of the task", group=TASKS, stream="worker/worker/0a1b")
    reading.write("of a job", stream="worker/0a1b")
    assert reading.messages() == ["of the task"]


@pytest.mark.parametrize("stream", [None, "never-written", f"{OTHERS}:log", "*", ""])
def test_a_job_without_a_log_has_no_lines(reading: Reading, stream: str | None) -> None:
    reading.job(stream)
    assert (reading.ask().status, reading.ask().body) == (200, NOTHING)


@pytest.mark.parametrize("target", ["function", OTHERS])
def test_a_row_chooses_no_other_group(reading: Reading, target: str) -> None:
    reading.job(target=target)
    reading.write("secret", group=OTHERS)
    assert reading.ask().body == NOTHING


def test_a_deployment_without_the_group_shows_nothing(reading: Reading) -> None:
    reading.job()
    logs = Logs(Records(reading.aws.dynamodb, reading.aws.jobs_table), lambda: reading.client, {"batch": LogGroup("")})
    assert ask(Api({ROUTE: logs.lines}), ROUTE, path={"jobId": "a"}).body == NOTHING


def test_users_read_only_their_own(reading: Reading) -> None:
    reading.job(owner="ada")
    reading.write("hers")
    assert reading.ask(user="bob").status == 404
    assert reading.ask(job="none").status == 404
    assert reading.messages(user="ada") == ["hers"]


def test_a_cursor_of_an_earlier_run_leads_to_the_new_log(reading: Reading) -> None:
    reading.job()
    reading.write("old 1", "old 2")
    cursor = reading.ask(limit="1").body["cursor"]
    reading.job("another/default/2c3d")
    assert reading.ask(cursor=cursor).body == NOTHING
    reading.write("new", stream="another/default/2c3d")
    assert reading.messages(cursor=cursor) == ["new"]


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("cursor", ["", "?", "a", encoded("0" * 16), encoded("0" * 16 + ":b/1"), "A" * 513, "é"])
def test_any_other_cursor_is_refused(reading: Reading, cursor: str) -> None:
    reading.job()
    answer = reading.ask(cursor=cursor)
    assert (answer.status, answer.body["error"]) == (400, "INVALID_REQUEST")


def test_an_expired_cursor_is_refused(reading: Reading) -> None:
    reading.job()
    reading.write("one")
    cursor = reading.ask().body["cursor"]
    reading.client = Failing(error("InvalidParameterException"))
    assert reading.ask(cursor=cursor).status == 400


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "ten", ""])
def test_a_limit_is_1_to_1000(reading: Reading, limit: str) -> None:
    reading.job()
    assert reading.ask(limit=limit).status == 400


@pytest.mark.parametrize(
    "failure",
    [
        error("ThrottlingException"),
        error("ServiceUnavailableException"),
        error("InvalidParameterException"),
        ReadTimeoutError(endpoint_url="https://logs.example"),
    ],
    ids=str,
)
def test_what_can_t_be_read_now_may_be_asked_for_later(reading: Reading, failure: Exception) -> None:
    reading.job()
    reading.client = Failing(failure)
    answer = reading.ask()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=MAX_LINE + 10))
def test_a_line_holds_nothing_that_drives_a_terminal(reading: Reading, message: str) -> None:
    class Saying:
        exceptions = reading.client.exceptions

        def get_log_events(self, **_: object) -> dict[str, Any]:
            return {"events": [{"timestamp": 0, "message": message}], "nextForwardToken": "f/1"}

    reading.job()
    speaking = Reading(reading.aws, Saying())
    [shown] = speaking.messages()
    assert len(shown) <= MAX_LINE
    assert not set(shown) & CONTROL
    written = message.rstrip("\r\n")[:MAX_LINE]
    changed = [one for one, other in zip(written, shown, strict=True) if one != other]
    assert changed == [one for one in written if one in CONTROL]
