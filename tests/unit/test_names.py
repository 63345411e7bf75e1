"""Names and tags: always legal, unchanged if legal before, and different for different inputs."""

import re
import string

from hypothesis import assume, given
from hypothesis import strategies as st

from switchyard import urls
from switchyard.names import MAX_KEY_BYTES, NAME_LIMIT, TAG_LIMIT, legal_name, legal_tag, stable_hash
from tests.cases import cases
from tests.strategies import anything

# Written out again from the AWS Batch API reference, not taken from the code under test.
BATCH_JOB_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,127}\Z")
TAG_VALUE = re.compile(r"\A(?!aws:)(?!AWS:)[A-Za-z0-9 +\-=._:/@]{0,256}\Z")

texts = st.text(anything, max_size=140) | st.text("a-", max_size=300)
in_names = st.sampled_from(string.ascii_letters + string.digits + "_-")
legal_names = st.text(in_names, min_size=1, max_size=NAME_LIMIT).filter(lambda name: name[0] not in "_-")
legal_tags = st.text("ABCXYZabcxyz0189 +-=._:/@", max_size=TAG_LIMIT)


# ---- legal_name -----------------------------------------------------------------------------------------------------


@given(texts)
def test_every_name_is_made_legal(name: str) -> None:
    assert BATCH_JOB_NAME.match(legal_name(name))


@given(texts)
def test_every_name_is_made_legal_behind_a_prefix(name: str) -> None:
    assert BATCH_JOB_NAME.match(legal_name(name, prefix="video-process-"))


@given(legal_names)
def test_a_legal_name_is_unchanged(name: str) -> None:
    assert legal_name(name) == name


@given(st.text(in_names, max_size=NAME_LIMIT - len("video-process-")))
def test_a_prefix_is_put_in_front(name: str) -> None:
    assert legal_name(name, prefix="video-process-") == f"video-process-{name}"


@given(texts, texts)
def test_different_names_stay_different(one: str, other: str) -> None:
    assume(one != other)
    assert legal_name(one) != legal_name(other)


@given(texts)
def test_a_legal_name_is_legal_for_good(name: str) -> None:
    assert legal_name(legal_name(name)) == legal_name(name)


@cases("length", [NAME_LIMIT - 1, NAME_LIMIT])
def test_a_name_up_to_the_limit_is_unchanged(length: int) -> None:
    assert legal_name("n" * length) == "n" * length


def test_a_name_one_over_the_limit_is_cut_to_the_limit() -> None:
    assert len(legal_name("n" * (NAME_LIMIT + 1))) == NAME_LIMIT


def test_long_names_that_differ_at_the_end_stay_different() -> None:
    assert legal_name("n" * 300 + "a") != legal_name("n" * 300 + "b")


@cases(
    ("name", "start"),
    [("my video.mp4", "my-video-mp4-"), ("-dash first", "dash-first-"), ("_under", "under-"), ("a//b", "a-b-")],
)
def test_a_changed_name_stays_readable(name: str, start: str) -> None:
    assert re.fullmatch(re.escape(start) + "[0-9a-f]{10}", legal_name(name))


@cases("name", ["", "🎬", "---", "名前", "\ud800"])
def test_a_name_without_a_legal_character_is_its_hash(name: str) -> None:
    assert re.fullmatch("[0-9a-f]{10}", legal_name(name))


def test_a_trailing_newline_is_not_legal() -> None:
    assert legal_name("name\n") != "name\n"


# ---- legal_tag ------------------------------------------------------------------------------------------------------


@given(texts)
def test_every_tag_is_made_legal(value: str) -> None:
    assert TAG_VALUE.match(legal_tag(value))


@given(legal_tags)
def test_a_legal_tag_is_unchanged(value: str) -> None:
    assert legal_tag(value) == value


@given(texts, texts)
def test_different_tags_stay_different(one: str, other: str) -> None:
    assume(one != other)
    assert legal_tag(one) != legal_tag(other)


@cases("length", [TAG_LIMIT - 1, TAG_LIMIT])
def test_a_tag_up_to_the_limit_is_unchanged(length: int) -> None:
    assert legal_tag("t" * length) == "t" * length


def test_a_tag_one_over_the_limit_is_cut_to_the_limit() -> None:
    assert len(legal_tag("t" * (TAG_LIMIT + 1))) == TAG_LIMIT


@cases("value", ["aws:video", "AWS:video", "Aws:video", "aws:aws:video"])
def test_the_prefix_that_aws_keeps_for_itself_is_replaced(value: str) -> None:
    assert not legal_tag(value).lower().startswith("aws:")


def test_the_reserved_prefix_elsewhere_is_unchanged() -> None:
    assert legal_tag("uploads/aws:video") == "uploads/aws:video"


@cases("letter", ["é", "ſ", "\N{KELVIN SIGN}", "٣", "\n"])
def test_characters_beyond_ascii_are_replaced(letter: str) -> None:
    assert letter not in legal_tag(letter)


# ---- stable_hash ----------------------------------------------------------------------------------------------------


def test_a_hash_is_the_same_for_ever() -> None:
    assert stable_hash("media", "uploads/a.mp4") == "1fc41dd3c73a5d5af72353fba3ffbaeb"


def test_the_parts_of_a_hash_are_kept_apart() -> None:
    assert stable_hash("ab", "c") != stable_hash("a", "bc")


@given(st.lists(texts, max_size=4), st.lists(texts, max_size=4))
def test_different_parts_hash_differently(one: list[str], other: list[str]) -> None:
    assume(one != other)
    assert stable_hash(*one) != stable_hash(*other)


@given(texts, st.integers(1, 64))
def test_a_hash_has_the_length_asked_for(part: str, length: int) -> None:
    assert len(stable_hash(part, length=length)) == length


def test_urls_has_the_same_limit_for_keys() -> None:
    assert urls._MAX_KEY_BYTES == MAX_KEY_BYTES
