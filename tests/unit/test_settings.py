"""Settings: read once, fully checked, with all problems in one error."""

import re
from datetime import timedelta
from ipaddress import ip_network

import pytest

from switchyard.errors import SettingsError
from switchyard.settings import (
    CancelJobSettings,
    DeliverWebhookSettings,
    DispatchToEcsSettings,
    GetJobSettings,
    ImportSteamLibrarySettings,
    ManageWebhooksSettings,
    NotifySettings,
    PresignUploadSettings,
    ReconcileJobsSettings,
    S3TorrentCreatorSettings,
    SearchMediaSettings,
    ServeConsoleSettings,
    SqsToBatchSettings,
    SubmitJobSettings,
    TrackJobSettings,
)
from switchyard.torrents.format.layout import Format
from switchyard.variables import Settings
from tests.cases import cases
from tools import functions

JOBS = {"JOBS_TABLE": "jobs"}
TABLES = {**JOBS, "LANES_TABLE": "lanes"}
LANES = {**TABLES, "TRACK_QUEUE_URL": "https://sqs/track"}
BATCH = {**LANES, "DEAD_LETTER_QUEUE_URL": "https://sqs/dead-letters"}
ECS = {**LANES, "ECS_DEAD_LETTER_QUEUE_URL": "https://sqs/ecs-dead-letters"}
TASKS = {**JOBS, "QUEUE_URL": "https://sqs/ecs-jobs", "S3_BUCKET": "media"}
REQUIRED: dict[type[Settings], dict[str, str]] = {
    SqsToBatchSettings: {
        **BATCH,
        "QUEUE_URL": "https://sqs/video",
        "BATCH_JOB_QUEUE": "queue",
        "BATCH_JOB_DEFINITION": "definition",
        "SOURCE_BUCKETS": "media",
        "S3_BUCKET": "media",
    },
    DispatchToEcsSettings: {**ECS, **TASKS},
    TrackJobSettings: {
        **BATCH,
        **ECS,
        "QUEUE_URL": "https://sqs/track",
        "TRACK_DEAD_LETTER_QUEUE_URL": "https://sqs/track-dead-letters",
    },
    ReconcileJobsSettings: {**BATCH, **ECS},
    NotifySettings: {"NOTIFY_DEAD_LETTER_QUEUE_URL": "https://sqs/notify-dead-letters", "WEBHOOKS_TABLE": "webhooks"},
    DeliverWebhookSettings: {
        "WEBHOOKS_TABLE": "webhooks",
        "QUEUE_URL": "https://sqs/webhooks",
        "DEAD_LETTER_QUEUE_URL": "https://sqs/webhook-dead-letters",
    },
    ManageWebhooksSettings: {"WEBHOOKS_TABLE": "webhooks"},
    ServeConsoleSettings: {"S3_BUCKET": "media"},
    PresignUploadSettings: {"S3_BUCKET": "media"},
    SubmitJobSettings: TASKS,
    GetJobSettings: {**TABLES, "S3_BUCKET": "media", "LIBRARY_TABLE": "library"},
    CancelJobSettings: {
        **LANES,
        "S3_BUCKET": "media",
        "VIDEO_QUEUE_URL": "https://sqs/videos",
        "BATCH_JOB_QUEUE": "queue",
        "BATCH_JOB_DEFINITION": "definition",
        "SUBMIT_FUNCTION": "submit_job",
    },
    SearchMediaSettings: {"S3_BUCKET": "media"},
    S3TorrentCreatorSettings: {
        **JOBS,
        "S3_BUCKET": "media",
        "QUEUE_URL": "https://sqs/torrents",
        "DEAD_LETTER_QUEUE_URL": "https://sqs/torrent-dead-letters",
    },
    ImportSteamLibrarySettings: {
        **JOBS,
        "LIBRARY_TABLE": "library",
        "S3_BUCKET": "media",
        "QUEUE_URL": "https://sqs/steam",
        "DEAD_LETTER_QUEUE_URL": "https://sqs/steam-dead-letters",
        "STEAM_API_KEY_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:steam-Ab12Cd",
    },
}
FUNCTIONS = pytest.mark.parametrize("function", REQUIRED, ids=lambda function: function.__name__)


def test_every_function_has_its_settings_here() -> None:
    assert {settings.__name__ for settings in REQUIRED} == {
        function.settings for function in functions.FUNCTIONS.values()
    }


def sqs_to_batch(**changed: str) -> SqsToBatchSettings:
    return SqsToBatchSettings.from_env(REQUIRED[SqsToBatchSettings] | changed)


def dispatch_to_ecs(**changed: str) -> DispatchToEcsSettings:
    return DispatchToEcsSettings.from_env(REQUIRED[DispatchToEcsSettings] | changed)


def problems(function: type[Settings] = SqsToBatchSettings, /, **changed: str) -> list[str]:
    with pytest.raises(SettingsError) as error:
        function.from_env(REQUIRED[function] | changed)
    return error.value.problems


@FUNCTIONS
def test_the_required_variables_are_enough(function: type[Settings]) -> None:
    assert function.from_env(REQUIRED[function]).environment == "dev"


@FUNCTIONS
def test_every_required_variable_is_named_when_all_are_missing(function: type[Settings]) -> None:
    with pytest.raises(SettingsError) as error:
        function.from_env({})
    assert sorted(error.value.problems) == sorted(f"{name} is missing" for name in REQUIRED[function])


@FUNCTIONS
def test_an_empty_variable_is_a_missing_one(function: type[Settings]) -> None:
    name = min(REQUIRED[function])
    assert problems(function, **{name: ""}) == [f"{name} is missing"]


def test_missing_and_bad_variables_are_told_in_one_error() -> None:
    found = problems(JOBS_TABLE="", TTL_DAYS="soon", AT_CAPACITY="explode")
    assert sorted(problem.split()[0] for problem in found) == ["AT_CAPACITY", "JOBS_TABLE", "TTL_DAYS"]


def test_the_error_says_everything() -> None:
    with pytest.raises(SettingsError, match="JOBS_TABLE is missing; LANES_TABLE is missing"):
        CancelJobSettings.from_env({})


def test_an_unknown_variable_is_nobody_s_business() -> None:
    assert sqs_to_batch(PATH="/usr/bin").jobs_table == "jobs"


def test_the_variables_of_a_function_are_known_by_name() -> None:
    assert ReconcileJobsSettings.variables().keys() >= {*BATCH, *ECS, "PENDING_GRACE_SECONDS", "STUCK_RUNNABLE_SECONDS"}


def test_settings_are_not_to_be_changed() -> None:
    with pytest.raises(AttributeError, match="jobs_table can't be changed"):
        setattr(sqs_to_batch(), "jobs_table", "other")  # noqa: B010 - mypy knows better than to let it be assigned


def test_the_process_s_own_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in REQUIRED[CancelJobSettings].items():
        monkeypatch.setenv(name, value)
    assert CancelJobSettings.from_env().jobs_table == "jobs"


@cases(
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


@cases(
    ("name", "default"),
    [("pending_grace_seconds", timedelta(hours=1)), ("stuck_runnable_seconds", timedelta(minutes=30))],
)
def test_a_variable_of_the_reconciler_left_out_has_its_default(name: str, default: object) -> None:
    assert getattr(ReconcileJobsSettings.from_env(REQUIRED[ReconcileJobsSettings]), name) == default


@cases(
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


@cases("raw", ["-1", "+1", "1.5", "1e3", "one", " 1", "0x1", "1_000", "٣", "²"])
@cases("name", NUMBERS)
def test_what_is_not_a_whole_number_is_refused_with_the_range(name: str, raw: str) -> None:
    low, high = NUMBERS[name]
    assert problems(**{name: raw}) == [f"{name} must be a whole number from {low} to {high}"]


@cases(("name", "limits"), NUMBERS.items(), ids=NUMBERS)
def test_a_number_just_outside_its_range_is_refused(name: str, limits: tuple[int, int]) -> None:
    low, high = limits
    assert [len(problems(**{name: str(number)})) for number in (low - 1, high + 1)] == [1, 1]


@cases(("name", "limits"), NUMBERS.items(), ids=NUMBERS)
def test_a_number_at_either_end_of_its_range_is_accepted(name: str, limits: tuple[int, int]) -> None:
    assert all(sqs_to_batch(**{name: str(number)}) for number in limits)


@cases("raw", ["59", "604801"])
def test_the_reconciler_s_times_have_their_range_too(raw: str) -> None:
    (problem,) = problems(ReconcileJobsSettings, STUCK_RUNNABLE_SECONDS=raw)
    assert problem == "STUCK_RUNNABLE_SECONDS must be a whole number from 60 to 604800"


@cases(
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


# ---- what runs on ECS -----------------------------------------------------------------------------------------------


@cases(
    ("name", "default"),
    [
        ("ecs_cluster", ""),
        ("ecs_task_def", ""),
        ("image_task_def", ""),
        ("transmission_task_def", ""),
        ("subnet_ids", ()),
        ("security_group_ids", ()),
        ("assign_public_ip", "DISABLED"),
        ("fargate_spot", False),
        ("container_name", "worker"),
        ("max_concurrent_recordings", 10),
        ("max_concurrent_images", 5),
        ("max_concurrent_seeders", 5),
        ("allowed_networks", ()),
        ("at_capacity", "wait"),
    ],
)
def test_a_variable_of_the_ecs_lanes_left_out_has_its_default(name: str, default: object) -> None:
    assert getattr(dispatch_to_ecs(), name) == default


@cases(
    ("name", "raw", "value"),
    [
        ("subnet_ids", "subnet-2, subnet-1", ("subnet-2", "subnet-1")),
        ("assign_public_ip", "ENABLED", "ENABLED"),
        ("fargate_spot", "true", True),
        ("fargate_spot", "false", False),
        ("allowed_networks", "10.0.0.0/8,fd12::/16", (ip_network("10.0.0.0/8"), ip_network("fd12::/16"))),
    ],
)
def test_a_good_value_for_ecs_is_read(name: str, raw: str, value: object) -> None:
    assert getattr(dispatch_to_ecs(**{name.upper(): raw}), name) == value


@cases(
    ("name", "raw", "problem"),
    [
        ("ASSIGN_PUBLIC_IP", "true", "ASSIGN_PUBLIC_IP must be ENABLED or DISABLED"),
        ("FARGATE_SPOT", "yes", "FARGATE_SPOT must be true or false"),
        ("ALLOWED_NETWORKS", "10.0.0.1/8", "ALLOWED_NETWORKS must be networks such as 10.0.0.0/8: 10.0.0.1/8 has host"),
        ("ALLOWED_NETWORKS", "inside", "ALLOWED_NETWORKS must be networks such as 10.0.0.0/8: 'inside' does not"),
        ("MAX_CONCURRENT_IMAGES", "0", "MAX_CONCURRENT_IMAGES must be a whole number from 1 to 10000"),
    ],
)
def test_a_bad_value_for_ecs_is_refused_with_what_would_be_good(name: str, raw: str, problem: str) -> None:
    (found,) = problems(DispatchToEcsSettings, **{name: raw})
    assert found.startswith(problem)


@cases(
    "network",
    [
        *("0.0.0.0/0", "::/0", "128.0.0.0/1", "0.0.0.0/32"),
        *("127.0.0.1/32", "127.0.0.0/8", "::1/128", "::/64"),
        *("169.254.0.0/16", "169.254.169.254/32", "169.254.170.2/32", "169.0.0.0/8", "fe80::/10", "fe80::1/128"),
        *("fd00:ec2::254/128", "fd00:ec2::/32", "fd00::/8"),
    ],
)
def test_no_network_of_the_machine_or_its_metadata_is_allowed(network: str) -> None:
    (problem,) = problems(DispatchToEcsSettings, ALLOWED_NETWORKS=f"10.0.0.0/8,{network}")
    assert problem.startswith(f"ALLOWED_NETWORKS must be networks such as 10.0.0.0/8: {network} holds addresses of ")
    assert problem.endswith("which must stay closed; name smaller networks")


def test_only_the_emulator_s_streams_may_be_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    assert dispatch_to_ecs(ALLOWED_NETWORKS="127.0.0.0/8").allowed_networks == (ip_network("127.0.0.0/8"),)
    assert problems(DispatchToEcsSettings, ALLOWED_NETWORKS="169.254.0.0/16")


def test_the_jobs_table_may_go_by_its_old_name() -> None:
    environ = {**REQUIRED[DispatchToEcsSettings], "JOBS_TABLE": "", "DDB_TABLE": "old"}
    assert DispatchToEcsSettings.from_env(environ).jobs_table == "old"


def test_the_old_name_counts_only_where_the_new_one_is_not_given() -> None:
    assert dispatch_to_ecs(DDB_TABLE="old").jobs_table == "jobs"


def test_an_old_name_is_no_variable_that_a_template_sets() -> None:
    assert "DDB_TABLE" not in DispatchToEcsSettings.variables()


# ---- the API --------------------------------------------------------------------------------------------------------


@cases(
    ("raw", "origins"),
    [
        ("", frozenset()),
        ("*", {"*"}),
        ("https://a.example, https://b.example", {"https://a.example", "https://b.example"}),
    ],
)
def test_origins_are_a_list(raw: str, origins: set[str]) -> None:
    assert CancelJobSettings.from_env(REQUIRED[CancelJobSettings] | {"CORS_ORIGINS": raw}).cors_origins == origins


def test_the_greatest_upload_is_said_in_gib_and_told_in_bytes() -> None:
    settings = PresignUploadSettings.from_env({"S3_BUCKET": "media", "MAX_UPLOAD_GIB": "7"})
    assert settings.max_upload_bytes == 7 * 1024**3


def test_the_greatest_upload_that_can_be_set_has_parts_that_s3_takes() -> None:
    settings = PresignUploadSettings.from_env({"S3_BUCKET": "media", "MAX_UPLOAD_GIB": "40000"})
    assert settings.max_upload_bytes == 10_000 * 4 * 1024**3


def test_a_function_of_the_api_that_starts_nothing_knows_nothing_of_how_jobs_start() -> None:
    variables = GetJobSettings.variables() | PresignUploadSettings.variables()
    assert not variables.keys() & {"ECS_TASK_DEF", "BATCH_JOB_DEFINITION", "QUEUE_URL", "SUBNET_IDS"}


# ---- imports --------------------------------------------------------------------------------------------------------


@cases("address", ["http://127.0.0.1:8080", "http://127.0.0.1:1/path", "http://example.com:80", "https://127.0.0.1:1"])
def test_on_aws_nobody_stands_in_for_steam(address: str) -> None:
    (problem,) = problems(ImportSteamLibrarySettings, STEAM_STAND_IN=address)
    assert problem.startswith("STEAM_STAND_IN must be http://127.0.0.1 and a port")


def test_with_an_emulator_a_server_of_this_machine_stands_in_for_steam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    given = REQUIRED[ImportSteamLibrarySettings] | {"STEAM_STAND_IN": "http://127.0.0.1:8080"}
    assert ImportSteamLibrarySettings.from_env(given).steam_stand_in == "http://127.0.0.1:8080"
    assert problems(ImportSteamLibrarySettings, STEAM_STAND_IN="http://example.com:80")


# ---- torrents -------------------------------------------------------------------------------------------------------


def s3_torrent_creator(**changed: str) -> S3TorrentCreatorSettings:
    return S3TorrentCreatorSettings.from_env(REQUIRED[S3TorrentCreatorSettings] | changed)


@cases(
    ("name", "default"),
    [
        ("torrent_source_prefix", "recordings/"),
        ("torrent_prefix", "torrents/"),
        ("torrent_scratch_prefix", "torrent-scratch/"),
        ("torrent_format", Format.V1),
        ("torrent_private", False),
        ("trackers", ()),
        ("web_seed_base_urls", ()),
        ("max_piece_size", 64 * 1024**2),
        ("hash_by_copy", False),
        ("transmission_task_def", ""),
    ],
)
def test_a_variable_of_torrents_left_out_has_its_default(name: str, default: object) -> None:
    assert getattr(s3_torrent_creator(), name) == default


@cases(
    ("name", "raw", "value"),
    [
        ("torrent_format", "hybrid", Format.HYBRID),
        ("torrent_private", "true", True),
        ("trackers", "udp://a.example:1/announce", (("udp://a.example:1/announce",),)),
        ("trackers", "https://a/x?k=1, wss://b ; http://c;", (("https://a/x?k=1", "wss://b"), ("http://c",))),
        ("web_seed_base_urls", "https://cdn.example/, http://b/media", ("https://cdn.example", "http://b/media")),
        ("max_piece_size", "16777216", 16 * 1024**2),
        ("hash_connections", "64", 64),
    ],
)
def test_a_good_value_for_torrents_is_read(name: str, raw: str, value: object) -> None:
    assert getattr(s3_torrent_creator(**{name.upper(): raw}), name) == value


@cases(
    ("name", "raw", "problem"),
    [
        ("TORRENT_FORMAT", "v2", "must be v1 or hybrid"),
        ("TORRENT_PRIVATE", "yes", "must be true or false"),
        ("TRACKERS", "a.example", "must be tracker URLs"),
        ("TRACKERS", "udp://a,file:///etc/passwd", "must be tracker URLs"),
        ("TRACKERS", "udp://a b", "must be tracker URLs"),
        ("TRACKERS", "udp://a;,", "must name at least one"),
        ("WEB_SEED_BASE_URLS", "cdn.example", "must be http or https URLs"),
        ("WEB_SEED_BASE_URLS", "https://cdn.example?a=1", "must be http or https URLs"),
        ("WEB_SEED_BASE_URLS", "https://cdn.example#a", "must be http or https URLs"),
        ("MAX_PIECE_SIZE", "1048577", "must be a power of two"),
        ("MAX_PIECE_SIZE", "524288", "must be a whole number from 1048576 to 67108864"),
        ("MAX_PIECE_SIZE", "134217728", "must be a whole number from 1048576 to 67108864"),
        ("HASH_CONNECTIONS", "0", "must be a whole number from 1 to 64"),
    ],
)
def test_a_bad_value_for_torrents_is_refused_with_what_would_be_good(name: str, raw: str, problem: str) -> None:
    (found,) = problems(S3TorrentCreatorSettings, **{name: raw})
    assert found.startswith(f"{name} {problem}")


@cases(
    ("changed", "names"),
    [
        ({"UPLOAD_PREFIX": "results/in/"}, "UPLOAD_PREFIX the-results'-prefix"),
        ({"UPLOAD_PREFIX": "rec"}, "UPLOAD_PREFIX the-recordings'-prefix"),
        ({"UPLOAD_PREFIX": "torrents/in/"}, "TORRENT_PREFIX UPLOAD_PREFIX"),
        ({"UPLOAD_PREFIX": "in/", "TORRENT_SCRATCH_PREFIX": "in/scratch/"}, "TORRENT_SCRATCH_PREFIX UPLOAD_PREFIX"),
        ({"UPLOAD_PREFIX": "torrent-scratch/in/"}, "TORRENT_SCRATCH_PREFIX UPLOAD_PREFIX"),
        ({"TORRENT_SOURCE_PREFIX": "uploads/shared/"}, "TORRENT_SOURCE_PREFIX UPLOAD_PREFIX"),
        ({"TORRENT_SOURCE_PREFIX": "torrents/"}, "TORRENT_PREFIX TORRENT_SOURCE_PREFIX"),
        ({"TORRENT_PREFIX": "torrent-scratch/done/"}, "TORRENT_PREFIX TORRENT_SCRATCH_PREFIX"),
        ({"TORRENT_PREFIX": "results/torrents/"}, "TORRENT_PREFIX the-results'-prefix"),
    ],
)
def test_prefixes_that_overlap_are_refused(changed: dict[str, str], names: str) -> None:
    found = problems(S3TorrentCreatorSettings, **changed)
    name, other = (part.replace("-", " ") for part in names.split())
    says = re.compile(rf"{name} \(.+\) and {other} \(.+\) overlap: neither may begin with the other")
    assert any(says.fullmatch(problem) for problem in found)


def test_the_signer_of_uploads_refuses_to_sign_over_what_workers_write() -> None:
    for prefix in ("results/", "recordings/x/", "r", "pieces/", "known-voices/ada/"):
        assert problems(PresignUploadSettings, UPLOAD_PREFIX=prefix)


def test_what_workers_write_may_get_torrents() -> None:
    assert s3_torrent_creator(TORRENT_SOURCE_PREFIX="results/").torrent_source_prefix == "results/"


def test_the_api_takes_requests_by_the_prefixes_that_torrents_are_made_by() -> None:
    names = {"UPLOAD_PREFIX", "TORRENT_SOURCE_PREFIX", "TORRENT_PREFIX", "TORRENT_SCRATCH_PREFIX"}
    assert names <= SubmitJobSettings.variables().keys() & S3TorrentCreatorSettings.variables().keys()


def test_an_index_needs_its_arn() -> None:
    required = REQUIRED[SearchMediaSettings] | {"SEARCH_INDEX": "s3vectors"}
    with pytest.raises(SettingsError, match="SEARCH_INDEX_ARN is missing"):
        SearchMediaSettings.from_env(required)
    assert SearchMediaSettings.from_env(required | {"SEARCH_INDEX_ARN": "arn"}).search_index == "s3vectors"


def test_an_index_on_pinecone_needs_its_host_and_its_key() -> None:
    required = REQUIRED[SearchMediaSettings] | {"SEARCH_INDEX": "pinecone"}
    whole = {"SEARCH_INDEX_HOST": "i-1.svc.pinecone.io", "SEARCH_INDEX_KEY_SECRET_ARN": "arn"}
    for missing in whole:
        with pytest.raises(SettingsError, match="SEARCH_INDEX_HOST and SEARCH_INDEX_KEY_SECRET_ARN"):
            SearchMediaSettings.from_env(required | {name: value for name, value in whole.items() if name != missing})
    assert SearchMediaSettings.from_env(required | whole).search_index_namespace == "switchyard"
    with pytest.raises(SettingsError, match="SEARCH_INDEX_HOST must be a host name"):
        SearchMediaSettings.from_env(required | whole | {"SEARCH_INDEX_HOST": "http://169.254.169.254"})


def test_a_model_that_answers_needs_a_name_and_a_service_an_address() -> None:
    required = REQUIRED[SearchMediaSettings]
    for backend, missing in (("bedrock", ["MODEL"]), ("openai", ["MODEL", "URL"])):
        with pytest.raises(SettingsError) as failed:
            SearchMediaSettings.from_env(required | {"SUMMARY_BACKEND": backend})
        assert re.findall(r"SUMMARY_(\w+) is missing", str(failed.value)) == missing
    given = {"SUMMARY_BACKEND": "openai", "SUMMARY_MODEL": "m", "SUMMARY_URL": "https://host/v1/"}
    assert SearchMediaSettings.from_env(required | given).summary_url == "https://host/v1"
    assert SearchMediaSettings.from_env(required).summary_backend == "extractive"


@cases("url", ["http://example.com/v1", "https://user@host", "https://host?key=1", "http://127.0.0.1:1", "x"])
def test_a_service_is_asked_by_https(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where AWS is emulated, it may be on this machine, and nowhere else."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with pytest.raises(SettingsError, match="SUMMARY_URL must be an https URL"):
        SearchMediaSettings.from_env(REQUIRED[SearchMediaSettings] | {"SUMMARY_URL": url})


def test_where_aws_is_emulated_a_service_may_be_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    for url, allowed in (("http://127.0.0.1:80/v1", True), ("http://127.0.0.1:80@evil/v1", False)):
        given = REQUIRED[SearchMediaSettings] | {"SUMMARY_URL": url}
        if allowed:
            assert SearchMediaSettings.from_env(given).summary_url == url
        else:
            with pytest.raises(SettingsError):
                SearchMediaSettings.from_env(given)
