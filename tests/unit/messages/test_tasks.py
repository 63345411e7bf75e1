"""Job messages: every kind and field is accepted, and everything else is rejected with a reason, never an exception."""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.errors import InvalidMessage, KindNotConfigured, PermanentError, UrlRefused
from switchyard.messages.envelope import MAX_METADATA_BYTES, Envelope, Parsed
from switchyard.messages.kinds import KINDS, LANES, TASKS, VIDEO
from switchyard.messages.redrive import redrive_body
from switchyard.messages.tasks import MAX_DELAY, MAX_IMAGES, MAX_REQUEST_BYTES, TaskWork
from switchyard.protocol.jobs import WorkRequest
from switchyard.settings import DispatchToEcsSettings, ReconcileJobsSettings, SqsToBatchSettings, TrackJobSettings
from tests.cases import cases
from tests.fakes.resolver import resolving
from tests.strategies import anything

SENT_AT = datetime(2026, 11, 22, 18, 36, 54, tzinfo=UTC)
ENVELOPE = Envelope("message-1", SENT_AT)
DEFINITIONS = {
    "stream-recording": "record-stream:3",
    "image-processing": "detect-objects",
    "torrent-seeding": "transmission",
}
WORK = TaskWork("media", "cluster", DEFINITIONS)
URL = "https://www.example.com/live.m3u8"
IMAGE = "s3://media/uploads/china.jpg"

RECORDING = {"kind": "stream-recording", "url": URL, "filename": "talk.mp4"}
IMAGES = {"kind": "image-processing", "imageUrls": [IMAGE]}
SEEDING = {"kind": "torrent-seeding", "torrentKey": "torrents/match.mkv.torrent"}
EVERY = [RECORDING, IMAGES, SEEDING]
every_kind = pytest.mark.parametrize("message", EVERY, ids=lambda message: message["kind"])


@pytest.fixture(autouse=True, scope="module")
def public_names() -> Iterator[None]:
    with resolving():
        yield


def parse(message: Any, work: TaskWork = WORK) -> Parsed:  # noqa: ANN401 - JSON
    return work.parse(message if isinstance(message, str) else json.dumps(message), ENVELOPE)


def accepted(message: Any, work: TaskWork = WORK) -> WorkRequest:  # noqa: ANN401 - JSON
    parsed = parse(message, work)
    assert [str(rejected.error) for rejected in parsed.rejected] == []
    (request,) = parsed.requests
    return request


def refusal(message: Any, work: TaskWork = WORK) -> PermanentError:  # noqa: ANN401 - JSON
    parsed = parse(message, work)
    assert parsed.requests == []
    (rejected,) = parsed.rejected
    return rejected.error


# ---- what is accepted -----------------------------------------------------------------------------------------------


@every_kind
def test_a_message_of_a_kind_becomes_work_of_that_kind(message: dict[str, Any]) -> None:
    assert accepted(message).kind == message["kind"]


@every_kind
def test_a_kind_need_not_be_said_where_the_fields_tell_it(message: dict[str, Any]) -> None:
    untold = {name: value for name, value in message.items() if name != "kind"}
    assert accepted(untold) == accepted(message)


@every_kind
def test_a_kind_has_its_own_lane_and_task_definition(message: dict[str, Any]) -> None:
    request = accepted(message)
    assert request.lane == TASKS[request.kind].lane
    assert (request.target.type, request.target.queue) == ("ecs", "cluster")
    assert request.target.definition == DEFINITIONS[request.kind]


@every_kind
def test_the_worker_s_input_is_what_the_kind_is_about(message: dict[str, Any]) -> None:
    assert accepted(message).input == {name: value for name, value in message.items() if name != "kind"}


def test_a_recording_needs_no_filename() -> None:
    assert accepted({"url": URL, "filename": None}).input == {"url": URL}


def test_an_empty_filename_is_none() -> None:
    assert accepted({"url": URL, "filename": ""}).input == {"url": URL}


def test_the_work_is_about_no_object_and_its_results_go_to_the_bucket() -> None:
    source = accepted(RECORDING).source
    assert (source.bucket, source.is_object) == ("media", False)


def test_a_job_without_an_id_has_that_of_its_message() -> None:
    assert accepted(RECORDING).job_id == "message-1"


def test_a_job_keeps_its_id() -> None:
    assert accepted({**RECORDING, "jobId": "talk-1"}).job_id == "talk-1"


def test_an_id_that_is_not_legal_is_made_so() -> None:
    assert accepted({**RECORDING, "jobId": "a talk/1"}).job_id.startswith("a-talk-1-")


def test_a_message_is_work_of_its_own() -> None:
    assert accepted(RECORDING).source.version == "message-1"


def test_a_message_that_names_a_version_is_that_work() -> None:
    assert accepted({**RECORDING, "version": "v7"}).source.version == "v7"


def test_the_user_is_kept() -> None:
    assert accepted({**RECORDING, "userId": "user-42"}).user_id == "user-42"


def upload_of(owner: str | None, name: str = "a") -> str:
    key = f"{owner}/" if owner else ""
    return f"s3://media/uploads/{key}2026/11/22/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506-{name}.jpg"


OWNERS = {
    "one user's": ([upload_of("ada"), upload_of("ada", "b")], None, "ada"),
    "one user's, and named": ([upload_of("ada")], "ada", "ada"),
    "several users'": ([upload_of("ada"), upload_of("bob")], None, None),
    "partly nobody's": ([upload_of("ada"), upload_of(None)], None, None),
    "partly nobody's, and named": ([upload_of("ada"), upload_of(None), IMAGE], "ada", "ada"),
    "nobody's": ([upload_of(None), IMAGE], None, None),
    "nobody's, and named": ([upload_of(None), IMAGE], "ada", "ada"),
}


@cases("case", OWNERS)
def test_the_keys_of_images_say_whose_the_job_is(case: str) -> None:
    urls, named, owner = OWNERS[case]
    assert accepted({"imageUrls": urls, "userId": named}).user_id == owner


def test_a_message_gives_nobody_another_user_s_images() -> None:
    message = {"imageUrls": [IMAGE, upload_of("bob")], "userId": "ada"}
    assert isinstance(refusal(message), InvalidMessage)
    assert str(refusal(message)) == "imageUrls[1] is the upload of another user than userId"


def test_images_lie_where_the_deployment_says() -> None:
    moved = replace(WORK, upload_prefix="incoming/")
    assert accepted({"imageUrls": [upload_of("ada").replace("/uploads/", "/incoming/")]}, moved).user_id == "ada"
    assert accepted({"imageUrls": [upload_of("ada")]}, moved).user_id is None


def test_metadata_come_back_as_they_were() -> None:
    metadata = {"a": 0.1, "b": 10**30, "c": [1, 2.0, None, True, "ü🎬"], "": {}}
    request = accepted({**RECORDING, "metadata": metadata})
    assert WorkRequest.from_json(request.to_json()).metadata == metadata


@cases(("said", "announced"), [(True, True), (False, False), (None, False), ("true", False), (1, False)])
def test_only_true_announces(said: object, announced: bool) -> None:  # noqa: FBT001 - a case's value
    assert accepted({**RECORDING, "announced": said}).announced is announced


@cases(
    ("said", "start_after"),
    [
        (None, None),
        ("2026-11-22T20:36:54+01:00", datetime(2026, 11, 22, 19, 36, 54, tzinfo=UTC)),
        ("2020-01-01T00:00:00Z", datetime(2020, 1, 1, tzinfo=UTC)),
        ("2026-12-22T18:36:54Z", SENT_AT + MAX_DELAY),
    ],
)
def test_a_job_may_be_for_later(said: str | None, start_after: datetime | None) -> None:
    request = accepted({**RECORDING, "startAfter": said})
    assert request.start_after == start_after
    assert WorkRequest.from_json(request.to_json()) == request
    assert accepted(redrive_body(request)).start_after == start_after


@cases(
    "said", ["2026-12-22T18:36:55Z", "2026-11-22T20:36:54", "tomorrow", "", 1, True, ["2026-11-22T20:36:54Z"], "9" * 99]
)
def test_any_other_time_is_rejected(said: object) -> None:
    assert str(refusal({**RECORDING, "startAfter": said})).startswith("startAfter must be an ISO 8601 time")


def test_a_name_that_can_not_be_resolved_now_is_left_to_the_worker() -> None:
    with resolving({"www.example.com": socket.EAI_AGAIN}):
        assert accepted(RECORDING).input == {"url": URL, "filename": "talk.mp4"}


def test_inner_addresses_may_be_recorded_from_where_they_are_allowed() -> None:
    work = replace(WORK, networks=(ip_network("127.0.0.0/8"),))
    assert accepted({"url": "http://127.0.0.1:8080/live.m3u8"}, work).kind == "stream-recording"


def test_as_many_images_as_may_be_are_accepted() -> None:
    assert accepted({"imageUrls": ["s3://media/a"] * MAX_IMAGES}).kind == "image-processing"


def test_an_image_may_be_named_by_its_https_address() -> None:
    url = "https://media.s3.eu-central-1.amazonaws.com/uploads/a%20b.jpg"
    assert accepted({"imageUrls": [url]}).input == {"imageUrls": [url]}


# ---- what is not ----------------------------------------------------------------------------------------------------

INVALID: dict[str, tuple[Any, str]] = {
    "no JSON": ("rubbish", "the body is not JSON"),
    "nesting without end": ("[" * 100_000, "the body is not JSON"),
    "a list": ([RECORDING], "the body is a list"),
    "null": ("null", "the body is null"),
    "nothing": ({}, "kind is missing"),
    "nothing that tells the kind": ({"filename": "talk.mp4"}, "kind is missing"),
    "two kinds at once": ({"url": URL, "imageUrls": [IMAGE]}, "kind is missing"),
    "an unknown kind": ({**RECORDING, "kind": "video-analysis"}, "kind must be one of stream-recording, "),
    "a kind that is none": ({**RECORDING, "kind": ["stream-recording"]}, "kind must be one of"),
    "no url": ({"kind": "stream-recording"}, "url must be text of 1 to 2048 characters"),
    "a url that is none": ({"url": 7}, "url must be text"),
    "an empty url": ({"url": ""}, "url must be text"),
    "a long url": ({"url": URL.ljust(2049, "a")}, "url must be text"),
    "a url without Unicode": ({"url": URL + "\udcff"}, "url is not valid Unicode"),
    "a long filename": ({"url": URL, "filename": "a" * 256}, "filename must be text of 1 to 255 characters"),
    "a filename that is none": ({"url": URL, "filename": {}}, "filename must be text"),
    "a filename without Unicode": ({"url": URL, "filename": "\ud800"}, "filename is not valid Unicode"),
    "no images": ({"imageUrls": []}, "imageUrls must be a list of 1 to 1000 URLs"),
    "images that are none": ({"imageUrls": IMAGE}, "imageUrls must be a list"),
    "too many images": ({"imageUrls": [IMAGE] * 1001}, "imageUrls must be a list"),
    "an image that is none": ({"imageUrls": [IMAGE, None]}, "imageUrls[1] must be text of 1 to 2048 characters"),
    "a long image": ({"imageUrls": [IMAGE.ljust(2049, "a")]}, "imageUrls[0] must be text"),
    "no torrent": ({"kind": "torrent-seeding"}, "torrentKey must be text of 1 to 1024 characters"),
    "a long torrent": ({"torrentKey": "ü" * 513}, "torrentKey has more than 1024 bytes"),
    "no torrent's key": ({"torrentKey": "torrents/match.mkv"}, "torrentKey must end in .torrent"),
    "a torrent elsewhere": ({"torrentKey": "torrents/../a.torrent"}, "torrentKey must end in .torrent"),
    "a torrent in no folder": ({"torrentKey": "torrents//a.torrent"}, "torrentKey must end in .torrent"),
    "a torrent without Unicode": ({"torrentKey": "\ud800"}, "torrentKey is not valid Unicode"),
    "an id that is none": ({**RECORDING, "jobId": {}}, "jobId must be printable text"),
    "a long id": ({**RECORDING, "jobId": "a" * 257}, "jobId must be printable text of at most 256"),
    "a user that is none": ({**RECORDING, "userId": [1]}, "userId must be printable text"),
    "a user in two lines": ({**RECORDING, "userId": "a\nb"}, "userId must be printable text"),
    "metadata that are none": ({**RECORDING, "metadata": [1]}, "metadata is not an object"),
    "much metadata": ({**RECORDING, "metadata": {"a": "b" * MAX_METADATA_BYTES}}, "metadata has 32776 bytes as JSON"),
    "metadata without Unicode": ({**RECORDING, "metadata": {"a": ["\udfff"]}}, "metadata is not valid Unicode"),
    "a name in them without it": ({**RECORDING, "metadata": {"\udfff": 1}}, "metadata is not valid Unicode"),
    "infinity": ({**RECORDING, "metadata": {"a": [float("inf")]}}, "metadata holds a number that is not finite"),
    "no number": ({**RECORDING, "metadata": {"a": float("nan")}}, "metadata holds a number that is not finite"),
    "a large request": ({"imageUrls": [IMAGE.ljust(300, "a")] * 1000}, "the request has 3"),
}


@cases("case", INVALID)
def test_an_invalid_message_is_rejected_with_what_is_wrong(case: str) -> None:
    message, reason = INVALID[case]
    error = refusal(message)
    assert isinstance(error, InvalidMessage)
    assert str(error).startswith(reason)


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth - 1):
        found = {"a": found}
    return found


def test_metadata_may_be_nested_as_deep_as_an_item() -> None:
    assert accepted({**RECORDING, "metadata": nested(32)}).metadata == nested(32)


@cases("depth", [33, 300])
def test_metadata_nested_deeper_are_rejected(depth: int) -> None:
    assert str(refusal({**RECORDING, "metadata": nested(depth)})) == "metadata is nested more than 32 deep"


def test_metadata_of_just_the_greatest_size_are_accepted() -> None:
    metadata = {"a": "b" * (MAX_METADATA_BYTES - len('{"a":""}'))}
    assert accepted({**RECORDING, "metadata": metadata}).metadata == metadata


def test_sizes_are_counted_in_bytes() -> None:
    metadata = {"a": "ü" * (MAX_METADATA_BYTES // 2)}
    assert "bytes as JSON" in str(refusal({**RECORDING, "metadata": metadata}))


def test_the_largest_request_and_its_metadata_again_fit_an_item() -> None:
    assert MAX_REQUEST_BYTES + MAX_METADATA_BYTES < 400_000 - 100_000


@cases(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost.internal/",
        "http://2130706433/",
        "https://user:secret@www.example.com/",
        "file:///etc/passwd",
        "--exec=rm",
    ],
)
def test_a_url_that_leads_inside_or_nowhere_is_refused(url: str) -> None:
    with resolving({"localhost.internal": "127.0.0.1"}):
        assert isinstance(refusal({"url": url}), UrlRefused)


def test_a_url_whose_host_does_not_exist_is_refused() -> None:
    with resolving({"www.example.com": socket.EAI_NONAME}):
        assert isinstance(refusal(RECORDING), UrlRefused)


@cases(
    "url", ["s3://other/a.jpg", "https://other.s3.amazonaws.com/a.jpg", "https://www.example.com/a.jpg", "s3://media/"]
)
def test_an_image_that_is_not_of_the_bucket_is_refused_by_its_place(url: str) -> None:
    error = refusal({"imageUrls": [IMAGE, url]})
    assert isinstance(error, UrlRefused)
    assert str(error).startswith("imageUrls[1]: ")


def test_a_refusal_says_nothing_of_the_url() -> None:
    assert "secret" not in str(refusal({"url": "https://user:secret@www.example.com/"}))


@every_kind
def test_a_kind_that_nothing_runs_is_rejected_with_the_setting(message: dict[str, Any]) -> None:
    kind = message["kind"]
    error = refusal(message, replace(WORK, definitions={**DEFINITIONS, kind: ""}))
    assert isinstance(error, KindNotConfigured)
    assert str(error) == f"this deployment doesn't run {kind}: {TASKS[kind].definition} is not set"


def test_a_rejected_message_is_kept_as_it_came() -> None:
    body = ' {"unknown":\t1} '
    (rejected,) = parse(body).rejected
    assert rejected.body == body


# ---- anything at all ------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(anything, max_size=20),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(anything, max_size=10), children, max_size=3)
    ),
    max_leaves=8,
)
WHOLE = {"jobId": "a", "userId": "b", "metadata": {"c": [1]}, "version": "d", "announced": True}


@st.composite
def spoiled_messages(draw: st.DrawFn) -> str:
    """Draws a valid message of some kind in which some values are changed or missing."""
    message = {**draw(st.sampled_from(EVERY)), **WHOLE}
    for name in draw(st.sets(st.sampled_from(sorted(message)), min_size=1)):
        if draw(st.booleans()):
            del message[name]
        else:
            message[name] = draw(json_values)
    return json.dumps(message)


@given(st.text(anything, max_size=80))
def test_no_text_raises(body: str) -> None:
    assert WORK.parse(body, ENVELOPE).rejected


@given(spoiled_messages())
def test_no_spoiled_message_raises(body: str) -> None:
    parsed = WORK.parse(body, ENVELOPE)
    assert len(parsed.requests) + len(parsed.rejected) == 1


@given(spoiled_messages())
def test_whatever_is_accepted_can_be_stored_and_read_again(body: str) -> None:
    for request in WORK.parse(body, ENVELOPE).requests:
        assert WorkRequest.from_json(request.to_json().encode().decode()) == request


@given(spoiled_messages())
def test_whatever_is_accepted_and_redriven_is_the_same_work(body: str) -> None:
    for request in WORK.parse(body, ENVELOPE).requests:
        (again,) = WORK.parse(redrive_body(request), Envelope("message-2", SENT_AT)).requests
        assert replace(again, source=replace(again.source, message_id="message-1")) == request


# ---- the table of kinds ---------------------------------------------------------------------------------------------


def test_every_kind_s_task_definition_is_a_setting_of_the_function() -> None:
    assert {kind.definition for kind in TASKS.values()} <= DispatchToEcsSettings.variables().keys()


@cases("settings", [DispatchToEcsSettings, TrackJobSettings, ReconcileJobsSettings])
def test_every_lane_s_limit_is_a_setting_of_whatever_starts_jobs(settings: type[DispatchToEcsSettings]) -> None:
    limits = {name for name in settings.variables() if name.startswith("MAX_CONCURRENT_")}
    assert limits - {VIDEO.limit} == {kind.limit for kind in TASKS.values()}


def test_the_lane_of_videos_is_a_setting_s_default_and_its_limit_a_setting() -> None:
    variables = TrackJobSettings.variables()
    assert variables["LANE"].default == VIDEO.lane
    assert VIDEO.limit in variables
    assert VIDEO.definition in SqsToBatchSettings.variables()


def test_no_two_kinds_share_a_lane_or_a_field() -> None:
    assert len({kind.lane for kind in KINDS.values()}) == len(KINDS)
    assert len({kind.field for kind in TASKS.values()}) == len(TASKS)


def test_every_kind_that_no_function_does_has_a_lane_with_a_limit() -> None:
    assert list(LANES) == [kind.lane for kind in KINDS.values() if kind.target != "function"]
