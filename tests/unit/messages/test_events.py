"""The sample events are complete, match AWS's events, and have the shape in their names."""

import hashlib
import json
import re
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from switchyard.errors import PermanentError
from switchyard.function_jobs.work import Parsed, parse
from switchyard.messages.envelope import Envelope
from switchyard.messages.kinds import TASKS as TASK_KINDS
from switchyard.messages.tasks import TaskWork
from switchyard.messages.videos import VideoWork
from switchyard.names import stable_hash
from switchyard.protocol.jobs import Job, Run, Status, TargetSpec
from switchyard.settings import SqsToBatchSettings
from switchyard.steam import messages as steam
from switchyard.targets import batch, ecs
from switchyard.torrents.messages import Segment, TorrentWork, Wanted
from tests.cases import cases
from tests.fakes.resolver import resolving

ROOT = Path(__file__).parents[3]
EVENTS = {str(path.relative_to(ROOT / "events").with_suffix("")): path for path in ROOT.glob("events/**/*.json")}
FROM_SQS = sorted(name for name, path in EVENTS.items() if '"aws:sqs"' in path.read_text())
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
    cast("re.Pattern[str]", SqsToBatchSettings.variables()["VIDEO_ID_PATTERN"].default),
    frozenset({BUCKET}),
)


# ---- every event ----------------------------------------------------------------------------------------------------


@cases("name", EVENTS)
def test_every_event_is_for_a_function(name: str) -> None:
    assert (ROOT / "functions" / Path(name).parent / "app.py").exists()


def test_every_function_has_events() -> None:
    assert {path.parent.name for path in ROOT.glob("functions/*/app.py")} == {str(Path(name).parent) for name in EVENTS}


@cases("name", FROM_SQS)
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


@cases("name", FROM_SQS)
def test_every_body_has_its_digest(name: str) -> None:
    for record in records(name):
        assert record["md5OfBody"] == hashlib.md5(record["body"].encode(), usedforsecurity=False).hexdigest()


@cases("name", FROM_SQS)
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


@cases("name", EVENTS)
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

every_video_event = cases("name", ACCEPTED)


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


# ---- dispatch_to_ecs ------------------------------------------------------------------------------------------------

TASKS = TaskWork(BUCKET, "switchyard", dict.fromkeys(TASK_KINDS, "definition"))
TALK = "talk-2026-11-22"
JOBS: dict[str, list[tuple[str, str]]] = {
    "recording": [(TALK, "stream-recording")],
    "recording_url_only": [("70d63bac-141f-4bbe-966c-7323a863933b", "stream-recording")],
    "images": [("photos-0012", "image-processing")],
    "seeding": [("seed-0007", "torrent-seeding")],
    "announced": [("talk-2026-11-23", "stream-recording")],
    "rubbish": [],
    "mixed_batch": [("mixed-1", "stream-recording"), ("mixed-2", "image-processing"), ("mixed-1", "stream-recording")],
    "direct_url": [("invocation", "stream-recording")],
    "direct_job_message": [("photos-0013", "image-processing")],
}
"""Per event the job ids and kinds it asks for."""

REFUSED = {
    "rubbish": [
        "the body is not JSON",
        "the body is a list, not a JSON object",
        "kind must be one of",
        "kind is missing",
        "kind is missing",
        "the URL's host is not a public address",
        "the URL must not hold a user name or password",
        "imageUrls must be a list of 1 to 1000 URLs",
        "imageUrls[0]: the URL is not in this system's bucket",
        "metadata is not an object",
    ],
    "mixed_batch": ["the body is not JSON"],
}
"""Per event why something in it is rejected."""


def asked_for(name: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Returns the requests in an event of dispatch_to_ecs or in a job message, and the reasons of rejected parts."""
    whole = event(f"dispatch_to_ecs/{name}")
    messages = [(record["body"], record["messageId"]) for record in whole.get("Records", ())]
    accepted, rejected = [], []
    with resolving():
        for body, message_id in messages or [(json.dumps(whole), "invocation")]:
            found = TASKS.parse(body, Envelope(message_id, datetime.now(UTC)))
            accepted += [(request.job_id, request.kind) for request in found.requests]
            rejected += [str(each.error) for each in found.rejected]
    return accepted, rejected


def test_every_event_of_jobs_is_tested() -> None:
    assert {f"dispatch_to_ecs/{name}" for name in JOBS} == {
        name for name in EVENTS if name.startswith("dispatch_to_ecs/")
    }


@cases("name", JOBS)
def test_an_event_asks_for_the_jobs_its_name_says(name: str) -> None:
    assert asked_for(name)[0] == JOBS[name]


@cases("name", JOBS)
def test_an_event_of_jobs_is_rejected_where_its_name_says(name: str) -> None:
    reasons, expected = asked_for(name)[1], REFUSED.get(name, [])
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
    "task_provisioning": (Status.SUBMITTED, None),
    "task_running": (Status.RUNNING, None),
    "task_succeeded": (Status.COMPLETED, None),
    "task_failed_permanent": (Status.FAILED, "PERMANENT_FAILURE"),
    "task_out_of_memory": (Status.FAILED, "OUT_OF_MEMORY"),
    "task_stopped_by_user": (Status.FAILED, "STOPPED"),
    "task_spot_interrupted": (Status.FAILED, "HOST_LOST"),
    "task_failed_to_start": (Status.FAILED, "NOT_STARTED"),
    "task_not_ours": None,
}
"""Per event the status and error code it brings, or None where the run is somebody else's."""


def run(name: str) -> Run | None:
    """Returns the run in a state change."""
    (record,) = records(f"track_job/{name}")
    detail = json.loads(record["body"])["detail"]
    return ecs.run_of(detail) if name.startswith("task_") else batch.run_of(detail)


def test_every_state_change_is_tested() -> None:
    assert {f"track_job/{name}" for name in RUNS} == {name for name in EVENTS if name.startswith("track_job")}


@cases("name", RUNS)
def test_a_state_change_is_of_what_its_name_says(name: str) -> None:
    (record,) = records(f"track_job/{name}")
    body = json.loads(record["body"])
    expected = (
        ("aws.ecs", "ECS Task State Change") if name.startswith("task_") else ("aws.batch", "Batch Job State Change")
    )
    assert (body["source"], body["detail-type"]) == expected


@cases("name", RUNS)
def test_a_state_change_says_what_its_name_says(name: str) -> None:
    found = run(name)
    assert (found and (found.status, found.error.code if found.error else None)) == RUNS[name]


@cases("name", [name for name, told in RUNS.items() if told])
def test_a_state_change_is_of_the_job_that_another_event_asks_for(name: str) -> None:
    found = run(name)
    assert found is not None
    assert found.job_id == (TALK if name.startswith("task_") else ACCEPTED["s3_put"][0][0])


def test_a_task_is_known_by_the_token_of_its_claim() -> None:
    (record,) = records("track_job/task_running")
    with resolving():
        (request,) = TASKS.parse(
            records("dispatch_to_ecs/recording")[0]["body"], Envelope("m", datetime.now(UTC))
        ).requests
    claimed = Job(request, Status.CLAIMED, fence=1, created_at=datetime.now(UTC))
    assert json.loads(record["body"])["detail"]["startedBy"] == ecs.token_of(claimed)


# ---- s3_torrent_creator ---------------------------------------------------------------------------------------------

TORRENTS = TorrentWork(BUCKET, "recordings/", "torrents/", "torrent-scratch/")
JOB = "b3f1c2a4-7d5e-4c1b-9e2f-0a1b2c3d4e5f"
TALK_RECORDED = f"recordings/{JOB}/talk.mp4"
OBJECTS: dict[str, list[str]] = {
    "s3_put": [f"recordings/{JOB}/my file+ü #1 100%.bin"],
    "s3_multipart_upload_versioned": [TALK_RECORDED],
    "s3_several_records": ["recordings/first.bin", "recordings/second.bin"],
    "s3_test_event": [],
    "sns_wrapped": ["recordings/sns talk.mp4"],
    "eventbridge_object_created": ["recordings/raw key + 100%20 stays.mp4"],
    "plain_bucket_key": ["archive/tape 12.avi"],
    "again": [TALK_RECORDED],
    "announced": [TALK_RECORDED],
    "segment": [TALK_RECORDED],
    "torrent_object": [],
    "recording_piece": [],
    "rubbish": [],
    "direct_s3_put": [f"recordings/{JOB}/my file+ü #1 100%.bin"],
    "direct_plain": [TALK_RECORDED],
    "redriven_invocation": [TALK_RECORDED],
}
"""Per event the objects that it is about."""

NO_TORRENT = {"torrent_object": ["a torrent itself"], "recording_piece": ["a piece of a recording"]}
"""Per event why something in it gets no torrent."""

NO_REQUEST = {
    "rubbish": [
        "the body is not JSON",
        "the body is a list, not a JSON object",
        "no known message shape",
        "Records is empty",
        "the S3 event 'ObjectRemoved:Delete' is not an upload",
        "the key is missing or empty",
        "again must be true or false",
        "not a valid segment: count must be an integer from 1 to",
        "the segment goes beyond the object's end",
        "the bucket 'somebody-elses-bucket' is not S3_BUCKET",
    ],
}
"""Per event why something in it is rejected."""


def torrents_of(name: str) -> list[Parsed[Wanted | Segment]]:
    """Returns the requests in each message of an event; the event may itself be a message."""
    whole = event(f"s3_torrent_creator/{name}")
    messages = [record["body"] for record in whole.get("Records", ()) if record["eventSource"] == "aws:sqs"]
    envelope = Envelope("invocation", datetime.now(UTC))
    return [parse(TORRENTS.read, body, envelope) for body in messages or [json.dumps(whole)]]


def test_every_event_of_torrents_is_tested() -> None:
    assert {f"s3_torrent_creator/{name}" for name in OBJECTS} == {
        name for name in EVENTS if name.startswith("s3_torrent_creator/")
    }


@cases("name", OBJECTS)
def test_an_event_is_about_the_objects_its_name_says(name: str) -> None:
    work = [each for parsed in torrents_of(name) for each in parsed.work]
    assert [each.thing.key if isinstance(each, Segment) else each.key for each in work] == OBJECTS[name]


@cases("name", OBJECTS)
def test_an_event_is_ignored_where_its_name_says(name: str) -> None:
    assert [each.reason for parsed in torrents_of(name) for each in parsed.ignored] == NO_TORRENT.get(name, [])


@cases("name", OBJECTS)
def test_an_event_of_torrents_is_rejected_where_its_name_says(name: str) -> None:
    reasons = [str(each.error) for parsed in torrents_of(name) for each in parsed.rejected]
    expected = NO_REQUEST.get(name, [])
    assert len(reasons) == len(expected)
    assert all(reason.startswith(start) for reason, start in zip(reasons, expected, strict=True))


# ---- import_steam_library -------------------------------------------------------------------------------------------

PLAYER = ("user-42", "76561197960287930")
BY_NAME = ("user-42", "id/gabelogannewell")
ACCOUNTS: dict[str, list[tuple[str, str]]] = {
    "by_steam_id": [PLAYER],
    "snake_case": [PLAYER],
    "vanity_name": [BY_NAME],
    "profile_url": [BY_NAME],
    "confirmed_removals": [PLAYER],
    "sns_wrapped": [PLAYER],
    "eventbridge": [PLAYER],
    "direct": [PLAYER],
    "redriven_invocation": [PLAYER],
    "mistyped_id": [],
    "rubbish": [],
}
"""Per event the users and accounts that it asks for."""

NO_IMPORT = [
    "the body is not JSON",
    "the body is a list, not a JSON object",
    "userId is missing",
    "steamId is missing",
    "userId must be printable text",
    *["the Steam account must be text: a 17-digit Steam id"] * 3,
    "steamId and vanityName name different accounts",
    "confirmRemovals must be printable text",
]
"""Why each message of `rubbish` is rejected."""


def imports_of(name: str) -> list[Parsed[steam.Wanted]]:
    """Returns the requests in each message of an event; the event may itself be a message."""
    whole = event(f"import_steam_library/{name}")
    bodies = [record["body"] for record in whole.get("Records", ())]
    return [parse(steam.read, body, Envelope("m", datetime.now(UTC))) for body in bodies or [json.dumps(whole)]]


def test_every_event_of_imports_is_tested() -> None:
    assert {f"import_steam_library/{name}" for name in ACCOUNTS} == {
        name for name in EVENTS if name.startswith("import_steam_library/")
    }


@cases("name", ACCOUNTS)
def test_an_event_asks_for_the_accounts_its_name_says(name: str) -> None:
    work = [each for parsed in imports_of(name) for each in parsed.work]
    assert [(each.user_id, str(each.account)) for each in work] == ACCOUNTS[name]
    assert [bool(each.confirm_removals) for each in work] == [name == "confirmed_removals"] * len(work)


@cases("name", ACCOUNTS)
def test_an_event_of_imports_is_rejected_where_its_name_says(name: str) -> None:
    reasons = [str(each.error) for parsed in imports_of(name) for each in parsed.rejected]
    expected = {"rubbish": NO_IMPORT, "mistyped_id": NO_IMPORT[5:6]}.get(name, [])
    assert len(reasons) == len(expected)
    assert all(reason.startswith(start) for reason, start in zip(reasons, expected, strict=True))
