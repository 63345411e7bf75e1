"""Keys: what is made is read back, and no key of one owner reads as another's, whatever its segments are."""

import re
import uuid
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from switchyard.keys import (
    CLAIM,
    is_owner,
    is_part_of_recording,
    is_upload,
    owner_of,
    recording_owner,
    result_folders,
    upload_key,
)
from tests.cases import cases
from tests.strategies import anything

SUB = "c2b5d4a8-3f21-4b7e-9d10-7e6f5a4b3c2d"
UPLOAD = "2026/11/22/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506-clip.mp4"

# Written out again, not taken from the code under test.
OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}\Z")

prefixes = st.sampled_from(["uploads/", "a/b/", "2026/", f"{SUB}/", "up.loads/"])
owners = (st.uuids().map(str) | st.text("Az09_.:-", min_size=1, max_size=129)).filter(
    lambda text: OWNER.match(text) is not None and re.fullmatch("[0-9]{4}", text) is None
)
names = st.text("Az0._-", min_size=1, max_size=120)
days = st.dates(min_value=date(1000, 1, 1))
job_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", fullmatch=True)
hostile = st.lists(
    st.sampled_from(["", ".", "..", "2026", "11", "22", SUB, "%2e", "uploads", "pieces-1", UPLOAD.rpartition("/")[2]])
    | st.text(anything, max_size=20),
    max_size=8,
).map("/".join)


def new() -> str:
    return str(uuid.uuid4())


# ---- uploads --------------------------------------------------------------------------------------------------------


@given(prefixes, owners | st.none(), days, names)
def test_the_key_of_an_upload_names_its_owner(prefix: str, owner: str | None, day: date, name: str) -> None:
    key = upload_key(prefix, owner, day, new(), name)
    assert is_upload(prefix, key)
    assert owner_of(prefix, key) == owner


@given(prefixes, hostile)
def test_only_a_key_that_could_be_made_has_an_owner(prefix: str, rest: str) -> None:
    owner = owner_of(prefix, prefix + rest)
    if owner is not None:
        assert rest.startswith(f"{owner}/")
        assert is_owner(owner)
        assert is_upload(prefix, prefix + rest)


@given(owners, st.text(anything, max_size=150) | hostile)
def test_no_key_of_an_owner_reads_as_anothers(owner: str, other: str) -> None:
    """A name, an id or a segment that a stranger chose never moves a key to another owner."""
    for key in (f"uploads/{owner}/{other}", f"uploads/{owner}/{other}/{UPLOAD}", f"uploads/{owner}/{other}/job/a.ts"):
        assert owner_of("uploads/", key) in (owner, None)
        assert recording_owner("uploads/", key) in (owner, None)


@given(st.text(anything, max_size=140))
def test_any_other_user_id_makes_no_key(text: str) -> None:
    if is_owner(text):
        assert OWNER.match(text)
        return
    try:
        key = upload_key("uploads/", text, date(2026, 11, 22), new(), "a.mp4")
    except ValueError:
        return
    raise AssertionError(key)


@cases(
    "rest",
    [
        UPLOAD,
        f"2026/{UPLOAD}",
        f"{SUB}//{UPLOAD}",
        f"{SUB}/../{UPLOAD}",
        f"../{UPLOAD}",
        f".../{UPLOAD}",
        f"a/b/{UPLOAD}",
        f"{SUB}/{UPLOAD}/x",
        f"{SUB}/{UPLOAD}\n",
        f"{SUB}\n/{UPLOAD}",
        f"{'a' * 129}/{UPLOAD}",
        f"{SUB}/{UPLOAD.replace('-4e7f-', '-1e7f-')}",
        f"jörg/{UPLOAD}",
        f"/{UPLOAD}",
        "",
    ],
)
def test_a_key_without_an_owner(rest: str) -> None:
    assert owner_of("uploads/", f"uploads/{rest}") is None


def test_another_prefix_has_no_owner() -> None:
    assert owner_of("uploads/", f"{SUB}/{UPLOAD}") is None
    assert owner_of("uploads/", f"results/{SUB}/{UPLOAD}") is None
    assert not is_upload("uploads/", f"uploadsX{UPLOAD}")


# ---- recordings -----------------------------------------------------------------------------------------------------


@given(owners, job_ids.filter(lambda job_id: not job_id.startswith("pieces-")), names)
def test_the_key_of_a_recording_names_its_owner(owner: str, job_id: str, name: str) -> None:
    assert recording_owner("recordings/", f"recordings/{owner}/{job_id}/{name}") == owner
    assert recording_owner("recordings/", f"recordings/{owner}/{job_id}/pieces-1/{name}") == owner


@given(job_ids, names)
def test_a_recording_without_an_owner_has_none_even_if_its_job_is_named_like_a_user(job_id: str, name: str) -> None:
    """An id that a stranger chose never becomes an owner."""
    assert recording_owner("recordings/", f"recordings/{job_id}/{name}") is None
    assert recording_owner("recordings/", f"recordings/{job_id}/pieces-7/{name}") is None


@given(owners | st.none(), days, names)
def test_an_upload_under_the_prefix_of_recordings_has_its_owner_too(owner: str | None, day: date, name: str) -> None:
    assert recording_owner("media/", upload_key("media/", owner, day, new(), name)) == owner


@cases(
    ("key", "is_part"),
    [
        ("pieces/recordings/job-1/pieces-1/00001.ts", True),
        (f"pieces/recordings/{SUB}/job-1/pieces-12/00001.ts", True),
        ("recordings/job-1/pieces-1/00001.ts", True),
        (f"recordings/{SUB}/job-1/pieces-12/00001.ts", True),
        (f"recordings/job-1/{CLAIM}", True),
        (f"recordings/{SUB}/job-1/{CLAIM}", True),
        ("recordings/job-1/evening.ts", False),
        (f"recordings/{SUB}/job-1/evening.ts", False),
        (f"recordings/job-1/{CLAIM}.ts", False),
        ("recordings/job-1/pieces-x/00001.ts", False),
        ("recordings/pieces-1/evening.ts", False),
        ("elsewhere/job-1/pieces-1/00001.ts", False),
    ],
)
def test_pieces_and_claims_are_no_results(key: str, is_part: bool) -> None:  # noqa: FBT001 - a case
    assert is_part_of_recording("recordings/", key) is is_part


# ---- results --------------------------------------------------------------------------------------------------------


@given(job_ids, owners)
def test_a_job_s_folders_are_its_own_and_its_owner_s(job_id: str, owner: str) -> None:
    folders = [f"results/{job_id}/", f"recordings/{job_id}/"]
    assert result_folders(job_id, None) == folders
    assert result_folders(job_id, owner) == [*folders, f"recordings/{owner}/{job_id}/"]


@cases("owner", ["", "..", "a/b", "2026", "/"])
def test_who_can_not_be_an_owner_has_no_folder(owner: str) -> None:
    assert result_folders("job", owner) == result_folders("job", None)
