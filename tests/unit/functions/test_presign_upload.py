"""functions/presign_upload from end to end: sample events in; answers, uploads on moto's S3 and logs out."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, ConnectTimeoutError, NoCredentialsError, ReadTimeoutError
from moto import mock_aws

from functions.presign_upload import app
from switchyard import clients
from switchyard.api import http
from switchyard.api.uploads import EXTENSIONS
from switchyard.errors import SettingsError
from switchyard.keys import owner_of
from tests.cases import cases
from tests.corpus.filenames import HOSTILE
from tests.unit.functions.test_functions import Context

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# An invocation that counts nothing is a normal one (layers/switchyard/switchyard/observability.py).
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

EVENTS = Path(__file__).parents[3] / "events" / "presign_upload"
BUCKET = "switchyard-media"
ORIGIN = "https://app.example.com"
KEY = re.compile(r"uploads/\d{4}/\d\d/\d\d/[0-9a-f-]{36}-[A-Za-z0-9][A-Za-z0-9._-]*")
ZEROS = [bytes(5 * 2**20), bytes(2**20)]
"""The parts that the sample event of a complete tells of."""


def event(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return read


def naming(given: dict[str, Any], upload: dict[str, str]) -> dict[str, Any]:
    """Returns the event for another upload."""
    if given["body"] is None:
        return given | {"queryStringParameters": upload}
    return given | {"body": json.dumps(json.loads(given["body"]) | upload)}


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "CompleteMultipartUpload")


@dataclass
class Answer:
    """The answer to API Gateway, with a parsed body."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass
class Deployed:
    """The function on one bucket of moto."""

    s3: "S3Client"
    monkeypatch: pytest.MonkeyPatch

    def set(self, **variables: str) -> None:
        """Changes settings of the function."""
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)
        app.api.cache_clear()

    def send(self, given: dict[str, Any]) -> Answer:
        answer = app.lambda_handler(given, Context())
        return Answer(answer["statusCode"], answer["headers"], json.loads(answer["body"] or "null"))

    def presign(self, **body: object) -> Answer:
        return self.send(event("presign_put") | {"body": json.dumps(body)})

    def begun(self, owner: str | None = None) -> dict[str, str]:
        """Starts an upload whose parts have arrived."""
        created = self.send(by(owner, event("multipart_create")) if owner else event("multipart_create")).body
        upload = {"key": created["key"], "uploadId": created["uploadId"]}
        for number, body in enumerate(ZEROS, 1):
            self.s3.upload_part(
                Bucket=BUCKET, Key=upload["key"], UploadId=upload["uploadId"], PartNumber=number, Body=body
            )
        return upload

    def failing(self, error: Exception, *operations: str) -> None:
        """Makes S3 answer these calls, or all calls, with this error, in botocore's class for its code."""
        call: Callable[..., Any] = BaseClient._make_api_call  # type: ignore[attr-defined]

        def fail(client: BaseClient, operation: str, params: dict[str, Any]) -> Any:  # noqa: ANN401 - any answer
            if not operations or operation in operations:
                if isinstance(error, ClientError):
                    kind = cast("type[ClientError]", client.exceptions.from_code(error.response["Error"]["Code"]))
                    raise kind(error.response, operation)
                raise error
            return call(client, operation, params)

        self.monkeypatch.setattr(BaseClient, "_make_api_call", fail)


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    with mock_aws():
        s3 = clients.s3()
        s3.create_bucket(Bucket=BUCKET)
        deployment = Deployed(s3, monkeypatch)
        deployment.set(ENVIRONMENT="test", S3_BUCKET=BUCKET, CORS_ORIGINS=ORIGIN)
        yield deployment
    app.api.cache_clear()


# ---- the sample events ----------------------------------------------------------------------------------------------

ANSWERS = {
    "presign_put": (200, "PresignedUpload"),
    "presign_snake_case": (200, "PresignedUpload"),
    "presign_form": (200, "PresignedUpload"),
    "presign_not_allowed": (400, "Error"),
    "preflight": (204, None),
    "multipart_create": (201, "MultipartUpload"),
    "multipart_parts": (200, "MultipartParts"),
    "multipart_list": (200, "MultipartPartList"),
    "multipart_complete": (200, "CompletedUpload"),
    "multipart_abort": (204, None),
}
OF_AN_UPLOAD = ("multipart_list", "multipart_complete", "multipart_abort")


def test_every_sample_event_is_tested() -> None:
    assert set(ANSWERS) == {path.stem for path in EVENTS.glob("*.json")}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_event_is_answered_as_the_document_says(name: str, deployed: Deployed) -> None:
    given = naming(event(name), deployed.begun()) if name in OF_AN_UPLOAD else event(name)
    answer = deployed.send(given)
    status, schema = ANSWERS[name]
    assert answer.status == status
    if schema:
        http._validator(schema)(answer.body)


@pytest.mark.parametrize("name", OF_AN_UPLOAD)
def test_an_event_about_an_unknown_upload_finds_none(name: str, deployed: Deployed) -> None:
    # As S3 answers; moto fails there.
    deployed.failing(refused("NoSuchUpload"), "CompleteMultipartUpload")
    answer = deployed.send(event(name))
    assert (answer.status, answer.body["error"]) == (404, "UPLOAD_NOT_FOUND")


def test_a_missing_setting_is_named(deployed: Deployed) -> None:
    deployed.monkeypatch.delenv("S3_BUCKET")
    with pytest.raises(SettingsError, match="S3_BUCKET"):
        app.api()


# ---- presign --------------------------------------------------------------------------------------------------------


@cases("filename", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_name_gets_a_safe_key(filename: str, deployed: Deployed) -> None:
    answer = deployed.presign(filename=filename, contentType="video/mp4", size=7)
    assert answer.status == 200
    assert KEY.fullmatch(answer.body["key"])


@pytest.mark.parametrize("content_type", EXTENSIONS)
def test_every_type_of_the_list_may_be_uploaded(content_type: str, deployed: Deployed) -> None:
    answer = deployed.presign(filename="a", contentType=content_type, size=7)
    assert answer.body["headers"] == {"Content-Type": content_type, "Content-Length": "7", "If-None-Match": "*"}


@pytest.mark.parametrize(
    "content_type", ["", "text/html", "image/svg+xml", "video/mp4; codecs=avc1", "VIDEO/MP4", "video/mp4\n", None, 1]
)
def test_another_type_is_refused(content_type: object, deployed: Deployed) -> None:
    assert deployed.presign(filename="a", contentType=content_type, size=7).status == 400


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"filename": "a"},
        {"contentType": "video/mp4"},
        {"filename": 7, "contentType": "video/mp4", "size": 7},
        {"filename": "a", "file_name": "a", "contentType": "video/mp4", "size": 7},
        {"filename": "a", "contentType": "video/mp4", "content_type": "video/mp4", "size": 7},
        {"filename": "a", "contentType": "video/mp4", "kind": "image", "size": 7},
        {"filename": "a", "content_type": "image/png", "kind": "video", "size": 7},
        {"filename": "a", "contentType": "video/mp4", "kind": "torrent", "size": 7},
        {"filename": "a", "contentType": "video/mp4", "method": "DELETE", "size": 7},
        {"filename": "a", "contentType": "video/mp4", "size": 0},
        {"filename": "a", "contentType": "video/mp4", "size": -1},
        {"filename": "a", "contentType": "video/mp4", "size": 1.5},
        {"filename": "a", "contentType": "video/mp4", "size": "7"},
        {"filename": "a.txt", "size": 7},
        {"filename": "mp4", "size": 7},
        {"filename": "a.mp4", "kind": "image", "size": 7},
        {"filename": "a", "contentType": "video/mp4", "key": "uploads/mine", "size": 7},
        {"filename": "a" * 4097, "contentType": "video/mp4", "size": 7},
    ],
    ids=str,
)
def test_a_request_against_the_rules_is_refused(body: dict[str, object], deployed: Deployed) -> None:
    answer = deployed.presign(**body)
    assert (answer.status, answer.body["error"]) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("filename", "content_type"), [("a.MP4", "video/mp4"), ("b.x.webm", "video/webm"), (".jpeg", "image/jpeg")]
)
def test_a_name_alone_says_what_it_is(filename: str, content_type: str, deployed: Deployed) -> None:
    answer = deployed.presign(filename=filename)
    assert (answer.status, answer.body["headers"]) == (200, {"Content-Type": content_type, "If-None-Match": "*"})


def test_without_a_size_a_put_may_not_exceed_what_the_deployment_takes(deployed: Deployed) -> None:
    """S3 takes up to 5 GiB then."""
    deployed.set(MAX_UPLOAD_GIB="5")
    assert deployed.presign(filename="a.mp4").status == 200
    deployed.set(MAX_UPLOAD_GIB="4")
    answer = deployed.presign(filename="a.mp4")
    assert (answer.status, answer.body["details"]) == (400, ["the body must have a size, unless its method is POST"])
    assert deployed.presign(filename="a.mp4", method="POST").status == 200


@pytest.mark.parametrize(("size", "status"), [(5 * 2**30, 200), (5 * 2**30 + 1, 413)])
def test_more_than_s3_takes_at_once_is_sent_to_parts(size: int, status: int, deployed: Deployed) -> None:
    answer = deployed.presign(filename="a", contentType="video/mp4", size=size)
    assert answer.status == status
    assert status == 200 or "/uploads/multipart" in answer.body["message"]


@pytest.mark.parametrize(("size", "status"), [(2**30, 200), (2**30 + 1, 413)])
def test_more_than_the_deployment_takes_is_refused(size: int, status: int, deployed: Deployed) -> None:
    deployed.set(MAX_UPLOAD_GIB="1")
    assert deployed.presign(filename="a", contentType="video/mp4", size=size).status == status


def test_a_form_takes_no_more_than_the_deployment(deployed: Deployed) -> None:
    deployed.set(MAX_UPLOAD_GIB="1")
    form = deployed.presign(filename="a", contentType="video/mp4", method="POST", size=2**30 + 1)
    assert form.status == 413


def test_a_whole_number_may_be_written_with_a_point(deployed: Deployed) -> None:
    answer = deployed.send(
        event("presign_put") | {"body": '{"filename": "a", "contentType": "video/mp4", "size": 5.0}'}
    )
    assert answer.body["headers"]["Content-Length"] == "5"


def test_a_url_lives_as_long_as_is_set(deployed: Deployed) -> None:
    deployed.set(UPLOAD_URL_SECONDS="60")
    body = deployed.presign(filename="a", contentType="video/mp4", size=7).body
    assert (body["expiresIn"], "X-Amz-Expires=60&" in body["url"]) == (60, True)


def test_a_key_begins_as_is_set(deployed: Deployed) -> None:
    deployed.set(UPLOAD_PREFIX="incoming/")
    assert deployed.presign(filename="a", contentType="video/mp4", size=7).body["key"].startswith("incoming/")


def test_a_page_of_an_allowed_origin_may_read_a_refusal(deployed: Deployed) -> None:
    given = event("presign_not_allowed")
    given["headers"]["Origin"] = ORIGIN
    assert deployed.send(given).headers["Access-Control-Allow-Origin"] == ORIGIN


# ---- parts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gib", "status"), [("1", 413), ("2", 201)])
def test_a_file_in_parts_has_its_limit_too(gib: str, status: int, deployed: Deployed) -> None:
    deployed.set(MAX_UPLOAD_GIB=gib)
    body = {"filename": "a", "contentType": "video/mp4", "size": 2**30 + 1}
    assert deployed.send(event("multipart_create") | {"body": json.dumps(body)}).status == status


def test_a_file_in_parts_has_its_limit_when_it_is_completed(deployed: Deployed) -> None:
    """The size at the beginning is only what the caller says. S3 checks the size at the end against the parts."""
    upload = deployed.begun()
    body = json.loads(event("multipart_complete")["body"]) | {"size": 2**30 + 1}
    given = event("multipart_complete") | {"body": json.dumps(body)}
    deployed.set(MAX_UPLOAD_GIB="1")
    assert deployed.send(naming(given, upload)).status == 413


def test_ten_thousand_parts_can_be_completed(deployed: Deployed) -> None:
    deployed.failing(refused("NoSuchUpload"), "ListParts")
    deployed.failing(refused("InvalidPart"), "CompleteMultipartUpload")
    given = event("multipart_complete")
    part = {"etag": '"' + "d" * 32 + '"', "checksumSha1": "qvTGHdzF6KLavt4PO0gs2a6pQ00="}
    body = json.loads(given["body"]) | {"parts": [{"partNumber": n, **part} for n in range(1, 10_001)]}
    answer = deployed.send(given | {"body": json.dumps(body)})
    assert answer.body["error"] == "INVALID_PART"


@pytest.mark.parametrize("missing", ["key", "uploadId"])
@pytest.mark.parametrize("name", ["multipart_list", "multipart_abort"])
def test_an_upload_has_to_be_named(name: str, missing: str, deployed: Deployed) -> None:
    given = event(name)
    del given["queryStringParameters"][missing]
    answer = deployed.send(given)
    assert (answer.status, answer.body["details"]) == (400, [f"the query must have {missing}"])


@pytest.mark.parametrize("token", ["", "0", "-1", "x", "1 ", "123456", "1\n", "٣"])
def test_a_token_that_was_not_given_is_refused(token: str, deployed: Deployed) -> None:
    given = event("multipart_list")
    given["queryStringParameters"]["nextToken"] = token
    assert deployed.send(given).status == 400


@pytest.mark.parametrize("upload_id", ["a b", "x" * 1025, "ü", "\x00"])
def test_an_id_that_s3_can_not_have_given_is_not_found(upload_id: str, deployed: Deployed) -> None:
    given = event("multipart_list")
    given["queryStringParameters"]["uploadId"] = upload_id
    assert deployed.send(given).status == 404


# ---- users ----------------------------------------------------------------------------------------------------------


def by(user: str, given: dict[str, Any]) -> dict[str, Any]:
    """Returns the event as a user of Cognito sends it."""
    context = given["requestContext"] | {"authorizer": {"claims": {"sub": user}}}
    return given | {"requestContext": context}


@pytest.mark.parametrize("name", ["presign_put", "presign_form", "multipart_create"])
def test_a_user_s_file_lies_under_the_user_s_prefix(name: str, deployed: Deployed) -> None:
    answer = deployed.send(by("ada", event(name)))
    assert owner_of("uploads/", answer.body["key"]) == "ada"


@pytest.mark.parametrize("name", ["multipart_parts", *OF_AN_UPLOAD])
@pytest.mark.parametrize("owner", ["ada", None])
def test_a_user_reaches_no_upload_of_another(name: str, owner: str | None, deployed: Deployed) -> None:
    upload = deployed.begun(owner)
    answer = deployed.send(by("bob", naming(event(name), upload)))
    assert (answer.status, answer.body["error"]) == (404, "UPLOAD_NOT_FOUND")


@pytest.mark.parametrize("name", ["multipart_parts", *OF_AN_UPLOAD])
@pytest.mark.parametrize("user", ["ada", None])
def test_an_upload_is_reached_by_its_owner_and_by_callers_without_a_user(
    name: str, user: str | None, deployed: Deployed
) -> None:
    given = naming(event(name), deployed.begun("ada"))
    answer = deployed.send(by(user, given) if user else given)
    assert answer.status in (200, 204)


# ---- faults ---------------------------------------------------------------------------------------------------------

CALLS = {
    "CreateMultipartUpload": "multipart_create",
    "ListParts": "multipart_list",
    "CompleteMultipartUpload": "multipart_complete",
    "AbortMultipartUpload": "multipart_abort",
}
"""Every call to S3, and an event that makes it."""

SECRET = "arn:aws:iam::123456789012:role/secret"
TROUBLE = [
    *(
        ClientError({"Error": {"Code": code, "Message": SECRET}}, "PutObject")
        for code in ("SlowDown", "InternalError", "AccessDenied", "NoSuchBucket", "ExpiredToken")
    ),
    ReadTimeoutError(endpoint_url=SECRET),
    ConnectTimeoutError(endpoint_url=SECRET),
    NoCredentialsError(),
]


def code_of(error: object) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__


@pytest.mark.parametrize("error", TROUBLE, ids=code_of)
@pytest.mark.parametrize("operation", CALLS)
def test_trouble_with_s3_asks_for_patience_and_is_not_quoted(
    operation: str, error: Exception, deployed: Deployed
) -> None:
    name = CALLS[operation]
    given = naming(event(name), deployed.begun()) if name in OF_AN_UPLOAD else event(name)
    deployed.failing(error, operation)
    answer = deployed.send(given)
    assert (answer.status, answer.body["error"], "Retry-After" in answer.headers) == (503, "UNAVAILABLE", True)
    assert SECRET not in json.dumps(answer.body)


def test_parts_that_can_not_be_listed_are_not_put_together(deployed: Deployed) -> None:
    upload = deployed.begun()
    deployed.failing(ReadTimeoutError(endpoint_url="s3"), "ListParts")
    assert deployed.send(naming(event("multipart_complete"), upload)).status == 503
    assert "Contents" not in deployed.s3.list_objects_v2(Bucket=BUCKET)


REFUSALS = {
    "NoSuchUpload": (404, "UPLOAD_NOT_FOUND"),
    "InvalidPart": (400, "INVALID_PART"),
    "BadDigest": (400, "INVALID_PART"),
    "InvalidRequest": (400, "INVALID_PART"),
    "InvalidPartOrder": (400, "INVALID_PART_ORDER"),
    "EntityTooSmall": (400, "PART_TOO_SMALL"),
    "PreconditionFailed": (409, "UPLOAD_EXISTS"),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_what_s3_refuses_is_explained(code: str, deployed: Deployed) -> None:
    upload = deployed.begun()
    deployed.failing(refused(code), "CompleteMultipartUpload")
    answer = deployed.send(naming(event("multipart_complete"), upload))
    assert (answer.status, answer.body["error"]) == REFUSALS[code]


def test_nothing_that_signs_is_in_the_log(deployed: Deployed, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="test")
    deployed.presign(filename="a", contentType="video/mp4", size=7)
    assert "X-Amz-Signature" not in "".join(record.getMessage() for record in caplog.records if record.name == "test")
