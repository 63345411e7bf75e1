"""Uploads on moto's S3, from the first request to the stored object.

moto checks neither signatures nor checksums, so tests/integration shows that a wrong size, type or digest is refused.
Nor can it complete an unknown upload: see tests/unit/functions/test_presign_upload.py.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests
from moto import mock_aws

from switchyard import clients
from switchyard.api.http import Problem, Request, Response
from switchyard.api.uploads import Uploads

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "media"
FULL = b"x" * 5 * 2**20
"""The smallest part that may have another one behind it."""
LAST = b"the end"


@dataclass
class Api:
    """The handlers, asked as the API asks them."""

    s3: "S3Client"
    uploads: Uploads

    def ask(self, handler: Callable[[Request], Response], /, **body: object) -> Any:  # noqa: ANN401 - an answer's JSON
        return handler(Request("POST", "/", body=json.dumps(body))).body

    def query(self, handler: Callable[[Request], Response], /, **query: str) -> Response:
        return handler(Request("GET", "/", query=query))

    def begin(self, *bodies: bytes, **more: object) -> tuple[dict[str, str], list[dict[str, Any]]]:
        """An upload with these parts; gives what names it, and the parts as `complete` wants them."""
        created = self.ask(
            self.uploads.create,
            filename="match.mkv",
            contentType="video/x-matroska",
            size=sum(map(len, bodies)),
            **more,
        )
        named = {"key": created["key"], "uploadId": created["uploadId"]}
        wanted = [{"partNumber": n, "size": len(body)} for n, body in enumerate(bodies, 1)]
        signed = self.ask(self.uploads.sign_parts, **named, parts=wanted)["parts"] if wanted else []
        etags = [send("PUT", part["url"], body, part["headers"]) for part, body in zip(signed, bodies, strict=True)]
        return named, [{"partNumber": n, "etag": etag} for n, etag in enumerate(etags, 1)]

    def refusal(self, handler: Callable[[Request], Response], /, **body: object) -> tuple[int, str]:
        with pytest.raises(Problem) as problem:
            self.ask(handler, **body)
        return problem.value.status, problem.value.error

    def read(self, key: str) -> tuple[bytes, str]:
        found = self.s3.get_object(Bucket=BUCKET, Key=key)
        return found["Body"].read(), found["ContentType"]


def send(method: str, url: str, body: bytes, headers: Mapping[str, str]) -> str:
    """Sends it as a client does, and gives the ETag."""
    answer = requests.request(method, url, data=body, headers=headers, timeout=10)
    answer.raise_for_status()
    return str(answer.headers["ETag"])


def sha1(body: bytes) -> str:
    return base64.b64encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode()


_VIDEO_ID = re.compile(r"(?P<video_id>[^/]{36})[^/]*$")


@pytest.fixture
def api() -> Iterator[Api]:
    with mock_aws():
        s3 = clients.s3()
        s3.create_bucket(Bucket=BUCKET)
        yield Api(
            s3,
            Uploads(s3, BUCKET, "uploads/", timedelta(minutes=15), 50 * 2**30, _VIDEO_ID),
        )


# ---- in one piece ---------------------------------------------------------------------------------------------------


def test_what_is_put_lies_under_the_key_with_its_type(api: Api) -> None:
    signed = api.ask(api.uploads.presign, filename="a.mp4", contentType="video/mp4", size=len(LAST))
    send(signed["method"], signed["url"], LAST, signed["headers"])
    assert api.read(signed["key"]) == (LAST, "video/mp4")


def test_a_url_puts_one_version(api: Api) -> None:
    signed = api.ask(api.uploads.presign, filename="a.mp4", contentType="video/mp4", size=len(LAST))
    send(signed["method"], signed["url"], LAST, signed["headers"])
    again = requests.request(signed["method"], signed["url"], data=b"another", headers=signed["headers"], timeout=10)
    assert again.status_code == 412
    assert api.read(signed["key"]) == (LAST, "video/mp4")


def test_a_form_puts_the_file_under_the_key_with_its_type(api: Api) -> None:
    form = api.ask(api.uploads.presign, filename="a.png", contentType="image/png", method="POST")
    requests.post(form["url"], data=form["fields"], files={"file": LAST}, timeout=10).raise_for_status()
    assert api.read(form["key"]) == (LAST, "image/png")


@pytest.mark.parametrize(("size", "bounds"), [(7, [7, 7]), (None, [1, 5 * 2**30])])
def test_a_form_bounds_the_size(api: Api, size: int | None, bounds: list[int]) -> None:
    known = {} if size is None else {"size": size}
    form = api.ask(api.uploads.presign, filename="a.png", contentType="image/png", method="POST", **known)
    conditions = json.loads(base64.b64decode(form["fields"]["policy"]))["conditions"]
    assert ["content-length-range", *bounds] in conditions


def test_a_form_has_exactly_one_key_and_type(api: Api) -> None:
    form = api.ask(api.uploads.presign, filename="a.png", contentType="image/png", method="POST")
    conditions = json.loads(base64.b64decode(form["fields"]["policy"]))["conditions"]
    assert {"Content-Type": "image/png"} in conditions
    assert {"key": form["key"]} in conditions


# ---- in parts -------------------------------------------------------------------------------------------------------


def test_parts_become_the_file(api: Api) -> None:
    named, parts = api.begin(FULL, FULL, LAST)
    api.ask(api.uploads.complete, **named, size=len(FULL + FULL + LAST), parts=parts)
    assert api.read(named["key"]) == (FULL + FULL + LAST, "video/x-matroska")


def test_a_completed_upload_is_described(api: Api) -> None:
    named, parts = api.begin(FULL, LAST)
    done = api.ask(api.uploads.complete, **named, size=len(FULL + LAST), parts=parts)
    etag = api.s3.head_object(Bucket=BUCKET, Key=named["key"])["ETag"]
    assert (done["key"], done["bucket"], done["size"], done["etag"]) == (
        named["key"],
        BUCKET,
        len(FULL + LAST),
        etag,
    )


def test_a_second_complete_is_answered_as_the_first(api: Api) -> None:
    named, parts = api.begin(FULL, LAST)
    first, second = (
        api.ask(api.uploads.complete, **named, size=len(FULL + LAST), parts=parts) for _ in ("first", "second")
    )
    assert first == second


def test_etags_may_come_without_quotes(api: Api) -> None:
    named, parts = api.begin(LAST)
    bare = [part | {"etag": part["etag"].strip('"')} for part in parts]
    assert api.ask(api.uploads.complete, **named, size=len(LAST), parts=bare)["size"] == len(LAST)


def test_a_part_may_be_sent_again(api: Api) -> None:
    named, parts = api.begin(LAST)
    (again,) = api.ask(api.uploads.sign_parts, **named, parts=[{"partNumber": 1}])["parts"]
    parts[0]["etag"] = send("PUT", again["url"], b"another end", again["headers"])
    api.ask(api.uploads.complete, **named, size=len(b"another end"), parts=parts)
    assert api.read(named["key"])[0] == b"another end"


def test_an_upload_is_created_with_the_checksum_that_is_asked_for(api: Api) -> None:
    named, _ = api.begin(LAST, checksum="SHA1")
    (upload,) = api.s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert (upload["Key"], upload.get("ChecksumAlgorithm")) == (named["key"], "SHA1")


def test_a_part_with_a_checksum_has_to_be_sent_with_it(api: Api) -> None:
    named, _ = api.begin(LAST, checksum="SHA1")
    wanted = [{"partNumber": 1, "checksumSha1": sha1(LAST)}]
    (part,) = api.ask(api.uploads.sign_parts, **named, parts=wanted)["parts"]
    assert part["headers"] == {"x-amz-checksum-sha1": sha1(LAST)}
    assert "X-Amz-SignedHeaders=host%3Bx-amz-checksum-sha1" in part["url"]


def test_an_upload_that_is_given_up_is_gone(api: Api) -> None:
    named, _ = api.begin(LAST)
    assert api.query(api.uploads.abort, **named).status == 204
    assert "Uploads" not in api.s3.list_multipart_uploads(Bucket=BUCKET)


def test_parts_never_replace_an_object(api: Api) -> None:
    named, parts = api.begin(FULL, LAST)
    api.s3.put_object(Bucket=BUCKET, Key=named["key"], Body=b"there before")
    assert api.refusal(api.uploads.complete, **named, size=len(FULL + LAST), parts=parts) == (409, "UPLOAD_EXISTS")
    assert api.read(named["key"])[0] == b"there before"


# ---- which parts have arrived ---------------------------------------------------------------------------------------


def test_the_parts_that_have_arrived_are_listed(api: Api) -> None:
    named, parts = api.begin(FULL, LAST)
    assert api.query(api.uploads.parts, **named).body == {
        "parts": [part | {"size": size} for part, size in zip(parts, (len(FULL), len(LAST)), strict=True)]
    }


@pytest.fixture
def short_pages(api: Api) -> Iterator[None]:
    """Makes S3 list two parts per page instead of a thousand."""
    event = "provide-client-params.s3.ListParts"

    def shorten(params: dict[str, Any], **_: object) -> None:
        params["MaxParts"] = 2

    api.s3.meta.events.register(event, shorten)
    yield
    api.s3.meta.events.unregister(event, shorten)


def test_many_parts_are_listed_page_by_page(api: Api, short_pages: None) -> None:
    named, _ = api.begin(b"1", b"2", b"3")
    first: Any = api.query(api.uploads.parts, **named).body
    second: Any = api.query(api.uploads.parts, **named, nextToken=first["nextToken"]).body
    assert [[part["partNumber"] for part in page["parts"]] for page in (first, second)] == [[1, 2], [3]]
    assert "nextToken" not in second


def test_many_parts_become_the_file(api: Api, short_pages: None) -> None:
    named, parts = api.begin(FULL, FULL, LAST)
    assert api.ask(api.uploads.complete, **named, size=len(FULL + FULL + LAST), parts=parts)["key"] == named["key"]


# ---- what is not whole ----------------------------------------------------------------------------------------------


def test_a_part_that_is_missing_is_named(api: Api) -> None:
    named, parts = api.begin(FULL)
    with pytest.raises(Problem) as problem:
        api.ask(api.uploads.complete, **named, size=9, parts=[*parts, {"partNumber": 2, "etag": "x"}])
    assert (problem.value.status, problem.value.error) == (409, "PARTS_MISSING")
    assert problem.value.details == ["part 2 has not arrived"]


@pytest.mark.parametrize("bodies", [(FULL, FULL + LAST, LAST), (FULL, FULL + LAST)], ids=["in the middle", "the last"])
def test_parts_of_different_sizes_are_refused(api: Api, bodies: tuple[bytes, ...]) -> None:
    named, parts = api.begin(*bodies)
    size = sum(map(len, bodies))
    assert api.refusal(api.uploads.complete, **named, size=size, parts=parts) == (409, "PART_SIZES_DIFFER")


@pytest.mark.parametrize("difference", [-1, 1])
def test_another_size_is_refused(api: Api, difference: int) -> None:
    named, parts = api.begin(FULL, LAST)
    size = len(FULL + LAST) + difference
    assert api.refusal(api.uploads.complete, **named, size=size, parts=parts) == (409, "SIZE_MISMATCH")


@pytest.mark.parametrize("size", [len(FULL + LAST), 1], ids=["told", "not told"])
def test_parts_beyond_the_limit_are_refused_whatever_size_is_told(api: Api, size: int) -> None:
    """The size at the beginning is only what the caller says: parts of any size can be sent."""
    named, parts = api.begin(FULL, LAST)
    api.uploads.max_bytes = len(FULL + LAST) - 1
    status, _ = api.refusal(api.uploads.complete, **named, size=size, parts=parts)
    assert status == (413 if size > api.uploads.max_bytes else 409)
    assert "Contents" not in api.s3.list_objects_v2(Bucket=BUCKET)


def test_an_upload_that_was_refused_can_still_be_completed(api: Api) -> None:
    named, parts = api.begin(FULL, LAST)
    api.refusal(api.uploads.complete, **named, size=1, parts=parts)
    assert api.ask(api.uploads.complete, **named, size=len(FULL + LAST), parts=parts)["key"] == named["key"]


@pytest.mark.parametrize("numbers", [(2, 1), (1, 1), (2, 3)], ids=str)
def test_parts_out_of_order_are_refused(api: Api, numbers: tuple[int, int]) -> None:
    named, parts = api.begin(FULL, LAST)
    disordered = [part | {"partNumber": number} for part, number in zip(parts, numbers, strict=True)]
    size = len(FULL + LAST)
    assert api.refusal(api.uploads.complete, **named, size=size, parts=disordered) == (400, "INVALID_PART_ORDER")


def test_another_etag_is_refused(api: Api) -> None:
    named, parts = api.begin(LAST)
    parts[0]["etag"] = '"d41d8cd98f00b204e9800998ecf8427e"'
    assert api.refusal(api.uploads.complete, **named, size=len(LAST), parts=parts) == (400, "INVALID_PART")


def test_parts_that_are_too_small_for_s3_are_refused(api: Api) -> None:
    named, parts = api.begin(b"abc", b"abc")
    assert api.refusal(api.uploads.complete, **named, size=6, parts=parts) == (400, "PART_TOO_SMALL")


# ---- what is not there ----------------------------------------------------------------------------------------------

UNKNOWN = "uploads/2026/11/22/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506-a.mp4"


@pytest.mark.parametrize("handler", ["parts", "abort"])
def test_an_unknown_upload_is_not_found(api: Api, handler: str) -> None:
    with pytest.raises(Problem) as problem:
        api.query(getattr(api.uploads, handler), key=UNKNOWN, uploadId="x")
    assert (problem.value.status, problem.value.error) == (404, "UPLOAD_NOT_FOUND")


FOREIGN = [
    "secret.mp4",
    "results/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506/summary.json",
    UNKNOWN.removeprefix("uploads/"),
    "results/" + UNKNOWN.removeprefix("uploads/"),
    "uploads/../" + UNKNOWN,
    "uploads/a/" + UNKNOWN,
    UNKNOWN + "/../../../../../x.mp4",
    UNKNOWN + "\n",
    UNKNOWN.replace("-4e7f-", "-1e7f-"),
    UNKNOWN.replace("a.mp4", "a b.mp4"),
    UNKNOWN.replace("a.mp4", ""),
]
"""Keys that this API can't have made: somebody else's objects."""


@pytest.mark.parametrize("key", FOREIGN)
@pytest.mark.parametrize("handler", ["parts", "abort"])
def test_what_this_api_did_not_make_is_not_touched(api: Api, handler: str, key: str) -> None:
    upload_id = api.s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    with pytest.raises(Problem) as problem:
        api.query(getattr(api.uploads, handler), key=key, uploadId=upload_id)
    assert problem.value.status == 404


@pytest.mark.parametrize("key", FOREIGN)
def test_what_this_api_did_not_make_is_not_signed(api: Api, key: str) -> None:
    status, _ = api.refusal(api.uploads.sign_parts, key=key, uploadId="x", parts=[{"partNumber": 1}])
    assert status in {400, 404}
