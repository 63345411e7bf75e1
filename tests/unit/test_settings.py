"""Settings: read once, checked whole, and wrong in one error."""

import re
from datetime import timedelta

import pytest

from switchyard.errors import SettingsError
from switchyard.settings import LaneSettings, ReconcileJobsSettings, SqsToBatchSettings, TrackJobSettings

LANE = {
    "JOBS_TABLE": "jobs",
    "LANES_TABLE": "lanes",
    "DEAD_LETTER_QUEUE_URL": "https://sqs/dead-letters",
}
REQUIRED: dict[type[LaneSettings], dict[str, str]] = {
    SqsToBatchSettings: {
        **LANE,
        "QUEUE_URL": "https://sqs/video",
        "BATCH_JOB_QUEUE": "queue",
        "BATCH_JOB_DEFINITION": "definition",
        "SOURCE_BUCKETS": "media",
    },
    TrackJobSettings: {
        **LANE,
        "QUEUE_URL": "https://sqs/track",
        "TRACK_DEAD_LETTER_QUEUE_URL": "https://sqs/track-dead-letters",
    },
    ReconcileJobsSettings: LANE,
}
FUNCTIONS = pytest.mark.parametrize("function", REQUIRED, ids=lambda function: function.__name__)


def sqs_to_batch(**changed: str) -> SqsToBatchSettings:
    return SqsToBatchSettings.from_env(REQUIRED[SqsToBatchSettings] | changed)


def problems(function: type[LaneSettings] = SqsToBatchSettings, /, **changed: str) -> list[str]:
    with pytest.raises(SettingsError) as error:
        function.from_env(REQUIRED[function] | changed)
    return error.value.problems


@FUNCTIONS
def test_the_required_variables_are_enough(function: type[LaneSettings]) -> None:
    assert function.from_env(REQUIRED[function]).jobs_table == "jobs"


@FUNCTIONS
def test_every_required_variable_is_named_when_all_are_missing(function: type[LaneSettings]) -> None:
    with pytest.raises(SettingsError) as error:
        function.from_env({})
    assert sorted(error.value.problems) == sorted(f"{name} is missing" for name in REQUIRED[function])


@FUNCTIONS
def test_an_empty_variable_is_a_missing_one(function: type[LaneSettings]) -> None:
    assert problems(function, LANES_TABLE="") == ["LANES_TABLE is missing"]


def test_missing_and_bad_variables_are_told_in_one_error() -> None:
    found = problems(JOBS_TABLE="", TTL_DAYS="soon", AT_CAPACITY="explode")
    assert [problem.split()[0] for problem in found] == ["JOBS_TABLE", "TTL_DAYS", "AT_CAPACITY"]


def test_the_error_says_everything() -> None:
    with pytest.raises(SettingsError, match="JOBS_TABLE is missing; LANES_TABLE is missing"):
        ReconcileJobsSettings.from_env({"DEAD_LETTER_QUEUE_URL": "https://sqs/dead-letters"})


def test_an_unknown_variable_is_nobody_s_business() -> None:
    assert sqs_to_batch(PATH="/usr/bin").jobs_table == "jobs"


def test_the_variables_of_a_function_are_known_by_name() -> None:
    assert ReconcileJobsSettings.variables() >= {*LANE, "PENDING_GRACE_SECONDS", "STUCK_RUNNABLE_SECONDS"}


def test_the_process_s_own_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LANE.items():
        monkeypatch.setenv(name, value)
    assert ReconcileJobsSettings.from_env().jobs_table == "jobs"


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("environment", "dev"),
        ("lane", "video"),
        ("max_concurrent_jobs", 1),
        ("ttl_days", timedelta(days=30)),
        ("claim_grace_seconds", timedelta(seconds=120)),
        ("max_receive_count", 5),
        ("at_capacity", "wait"),
    ],
)
def test_a_variable_left_out_has_its_default(name: str, default: object) -> None:
    assert getattr(sqs_to_batch(), name) == default


@pytest.mark.parametrize(
    ("name", "default"),
    [("pending_grace_seconds", timedelta(hours=1)), ("stuck_runnable_seconds", timedelta(minutes=30))],
)
def test_a_variable_of_the_reconciler_left_out_has_its_default(name: str, default: object) -> None:
    assert getattr(ReconcileJobsSettings.from_env(LANE), name) == default


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("max_concurrent_jobs", "10000", 10_000),
        ("ttl_days", "3650", timedelta(days=3650)),
        ("claim_grace_seconds", "1", timedelta(seconds=1)),
        ("max_receive_count", "1000", 1000),
        ("at_capacity", "return", "return"),
        ("source_buckets", "a,b", frozenset({"a", "b"})),
        ("source_buckets", " a , ,b,", frozenset({"a", "b"})),
        ("environment", "prod", "prod"),
    ],
)
def test_a_good_value_is_read(name: str, raw: str, value: object) -> None:
    assert getattr(sqs_to_batch(**{name.upper(): raw}), name) == value


NUMBERS = {
    "MAX_CONCURRENT_JOBS": (1, 10_000),
    "TTL_DAYS": (1, 3650),
    "CLAIM_GRACE_SECONDS": (1, 3600),
    "MAX_RECEIVE_COUNT": (1, 1000),
}


@pytest.mark.parametrize("raw", ["-1", "+1", "1.5", "1e3", "one", " 1", "0x1", "1_000", "٣", "²"])
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_not_a_whole_number_is_refused_with_the_range(name: str, raw: str) -> None:
    low, high = NUMBERS[name]
    assert problems(**{name: raw}) == [f"{name} must be a whole number from {low} to {high}"]


@pytest.mark.parametrize(("name", "limits"), NUMBERS.items(), ids=NUMBERS)
def test_a_number_just_outside_its_range_is_refused(name: str, limits: tuple[int, int]) -> None:
    low, high = limits
    assert [len(problems(**{name: str(number)})) for number in (low - 1, high + 1)] == [1, 1]


@pytest.mark.parametrize(("name", "limits"), NUMBERS.items(), ids=NUMBERS)
def test_a_number_at_either_end_of_its_range_is_accepted(name: str, limits: tuple[int, int]) -> None:
    assert all(sqs_to_batch(**{name: str(number)}) for number in limits)


@pytest.mark.parametrize("raw", ["59", "604801"])
def test_the_reconciler_s_times_have_their_range_too(raw: str) -> None:
    (problem,) = problems(ReconcileJobsSettings, STUCK_RUNNABLE_SECONDS=raw)
    assert problem == "STUCK_RUNNABLE_SECONDS must be a whole number from 60 to 604800"


@pytest.mark.parametrize(
    ("name", "raw", "problem"),
    [
        ("AT_CAPACITY", "Wait", "AT_CAPACITY must be wait or return"),
        ("SOURCE_BUCKETS", " , ", "SOURCE_BUCKETS must name at least one"),
        (
            "VIDEO_ID_PATTERN",
            "(?P<id>.*)",
            "VIDEO_ID_PATTERN must have a group named video_id, as in (?P<video_id>...)",
        ),
        ("VIDEO_ID_PATTERN", "(", "VIDEO_ID_PATTERN is not a regular expression: missing ), unterminated subpattern"),
    ],
)
def test_a_bad_value_is_refused_with_what_would_be_good(name: str, raw: str, problem: str) -> None:
    (found,) = problems(**{name: raw})
    assert found.startswith(problem)


def test_a_pattern_is_ready_for_use() -> None:
    pattern = sqs_to_batch(VIDEO_ID_PATTERN=r"(?P<video_id>\d+)\.mp4").video_id_pattern
    assert pattern == re.compile(r"(?P<video_id>\d+)\.mp4")
