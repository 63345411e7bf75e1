"""The torrent parser: every accepted shape, objects without torrents, and everything else rejected with a reason."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from switchyard.errors import InvalidMessage, SourceNotAllowed
from switchyard.function_jobs.work import Parsed
from switchyard.function_jobs.work import parse as parse_body
from switchyard.messages.envelope import Envelope
from switchyard.torrents.format.layout import Extent, Format, Layout, ObjectVersion, Way
from switchyard.torrents.messages import Segment, TorrentWork, Wanted, job_id, message, request
from tests.cases import cases
from tests.strategies import anything, unicode_text

SENT_AT = datetime(2026, 11, 22, 18, 36, 54, tzinfo=UTC)
ENVELOPE = Envelope("message-1", SENT_AT)
WORK = TorrentWork("media", "recordings/", "torrents/", "torrent-scratch/")
THING = ObjectVersion("media", "recordings/a.bin", 3 * 2**20, "etag-1", None, SENT_AT)
SEGMENT = Segment("torrent-1", 1, THING, Layout(THING.size, 2**20, Format.V1), Way.STREAM, Extent(1, 2))


def parse(told: Any) -> Parsed[Wanted | Segment]:  # noqa: ANN401 - JSON
    return parse_body(WORK.read, told if isinstance(told, str) else json.dumps(told), ENVELOPE)


def record(key: str = "recordings/a.bin", **changes: str) -> dict[str, Any]:
    thing = {"key": key, "eTag": "etag-1", "sequencer": "0A", **changes}
    return {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "media"}, "object": thing},
    }


def eventbridge(**changes: str) -> dict[str, Any]:
    thing = {"key": "recordings/a.bin", "etag": "etag-1", **changes}
    return {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "media"}, "object": thing},
    }


def plain(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"bucket": "media", "key": "recordings/a.bin", **changes}


printable = st.characters(codec="ascii", exclude_categories=["C"])
WANTED = Wanted("media", "recordings/a.bin", "etag-1")


@cases(
    ("told", "wanted"),
    [
        ({"Records": [record()]}, WANTED),
        ({"Records": [record(versionId="v1")]}, replace(WANTED, version="v1")),
        ({"Records": [record(versionId="null")]}, WANTED),
        ({"Records": [record("recordings/a+%2B%C3%BC.bin")]}, replace(WANTED, key="recordings/a +ü.bin")),
        ({"Type": "Notification", "Message": json.dumps({"Records": [record()]})}, WANTED),
        (eventbridge(), WANTED),
        (eventbridge(key="recordings/a+%20.bin"), replace(WANTED, key="recordings/a+%20.bin")),
        (plain(), replace(WANTED, version=None)),
        (plain(version="v1", again=True), Wanted("media", "recordings/a.bin", "v1", again=True)),
        (plain(again=False), replace(WANTED, version=None)),
        (plain(key="elsewhere/a.bin"), Wanted("media", "elsewhere/a.bin")),
        (SEGMENT.body, SEGMENT),
    ],
)
def test_every_shape_is_read(told: Any, wanted: Wanted | Segment) -> None:  # noqa: ANN401 - JSON
    assert parse(told) == Parsed("message-1", [wanted])


def test_every_record_is_work_of_its_own() -> None:
    parsed = parse({"Records": [record(), record("recordings/b.bin"), {"eventSource": "aws:ses"}]})
    assert ([wanted.key for wanted in parsed.work if isinstance(wanted, Wanted)], len(parsed.rejected)) == (
        ["recordings/a.bin", "recordings/b.bin"],
        1,
    )


def test_s3_s_test_message_asks_for_nothing() -> None:
    assert parse({"Service": "Amazon S3", "Event": "s3:TestEvent"}) == Parsed("message-1")


def test_what_an_invocation_was_for_is_read_out_of_lambda_s_record_of_its_failure() -> None:
    told = {"version": "1.0", "requestContext": {"requestId": "request-1"}, "requestPayload": plain()}
    assert parse(told) == Parsed("request-1", [replace(WANTED, version=None)])


@cases(
    "key",
    [
        "recordings/a.torrent",
        "recordings/a.Torrent",
        "recordings/folder/",
        "torrents/recordings/a.bin",
        "torrent-scratch/a",
        "recordings/job-7/pieces-1/part.ts",
    ],
)
def test_what_gets_no_torrent_is_ignored(key: str) -> None:
    parsed = parse(plain(key=key))
    assert ([ignored.key for ignored in parsed.ignored], parsed.work, parsed.rejected) == ([key], [], [])


@cases("key", ["recordings/a.torrents", "recordings/pieces-1", "recordings/a/pieces-x/b", "torrents"])
def test_what_only_looks_like_that_gets_one(key: str) -> None:
    assert len(parse(plain(key=key)).work) == 1


@cases(
    ("told", "reason"),
    [
        ("rubbish", "the body is not JSON"),
        ([], "the body is a list"),
        ({}, "no known message shape"),
        ({"Records": []}, "Records is empty"),
        (plain(key=""), "the key is missing"),
        (plain(key="a" * 1025), "the key is 1025 bytes"),
        (plain(again="yes"), "again must be"),
        (plain(version=7), "version must be"),
        ({"segment": {}}, "the bucket is missing"),
    ],
)
def test_what_is_no_request_is_rejected_with_a_reason(told: Any, reason: str) -> None:  # noqa: ANN401 - JSON
    (rejected,) = parse(told).rejected
    assert isinstance(rejected.error, InvalidMessage)
    assert str(rejected.error).startswith(reason)


def test_another_bucket_s_objects_get_none() -> None:
    (rejected,) = parse(plain(bucket="others")).rejected
    assert isinstance(rejected.error, SourceNotAllowed)


@cases(
    "change",
    [
        {"jobId": ""},
        {"fence": 0},
        {"fence": True},
        {"etag": None},
        {"size": 0},
        {"size": "3"},
        {"modified": "yesterday"},
        {"modified": None},
        {"pieceLength": 0},
        {"format": "v2"},
        {"way": "guess"},
        {"first": -1},
        {"count": 0},
        {"count": 3},
        {"key": ""},
        {"bucket": 7},
    ],
    ids=str,
)
def test_a_segment_that_can_not_be_is_rejected(change: dict[str, Any]) -> None:
    told = json.loads(SEGMENT.body)["segment"] | change
    (rejected,) = parse({"segment": told}).rejected
    assert isinstance(rejected.error, InvalidMessage)


def test_a_version_of_the_object_comes_with_its_segments() -> None:
    segment = replace(SEGMENT, thing=replace(THING, version_id="v1"), way=Way.COPY)
    assert parse(segment.body).work == [segment]


@given(st.text(unicode_text, min_size=1, max_size=40), st.text(printable, min_size=1), st.booleans())
def test_a_message_asks_for_what_it_was_made_of(key: str, version: str, again: bool) -> None:  # noqa: FBT001
    work = TorrentWork("media", "recordings/", "t\0/", "s\0/")
    parsed = parse_body(work.read, message("media", key, version, again=again), ENVELOPE)
    assert parsed.rejected or parsed.ignored or parsed.work == [Wanted("media", key, version, again)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(anything, max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(anything, max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(json.loads(SEGMENT.body)["segment"])), json_values)
def test_nothing_in_a_segment_raises(name: str, value: object) -> None:
    parse({"segment": json.loads(SEGMENT.body)["segment"] | {name: value}})


@given(json_values)
def test_nothing_raises(told: object) -> None:
    parse({"bucket": "media", "key": "a", "version": told, "again": told})
    parse({"Records": told, "segment": told, "requestPayload": told, "requestContext": {"requestId": told}})


def test_a_job_is_named_by_bucket_key_and_version() -> None:
    ids = {job_id("media", "a", "1"), job_id("media", "a", "2"), job_id("media", "b", "1"), job_id("other", "a", "1")}
    assert len(ids) == 4


def test_the_job_that_is_written_down_is_that_of_the_version() -> None:
    made = request(replace(THING, version_id="v1"), message_id="m", sent_at=SENT_AT, user_id="user-42")
    assert (made.job_id, made.source.version, made.source.version_id, made.user_id) == (
        job_id("media", THING.key, "v1"),
        "v1",
        "v1",
        "user-42",
    )


UPLOAD = "2026/11/22/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506-a.mp4"


@cases(
    ("key", "owner"),
    [
        ("recordings/ada/job-7/a.mp4", "ada"),
        ("recordings/job-7/a.mp4", None),
        ("recordings/job-7/pieces-1/a.mp4", None),
        ("recordings/a.mp4", None),
        ("recordings//a.mp4", None),
        (f"uploads/ada/{UPLOAD}", "ada"),
        (f"uploads/{UPLOAD}", None),
        ("uploads/ada/job-7/a.mp4", None),
    ],
)
def test_an_object_is_the_owner_s_that_its_key_names(key: str, owner: str | None) -> None:
    assert WORK.owner(key) == owner


def test_an_upload_among_recordings_is_its_owner_s() -> None:
    work = TorrentWork("media", "media/", "torrents/", "torrent-scratch/", "media/uploads/")
    assert work.owner(f"media/uploads/ada/{UPLOAD}") == "ada"
    assert work.owner(f"media/uploads/{UPLOAD}") is None
