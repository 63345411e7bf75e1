"""The parser accepts every documented shape, and rejects everything else with a reason, never with an exception."""

import json
import re
import string
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from switchyard.errors import InvalidMessage, SourceNotAllowed
from switchyard.messages.envelope import Envelope, Parsed
from switchyard.messages.redrive import redrive_body
from switchyard.messages.videos import VideoWork
from switchyard.names import stable_hash
from switchyard.protocol.jobs import Source, TargetSpec, WorkRequest, is_older
from switchyard.settings import SqsToBatchSettings
from tests.cases import cases
from tests.strategies import anything, unicode_text

UUID = "6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506"
SENT_AT = datetime(2026, 11, 22, 18, 36, 54, tzinfo=UTC)
ENVELOPE = Envelope("message-1", SENT_AT)
WORK = VideoWork(
    "video",
    TargetSpec("batch", "queue", "definition"),
    cast("re.Pattern[str]", SqsToBatchSettings.variables()["VIDEO_ID_PATTERN"].default),
    frozenset({"media"}),
)

keys = st.text(unicode_text, min_size=1, max_size=60).filter(lambda key: not key.endswith("/") and "\0" not in key)
"""Keys that S3 allows and a job can be made for."""

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(anything, max_size=20),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(anything, max_size=10), children, max_size=3)
    ),
    max_leaves=8,
)


def parse(message: Any, envelope: Envelope = ENVELOPE, work: VideoWork = WORK) -> Parsed:  # noqa: ANN401 - JSON
    return work.parse(message if isinstance(message, str) else json.dumps(message), envelope)


def accepted(message: Any, envelope: Envelope = ENVELOPE, work: VideoWork = WORK) -> WorkRequest:  # noqa: ANN401 - JSON
    """Returns a message's only request."""
    parsed = parse(message, envelope, work)
    assert not parsed.rejected
    (request,) = parsed.requests
    return request


def refusal(message: Any, envelope: Envelope = ENVELOPE) -> str:  # noqa: ANN401 - JSON
    """Returns why a whole message is rejected."""
    parsed = parse(message, envelope)
    assert not parsed.requests
    (rejected,) = parsed.rejected
    assert isinstance(rejected.error, InvalidMessage)
    return str(rejected.error)


def record(key: Any = "uploads/a.mp4", **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - also what can't be a key
    """An S3 record for a key as it is (spelled as S3 spells it by the caller); changes are to its object."""
    return {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-11-22T18:36:53.123Z",
        "s3": {
            "bucket": {"name": "media"},
            "object": {"key": key, "eTag": "etag", "sequencer": "0A", **changes},
        },
    }


def s3(*records: Any) -> dict[str, Any]:  # noqa: ANN401 - also what can't be a record
    return {"Records": list(records)}


def eventbridge(key: str = "uploads/a.mp4", **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "time": "2026-11-22T18:36:53Z",
        "detail": {"bucket": {"name": "media"}, "object": {"key": key, "etag": "etag", "sequencer": "0A", **changes}},
    }


def backend(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "eventType": "video-uploaded",
        "video": {"id": "video-7"},
        "s3": {"bucket": "media", "key": "uploads/a.mp4"},
        **changes,
    }


def plain(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"bucket": "media", "key": "uploads/a.mp4", **changes}


def job_message(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"video_s3_bucket": "media", "video_s3_key": "uploads/a.mp4", **changes}


def sns(message: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:us-east-1:123456789012:t", "Message": json.dumps(message)}


SHAPES = {
    "s3": s3(record()),
    "sns": sns(s3(record())),
    "eventbridge": eventbridge(),
    "backend": backend(),
    "plain": plain(),
    "job message": job_message(),
}
every_shape = cases("message", SHAPES.values(), ids=SHAPES)
PLAIN_SHAPES = {"backend": backend(), "plain": plain(), "job message": job_message()}
every_plain_shape = cases("message", PLAIN_SHAPES.values(), ids=PLAIN_SHAPES)


# ---- every shape ----------------------------------------------------------------------------------------------------


@every_shape
def test_every_shape_names_its_object(message: Mapping[str, Any]) -> None:
    source = accepted(message).source
    assert (source.bucket, source.key) == ("media", "uploads/a.mp4")


@every_shape
def test_every_shape_keeps_the_message_id(message: Mapping[str, Any]) -> None:
    assert accepted(message).source.message_id == "message-1"


@every_shape
def test_every_shape_goes_to_the_lane_and_target_of_the_deployment(message: Mapping[str, Any]) -> None:
    request = accepted(message)
    assert (request.kind, request.lane, request.target) == ("video-analysis", "video", WORK.target)


@every_shape
def test_every_shape_was_sent_when_its_envelope_says(message: Mapping[str, Any]) -> None:
    assert accepted(message).sent_at == SENT_AT


@every_shape
def test_every_shape_may_be_wrapped_in_sns(message: Mapping[str, Any]) -> None:
    assert accepted(sns(message)) == accepted(message)


@every_shape
def test_no_shape_may_name_a_bucket_that_is_not_served(message: Mapping[str, Any]) -> None:
    elsewhere = replace(WORK, allowed_buckets=frozenset({"other"}))
    (rejected,) = parse(message, work=elsewhere).rejected
    assert isinstance(rejected.error, SourceNotAllowed)


@every_shape
def test_no_shape_says_yes_to_a_bucket_that_is_not_served(message: Mapping[str, Any]) -> None:
    assert parse(message, work=replace(WORK, allowed_buckets=frozenset({"other"}))).requests == []


@cases(
    ("message", "user_id"),
    [
        (backend(userId="user-42"), "user-42"),
        (plain(user_id="user-42"), "user-42"),
        (job_message(user_id=42), "42"),
        (s3(record()), None),
    ],
)
def test_the_user_is_read_where_a_shape_has_one(message: Mapping[str, Any], user_id: str | None) -> None:
    assert accepted(message).user_id == user_id


OWNED = "uploads/ada/2026/11/22/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506-clip.mp4"
NOBODYS = OWNED.replace("/ada/", "/")
OWNING = replace(WORK, bucket="media")


@cases("message", [s3(record(OWNED)), plain(key=OWNED), plain(key=OWNED, user_id="ada")])
def test_an_upload_s_job_is_the_owner_s_whom_its_key_names(message: Mapping[str, Any]) -> None:
    request = accepted(message, work=OWNING)
    assert (request.user_id, request.job_id) == ("ada", "6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506")


@cases("message", [plain(key=OWNED, user_id="bob"), backend(s3={"bucket": "media", "key": OWNED}, userId="bob")])
def test_a_message_gives_nobody_another_user_s_upload(message: Mapping[str, Any]) -> None:
    (rejected,) = parse(message, work=OWNING).rejected
    assert isinstance(rejected.error, InvalidMessage)


def test_an_upload_without_an_owner_is_whose_the_message_says() -> None:
    assert accepted(plain(key=NOBODYS, user_id="bob"), work=OWNING).user_id == "bob"
    assert accepted(s3(record(NOBODYS)), work=OWNING).user_id is None


def test_in_another_bucket_a_key_names_no_owner() -> None:
    """Anybody may have made the keys there."""
    work = replace(OWNING, bucket="another")
    assert accepted(s3(record(OWNED)), work=work).user_id is None


def test_a_redrive_keeps_the_owner() -> None:
    request = accepted(s3(record(OWNED)), work=OWNING)
    assert accepted(redrive_body(request), work=OWNING).user_id == "ada"


# ---- what a sender wants ---------------------------------------------------------------------------------------------

METADATA = {"title": "Żółw 🐢", "offset": 0.5, "none": None}
BACKEND = {"eventType": "video-uploaded", "video": {"id": "a"}, "s3": {"bucket": "media", "key": "uploads/a.mp4"}}
every_plain_shape = cases(
    "message",
    {
        "backend": BACKEND,
        "bucket and key": plain(),
        "job": {"job_id": "a", "video_s3_bucket": "media", "video_s3_key": "uploads/a.mp4"},
    }.values(),
)


@every_plain_shape
def test_metadata_and_stages_are_kept_also_by_a_redrive(message: Mapping[str, Any]) -> None:
    request = accepted({**message, "metadata": METADATA, "stages": ["speech", "scenes", "speech"]})
    assert (request.metadata, request.input) == (METADATA, {"stages": ["speech", "scenes"]})
    again = accepted(redrive_body(request))
    assert (again.metadata, again.input, again.announced) == (METADATA, request.input, False)


@every_plain_shape
def test_who_wants_nothing_gets_everything(message: Mapping[str, Any]) -> None:
    request = accepted(message)
    assert (request.metadata, request.input) == (None, None)


@every_plain_shape
@pytest.mark.parametrize(
    "wanted",
    [
        {"metadata": ["a"]},
        {"metadata": {"a": "x" * 33_000}},
        {"metadata": {"a": float("nan")}},
        {"stages": "speech"},
        {"stages": ["--help"]},
        {"stages": [["speech"]]},
        {"stages": None},
    ],
    ids=lambda wanted: str(wanted)[:40],
)
def test_metadata_and_stages_that_are_none_are_rejected(message: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    (rejected,) = parse({**message, **wanted}).rejected
    assert isinstance(rejected.error, InvalidMessage)


def test_an_announced_request_stays_announced() -> None:
    request = accepted(plain(announced=True))
    assert request.announced
    assert accepted(redrive_body(request)).announced
    assert not accepted(plain(announced="yes")).announced


def test_a_failed_invocation_s_record_is_the_message_in_it() -> None:
    """Lambda writes it to the dead-letter queue, from where it is redriven."""
    failed = {"requestPayload": plain(), "requestContext": {"requestId": "request-1"}, "responsePayload": {}}
    request = accepted(failed)
    assert (request.source.key, request.source.version) == (plain()["key"], "request-1")


def test_one_object_is_read_at_a_time() -> None:
    envelope = Envelope("request-1", SENT_AT)
    assert WORK.read(s3(record("uploads/a.mp4")), envelope).source.key == "uploads/a.mp4"
    for message in (s3(record("uploads/a.mp4"), record("uploads/b.mp4")), {"Event": "s3:TestEvent"}):
        with pytest.raises(InvalidMessage, match="objects, not one"):
            WORK.read(message, envelope)


def test_the_test_event_of_s3_asks_for_nothing() -> None:
    assert parse({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "media"}) == Parsed()


def test_the_test_event_of_s3_wrapped_in_sns_asks_for_nothing() -> None:
    assert parse(sns({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "media"})) == Parsed()


@cases("name", ["ObjectCreated:Put", "s3:ObjectCreated:Post", "ObjectCreated:Copy"])
def test_every_way_of_creating_an_object_counts(name: str) -> None:
    assert accepted(s3(record() | {"eventName": name})).source.version == "etag-0A"


# ---- keys -----------------------------------------------------------------------------------------------------------


@given(keys)
def test_any_key_of_a_notification_is_url_decoded(key: str) -> None:
    assert accepted(s3(record(quote_plus(key)))).source.key == key


@given(keys)
def test_a_key_with_spaces_as_percent_20_is_decoded_too(key: str) -> None:
    assert accepted(s3(record(quote(key)))).source.key == key


@given(keys)
def test_any_key_of_an_eventbridge_event_is_taken_as_it_is(key: str) -> None:
    assert accepted(eventbridge(key)).source.key == key


@given(keys)
def test_any_key_of_a_plain_message_is_taken_as_it_is(key: str) -> None:
    assert accepted(plain(key=key)).source.key == key


@cases("key", ["a+b.mp4", "100%25.mp4", "%F0%9F%8E%AC.mp4"])
def test_an_eventbridge_key_that_looks_encoded_is_not_decoded(key: str) -> None:
    assert accepted(eventbridge(key)).source.key == key


def test_a_notification_key_that_is_not_utf8_is_refused() -> None:
    assert "URL-encoded UTF-8" in refusal(s3(record("uploads/%FF.mp4")))


@cases("key", ["k" * 1024, "🎬" * 256])
def test_a_key_of_1024_bytes_is_accepted(key: str) -> None:
    assert accepted(plain(key=key)).source.key == key


@cases("key", ["k" * 1025, "🎬" * 256 + "k"])
def test_a_key_of_1025_bytes_is_refused(key: str) -> None:
    assert "1025 bytes" in refusal(plain(key=key))


@cases("key", [None, "", 7, ["a"], {"a": 1}, True])
def test_a_key_that_is_missing_empty_or_not_text_is_refused(key: object) -> None:
    assert "key is missing or empty" in refusal(plain(key=key))


def test_a_key_with_a_lone_surrogate_is_refused() -> None:
    assert "not valid Unicode" in refusal(r'{"bucket": "media", "key": "\ud800.mp4"}')


def test_a_key_with_a_nul_is_refused() -> None:
    assert "NUL" in refusal(s3(record("a%00.mp4")))


def test_a_folder_marker_is_refused() -> None:
    assert "folder marker" in refusal(s3(record("uploads/folder/")))


@cases("bucket", [None, "", "a", "Media", "me dia", "media\n", "-media", "m" * 64, 7, ["media"]])
def test_what_is_not_a_bucket_name_is_refused(bucket: object) -> None:
    assert "bucket" in refusal(plain(bucket=bucket))


# ---- ids ------------------------------------------------------------------------------------------------------------


def test_an_explicit_job_id_names_the_job() -> None:
    assert accepted(job_message(job_id="job-1", video_id="video-1")).job_id == "job-1"


def test_an_explicit_job_id_leaves_the_video_its_own() -> None:
    assert accepted(job_message(job_id="job-1", video_id="video-1")).video_id == "video-1"


@cases("message", [backend(video={"id": "video-1"}), plain(video_id="video-1"), job_message(video_id="video-1")])
def test_without_a_job_id_the_video_id_names_the_job(message: Mapping[str, Any]) -> None:
    assert accepted(message).job_id == "video-1"


def test_an_integer_is_an_id() -> None:
    assert accepted(job_message(video_id=7)).video_id == "7"


def test_an_id_that_is_not_legal_is_made_legal_for_the_job() -> None:
    assert re.fullmatch("my-video-1-[0-9a-f]{10}", accepted(plain(video_id="my video/1")).job_id)


def test_an_id_that_is_not_legal_stays_as_it_is_for_the_video() -> None:
    assert accepted(plain(video_id="my video/1")).video_id == "my video/1"


@every_shape
def test_the_attribute_names_the_video_where_the_body_does_not(message: Mapping[str, Any]) -> None:
    envelope = replace(ENVELOPE, video_id="from-attribute")
    in_body = message.get("video", {}).get("id")
    assert accepted(message, envelope).video_id == (in_body or "from-attribute")


def test_an_id_in_the_body_stands_before_the_attribute() -> None:
    assert accepted(plain(video_id="from-body"), replace(ENVELOPE, video_id="from-attribute")).video_id == "from-body"


def test_the_attribute_stands_before_an_id_in_the_key() -> None:
    envelope = replace(ENVELOPE, video_id="from-attribute")
    assert accepted(plain(key=f"uploads/{UUID}.mp4"), envelope).video_id == "from-attribute"


@cases("key", [f"uploads/{UUID}.mp4", f"a/b/{UUID}-my video.mp4", f"{UUID}"])
def test_a_uuid_in_the_name_of_the_file_is_the_id(key: str) -> None:
    assert accepted(plain(key=key)).job_id == UUID


@cases("key", [f"{UUID}/a.mp4", "uploads/a.mp4", f"uploads/{UUID[:-1]}.mp4"])
def test_without_any_id_a_hash_of_bucket_and_key_is_the_id(key: str) -> None:
    assert accepted(plain(key=key)).job_id == stable_hash("media", key)


def test_a_pattern_of_ones_own_finds_the_id() -> None:
    work = replace(WORK, id_pattern=re.compile(r"/(?P<video_id>[^/]+)\.mp4$"))
    assert accepted(plain(key="uploads/lecture-4.mp4"), work=work).job_id == "lecture-4"


@cases(
    "pattern",
    [r"(?P<video_id>nowhere)", r"uploads/(?P<video_id>x*)", r"uploads/(?P<video_id>x)?"],
    ids=["no match", "empty match", "group left out"],
)
def test_a_pattern_that_finds_no_id_leaves_it_to_the_hash(pattern: str) -> None:
    work = replace(WORK, id_pattern=re.compile(pattern))
    assert accepted(plain(), work=work).job_id == stable_hash("media", "uploads/a.mp4")


@cases("name", ["n" * 300, "line\nbreak", "narrow\u202fspace"])
def test_what_could_not_be_sent_as_an_id_is_not_taken_from_a_key(name: str) -> None:
    work = replace(WORK, id_pattern=re.compile(r"(?P<video_id>(?s:.+))\.mp4"))
    assert accepted(plain(key=f"{name}.mp4"), work=work).video_id == stable_hash("media", f"{name}.mp4")


@cases("video_id", ["", None])
def test_an_empty_id_is_no_id(video_id: str | None) -> None:
    assert accepted(plain(video_id=video_id)).job_id == stable_hash("media", "uploads/a.mp4")


@cases("video_id", [True, 1.5, ["a"], {"a": 1}, "a\nb", "a\0b", "v" * 257, 10**300])
def test_what_is_not_an_id_is_refused(video_id: object) -> None:
    assert "video_id must be printable text" in refusal(plain(video_id=video_id))


@cases("video_id", ["a\nb", "v" * 257])
def test_an_attribute_that_is_not_an_id_is_refused(video_id: str) -> None:
    assert "video_id must be printable text" in refusal(plain(), replace(ENVELOPE, video_id=video_id))


def test_an_id_of_256_characters_is_accepted() -> None:
    assert accepted(plain(video_id="v" * 256)).video_id == "v" * 256


@cases("message", [job_message(job_id="a\0b"), job_message(user_id=[1]), backend(userId={})])
def test_every_id_has_the_same_rule(message: Mapping[str, Any]) -> None:
    assert "must be printable text" in refusal(message)


def test_a_backend_without_a_video_is_refused() -> None:
    assert "video is missing" in refusal({"eventType": "video-uploaded", "s3": {"bucket": "media", "key": "a.mp4"}})


# ---- versions -------------------------------------------------------------------------------------------------------


@cases("message", [s3(record(versionId="V1")), eventbridge(**{"version-id": "V1"}), plain(versionId="V1")])
def test_the_version_is_the_version_id_where_there_is_one(message: Mapping[str, Any]) -> None:
    source = accepted(message).source
    assert (source.version, source.version_id) == ("V1", "V1")


@cases("message", [s3(record()), eventbridge(), s3(record(versionId="null")), eventbridge(**{"version-id": "null"})])
def test_without_a_version_id_the_version_is_etag_and_sequencer(message: Mapping[str, Any]) -> None:
    source = accepted(message).source
    assert (source.version, source.version_id) == ("etag-0A", None)


@cases(
    "message",
    [
        s3(record(eTag=None)),
        s3(record(sequencer="")),
        eventbridge(sequencer=7),
        plain(),
        plain(versionId="null"),
        plain(versionId=["V1"]),
        backend(),
        job_message(),
    ],
)
def test_without_either_the_version_is_the_message(message: Mapping[str, Any]) -> None:
    assert accepted(message).source.version == "message-1"


@cases("value", ["\ud800", "a\nb", "v" * 1025])
def test_a_version_id_that_no_worker_could_be_given_is_ignored(value: str) -> None:
    assert accepted(s3(record(versionId=value))).source.version == "etag-0A"


def test_two_uploads_of_one_key_differ_in_version() -> None:
    versions = {accepted(s3(record(sequencer=sequencer))).source.version for sequencer in ("0A", "0B")}
    assert len(versions) == 2


def test_a_redelivery_has_the_same_version() -> None:
    assert accepted(plain()).source.version == accepted(plain()).source.version


def test_a_second_plain_message_has_another_version() -> None:
    assert accepted(plain(), replace(ENVELOPE, message_id="message-2")).source.version == "message-2"


@cases("message", [s3(record()), eventbridge()])
def test_s3_itself_says_when_the_object_was_written(message: Mapping[str, Any]) -> None:
    written_at = accepted(message).source.written_at
    assert written_at is not None
    assert written_at.replace(microsecond=0) == datetime(2026, 11, 22, 18, 36, 53, tzinfo=UTC)


@every_plain_shape
def test_a_plain_message_does_not_know_when_the_object_was_written(message: Mapping[str, Any]) -> None:
    assert accepted(message).source.written_at is None


def test_an_event_without_a_version_of_its_own_counts_as_a_plain_message() -> None:
    assert accepted(s3(record(eTag=None, versionId=None))).source.written_at is None


@cases("time", [None, 7, "", "yesterday", "2026-11-22T18:36:53", "0001-01-01T00:00:00+10:00"])
def test_a_time_that_is_none_is_left_out(time: object) -> None:
    assert accepted(s3(record() | {"eventTime": time})).source.written_at is None


def test_the_sequencer_tells_which_upload_was_first() -> None:
    first, second = (accepted(s3(record(sequencer=each))).source for each in ("0A", "0A1"))
    assert is_older(first, second)


# ---- several records ------------------------------------------------------------------------------------------------


def test_every_record_is_a_request_in_order() -> None:
    parsed = parse(s3(record("a.mp4"), record("b.mp4"), record("c.mp4")))
    assert [request.source.key for request in parsed.requests] == ["a.mp4", "b.mp4", "c.mp4"]


BAD_RECORDS: list[Any] = [
    None,
    7,
    "record",
    [],
    {},
    {"eventSource": "aws:s3"},
    {"eventSource": "aws:sns", "eventName": "ObjectCreated:Put"},
    {"eventSource": "aws:s3", "eventName": 7},
    record() | {"eventName": "ObjectRemoved:Delete"},
    record() | {"s3": None},
    record() | {"s3": {"bucket": {"name": "media"}}},
    record() | {"s3": {"object": {"key": "a.mp4"}}},
    record(None),
    record("%FF"),
    record("a/"),
    {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "other"}, "object": {}}},
]
every_bad_record = cases("bad", BAD_RECORDS)


@every_bad_record
def test_a_bad_record_leaves_its_siblings(bad: object) -> None:
    parsed = parse(s3(record("a.mp4"), bad, record("b.mp4")))
    assert [request.source.key for request in parsed.requests] == ["a.mp4", "b.mp4"]


@every_bad_record
def test_a_bad_record_is_rejected_without_its_siblings(bad: object) -> None:
    (rejected,) = parse(s3(record("a.mp4"), bad, record("b.mp4"))).rejected
    assert len(json.loads(rejected.body)["Records"]) == 1


@every_bad_record
def test_what_was_rejected_is_rejected_again_for_the_same_reason(bad: object) -> None:
    (first,) = parse(s3(record("a.mp4"), bad)).rejected
    (again,) = parse(first.body).rejected
    assert (type(again.error), str(again.error)) == (type(first.error), str(first.error))


@every_bad_record
def test_what_was_rejected_is_rejected_again_as_it_is(bad: object) -> None:
    (first,) = parse(s3(record("a.mp4"), bad)).rejected
    (again,) = parse(first.body).rejected
    assert again.body == first.body


def test_a_bad_record_within_sns_leaves_its_siblings() -> None:
    parsed = parse(sns(s3(record("a.mp4"), None)))
    assert (len(parsed.requests), len(parsed.rejected)) == (1, 1)


# ---- rubbish --------------------------------------------------------------------------------------------------------


@cases(
    "body",
    [
        "",
        " ",
        "rubbish",
        "{",
        "\ufeff{}",
        "\0",
        "'bucket'",
        '{"bucket": "media", "key": "a"',
        "[" * 100_000,
        '{"a":' * 100_000,
        "1" * 5000,
    ],
    ids=["empty", "blank", "word", "open", "BOM", "NUL", "quotes", "cut", "deep list", "deep object", "huge number"],
)
def test_what_is_not_json_is_refused(body: str) -> None:
    assert refusal(body) == "the body is not JSON"


@cases(
    ("body", "kind"),
    [
        ("[]", "a list"),
        ('"text"', "a string"),
        ("7", "a number"),
        ("1.5", "a number"),
        ("NaN", "a number"),
        ("true", "a boolean"),
        ("null", "null"),
    ],
)
def test_what_is_not_an_object_is_refused_by_its_kind(body: str, kind: str) -> None:
    assert refusal(body) == f"the body is {kind}, not a JSON object"


@cases(
    "message",
    [
        {},
        {"video_id": "video-1"},
        {"Records": None},
        {"Records": {}},
        {"Type": "Notification"},
        {"Type": "SubscriptionConfirmation", "Message": "{}"},
        {"detail-type": "Object Created"},
        {"detail-type": "Object Deleted", "detail": {}},
        {"eventType": None},
        {"Event": "s3:OtherEvent"},
    ],
)
def test_an_unknown_shape_is_refused_with_the_shapes_that_are_known(message: Mapping[str, Any]) -> None:
    assert "no known message shape; expected" in refusal(message)


@cases(
    ("message", "reason"),
    [
        ({"Records": []}, "Records is empty"),
        (sns([]), "the body is a list"),
        (sns("{"), "the body is a string"),
        ({"Type": "Notification", "Message": "rubbish"}, "the body is not JSON"),
        (eventbridge() | {"source": "my.app"}, "source is not aws.s3"),
        (eventbridge() | {"detail": {}}, "object is missing"),
        (backend(eventType="video-deleted"), "unknown eventType 'video-deleted'"),
        (backend(s3=None), "s3 is missing"),
        ({"bucket": "media"}, "key is missing"),
        ({"key": "a.mp4"}, "bucket is missing"),
        ({"video_s3_key": "a.mp4"}, "bucket is missing"),
        ({"video_s3_bucket": "media"}, "key is missing"),
    ],
)
def test_a_known_shape_that_lacks_something_says_what(message: Mapping[str, Any], reason: str) -> None:
    assert reason in refusal(message)


def test_a_long_unknown_name_is_cut_in_the_reason() -> None:
    assert len(refusal(backend(eventType="e" * 10_000))) < 200


def test_json_that_nests_as_deep_as_it_can_be_read_can_be_rejected() -> None:
    depth = 9_000
    body = '{"Records": [{"a": ' + "[" * depth + "]" * depth + "}]}"
    assert "not an S3 event" in refusal(body)


def test_a_rejected_message_is_kept_as_it_came() -> None:
    body = ' {"unknown":\t1} '
    (rejected,) = parse(body).rejected
    assert rejected.body == body


@given(st.text(anything, max_size=80))
def test_no_text_raises(body: str) -> None:
    parsed = WORK.parse(body, ENVELOPE)
    assert parsed.requests or parsed.rejected


@given(json_values)
def test_no_json_raises(value: object) -> None:
    parsed = parse(json.dumps(value))
    assert parsed.rejected
    assert not parsed.requests


@st.composite
def spoiled_messages(draw: st.DrawFn) -> str:
    """Draws a valid message in which one value, at any depth, is changed or missing."""
    message = json.loads(json.dumps(draw(st.sampled_from(list(SHAPES.values())))))
    place = message
    while True:
        name = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if isinstance(place[name], dict | list) and place[name] and draw(st.booleans()):
            place = place[name]
            continue
        if draw(st.booleans()):
            del place[name]
        else:
            place[name] = draw(json_values)
        return json.dumps(message)


@given(spoiled_messages())
def test_no_spoiled_message_raises(body: str) -> None:
    parsed = WORK.parse(body, ENVELOPE)
    assert parsed.requests or parsed.rejected


@given(spoiled_messages())
def test_whatever_is_accepted_can_be_stored_and_given_to_a_worker(body: str) -> None:
    for request in WORK.parse(body, ENVELOPE).requests:
        request.to_json().encode()
        texts = [request.video_id, *(v for v in (getattr(request.source, f) for f in SOURCE_TEXTS) if v is not None)]
        assert all("\0" not in text and text.encode() for text in texts)


SOURCE_TEXTS = ("bucket", "key", "version", "message_id", "version_id", "sequencer")


# ---- redrive --------------------------------------------------------------------------------------------------------

ids = st.text(string.printable.strip() + " éß名🎬", min_size=1, max_size=40)


@st.composite
def requests(draw: st.DrawFn) -> WorkRequest:
    """Draws any request that a message of any shape can contain."""
    key, sequencer, version_id = draw(keys), draw(st.none() | ids), draw(st.none() | ids)
    message = draw(
        st.sampled_from(
            [
                s3(record(quote_plus(key), sequencer=sequencer, versionId=version_id)),
                eventbridge(key, **{"version-id": version_id}),
                backend(s3={"bucket": "media", "key": key}),
                plain(key=key, versionId=version_id),
                job_message(video_s3_key=key, job_id=draw(ids), video_id=draw(ids)),
            ]
        )
    )
    return accepted(message, replace(ENVELOPE, video_id=draw(st.none() | ids)))


def redriven(request: WorkRequest) -> WorkRequest:
    """Returns the request in a redrive's body, sent as another message without attributes."""
    return accepted(redrive_body(request), Envelope("message-2", SENT_AT))


@given(requests())
def test_a_redrive_is_for_the_same_job(request: WorkRequest) -> None:
    assert redriven(request).job_id == request.job_id


@given(requests())
def test_a_redrive_is_for_the_same_video(request: WorkRequest) -> None:
    assert redriven(request).video_id == request.video_id


@given(requests())
def test_a_redrive_is_for_the_same_version(request: WorkRequest) -> None:
    again, first = redriven(request).source, request.source
    assert (again.version, again.version_id) == (first.version, first.version_id)


@given(requests())
def test_a_redrive_of_a_redrive_is_the_same_message(request: WorkRequest) -> None:
    assert redrive_body(redriven(request)) == redrive_body(request)


def test_a_redrive_keeps_the_longest_version() -> None:
    request = accepted(s3(record(eTag="e" * 256, sequencer="5" * 256)))
    assert redriven(request).source.version == request.source.version


@given(keys, keys)
def test_different_objects_without_ids_are_different_jobs(one: str, other: str) -> None:
    assume(one != other)
    assert accepted(plain(key=one)).job_id != accepted(plain(key=other)).job_id


def test_a_source_of_s3_holds_all_that_s3_says() -> None:
    assert accepted(s3(record(versionId="V1"))).source == Source(
        bucket="media",
        key="uploads/a.mp4",
        version="V1",
        message_id="message-1",
        version_id="V1",
        sequencer="0A",
        written_at=datetime(2026, 11, 22, 18, 36, 53, 123_000, tzinfo=UTC),
    )
