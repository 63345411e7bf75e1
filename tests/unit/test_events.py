"""The sample events: complete, true to what AWS sends, and each of the shape that its name says."""

import hashlib
import json
import re
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from switchyard.errors import PermanentError
from switchyard.jobs import Status, TargetSpec
from switchyard.messages import Envelope, VideoWork
from switchyard.names import stable_hash
from switchyard.settings import SqsToBatchSettings
from switchyard.targets.batch import run_of

ROOT = Path(__file__).parents[2]
EVENTS = {str(path.relative_to(ROOT / "events").with_suffix("")): path for path in ROOT.glob("events/**/*.json")}
FROM_SQS = sorted(name for name in EVENTS if not name.startswith("reconcile_jobs/"))
BUCKET = "switchyard-media"
UUID = "6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506"


def event(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(EVENTS[name].read_text())
    return read


def records(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = event(name)["Records"]
    return found


WORK = VideoWork(
    "video",
    TargetSpec("batch", "queue", "definition"),
    cast("re.Pattern[str]", SqsToBatchSettings.__dataclass_fields__["video_id_pattern"].default),
    frozenset({BUCKET}),
)


# ---- every event ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_is_for_a_function(name: str) -> None:
    assert (ROOT / "functions" / Path(name).parent / "app.py").exists()


def test_every_function_has_events() -> None:
    assert {path.parent.name for path in ROOT.glob("functions/*/app.py")} == {str(Path(name).parent) for name in EVENTS}


@pytest.mark.parametrize("name", FROM_SQS)
def test_every_record_is_as_lambda_gets_it_from_sqs(name: str) -> None:
    for record in records(name):
        assert set(record) - {"md5OfMessageAttributes"} == {
            "messageId",
            "receiptHandle",
            "body",
            "attributes",
            "messageAttributes",
            "md5OfBody",
            "eventSource",
            "eventSourceARN",
            "awsRegion",
        }
        assert set(record["attributes"]) == {
            "ApproximateReceiveCount",
            "AWSTraceHeader",
            "SentTimestamp",
            "SenderId",
            "ApproximateFirstReceiveTimestamp",
        }


@pytest.mark.parametrize("name", FROM_SQS)
def test_every_body_has_its_digest(name: str) -> None:
    for record in records(name):
        assert record["md5OfBody"] == hashlib.md5(record["body"].encode(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("name", FROM_SQS)
def test_every_attribute_has_its_digest(name: str) -> None:
    for record in records(name):
        expected = digest_of(record["messageAttributes"]) if record["messageAttributes"] else None
        assert record.get("md5OfMessageAttributes") == expected


def digest_of(attributes: dict[str, dict[str, str]]) -> str:
    """As "Calculating the MD5 message digest for message attributes" in the SQS developer guide."""
    digest = hashlib.md5(usedforsecurity=False)
    for name, value in sorted(attributes.items()):
        for part in (name, value["dataType"]):
            digest.update(struct.pack("!I", len(part)) + part.encode())
        text = value["stringValue"].encode()
        digest.update(b"\x01" + struct.pack("!I", len(text)) + text)
    return digest.hexdigest()


def test_no_two_messages_have_the_same_id() -> None:
    ids = [record["messageId"] for name in FROM_SQS for record in records(name)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", EVENTS)
def test_no_event_holds_a_real_account(name: str) -> None:
    assert set(re.findall(r"\b\d{12}\b", EVENTS[name].read_text())) <= {"123456789012"}


# ---- sqs_to_batch ---------------------------------------------------------------------------------------------------

LECTURE = ("lecture-2026-11-22", "uploads/lecture 4 (final).mp4")


def hashed(key: str) -> tuple[str, str]:
    return stable_hash(BUCKET, key), key


ACCEPTED: dict[str, list[tuple[str, str]]] = {
    "s3_put": [(UUID, f"uploads/2026/11/22/{UUID}-My holiday (100%) + sun.mp4")],
    "s3_multipart_upload_versioned": [
        (
            "0e5d7c1b-93a2-4f68-b4d5-6a7b8c9d0e1f",
            "uploads/2026/11/22/0e5d7c1b-93a2-4f68-b4d5-6a7b8c9d0e1f-match.mkv",
        )
    ],
    "s3_several_records": [
        hashed("uploads/first.mp4"),
        hashed('uploads/it\'s a "quote" 🎬.mov'),
        hashed("uploads/third.avi"),
    ],
    "s3_test_event": [],
    "sns_wrapped": [hashed("uploads/sns/clip one.mp4")],
    "eventbridge_object_created": [hashed("uploads/raw key + 100%20 stays & 🎬.mp4")],
    "backend_video_uploaded": [LECTURE],
    "plain_bucket_key": [hashed("uploads/archive/tape 12.avi")],
    "job_message": [("recording-2026-11-22-0007-f1a45e3369", "uploads/recordings/0007.mkv")],
    "video_id_attribute": [("camera-1-0001", "uploads/camera/0001.mp4")],
    "rubbish": [],
    "mixed_batch": [
        hashed("uploads/mixed/one.mp4"),
        hashed("uploads/mixed/two.mp4"),
        hashed("uploads/mixed/three.mp4"),
        LECTURE,
    ],
}
"""Per event the job ids and keys it asks for."""

REJECTED = {
    "rubbish": [
        "the body is not JSON",
        "the body is a list, not a JSON object",
        "no known message shape",
        "Records is empty",
        "the S3 event 'ObjectRemoved:Delete' is not an upload",
        "the key ends in a slash",
        "the bucket 'somebody-elses-bucket' is not among SOURCE_BUCKETS",
        "unknown eventType 'video-deleted'",
        "the key is 1028 bytes long",
    ],
    "mixed_batch": ["the body is not JSON", "s3 is missing"],
}
"""Per event why something in it is rejected."""

every_video_event = pytest.mark.parametrize("name", ACCEPTED)


def parsed(name: str) -> tuple[list[tuple[str, str]], list[PermanentError]]:
    accepted, rejected = [], []
    for record in records(f"sqs_to_batch/{name}"):
        video_id = record["messageAttributes"].get("video_id", {}).get("stringValue")
        found = WORK.parse(record["body"], Envelope(record["messageId"], datetime.now(UTC), video_id))
        accepted += [(request.job_id, request.source.key) for request in found.requests]
        rejected += [each.error for each in found.rejected]
    return accepted, rejected


def test_every_video_event_is_tested() -> None:
    assert {f"sqs_to_batch/{name}" for name in ACCEPTED} == {name for name in EVENTS if name.startswith("sqs_to_batch")}


@every_video_event
def test_an_event_asks_for_what_its_name_says(name: str) -> None:
    assert parsed(name)[0] == ACCEPTED[name]


@every_video_event
def test_an_event_is_rejected_where_its_name_says(name: str) -> None:
    reasons = [str(error) for error in parsed(name)[1]]
    expected = REJECTED.get(name, [])
    assert len(reasons) == len(expected)
    assert all(reason.startswith(start) for reason, start in zip(reasons, expected, strict=True))


# ---- track_job ------------------------------------------------------------------------------------------------------

RUNS: dict[str, tuple[Status, str | None] | None] = {
    "runnable": (Status.SUBMITTED, None),
    "running": (Status.RUNNING, None),
    "succeeded": (Status.COMPLETED, None),
    "failed_permanent": (Status.FAILED, "PERMANENT_FAILURE"),
    "failed_retries": (Status.FAILED, "OUT_OF_MEMORY"),
    "not_ours": None,
}
"""Per event the status and error code it brings, or None where the job is somebody else's."""


def test_every_state_change_is_tested() -> None:
    assert {f"track_job/{name}" for name in RUNS} == {name for name in EVENTS if name.startswith("track_job")}


@pytest.mark.parametrize("name", RUNS)
def test_a_state_change_is_of_batch(name: str) -> None:
    (record,) = records(f"track_job/{name}")
    body = json.loads(record["body"])
    assert (body["source"], body["detail-type"]) == ("aws.batch", "Batch Job State Change")


@pytest.mark.parametrize("name", RUNS)
def test_a_state_change_says_what_its_name_says(name: str) -> None:
    (record,) = records(f"track_job/{name}")
    run = run_of(json.loads(record["body"])["detail"])
    assert (run and (run.status, run.error.code if run.error else None)) == RUNS[name]


@pytest.mark.parametrize("name", [name for name, run in RUNS.items() if run])
def test_a_state_change_is_of_the_job_that_s3_put_asks_for(name: str) -> None:
    (record,) = records(f"track_job/{name}")
    run = run_of(json.loads(record["body"])["detail"])
    assert run is not None
    assert run.job_id == ACCEPTED["s3_put"][0][0]
