"""The redrive describes a dead letter well enough to identify it, without secrets."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from switchyard.messages import kinds
from switchyard_client import letters
from switchyard_client.letters import NO_TYPE, About, Letter, Queue, about, plain
from tests.cases import cases
from tests.strategies import anything

fields = st.sampled_from(
    ["s3", "Records", "segment", "detail", "container", "url", "key", "Type", "Message", "requestPayload"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(anything, max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(fields | st.text(anything, max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)

EVENTS = Path(__file__).parents[3] / "events"


def letter(body: object, **attributes: str) -> Letter:
    text = body if isinstance(body, str) else json.dumps(body)
    return Letter("message", "receipt", text, datetime(2026, 11, 22, tzinfo=UTC), attributes)


def test_a_message_that_names_its_job_and_version() -> None:
    body = {"bucket": "media", "key": "uploads/a.mp4", "version": "v1", "job_id": "a-job", "video_id": "a video"}
    assert about("video", letter(body)) == About("video-analysis", "a-job", "uploads/a.mp4")


def test_a_plain_message_names_no_version() -> None:
    found = about("video", letter({"video_s3_bucket": "media", "video_s3_key": "a.mp4"}, video_id="v"))
    assert found == About("video-analysis", "v", "a.mp4", names_version=False)


def test_a_backends_message_is_known_by_its_video() -> None:
    body = {"eventType": "video-uploaded", "video": {"id": "lecture"}, "s3": {"key": "l.mp4", "versionId": "3sL"}}
    assert about("video", letter(body)) == About("video-analysis", "lecture", "l.mp4")


def test_what_s3_tells_is_known_by_its_keys_also_by_way_of_sns() -> None:
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "media"}, "object": {"key": "uploads/a+b.mp4", "eTag": "e", "sequencer": "0A"}},
    }
    told = {"Records": [record]}
    wrapped = {"Type": "Notification", "Message": json.dumps(told)}
    assert about("video", letter(told)) == about("video", letter(wrapped))
    assert about("video", letter(told)) == About("video-analysis", subject="uploads/a b.mp4")
    assert about("torrents", letter(told)) == About("torrent", subject="uploads/a b.mp4")


def test_an_url_is_shown_without_what_may_be_a_password() -> None:
    body = {"jobId": "r", "url": "https://user:secret@live.example.com/a.m3u8?token=secret#secret", "version": "1"}
    assert about("ecs-jobs", letter(body)) == About("stream-recording", "r", "live.example.com/a.m3u8")


@cases("named", [{"jobId": "a"}, {"version": "1"}, {}])
def test_a_job_message_without_id_and_version_is_another_wish_when_it_is_sent_again(named: dict[str, str]) -> None:
    assert not about("ecs-jobs", letter({"imageUrls": ["s3://media/a.jpg"], **named})).names_version


def test_an_import_is_about_its_account() -> None:
    found = about("steam", letter({"userId": "user-42", "steamId": "76561197960287930"}))
    assert found == About("steam_import", subject="76561197960287930")
    assert about("steam", letter({"userId": "user-42"})) == About("steam_import")


@cases("queue", ["ecs-jobs", "torrents"])
def test_lambdas_record_of_an_invocation_is_moved_where_it_is_read(queue: Queue) -> None:
    body = {"requestContext": {"requestId": "1"}, "requestPayload": {"url": "https://a.example.com/", "key": "k"}}
    found = about(queue, letter(body))
    assert (found.refused, found.names_version) == ("", True)


@cases("queue", ["video", "track"])
def test_lambdas_record_of_an_invocation_is_refused_where_it_is_not_read(queue: Queue) -> None:
    assert about(queue, letter({"requestContext": {"requestId": "1"}, "requestPayload": {}})).refused


def test_a_segment_is_known_by_its_job() -> None:
    found = about("torrents", letter({"segment": {"jobId": "torrent-1", "key": "big.mkv", "first": 0}}))
    assert found == About("a segment of a torrent", "torrent-1", "big.mkv")


@cases(
    "detail",
    [
        {"status": "RUNNABLE", "container": {"environment": [{"name": "JOB_ID", "value": "a"}]}},
        {
            "lastStatus": "RUNNABLE",
            "overrides": {"containerOverrides": [{"environment": [{"name": "JOB_ID", "value": "a"}]}]},
        },
    ],
)
def test_a_state_change_is_known_by_its_job(detail: object) -> None:
    assert about("track", letter({"detail-type": "A Change", "detail": detail})) == About("A Change", "a", "RUNNABLE")


def test_the_reason_is_switchyards_word_or_event_bridges() -> None:
    assert letter({}, ErrorType="CONTENDED").error_type == "CONTENDED"
    assert letter({}, ERROR_CODE="NO_PERMISSIONS").error_type == "NO_PERMISSIONS"
    assert letter({}).error_type == NO_TYPE


@given(st.sampled_from(["video", "ecs-jobs", "torrents", "steam", "track"]), json_values)
def test_whatever_lies_there_something_is_shown(queue: Queue, body: object) -> None:
    assert about(queue, letter(body)).kind is not None


@cases("path", sorted(EVENTS.glob("*/*.json")), ids=lambda path: path.stem)
def test_every_sample_can_be_shown(path: Path) -> None:
    for queue in ("video", "ecs-jobs", "torrents", "steam", "track"):
        about(queue, letter(path.read_text()))


def test_text_of_strangers_can_not_move_the_cursor() -> None:
    assert plain("\x1b[2Ja\nb", 10) == "?[2Ja?b"
    assert plain("abcdef", 4) == "abc…"


def test_the_kinds_are_the_systems() -> None:
    assert dict(letters.TASKS) == {name: kind.field for name, kind in kinds.TASKS.items()}
    assert (
        kinds.VIDEO.name,
        kinds.TORRENT.name,
        kinds.STEAM_IMPORT.name,
    ) == (letters.VIDEO, letters.TORRENT, letters.STEAM_IMPORT)


def test_every_error_type_of_the_runbook_has_advice() -> None:
    tables = re.findall(r"^\| `([A-Z_]+)` \|", (EVENTS.parent / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert set(tables) == letters.ADVICE.keys() - {NO_TYPE}
