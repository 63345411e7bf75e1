"""Uploads by presigned URL: S3 accepts only the announced file, and an uploaded video becomes its job."""

import base64
import hashlib
import json
from collections.abc import Iterator

import httpx
import pytest

from local import api
from tests.integration.system import Item, System

MIB = 2**20
PLAN = json.dumps({"colour": "green"}).encode()


@pytest.fixture(scope="module")
def http(scene: System) -> Iterator[httpx.Client]:
    with api.client(scene.stack) as client:
        yield client


@pytest.fixture(scope="module")
def s3() -> Iterator[httpx.Client]:
    """S3 as a browser has it: the URL is all it knows."""
    with httpx.Client(trust_env=False, timeout=30) as client:
        yield client


def presigned(http: httpx.Client, **wanted: object) -> Item:
    answer = http.post("/uploads/presign", json={"filename": "clip.mp4", "contentType": "video/mp4", **wanted})
    assert answer.status_code == 200, answer.text
    found: Item = answer.json()
    return found


def test_a_video_put_to_the_presigned_url_becomes_the_job_that_was_named(
    http: httpx.Client, s3: httpx.Client, scene: System
) -> None:
    upload = presigned(http, size=len(PLAN))

    assert s3.put(upload["url"], headers=upload["headers"], content=PLAN).status_code == 200

    [job] = scene.completed(upload["key"])
    assert job["jobId"] == upload["jobId"]
    assert job["result"]["obeyed"] == {"colour": "green"}


def test_s3_refuses_another_size_than_was_signed(http: httpx.Client, s3: httpx.Client) -> None:
    upload = presigned(http, size=len(PLAN))
    headers = {name: value for name, value in upload["headers"].items() if name.lower() != "content-length"}

    assert s3.put(upload["url"], headers=headers, content=PLAN + b" ").status_code == 403


def test_a_url_uploads_once(http: httpx.Client, s3: httpx.Client) -> None:
    upload = presigned(http, size=len(PLAN))
    assert s3.put(upload["url"], headers=upload["headers"], content=PLAN).status_code == 200

    assert s3.put(upload["url"], headers=upload["headers"], content=PLAN).status_code == 412


def test_a_url_without_its_condition_uploads_nothing(http: httpx.Client, s3: httpx.Client) -> None:
    upload = presigned(http, size=len(PLAN))
    headers = {name: value for name, value in upload["headers"].items() if name != "If-None-Match"}

    assert s3.put(upload["url"], headers=headers, content=PLAN).status_code == 403


def test_s3_refuses_another_type_than_was_signed(http: httpx.Client, s3: httpx.Client) -> None:
    upload = presigned(http, size=len(PLAN))
    headers = {**upload["headers"], "Content-Type": "text/html"}

    assert s3.put(upload["url"], headers=headers, content=PLAN).status_code == 403


def test_a_form_upload_is_taken_up_to_its_size(http: httpx.Client, s3: httpx.Client, scene: System) -> None:
    form = presigned(http, filename="a.jpg", contentType="image/jpeg", kind="image", method="POST", size=1000)

    answer = s3.post(form["url"], data=form["fields"], files={"file": ("a.jpg", b"x" * 1000, "image/jpeg")})

    assert answer.status_code in {200, 201, 204}, answer.text
    found = scene.stack.client("s3").head_object(Bucket=scene.bucket, Key=form["key"])
    assert (found["ContentLength"], found["ContentType"]) == (1000, "image/jpeg")


def test_a_form_upload_beyond_its_size_is_refused_by_s3(http: httpx.Client, s3: httpx.Client) -> None:
    form = presigned(http, filename="a.jpg", contentType="image/jpeg", kind="image", method="POST", size=1000)

    answer = s3.post(form["url"], data=form["fields"], files={"file": ("a.jpg", b"x" * 1001, "image/jpeg")})

    assert answer.status_code == 400


# ---- in parts ------------------------------------------------------------------------------------------------


@pytest.fixture
def begun(http: httpx.Client) -> Item:
    """An upload of 33 MiB, in three parts."""
    wanted = {"filename": "long.mkv", "contentType": "video/x-matroska", "size": 33 * MIB, "checksum": "SHA1"}
    answer = http.post("/uploads/multipart", json=wanted)
    assert answer.status_code == 201, answer.text
    found: Item = answer.json()
    return found


def body_of(number: int, upload: Item) -> bytes:
    whole: int = upload["partSize"]
    return bytes([number]) * min(whole, 33 * MIB - whole * (number - 1))


def sent(http: httpx.Client, s3: httpx.Client, upload: Item, *numbers: int) -> list[Item]:
    """Send some of an upload's parts, as their presigned URLs want them; what completing it needs."""
    digests = {
        number: base64.b64encode(hashlib.sha1(body_of(number, upload)).digest()).decode()  # noqa: S324 - S3's choice
        for number in numbers
    }
    parts = [
        {"partNumber": number, "size": len(body_of(number, upload)), "checksumSha1": digests[number]}
        for number in numbers
    ]
    wanted = {"key": upload["key"], "uploadId": upload["uploadId"], "parts": parts}
    answer = http.post("/uploads/multipart/parts", json=wanted)
    assert answer.status_code == 200, answer.text
    done = []
    for part in answer.json()["parts"]:
        number = part["partNumber"]
        stored = s3.put(part["url"], headers=part["headers"], content=body_of(number, upload))
        assert stored.status_code == 200, stored.text
        done.append({"partNumber": number, "etag": stored.headers["etag"], "checksumSha1": digests[number]})
    return done


def test_an_upload_in_parts_is_put_together(http: httpx.Client, s3: httpx.Client, scene: System, begun: Item) -> None:
    parts = sent(http, s3, begun, 1, 2, 3)

    answer = http.post(
        "/uploads/multipart/complete",
        json={"key": begun["key"], "uploadId": begun["uploadId"], "size": 33 * MIB, "parts": parts},
    )

    assert answer.status_code == 200, answer.text
    found = scene.stack.client("s3").head_object(Bucket=scene.bucket, Key=begun["key"])
    assert found["ContentLength"] == answer.json()["size"] == 33 * MIB


def test_parts_that_arrived_are_listed(http: httpx.Client, s3: httpx.Client, begun: Item) -> None:
    sent(http, s3, begun, 1, 3)

    answer = http.get("/uploads/multipart", params={"key": begun["key"], "uploadId": begun["uploadId"]})

    assert [(part["partNumber"], part["size"]) for part in answer.json()["parts"]] == [(1, 16 * MIB), (3, 1 * MIB)]


def test_an_upload_that_lacks_a_part_is_not_completed(http: httpx.Client, s3: httpx.Client, begun: Item) -> None:
    parts = sent(http, s3, begun, 1, 2)

    answer = http.post(
        "/uploads/multipart/complete",
        json={"key": begun["key"], "uploadId": begun["uploadId"], "size": 33 * MIB, "parts": parts},
    )

    assert (answer.status_code, answer.json()["error"]) == (409, "SIZE_MISMATCH")


def test_an_upload_that_was_given_up_is_gone(http: httpx.Client, s3: httpx.Client, begun: Item) -> None:
    sent(http, s3, begun, 1)
    where = {"key": begun["key"], "uploadId": begun["uploadId"]}

    assert http.delete("/uploads/multipart", params=where).status_code == 204

    assert http.get("/uploads/multipart", params=where).status_code == 404
