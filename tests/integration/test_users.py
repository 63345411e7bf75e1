"""Users of Cognito: each sees the jobs of their own uploads, and reaches nothing of anybody else's."""

import json

import pytest

from tests.integration.system import Item, System
from tests.integration.users import User

PARTS = "/uploads/multipart"


@pytest.fixture(scope="module")
def upload(ada: User, scene: System) -> Item:
    """A video that Ada has uploaded, and whose job has ended."""
    upload = ada.uploaded()
    scene.completed(upload["key"])
    return upload


def test_a_user_sees_the_job_of_their_upload(ada: User, upload: Item) -> None:
    answer = ada.job(upload["jobId"])
    assert (answer.status, answer.body["status"], answer.body["userId"]) == (200, "COMPLETED", ada.id)


def test_a_user_s_list_has_it(ada: User, scene: System, upload: Item) -> None:
    def listed() -> bool:  # the index is eventually consistent
        return upload["jobId"] in [job["jobId"] for job in ada.ask("get_job", "GET /jobs").body["jobs"]]

    scene.until(listed, "the job to be listed")


def test_to_another_user_there_is_no_such_job(bob: User, upload: Item) -> None:
    assert bob.job(upload["jobId"]).status == 404
    assert bob.ask("get_job", "GET /jobs").body["jobs"] == []
    assert bob.ask("cancel_job", "DELETE /jobs/{jobId}", path={"jobId": upload["jobId"]}).status == 404


def test_only_its_owner_completes_an_upload(ada: User, bob: User) -> None:
    begun = ada.ask("presign_upload", f"POST {PARTS}", {"filename": "a.mp4", "contentType": "video/mp4", "size": 7})
    named = {"key": begun.body["key"], "uploadId": begun.body["uploadId"]}
    whole = {**named, "size": 7, "parts": [{"partNumber": 1, "etag": "e"}]}

    assert bob.ask("presign_upload", f"POST {PARTS}/parts", {**named, "parts": [{"partNumber": 1}]}).status == 404
    assert bob.ask("presign_upload", f"POST {PARTS}/complete", whole).status == 404
    assert bob.ask("presign_upload", f"GET {PARTS}", query=named).status == 404
    assert bob.ask("presign_upload", f"DELETE {PARTS}", query=named).status == 404

    assert ada.ask("presign_upload", f"DELETE {PARTS}", query=named).status == 204


def test_only_its_owner_has_an_upload_processed(ada: User, bob: User, scene: System) -> None:
    wanted = {"filename": "a.png", "contentType": "image/png", "size": 7}
    key = ada.ask("presign_upload", "POST /uploads/presign", wanted).body["key"]
    images = {"imageUrls": [f"s3://{scene.bucket}/{key}"]}

    answer = bob.ask("submit_job", "POST /process", {**images, "userId": bob.id})

    assert (answer.status, answer.body["error"]) == (403, "FORBIDDEN")


def test_nobody_gives_an_upload_away(bob: User, scene: System, upload: Item) -> None:
    body = {"bucket": scene.bucket, "key": upload["key"], "user_id": bob.id}
    scene.stack.client("sqs").send_message(QueueUrl=scene.stack.resource("VideoQueue"), MessageBody=json.dumps(body))

    [dead] = scene.until(lambda: scene.messages() or None, "a dead letter")

    assert dead["attributes"]["ErrorType"] == "INVALID_MESSAGE"
