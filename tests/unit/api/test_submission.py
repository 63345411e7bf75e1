"""POST /process and POST /jobs: accepted jobs are recorded and queued once; refused ones leave nothing behind."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import given, settings
from hypothesis import strategies as st

from switchyard import clock
from switchyard.api.http import Api, ApiAuth
from switchyard.api.submission import Submission
from switchyard.messages.envelope import Envelope
from switchyard.messages.tasks import TaskWork
from switchyard.names import owned_name
from switchyard.protocol.jobs import Status
from switchyard.protocol.lanes import Lane
from switchyard.protocol.ports import Claimed
from switchyard.tables.items import PlainItem
from switchyard.tables.records import Records
from switchyard.tables.store import Store
from tests.cases import Test, cases
from tests.conftest import Aws
from tests.corpus.bodies import BAD_IMAGES, BAD_RECORDINGS, HOSTILE, IMAGES, RECORDING
from tests.corpus.filenames import HOSTILE as HOSTILE_NAMES
from tests.corpus.urls import INSIDE, INSIDE_NAMES, OUTSIDE, RESOLVES, STRANGE
from tests.fakes.crashing import Countdown, Crashing, Killed
from tests.fakes.resolver import resolving
from tests.rest import Answer, ask
from tests.strategies import anything

WORK = TaskWork("media", "cluster", {"stream-recording": "record-stream", "image-processing": "detect-objects"})
PROCESS, RECORD = "POST /process", "POST /jobs"
KEY = {"Idempotency-Key": "order-4711"}


@pytest.fixture(autouse=True, scope="module")
def names() -> Iterator[None]:
    with resolving(RESOLVES):
        yield


@dataclass
class Submitting:
    """The routes on one moto account with replaceable clients, and their results."""

    aws: Aws
    work: TaskWork = WORK
    dynamodb: Any = None
    sqs: Any = None
    seen: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, route: str, body: object = None, *, auth: ApiAuth = "api-key", **more: Any) -> Answer:  # noqa: ANN401 - as `event`
        submission = Submission(
            records=Records(self.dynamodb or self.aws.dynamodb, self.aws.jobs_table),
            work=self.work,
            sqs=self.sqs or self.aws.sqs,
            queue_url=self.aws.queue_url,
        )
        return ask(Api({PROCESS: submission.process, RECORD: submission.record}, auth=auth), route, body, **more)

    def messages(self) -> list[dict[str, Any]]:
        """Returns every message ever queued."""
        while found := self.aws.sqs.receive_message(QueueUrl=self.aws.queue_url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            self.seen += [json.loads(message["Body"]) for message in found]
        return self.seen

    def records(self) -> list[PlainItem]:
        items = self.aws.dynamodb.scan(TableName=self.aws.jobs_table)["Items"]
        found = [Records(self.aws.dynamodb, self.aws.jobs_table).read(item["jobId"]["S"]) for item in items]
        return [record for record in found if record is not None]

    @property
    def store(self) -> Store:
        return Store(self.aws.dynamodb, self.aws.jobs_table, self.aws.lanes_table, keep_ended_jobs=timedelta(days=30))

    def claim(self, job_id: str) -> None:
        """Claims the job, as the dispatcher does when the message arrives."""
        found = self.store.get(job_id)
        assert found is not None
        assert isinstance(self.store.claim(found.request, found, Lane(found.request.lane, 5)), Claimed)


@pytest.fixture
def submitting(aws: Aws) -> Submitting:
    return Submitting(aws)


def by_name(corpus: dict[str, Any]) -> Callable[[Test], Test]:
    return cases("case", corpus.values(), ids=corpus)


def refused(route: str, body: object = None, **more: Any) -> Answer:  # noqa: ANN401 - as `event`
    """Checks that a request is refused without any call to AWS, so that nothing is stored or sent."""
    no_client: Any = None
    submission = Submission(Records(no_client, ""), WORK, no_client, "")
    answer = ask(Api({PROCESS: submission.process, RECORD: submission.record}), route, body, **more)
    assert 400 <= answer.status < 500, answer
    assert set(answer.body) == {"error", "message", "details", "requestId"}
    return answer


# ---- what is accepted -----------------------------------------------------------------------------------------------


def test_images_are_accepted(submitting: Submitting) -> None:
    answer = submitting.ask(PROCESS, IMAGES | {"imageUrls": ["s3://media/a.jpg", "s3://media/b.jpg"]})
    assert answer.status == 202
    assert answer.body == {
        "success": True,
        "jobId": answer.body["jobId"],
        "status": "PENDING",
        "message": "The job is accepted.",
        "imageCount": 2,
    }


def test_a_recording_is_accepted(submitting: Submitting) -> None:
    answer = submitting.ask(RECORD, RECORDING | {"filename": "evening.mp4"})
    assert answer.status == 201
    assert answer.headers["Location"] == f"jobs/{answer.body['jobId']}"


def test_a_job_may_bring_its_id(submitting: Submitting) -> None:
    assert submitting.ask(RECORD, RECORDING | {"jobId": "evening-1"}).body["jobId"] == "evening-1"


def test_two_requests_are_two_jobs(submitting: Submitting) -> None:
    first, second = (submitting.ask(PROCESS, IMAGES).body["jobId"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    ("route", "body", "kind"), [(PROCESS, IMAGES, "image-processing"), (RECORD, RECORDING, "stream-recording")]
)
def test_what_is_written_down_is_what_was_asked_for(
    submitting: Submitting, route: str, body: dict[str, Any], kind: str
) -> None:
    metadata = {"threshold": 0.1, "count": 3, "name": "Żółw 🐢", "none": None, "big": 2**70}
    job_id = submitting.ask(route, body | {"userId": "ada", "metadata": metadata}).body["jobId"]
    job = submitting.store.get(job_id)
    assert job is not None
    assert (job.status, job.request.kind, job.request.user_id) == (Status.PENDING, kind, "ada")
    assert job.request.input == {name: value for name, value in body.items() if name != "userId"}
    assert job.request.metadata == metadata


def test_the_message_asks_for_the_very_work_that_is_written_down(submitting: Submitting) -> None:
    job_id = submitting.ask(PROCESS, IMAGES | {"metadata": {"threshold": 0.1, "name": "Żółw 🐢\uffff"}}).body["jobId"]
    (message,) = submitting.messages()
    (read,) = WORK.parse(json.dumps(message), Envelope("another", clock.now())).requests
    job = submitting.store.get(job_id)
    assert job is not None
    assert read.announced
    assert (read.job_id, read.source.version, read.input, read.metadata, read.user_id) == (
        job_id,
        job.request.source.version,
        job.request.input,
        job.request.metadata,
        job.request.user_id,
    )


def test_a_thousand_images_make_one_item_and_one_message(submitting: Submitting) -> None:
    urls = [f"s3://media/uploads/2026/11/22/{number:04}-{'x' * 140}.jpg" for number in range(1000)]
    assert submitting.ask(PROCESS, IMAGES | {"imageUrls": urls}).body["imageCount"] == 1000
    (message,) = submitting.messages()
    assert message["imageUrls"] == urls


def test_names_in_every_script_make_one_item_and_one_message(submitting: Submitting) -> None:
    """A message is ASCII, which makes it longer than the request."""
    urls = ["s3://media/" + "é" * 400 for _ in range(200)]
    assert submitting.ask(PROCESS, raw=json.dumps(IMAGES | {"imageUrls": urls}, ensure_ascii=False)).status == 202
    assert len(submitting.messages()) == 1


def test_public_urls_can_be_recorded(submitting: Submitting) -> None:
    assert {submitting.ask(RECORD, {"url": url}).status for url in OUTSIDE.values()} == {201}


def test_file_names_are_kept_as_they_are(submitting: Submitting) -> None:
    """The API does not use them as paths or options; workers must handle them safely."""
    kept = [name for name in HOSTILE_NAMES.values() if 1 <= len(name) <= 255 and name.isascii()]
    for name in kept:
        assert submitting.ask(RECORD, RECORDING | {"filename": name}).status == 201
    assert sorted(message["filename"] for message in submitting.messages()) == sorted(kept)


# ---- what is refused ------------------------------------------------------------------------------------------------


@by_name(HOSTILE)
@cases("route", [PROCESS, RECORD])
def test_a_hostile_body_is_refused(route: str, case: str | None) -> None:
    answer = refused(route, raw=case)
    assert answer.body["error"] in ("INVALID_REQUEST", "TOO_LARGE")


@by_name({name: body for name, body in HOSTILE.items() if body})
@cases("route", [PROCESS, RECORD])
def test_a_hostile_body_in_base64_is_refused(route: str, case: str) -> None:
    encoded = base64.b64encode(case.encode("utf-8", "surrogatepass")).decode()
    assert refused(route, raw=encoded, base64=True).body["error"] in ("INVALID_REQUEST", "TOO_LARGE")


@by_name(BAD_IMAGES)
def test_bad_images_are_refused(case: dict[str, Any]) -> None:
    assert refused(PROCESS, case).body["error"] in ("INVALID_REQUEST", "URL_NOT_ALLOWED")


@by_name(BAD_RECORDINGS)
def test_a_bad_recording_is_refused(case: dict[str, Any]) -> None:
    assert refused(RECORD, case).body["error"] == "INVALID_REQUEST"


@by_name(INSIDE | INSIDE_NAMES)
def test_a_url_that_leads_inside_is_refused(case: str) -> None:
    assert refused(RECORD, {"url": case}).body["error"] == "URL_NOT_ALLOWED"


@by_name(STRANGE)
def test_a_strange_url_is_refused(case: str) -> None:
    assert refused(RECORD, {"url": case}).body["error"] in ("INVALID_REQUEST", "URL_NOT_ALLOWED")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(anything),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(anything), inner),
    max_leaves=20,
)


@given(json_values)
def test_no_json_gets_through_that_is_no_request(body: object) -> None:
    for route in (PROCESS, RECORD):
        refused(route, raw=json.dumps(body))


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(["imageUrls", "url", "userId", "metadata", "jobId", "filename"]), json_values))
def test_no_value_of_a_known_field_breaks_the_reading(changes: dict[str, Any]) -> None:
    # Without one of these a request is never complete.
    refused(PROCESS, raw=json.dumps(IMAGES | changes | {"url": "x"}))
    refused(RECORD, raw=json.dumps(RECORDING | changes | {"imageUrls": []}))


def test_the_image_that_is_refused_is_named_by_its_place() -> None:
    answer = refused(PROCESS, IMAGES | {"imageUrls": ["s3://media/a.jpg", "s3://other/secret.jpg"]})
    assert answer.body["details"] == ["imageUrls[1]: the URL is not in this system's bucket"]


def test_a_request_that_would_not_fit_into_an_item_is_refused() -> None:
    assert refused(PROCESS, IMAGES | {"imageUrls": ["s3://media/" + "x" * 1000] * 215}).status == 400


@pytest.mark.parametrize(("route", "body"), [(PROCESS, IMAGES), (RECORD, RECORDING)])
def test_a_kind_that_nothing_runs_is_not_taken(aws: Aws, route: str, body: dict[str, Any]) -> None:
    submitting = Submitting(aws, work=TaskWork("media", "", {}))
    answer = submitting.ask(route, body)
    assert (answer.status, answer.body["error"]) == (501, "NOT_CONFIGURED")
    assert submitting.records() == []


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "x" * 256, "a\tb"])
def test_an_idempotency_key_is_visible_ascii(key: str) -> None:
    refused(PROCESS, IMAGES, headers={"Idempotency-Key": key})


# ---- whose job it is ------------------------------------------------------------------------------------------------


def test_a_users_recording_is_theirs(submitting: Submitting) -> None:
    submitting.ask(RECORD, RECORDING, user="ada")
    (record,) = submitting.records()
    assert record["userId"] == "ada"


def test_a_user_may_name_themselves(submitting: Submitting) -> None:
    assert submitting.ask(RECORD, RECORDING | {"userId": "ada"}, user="ada").status == 201


UPLOAD = "2026/11/22/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506-china.jpg"


def images_of(*keys: str) -> dict[str, Any]:
    return {"imageUrls": [f"s3://media/{key}" for key in keys], "userId": "ada"}


def test_a_user_s_images_are_the_user_s_own_uploads(submitting: Submitting) -> None:
    own = f"uploads/ada/{UPLOAD}"
    answer = submitting.ask(PROCESS, images_of(own), user="ada")
    assert (answer.status, [record["userId"] for record in submitting.records()]) == (202, ["ada"])
    for key in (
        f"uploads/bob/{UPLOAD}",
        f"uploads/{UPLOAD}",
        f"uploads/ada/../bob/{UPLOAD}",
        "uploads/ada/china.jpg",
        f"results/ada/{UPLOAD}",
        "recordings/ada/evening-1/evening.ts",
    ):
        answer = refused(PROCESS, images_of(own, key), user="ada")
        assert (answer.status, answer.body["error"]) == (403, "FORBIDDEN")
        assert answer.body["details"] == ["imageUrls[1]: not an upload of this user"]


@pytest.mark.parametrize("key", [f"uploads/ada/{UPLOAD}", f"uploads/{UPLOAD}", "results/job-1/scene-1.jpg", "a.jpg"])
def test_callers_without_a_user_name_objects_of_nobody_and_of_the_job_s_user(submitting: Submitting, key: str) -> None:
    assert submitting.ask(PROCESS, images_of(key)).status == 202


def test_nobody_gets_a_job_about_another_user_s_images(submitting: Submitting) -> None:
    answer = refused(PROCESS, images_of(f"uploads/bob/{UPLOAD}"))
    assert (answer.status, answer.body["error"]) == (400, "INVALID_REQUEST")
    assert answer.body["details"] == ["imageUrls[0] is the upload of another user than userId"]


@pytest.mark.parametrize(("route", "body"), [(PROCESS, IMAGES), (RECORD, RECORDING)])
def test_a_user_submits_for_nobody_else(route: str, body: dict[str, Any]) -> None:
    answer = refused(route, body | {"userId": "bob"}, user="ada")
    assert (answer.status, answer.body["error"]) == (403, "FORBIDDEN")


def test_without_a_user_a_recording_need_not_be_anybodys(submitting: Submitting) -> None:
    submitting.ask(RECORD, RECORDING)
    (record,) = submitting.records()
    assert "userId" not in record


# ---- idempotency ----------------------------------------------------------------------------------------------------

both_routes = pytest.mark.parametrize(("route", "body"), [(PROCESS, IMAGES), (RECORD, RECORDING)])


@both_routes
def test_the_same_key_and_body_is_the_same_job_and_answer(
    submitting: Submitting, route: str, body: dict[str, Any]
) -> None:
    first, second = (submitting.ask(route, body, headers=KEY) for _ in range(2))
    assert (first.status, first.headers, first.body) == (second.status, second.headers, second.body)
    assert len(submitting.records()) == 1


def test_the_order_of_a_bodys_fields_does_not_count(submitting: Submitting) -> None:
    first = submitting.ask(PROCESS, IMAGES, headers=KEY)
    second = submitting.ask(PROCESS, dict(reversed(IMAGES.items())), headers=KEY)
    assert first.body == second.body


@both_routes
def test_the_same_key_with_another_body_is_refused(submitting: Submitting, route: str, body: dict[str, Any]) -> None:
    submitting.ask(route, body, headers=KEY)
    answer = submitting.ask(route, body | {"metadata": {"a": 1}}, headers=KEY)
    assert (answer.status, answer.body["error"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert (len(submitting.records()), len(submitting.messages())) == (1, 1)


def test_a_key_counts_for_its_route_alone(submitting: Submitting) -> None:
    submitting.ask(PROCESS, IMAGES, headers=KEY)
    assert submitting.ask(RECORD, RECORDING, headers=KEY).status == 201


def test_a_key_counts_for_its_user_alone(submitting: Submitting) -> None:
    first, second = (submitting.ask(RECORD, RECORDING, headers=KEY, user=user) for user in ("ada", "bob"))
    assert first.body["jobId"] != second.body["jobId"]


CALLERS: list[dict[str, Any]] = [
    {"identity": {"apiKeyId": "one"}},
    {"identity": {"apiKeyId": "two"}},
    {"user": "one"},
    {"user": "key:one"},
]


def test_a_key_counts_for_its_caller_alone(submitting: Submitting) -> None:
    found = {submitting.ask(RECORD, RECORDING, headers=KEY, **caller).body["jobId"] for caller in CALLERS}
    assert len(found) == len(CALLERS)


def test_a_role_s_key_is_the_role_s_alone(submitting: Submitting) -> None:
    def ask(role: str, session: str) -> str:
        arn = f"arn:aws:sts::123456789012:assumed-role/{role}/{session}"
        return str(submitting.ask(RECORD, RECORDING, auth="iam", headers=KEY, identity={"userArn": arn}).body["jobId"])

    assert ask("a", "s1") == ask("a", "s2") != ask("b", "s1")


# ---- a user's own names ---------------------------------------------------------------------------------------------


def test_a_user_s_id_is_a_name_among_their_own_jobs(submitting: Submitting) -> None:
    """Nobody takes, blocks or learns of another user's id."""
    found = {}
    for user in ("ada", "bob"):
        answer = submitting.ask(RECORD, RECORDING | {"jobId": "evening-1"}, user=user)
        assert answer.status == 201
        found[user] = answer.body["jobId"]
        assert found[user] == owned_name(user, "evening-1")
        assert answer.headers["Location"] == f"jobs/{found[user]}"
        assert re.fullmatch(r"evening-1-[0-9a-f]{32}", found[user])
    assert found["ada"] != found["bob"]
    assert sorted(record["userId"] for record in submitting.records()) == ["ada", "bob"]


@pytest.mark.parametrize("taken", ["a", "6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506", "x" * 128])
def test_a_user_can_t_take_the_id_of_a_job_to_come(submitting: Submitting, taken: str) -> None:
    """Ids of uploads and ids made from Idempotency-Keys can be known beforehand."""
    submitting.ask(RECORD, RECORDING | {"jobId": taken}, user="mallory")
    assert submitting.store.get(taken) is None


def test_a_user_s_own_name_is_taken_once(submitting: Submitting) -> None:
    answers = [submitting.ask(RECORD, RECORDING | {"jobId": "a"}, user="ada") for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 409]
    assert answers[1].body["error"] == "JOB_EXISTS"


def test_a_user_s_name_may_be_repeated_with_its_key(submitting: Submitting) -> None:
    first, second = (submitting.ask(RECORD, RECORDING | {"jobId": "a"}, headers=KEY, user="ada") for _ in range(2))
    assert (first.status, first.body) == (second.status, second.body)


# ---- who submitted it -----------------------------------------------------------------------------------------------


def test_who_submitted_a_job_is_kept_and_logged(submitting: Submitting, caplog: pytest.LogCaptureFixture) -> None:
    job_id = submitting.ask(RECORD, RECORDING, identity={"apiKeyId": "one", "apiKey": "a-secret"}).body["jobId"]
    (record,) = submitting.records()
    assert record["submittedBy"] == "key:one"
    assert "a-secret" not in caplog.text
    (line,) = [each for each in caplog.records if each.message == "accepted"]
    assert (vars(line)["job_id"], vars(line)["by"]) == (job_id, "key:one")


def test_who_is_not_named_is_nobody(submitting: Submitting) -> None:
    submitting.ask(RECORD, RECORDING)
    (record,) = submitting.records()
    assert "submittedBy" not in record


def test_while_a_job_is_pending_its_message_is_sent_again(submitting: Submitting) -> None:
    """The first request's invocation may have died before the job was queued."""
    for _ in range(2):
        submitting.ask(PROCESS, IMAGES, headers=KEY)
    first, second = submitting.messages()
    assert first == second


def test_once_a_job_is_under_way_its_message_is_not_sent_again(submitting: Submitting) -> None:
    answer = submitting.ask(PROCESS, IMAGES, headers=KEY)
    submitting.claim(answer.body["jobId"])
    assert submitting.ask(PROCESS, IMAGES, headers=KEY).body == answer.body
    assert len(submitting.messages()) == 1


def test_an_id_that_is_taken_is_refused(submitting: Submitting) -> None:
    submitting.ask(RECORD, RECORDING | {"jobId": "a"})
    answer = submitting.ask(RECORD, RECORDING | {"jobId": "a"})
    assert (answer.status, answer.body["error"]) == (409, "JOB_EXISTS")
    assert len(submitting.messages()) == 1


def test_an_id_that_is_taken_is_refused_to_another_key(submitting: Submitting) -> None:
    submitting.ask(RECORD, RECORDING | {"jobId": "a"}, headers=KEY)
    answer = submitting.ask(RECORD, RECORDING | {"jobId": "a"}, headers={"Idempotency-Key": "another"})
    assert answer.body["error"] == "JOB_EXISTS"


def test_an_id_may_be_repeated_with_its_key(submitting: Submitting) -> None:
    first, second = (submitting.ask(RECORD, RECORDING | {"jobId": "a"}, headers=KEY) for _ in range(2))
    assert (first.status, first.body) == (second.status, second.body)


def test_an_id_of_another_program_is_taken_too(submitting: Submitting) -> None:
    submitting.aws.dynamodb.put_item(TableName=submitting.aws.jobs_table, Item={"jobId": {"S": "a"}})
    answer = submitting.ask(RECORD, RECORDING | {"jobId": "a"}, headers=KEY)
    assert answer.body["error"] == "JOB_EXISTS"


# ---- faults ---------------------------------------------------------------------------------------------------------

THROTTLED = ClientError({"Error": {"Code": "ThrottlingException"}}, "Call")
TIMED_OUT = ReadTimeoutError(endpoint_url="aws")


@dataclass
class Failing(Countdown):
    """Fails one call, with its effect or without."""

    error: Exception = THROTTLED

    def strike(self) -> None:
        self.calls = None
        raise self.error


class Down(Failing):
    """Fails one call and all that follow."""

    def strike(self) -> None:
        raise self.error


def over(submitting: Submitting, countdown: Countdown) -> Submitting:
    """Returns the same routes with clients that fail by countdown."""
    dynamodb, sqs = (Crashing(client, countdown) for client in (submitting.aws.dynamodb, submitting.aws.sqs))
    return Submitting(submitting.aws, dynamodb=dynamodb, sqs=sqs)


def works(submitting: Submitting) -> set[tuple[str, str]]:
    """Returns the work in all messages: more than one per request would be a duplicate job."""
    return {(message["jobId"], message["version"]) for message in submitting.messages()}


every_fault = pytest.mark.parametrize(
    ("error", "after_effect"),
    [(THROTTLED, False), (TIMED_OUT, False), (TIMED_OUT, True)],
    ids=["throttled", "lost on the way", "answer lost"],
)
every_call = pytest.mark.parametrize("call", [0, 1], ids=["PutItem", "SendMessage"])


@every_fault
@every_call
def test_a_call_that_fails_is_a_503(submitting: Submitting, call: int, error: Exception, *, after_effect: bool) -> None:
    answer = over(submitting, Failing(call, after_effect, error)).ask(PROCESS, IMAGES)
    assert (answer.status, answer.body["error"]) == (503, "UNAVAILABLE")
    assert "Retry-After" in answer.headers


@every_fault
@every_call
def test_a_call_that_fails_leaves_no_job(
    submitting: Submitting, call: int, error: Exception, *, after_effect: bool
) -> None:
    """If the message was sent nevertheless, it finds no record, because that was withdrawn."""
    over(submitting, Failing(call, after_effect, error)).ask(PROCESS, IMAGES)
    assert submitting.records() == []


@every_fault
@every_call
@pytest.mark.parametrize("headers", [{}, KEY], ids=["no key", "key"])
def test_a_request_that_failed_can_be_repeated(
    submitting: Submitting, headers: dict[str, str], call: int, error: Exception, *, after_effect: bool
) -> None:
    body = RECORDING | {"jobId": "evening-1"}
    over(submitting, Failing(call, after_effect, error)).ask(RECORD, body, headers=headers)
    assert submitting.ask(RECORD, body, headers=headers).status == 201
    assert len(submitting.records()) == 1
    assert len(works(submitting)) == 1


def test_a_job_that_could_be_neither_queued_nor_withdrawn_is_a_503_and_stays(submitting: Submitting) -> None:
    answer = over(submitting, Down(1)).ask(PROCESS, IMAGES, headers=KEY)
    assert answer.status == 503
    assert [record["status"] for record in submitting.records()] == ["PENDING"]


def test_a_job_that_stayed_is_queued_by_a_repeated_request(submitting: Submitting) -> None:
    over(submitting, Down(1)).ask(PROCESS, IMAGES, headers=KEY)
    assert submitting.ask(PROCESS, IMAGES, headers=KEY).status == 202
    assert len(works(submitting)) == 1


@pytest.mark.parametrize("after_effect", [False, True])
@every_call
def test_a_process_that_dies_can_be_repeated(submitting: Submitting, call: int, *, after_effect: bool) -> None:
    with pytest.raises(Killed):
        over(submitting, Countdown(call, after_effect)).ask(PROCESS, IMAGES, headers=KEY)
    assert submitting.ask(PROCESS, IMAGES, headers=KEY).status == 202
    assert len(submitting.records()) == 1
    assert len(works(submitting)) == 1


@every_fault
@pytest.mark.parametrize("call", [0, 1, 2], ids=["PutItem", "UpdateItem", "SendMessage"])
def test_a_repeated_request_that_fails_never_takes_the_job_away(
    submitting: Submitting, call: int, error: Exception, *, after_effect: bool
) -> None:
    """The first request was answered as accepted."""
    submitting.ask(PROCESS, IMAGES, headers=KEY)
    assert over(submitting, Failing(call, after_effect, error)).ask(PROCESS, IMAGES, headers=KEY).status == 503
    assert len(submitting.records()) == 1


# ---- races ----------------------------------------------------------------------------------------------------------


@dataclass
class Interrupted:
    """An SQS that runs other code before a message is sent, or loses its answer."""

    inner: Any
    meanwhile: Callable[[dict[str, Any]], object]
    sends: bool = False

    def send_message(self, **call: Any) -> None:  # noqa: ANN401 - a call's parameters
        if self.sends:
            self.inner.send_message(**call)
        self.meanwhile(json.loads(call["MessageBody"]))
        raise TIMED_OUT


def test_a_job_that_is_claimed_before_the_answer_is_lost_is_accepted(submitting: Submitting) -> None:
    """The message arrived; a 503 would make the caller request a second job."""

    def claim(message: dict[str, Any]) -> None:
        submitting.claim(message["jobId"])

    interrupted = Submitting(submitting.aws, sqs=Interrupted(submitting.aws.sqs, claim, sends=True))
    assert interrupted.ask(PROCESS, IMAGES).status == 202
    assert [record["status"] for record in submitting.records()] == ["CLAIMED"]


def test_a_job_that_a_repeated_request_got_through_is_not_withdrawn_by_the_first(submitting: Submitting) -> None:
    answers = []

    def repeat(_: dict[str, Any]) -> None:
        answers.append(submitting.ask(PROCESS, IMAGES, headers=KEY))

    interrupted = Submitting(submitting.aws, sqs=Interrupted(submitting.aws.sqs, repeat))
    assert interrupted.ask(PROCESS, IMAGES, headers=KEY).status == 503
    assert [answer.status for answer in answers] == [202]
    assert len(submitting.records()) == 1


def test_a_job_that_is_withdrawn_under_a_repeated_request_is_written_down_again(submitting: Submitting) -> None:
    class Withdrawn(Crashing):
        def update_item(self, **call: Any) -> object:  # noqa: ANN401 - a call's parameters
            submitting.aws.dynamodb.delete_item(TableName=call["TableName"], Key=call["Key"])
            return submitting.aws.dynamodb.update_item(**call)

    submitting.ask(PROCESS, IMAGES, headers=KEY)
    second = Submitting(submitting.aws, dynamodb=Withdrawn(submitting.aws.dynamodb, Countdown()))
    assert second.ask(PROCESS, IMAGES, headers=KEY).status == 202
    assert len(submitting.records()) == 1
