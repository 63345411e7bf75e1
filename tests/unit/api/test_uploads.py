"""Keys from any file name, and the division of a file into parts."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard import clients, clock
from switchyard.api.http import Problem, Request
from switchyard.api.uploads import EXTENSIONS, MAX_PARTS, MIN_PART, Uploads, part_size, safe_name
from switchyard.keys import MAX_NAME, owner_of
from switchyard.messages.envelope import Envelope
from switchyard.messages.videos import VideoWork
from switchyard.names import legal_name
from switchyard.protocol.jobs import TargetSpec
from switchyard.settings import SqsToBatchSettings
from tests.cases import cases
from tests.corpus.filenames import HOSTILE

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
VIDEOS = sorted(each for each in EXTENSIONS if each.startswith("video/"))
NOTIFIED = tuple(re.findall(r"Name: suffix, Value: (\S+) }", (Path(__file__).parents[3] / "template.yaml").read_text()))
"""The ends that the template's notifications filter by."""

every_hostile_name = cases("filename", HOSTILE.values(), ids=HOSTILE)
any_name = st.text(max_size=200) | st.sampled_from(list(HOSTILE.values()))
any_type = st.sampled_from(sorted(EXTENSIONS))
PATTERN = cast("re.Pattern[str]", SqsToBatchSettings.variables()["VIDEO_ID_PATTERN"].default)


def uploads(prefix: str = "uploads/", pattern: re.Pattern[str] = PATTERN) -> Uploads:
    return Uploads(clients.s3(), "media", prefix, timedelta(minutes=15), 50 * 2**30, pattern)


def new_key(filename: str, content_type: str = "video/mp4", prefix: str = "uploads/", owner: str | None = None) -> str:
    return uploads(prefix)._new({"filename": filename, "contentType": content_type}, owner)["key"]


def by(user: str | None) -> Request:
    return Request("GET", "/", user_id=user)


# ---- names ----------------------------------------------------------------------------------------------------------


@every_hostile_name
def test_a_hostile_name_becomes_a_safe_one(filename: str) -> None:
    assert SAFE.fullmatch(safe_name(filename, "video/mp4"))


@given(any_name, any_type)
def test_any_name_becomes_a_safe_one(filename: str, content_type: str) -> None:
    assert SAFE.fullmatch(safe_name(filename, content_type))


@given(any_name, any_type)
def test_no_name_is_too_long(filename: str, content_type: str) -> None:
    assert len(safe_name(filename, content_type)) <= MAX_NAME


@given(any_name, any_type)
def test_no_name_holds_two_dots_in_a_row(filename: str, content_type: str) -> None:
    assert ".." not in safe_name(filename, content_type)


@given(any_name, st.sampled_from(VIDEOS))
def test_s3_tells_of_every_video(filename: str, content_type: str) -> None:
    assert safe_name(filename, content_type).endswith(NOTIFIED)


def test_s3_tells_of_the_ends_of_videos_in_both_spellings() -> None:
    ends = [end for each in VIDEOS for end in EXTENSIONS[each]]
    assert sorted(NOTIFIED) == sorted([*ends, *(end.upper() for end in ends)])


@given(any_name, any_type)
def test_a_name_ends_as_its_type_does(filename: str, content_type: str) -> None:
    assert safe_name(filename, content_type).endswith(tuple(EXTENSIONS[content_type]))


@given(any_name, any_type)
def test_a_safe_name_stays_as_it_is(filename: str, content_type: str) -> None:
    safe = safe_name(filename, content_type)
    assert safe_name(safe, content_type) == safe


@cases(
    ("filename", "safe"),
    [
        ("holiday.mp4", "holiday.mp4"),
        ("Holiday.MP4", "Holiday.mp4"),
        ("My holiday (100%) + sun.mp4", "My-holiday-100-sun.mp4"),
        ("C:\\Users\\Zoë\\Videos\\My Film.MP4", "My-Film.mp4"),
        ("Été à la plage – n°2.MP4", "Ete-a-la-plage-n2.mp4"),
        ("../../etc/passwd", "passwd.mp4"),
        ("film.mov", "film.mov.mp4"),
        ("🎬.mp4", "file.mp4"),
        ("", "file.mp4"),
    ],
)
def test_a_name_keeps_what_is_safe_of_it(filename: str, safe: str) -> None:
    assert safe_name(filename, "video/mp4") == safe


def test_a_jpeg_may_end_in_either_way() -> None:
    assert [safe_name(name, "image/jpeg") for name in ("a.JPG", "a.jpeg", "a")] == ["a.jpg", "a.jpeg", "a.jpg"]


# ---- keys -----------------------------------------------------------------------------------------------------------


users = st.sampled_from([None, "ada", "c2b5d4a8-3f21-4b7e-9d10-7e6f5a4b3c2d"])


@given(any_name, any_type, st.sampled_from(["", "uploads/", "a b/ü/", "x" * 512]), users)
def test_every_key_is_known_again(filename: str, content_type: str, prefix: str, user: str | None) -> None:
    key = new_key(filename, content_type, prefix, user)
    for asking in (by(user), by(None)):
        assert uploads(prefix)._own(asking, key, "upload")["Key"] == key


@given(any_name, any_type, users)
def test_the_key_names_its_owner(filename: str, content_type: str, user: str | None) -> None:
    assert owner_of("uploads/", new_key(filename, content_type, owner=user)) == user


@cases("owner", [None, "ada", "bob-2", "BOB"])
def test_a_user_reaches_no_key_of_another(owner: str | None) -> None:
    key = new_key("a.mp4", owner=owner)
    with pytest.raises(Problem) as problem:
        uploads()._own(by("bob"), key, "upload")
    assert problem.value.status == 404


@given(any_name)
def test_no_two_keys_are_equal(filename: str) -> None:
    assert new_key(filename) != new_key(filename)


@given(any_name)
def test_a_key_lies_three_folders_below_the_prefix(filename: str) -> None:
    assert re.fullmatch(r"uploads/\d{4}/\d\d/\d\d/[^/]+", new_key(filename))


@given(any_name)
def test_the_job_of_a_video_is_the_one_that_its_key_asks_for(filename: str) -> None:
    file = uploads()._new({"filename": filename, "contentType": "video/mp4"}, "c2b5d4a8-3f21-4b7e-9d10-7e6f5a4b3c2d")
    found = PATTERN.search(file["key"])
    assert found is not None
    assert legal_name(found["video_id"]) == file["jobId"]


@cases("pattern", [r"(?P<video_id>[^/]+)$", r"/(?P<video_id>[0-9]{4}/[0-9]{2})/", "no-match-(?P<video_id>x)"])
def test_the_job_of_a_video_is_the_one_that_its_message_makes_by_any_pattern(pattern: str) -> None:
    id_pattern = re.compile(pattern)
    file = uploads(pattern=id_pattern)._new({"filename": "a.mp4", "contentType": "video/mp4"}, None)
    work = VideoWork("video", TargetSpec("batch", "q", "d"), id_pattern, frozenset({"media"}))
    body = json.dumps({"bucket": "media", "key": file["key"]})
    (asked,) = work.parse(body, Envelope("m1", clock.now())).requests
    assert asked.job_id == file["jobId"]


def test_an_image_is_no_job() -> None:
    assert "jobId" not in uploads()._new({"filename": "a.png", "contentType": "image/png"}, None)


# ---- parts ----------------------------------------------------------------------------------------------------------

any_size = st.integers(1, MAX_PARTS * 4 * 2**30)


@given(any_size)
def test_ten_thousand_parts_suffice(size: int) -> None:
    assert part_size(size) * MAX_PARTS >= size


@given(any_size)
def test_a_part_is_a_power_of_two_that_s3_takes(size: int) -> None:
    length = part_size(size)
    assert length.bit_count() == 1
    assert MIN_PART <= length <= 5 * 2**30


@given(any_size)
def test_no_smaller_part_would_do(size: int) -> None:
    length = part_size(size)
    assert length == MIN_PART or length // 2 * MAX_PARTS < size


@cases(
    ("size", "length"),
    [
        (1, MIN_PART),
        (MIN_PART * MAX_PARTS, MIN_PART),
        (MIN_PART * MAX_PARTS + 1, 2 * MIN_PART),
        (4 * 2**30 * MAX_PARTS, 4 * 2**30),
    ],
)
def test_parts_at_the_bounds(size: int, length: int) -> None:
    assert part_size(size) == length


# ---- signatures -----------------------------------------------------------------------------------------------------


def signed_headers(url: str) -> str:
    return url.partition("X-Amz-SignedHeaders=")[2].partition("&")[0].replace("%3B", ";")


def presigned(**body: object) -> dict[str, Any]:
    wanted = json.dumps({"filename": "a.mp4", "contentType": "video/mp4", **body})
    answer = uploads().presign(Request("POST", "/uploads/presign", body=wanted))
    assert isinstance(answer.body, dict)
    return answer.body


def test_size_type_and_that_the_object_is_new_are_signed() -> None:
    answer = presigned(size=3)
    assert signed_headers(answer["url"]) == "content-length;content-type;host;if-none-match"
    assert answer["headers"] == {"Content-Type": "video/mp4", "Content-Length": "3", "If-None-Match": "*"}


def test_a_form_needs_no_size() -> None:
    assert presigned(method="POST")["fields"]["key"].endswith("a.mp4")


def test_a_url_is_signed_by_version_four() -> None:
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in presigned(size=3)["url"]
