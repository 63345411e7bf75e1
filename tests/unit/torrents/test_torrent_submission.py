"""POST /torrents: one job per version of an existing object of the caller, also for repeated requests."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from switchyard import clients, clock
from switchyard.api.http import Api
from switchyard.function_jobs.work import parse
from switchyard.messages import kinds
from switchyard.messages.envelope import Envelope
from switchyard.tables.items import PlainItem
from switchyard.tables.records import Records
from switchyard.torrents.messages import TorrentWork, Wanted, job_id
from switchyard.torrents.submission import TorrentSubmission
from tests.cases import Test, cases
from tests.conftest import Aws
from tests.corpus.bodies import BAD_TORRENTS, HOSTILE, TORRENT
from tests.corpus.filenames import HOSTILE as HOSTILE_NAMES
from tests.fakes.crashing import Countdown, Crashing, Killed
from tests.rest import Answer, ask
from tests.strategies import anything

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ROUTE: Final = "POST /torrents"
BUCKET: Final = "media"
KEY: Final = TORRENT["key"]
WORK: Final = TorrentWork(BUCKET, "recordings/", "torrents/", "recordings/scratch/")


@cache
def s3_client() -> "S3Client":
    return clients.s3()


@dataclass
class Asking:
    """The route on one moto account with replaceable clients, and its results."""

    aws: Aws
    dynamodb: Any = None
    sqs: Any = None
    s3: Any = None
    seen: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, body: object = TORRENT, **more: Any) -> Answer:  # noqa: ANN401 - as `event`
        submission = TorrentSubmission(
            records=Records(self.dynamodb or self.aws.dynamodb, self.aws.jobs_table),
            work=WORK,
            s3=lambda: self.s3 or s3_client(),
            sqs=self.sqs or self.aws.sqs,
            queue_url=self.aws.queue_url,
        )
        return ask(Api({ROUTE: submission.ask}), ROUTE, body, **more)

    def upload(self, key: str = KEY, content: bytes = b"once") -> str:
        """Puts an object and returns its version."""
        return s3_client().put_object(Bucket=BUCKET, Key=key, Body=content)["VersionId"]

    def messages(self) -> list[dict[str, Any]]:
        """Returns every message ever queued."""
        while found := self.aws.sqs.receive_message(QueueUrl=self.aws.queue_url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            self.seen += [json.loads(message["Body"]) for message in found]
        return self.seen

    def jobs(self) -> list[PlainItem]:
        """Returns the torrent jobs."""
        items = self.aws.dynamodb.scan(TableName=self.aws.jobs_table)["Items"]
        found = [Records(self.aws.dynamodb, self.aws.jobs_table).read(item["jobId"]["S"]) for item in items]
        return [record for record in found if record is not None and record["kind"] == kinds.TORRENT.name]

    def put(self, row: dict[str, str]) -> None:
        item: Any = {name: {"S": value} for name, value in row.items()}
        self.aws.dynamodb.put_item(TableName=self.aws.jobs_table, Item=item)

    def stands(self, status: str) -> Answer:
        """What is answered of an object's torrent whose job stands so, as the function has written it."""
        self.put({"jobId": job_id(BUCKET, KEY, self.upload()), "kind": kinds.TORRENT.name, "status": status})
        return self.ask()


@pytest.fixture
def asking(aws: Aws) -> Asking:
    s3_client().create_bucket(Bucket=BUCKET)
    s3_client().put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    return Asking(aws)


def by_name(corpus: dict[str, Any]) -> Callable[[Test], Test]:
    return cases("case", corpus.values(), ids=corpus)


def refused(body: object = None, **more: Any) -> Answer:  # noqa: ANN401 - as `event`
    """Checks that a request is refused without any call to AWS, so that nothing is stored or sent."""
    no_client: Any = None
    submission = TorrentSubmission(Records(no_client, ""), WORK, no_client, no_client, "queue")
    answer = ask(Api({ROUTE: submission.ask}), ROUTE, body, **more)
    assert 400 <= answer.status < 500, answer
    return answer


# ---- what is accepted ------------------------------------------------------------------------------------------------


def test_an_object_is_accepted(asking: Asking) -> None:
    version = asking.upload()
    answer = asking.ask()
    assert answer.status == 202
    assert answer.body == {
        "success": True,
        "jobId": job_id(BUCKET, KEY, version),
        "status": "PENDING",
        "message": "The job is accepted.",
    }


def test_the_bucket_may_be_said(asking: Asking) -> None:
    asking.upload()
    assert asking.ask(TORRENT | {"bucket": BUCKET}).status == 202


def test_the_job_is_written_down_as_pending(asking: Asking) -> None:
    asking.upload()
    asking.ask()
    assert [(job["kind"], job["status"]) for job in asking.jobs()] == [("torrent", "PENDING")]


def test_the_message_asks_for_the_version_that_is_there(asking: Asking) -> None:
    version = asking.upload()
    asking.ask()
    (message,) = asking.messages()
    assert parse(WORK.read, json.dumps(message), Envelope("m", clock.now())).work == [Wanted(BUCKET, KEY, version)]


def test_without_versions_the_etag_is_the_version(asking: Asking) -> None:
    s3_client().create_bucket(Bucket="plain")
    etag = s3_client().put_object(Bucket="plain", Key=KEY, Body=b"once")["ETag"].strip('"')
    submission = TorrentSubmission(
        Records(asking.aws.dynamodb, asking.aws.jobs_table),
        TorrentWork("plain", "recordings/", "torrents/", "scratch/"),
        s3_client,
        asking.aws.sqs,
        asking.aws.queue_url,
    )
    assert ask(Api({ROUTE: submission.ask}), ROUTE, TORRENT).body["jobId"] == job_id("plain", KEY, etag)


def test_an_object_that_is_uploaded_anew_is_another_job(asking: Asking) -> None:
    asking.upload()
    first = asking.ask().body["jobId"]
    asking.upload(content=b"anew")
    assert asking.ask().body["jobId"] != first


def test_keys_in_every_script_are_accepted(asking: Asking) -> None:
    key = "recordings/a/my file+ü #1 100%.bin"
    asking.upload(key)
    assert asking.ask({"key": key}).status == 202
    assert [message["key"] for message in asking.messages()] == [key]


# ---- what is refused -------------------------------------------------------------------------------------------------


@by_name(HOSTILE)
def test_a_hostile_body_is_refused(case: str | None) -> None:
    assert refused(raw=case).body["error"] in ("INVALID_REQUEST", "TOO_LARGE")


@by_name(BAD_TORRENTS)
def test_a_bad_request_is_refused(case: dict[str, Any]) -> None:
    assert refused(case).body["error"] == "INVALID_REQUEST"


@pytest.mark.parametrize("key", ["uploads/a.mp4", "recordings", "Recordings/a", "/recordings/a", "results/a/b", "a"])
def test_an_object_elsewhere_is_not_found(key: str) -> None:
    assert refused({"key": key}).body["error"] == "OBJECT_NOT_FOUND"


def test_an_object_that_is_not_there_is_not_found(asking: Asking) -> None:
    answer = asking.ask()
    assert (answer.status, answer.body["error"]) == (404, "OBJECT_NOT_FOUND")
    assert (asking.jobs(), asking.messages()) == ([], [])


def test_an_object_that_was_deleted_is_not_found(asking: Asking) -> None:
    asking.upload()
    s3_client().delete_object(Bucket=BUCKET, Key=KEY)
    assert asking.ask().status == 404


@by_name({name: text for name, text in HOSTILE_NAMES.items() if text})
def test_a_hostile_key_leaves_nothing_behind(asking: Asking, case: str) -> None:
    answer = asking.ask({"key": f"recordings/{case}"})
    assert 400 <= answer.status < 500
    assert (asking.jobs(), asking.messages()) == ([], [])


@dataclass
class Saying:
    """An S3 that gives one answer to everything."""

    status: int
    code: str

    def head_object(self, **_: object) -> None:
        raise ClientError(
            {"Error": {"Code": self.code}, "ResponseMetadata": {"HTTPStatusCode": self.status}},  # type: ignore[typeddict-item]
            "HeadObject",
        )


class NoJobs:
    """A table without jobs."""

    def get_item(self, **_: object) -> dict[str, Any]:
        return {}


@given(st.text(anything, max_size=1100), st.sampled_from(["", "recordings/", "recordings/a/"]))
def test_no_key_breaks_the_reading(key: str, folder: str) -> None:
    nothing: Any = Saying(404, "404")
    no_client: Any = None
    submission = TorrentSubmission(Records(NoJobs(), ""), WORK, lambda: nothing, no_client, "queue")  # type: ignore[arg-type]
    answer = ask(Api({ROUTE: submission.ask}), ROUTE, raw=json.dumps({"key": folder + key}))
    assert answer.status in (400, 404)


def test_what_s3_forbids_to_look_at_is_not_found(asking: Asking) -> None:
    """S3 gives this answer for a missing object if the caller may not list."""
    assert Asking(asking.aws, s3=Saying(403, "403")).ask().body["error"] == "OBJECT_NOT_FOUND"


def test_s3_that_is_not_available_is_a_503(asking: Asking) -> None:
    answer = Asking(asking.aws, s3=Saying(503, "SlowDown")).ask()
    assert (answer.status, asking.jobs()) == (503, [])


def test_a_deployment_without_a_queue_makes_none() -> None:
    no_client: Any = None
    submission = TorrentSubmission(Records(no_client, ""), WORK, no_client, no_client, "")
    answer = ask(Api({ROUTE: submission.ask}), ROUTE, TORRENT)
    assert (answer.status, answer.body["error"]) == (501, "NOT_CONFIGURED")


def test_an_idempotency_key_is_visible_ascii() -> None:
    refused(TORRENT, headers={"Idempotency-Key": "a b"})


# ---- whose it is -----------------------------------------------------------------------------------------------------


ADAS: Final = "recordings/ada/evening-1/evening.mp4"


def test_a_user_may_ask_for_their_own_recording(asking: Asking) -> None:
    asking.upload(ADAS)
    assert asking.ask({"key": ADAS}, user="ada").status == 202


def test_a_user_may_ask_for_their_own_upload_where_uploads_are_shared(asking: Asking) -> None:
    key = "recordings/ada/2026/11/22/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506-a.mp4"
    asking.upload(key)
    assert asking.ask({"key": key}, user="ada").status == 202


@pytest.mark.parametrize(
    "key",
    [
        ADAS,
        KEY,
        "recordings/evening.mp4",
        "recordings/2026/11/22/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506-a.mp4",
        "recordings/bobby/evening-1/bob/evening.mp4",
    ],
)
def test_what_is_another_owner_s_is_not_found(asking: Asking, key: str) -> None:
    asking.upload(key)
    answer = asking.ask({"key": key}, user="bob")
    assert (answer.status, answer.body["error"]) == (404, "OBJECT_NOT_FOUND")
    assert (asking.jobs(), asking.messages()) == ([], [])


def test_a_job_named_like_a_recording_gives_no_right_to_it(asking: Asking) -> None:
    """Once a recording's own row has expired, anybody may take its id."""
    asking.put({"jobId": KEY.split("/")[1], "kind": "stream-recording", "status": "COMPLETED", "userId": "bob"})
    asking.upload()
    assert asking.ask(user="bob").status == 404


@pytest.mark.parametrize("user", ["ada", None])
def test_a_torrent_belongs_to_the_owner_of_its_object(asking: Asking, user: str | None) -> None:
    asking.upload(ADAS)
    asking.ask({"key": ADAS}, user=user)
    assert [job["userId"] for job in asking.jobs()] == ["ada"]


def test_a_torrent_s_id_that_other_work_has_is_a_conflict(asking: Asking) -> None:
    taken = {"jobId": job_id(BUCKET, KEY, asking.upload()), "kind": "stream-recording", "status": "PENDING"}
    asking.put(taken | {"fingerprint": "another request"})
    answer = asking.ask()
    assert (answer.status, answer.body["error"], asking.messages()) == (409, "JOB_ID_TAKEN", [])


def test_what_no_job_made_is_nobodys(asking: Asking) -> None:
    asking.upload()
    asking.ask()
    assert [job for job in asking.jobs() if "userId" in job] == []


# ---- what was asked for before ---------------------------------------------------------------------------------------


def test_a_request_that_is_repeated_is_the_same_job(asking: Asking) -> None:
    asking.upload()
    first, second = asking.ask(headers={"Idempotency-Key": "a"}), asking.ask()
    assert first.body == second.body
    assert len(asking.jobs()) == 1


def test_while_a_job_is_pending_its_message_is_sent_again(asking: Asking) -> None:
    """The first request's invocation may have died before the job was queued."""
    asking.upload()
    asking.ask()
    asking.ask()
    first, second = asking.messages()
    assert first == second


@pytest.mark.parametrize("status", ["RUNNING", "COMPLETED", "CANCELLED"])
def test_a_job_that_is_there_is_told_as_it_stands(asking: Asking, status: str) -> None:
    answer = asking.stands(status)
    assert (answer.status, answer.body["status"]) == (202, status)
    assert asking.messages() == []


def test_a_job_that_failed_is_asked_for_again(asking: Asking) -> None:
    answer = asking.stands("FAILED")
    assert (answer.status, answer.body["status"]) == (202, "FAILED")
    assert len(asking.messages()) == 1


@pytest.mark.parametrize("status", ["COMPLETED", "CANCELLED", "FAILED"])
def test_a_torrent_that_is_wanted_again_is_asked_for_again(asking: Asking, status: str) -> None:
    asking.stands(status)
    asking.ask(TORRENT | {"again": True})
    assert asking.messages()[-1]["again"] is True


def test_a_torrent_that_is_being_made_is_not_asked_for_again(asking: Asking) -> None:
    asking.stands("RUNNING")
    assert asking.ask(TORRENT | {"again": True}).body["status"] == "RUNNING"
    assert asking.messages() == []


# ---- faults ----------------------------------------------------------------------------------------------------------

TIMED_OUT: Final = ReadTimeoutError(endpoint_url="aws")


@dataclass
class Failing(Countdown):
    """Fails one call, with its effect or without."""

    def strike(self) -> None:
        self.calls = None
        raise TIMED_OUT


def over(asking: Asking, countdown: Countdown) -> Asking:
    """Returns the same route with clients that fail by countdown."""
    strike: Callable[[Any], Any] = lambda client: Crashing(client, countdown)  # noqa: E731
    return Asking(asking.aws, dynamodb=strike(asking.aws.dynamodb), sqs=strike(asking.aws.sqs))


every_call = pytest.mark.parametrize("call", [0, 1], ids=["PutItem", "SendMessage"])
before_and_after = pytest.mark.parametrize("after_effect", [False, True], ids=["lost on the way", "answer lost"])


@every_call
@before_and_after
def test_a_call_that_fails_is_a_503_and_leaves_no_job(asking: Asking, call: int, *, after_effect: bool) -> None:
    asking.upload()
    assert over(asking, Failing(call, after_effect)).ask().status == 503
    assert asking.jobs() == []


@every_call
@before_and_after
def test_a_process_that_dies_can_be_repeated(asking: Asking, call: int, *, after_effect: bool) -> None:
    asking.upload()
    with pytest.raises(Killed):
        over(asking, Countdown(call, after_effect)).ask()
    assert asking.ask().status == 202
    assert len(asking.jobs()) == 1
    assert asking.messages() != []
