"""Every accepted message shape becomes its jobs. Invalid parts are dead-lettered with a reason and affect no other."""

import json
import re
import uuid
from dataclasses import dataclass

import pytest

from local.environment import ROOT
from tests.integration.system import Item, System, environment

SHAPES = {
    "s3_put": ["2026/11/22/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506-My holiday (100%) + sun.mp4"],
    "s3_multipart_upload_versioned": ["2026/11/22/0e5d7c1b-93a2-4f68-b4d5-6a7b8c9d0e1f-match.mkv"],
    "s3_several_records": ["first.mp4", 'it\'s a "quote" 🎬.mov', "third.avi"],
    "sns_wrapped": ["sns/clip one.mp4"],
    "eventbridge_object_created": ["raw key + 100%20 stays & 🎬.mp4"],
    "backend_video_uploaded": ["lecture 4 (final).mp4"],
    "plain_bucket_key": ["archive/tape 12.avi"],
    "job_message": ["recordings/0007.mkv"],
    "video_id_attribute": ["camera/0001.mp4"],
}
"""The samples under events/sqs_to_batch that ask for work, and the keys (below `uploads/`) that they name."""


@dataclass(frozen=True)
class Sent:
    """A sent message of one shape, and the keys of its objects."""

    shape: str
    keys: list[str]


@pytest.fixture(scope="module")
def everything(scene: System) -> dict[str, Sent]:
    """Sends a message of every shape; the jobs may still be running."""
    return {shape: _send(scene, shape, names) for shape, names in SHAPES.items()}


@pytest.fixture(params=SHAPES)
def sent(everything: dict[str, Sent], request: pytest.FixtureRequest) -> Sent:
    return everything[request.param]


def test_each_object_that_a_message_names_becomes_one_completed_job(scene: System, sent: Sent) -> None:
    jobs = scene.completed(*sent.keys, seconds=120)

    assert len({job["jobId"] for job in jobs}) == len(sent.keys)
    assert [len(scene.runs(key)) for key in sent.keys] == [1] * len(sent.keys)


def test_a_video_id_from_the_message_attributes_reaches_the_worker(scene: System, everything: dict[str, Sent]) -> None:
    [job] = scene.completed(*everything["video_id_attribute"].keys, seconds=120)
    [submission] = scene.submissions(job["jobId"])

    assert environment(submission)["VIDEO_ID"] == "camera-1-0001"


def test_the_batch_job_is_named_and_tagged_for_people(scene: System, everything: dict[str, Sent]) -> None:
    [key] = everything["backend_video_uploaded"].keys
    [job] = scene.completed(key, seconds=120)
    [submission] = scene.submissions(job["jobId"])

    assert submission["jobName"] == "video-process-lecture-2026-11-22"
    assert submission["tags"]["JobId"] == job["jobId"]
    assert submission["tags"]["VideoId"] == "lecture-2026-11-22"
    assert submission["tags"]["VideoKey"].startswith(key.partition("(")[0])


def test_s3s_test_event_is_acknowledged(system: System) -> None:
    [record] = _records("s3_test_event")

    system.send(record["body"])
    system.drained()

    assert not system.messages()


@pytest.mark.parametrize(
    ("body", "error_type"),
    [
        ("this is no JSON", "INVALID_MESSAGE"),
        ('["a", "list"]', "INVALID_MESSAGE"),
        ('{"Records": []}', "INVALID_MESSAGE"),
        ('{"bucket": "somebody-elses-bucket", "key": "uploads/a.mp4"}', "SOURCE_NOT_ALLOWED"),
    ],
)
def test_rubbish_goes_to_the_dead_letter_queue_with_the_reason(system: System, body: str, error_type: str) -> None:
    system.send(body)

    [dead] = system.until(lambda: system.messages() or None, "a dead letter")
    assert dead["body"] == body
    assert dead["attributes"]["ErrorType"] == error_type
    assert dead["attributes"]["ErrorMessage"]


def test_rubbish_harms_no_other_message_of_its_batch(system: System) -> None:
    keys = [system.place(), system.place()]
    bodies = [json.dumps({"bucket": system.bucket, "key": key}) for key in keys]

    system.stack.client("sqs").send_message_batch(
        QueueUrl=system.stack.resource("VideoQueue"),
        Entries=[
            {"Id": str(number), "MessageBody": body} for number, body in enumerate([bodies[0], "rubbish", bodies[1]])
        ],
    )

    system.completed(*keys)
    assert [dead["body"] for dead in system.messages()] == ["rubbish"]


def test_a_bad_record_harms_no_other_record_of_its_message(system: System) -> None:
    key = system.place()
    good = system.notification(key)
    bad = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}

    system.send({"Records": [bad, *good["Records"]]})

    system.completed(key)
    [dead] = system.messages()
    assert json.loads(dead["body"]) == {"Records": [bad]}


def _send(system: System, shape: str, names: list[str]) -> Sent:
    """Sends a sample message of that shape about existing objects that S3 does not announce."""
    folder = f"quiet/{uuid.uuid4()}/"
    keys = [system.place(folder + name) for name in names]
    [record] = _records(shape)
    body = record["body"].replace("uploads/", folder).replace("switchyard-media", system.bucket)
    [version, *_] = [system.notification(key)["Records"][0]["s3"]["object"]["versionId"] for key in keys]
    system.send(
        re.sub(r'("version(?:I|-i)d":")[^"]+', rf"\g<1>{version}", body),
        **{name: value["stringValue"] for name, value in record["messageAttributes"].items()},
    )
    return Sent(shape, keys)


def _records(shape: str) -> list[Item]:
    event: dict[str, list[Item]] = json.loads((ROOT / "events" / "sqs_to_batch" / f"{shape}.json").read_text())
    return event["Records"]
