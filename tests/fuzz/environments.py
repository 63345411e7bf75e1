"""Checks of names, and of the environments of functions and workers."""

import re
import warnings
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from record_stream.settings import Settings as RecordingSettings
from record_stream.settings import safe_name as recording_name
from switchyard import settings
from switchyard.api.uploads import EXTENSIONS, safe_name
from switchyard.errors import SettingsError
from switchyard.keys import MAX_NAME
from switchyard.names import NAME_LIMIT, TAG_LIMIT, legal_name, legal_tag
from switchyard.variables import Settings
from switchyard_worker import BadEnvironment, PermanentFailure, WorkerEnvironment
from tests.fuzz.harness import text
from tools.functions import FUNCTIONS

_FUNCTIONS: Final[tuple[type[Settings], ...]] = tuple(
    getattr(settings, function.settings) for function in FUNCTIONS.values()
)
_NEEDED: Final = {
    name: "given"
    for function in _FUNCTIONS
    for name in function.variables()
    if name.endswith(("_TABLE", "_URL", "_BUCKET", "BUCKETS", "JOB_QUEUE", "JOB_DEFINITION"))
}
_LEGAL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_LEGAL_TAG: Final = re.compile(r"(?!(?i:aws:))[A-Za-z0-9 +\-=._:/@]*")
_URL: Final = re.compile(r"(https?|udp|wss?)://[^/][!-~]*")


def _variables(data: bytes) -> dict[str, str]:
    """Parses lines of NAME=value as a process has them: no NUL, and invalid UTF-8 as surrogates."""
    lines = data.replace(b"\0", b"").decode(errors="surrogateescape").split("\n")
    return {name: value for name, equals, value in (line.partition("=") for line in lines) if equals}


def function_environment(data: bytes) -> None:
    """`Settings.from_env` of every function: values within their bounds, or one SettingsError with the problems."""
    given = _variables(data)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # re warns of ambiguous patterns
        for function in _FUNCTIONS:
            for variables in (given, _NEEDED | given):
                try:
                    read = function.from_env(variables)
                except SettingsError as error:
                    assert error.problems
                    assert all(problem.split()[0] in function.variables() for problem in error.problems)
                    continue
                for name, value in read.values.items():
                    _demand_bounds(name, value)


def _demand_bounds(name: str, value: object) -> None:
    match value:
        case bool() | None:
            return
        case int():
            assert value >= 1
        case timedelta():
            assert value >= timedelta(seconds=1)
        case re.Pattern():
            assert "video_id" in value.groupindex
        case tuple() if name in ("trackers", "web_seed_base_urls"):
            for each in value:
                for url in each if isinstance(each, tuple) else [each]:
                    assert _URL.fullmatch(url)


def worker_environment(data: bytes) -> None:
    """The contract's variables, and those of two workers: parsed, or refused as BAD_ENVIRONMENT."""
    given = _variables(data)
    # Without Batch's id the environment would be ECS's, whose metadata takes a request.
    given.pop("ECS_CONTAINER_METADATA_URI_V4", None)
    for variables in (given, {"JOBS_TABLE": "jobs", "S3_BUCKET": "media", "AWS_BATCH_JOB_ID": "run-1"} | given):
        try:
            read = WorkerEnvironment.from_env(variables)
        except BadEnvironment as error:
            assert error.problems
        else:
            assert _LEGAL_NAME.fullmatch(read.job_id)
            assert len(read.job_id) <= NAME_LIMIT
            assert read.fence >= 1
            assert read.attempt >= 1
            assert read.results_prefix.endswith(f"/{read.job_id}/")
    _read_recorder(given)
    _read_seeder(given)


def _read_recorder(given: Mapping[str, str]) -> None:
    try:
        recorder = RecordingSettings.from_env(given)
    except PermanentFailure as error:
        assert error.code == "BAD_ENVIRONMENT"
    else:
        assert min(recorder.max_seconds, recorder.max_bytes, recorder.stall_seconds, recorder.save_seconds) >= 1


def _read_seeder(given: Mapping[str, str]) -> None:
    # A top-level import would load libtorrent, through neighbouring modules, in environments that lack it.
    from seed_torrent.settings import Settings as SeedingSettings  # noqa: PLC0415

    try:
        seeder = SeedingSettings.from_env(given)
    except PermanentFailure as error:
        assert error.code == "BAD_ENVIRONMENT"
    else:
        assert seeder.stall_seconds >= 1
        assert seeder.seed_seconds or seeder.seed_ratio
        assert 0 <= seeder.reached(1, 1)[0] < float("inf")


def name(data: bytes) -> None:
    """Every name becomes a legal one for Batch, tags, and keys of uploads and recordings; legal names don't change."""
    given = text(data)
    for prefix in ("", "video-process-"):
        made = legal_name(given, prefix)
        assert len(made) <= NAME_LIMIT
        assert _LEGAL_NAME.fullmatch(made)
        assert legal_name(made) == made
    tag = legal_tag(given)
    assert len(tag) <= TAG_LIMIT
    assert _LEGAL_TAG.fullmatch(tag)
    assert legal_tag(tag) == tag
    for content_type, ends in EXTENSIONS.items():
        upload = safe_name(given, content_type)
        assert len(upload) <= MAX_NAME
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", upload)
        assert ".." not in upload
        assert upload.endswith(tuple(ends))
        assert safe_name(upload, content_type) == upload
    recording = recording_name(given)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,100}", recording)
    assert recording_name(recording) == recording
