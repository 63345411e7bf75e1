"""The only module that reads the environment: one class a function, one error for all that is wrong.

A setting's name in upper case is the variable's name; one without a default is required. The meaning of each is in
docs/configuration.md, which a test holds against this module and the template.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Literal, Never, NoReturn, Self

from switchyard.errors import SettingsError

type AtCapacity = Literal["wait", "return"]
type PublicIp = Literal["ENABLED", "DISABLED"]
type TorrentFormat = Literal["v1", "hybrid"]
type Network = IPv4Network | IPv6Network

_MAX_JOBS = 10_000


def _text(raw: str) -> str:
    return raw


def _integer(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        if not raw.isascii() or not raw.isdigit() or not minimum <= int(raw) <= maximum:
            raise ValueError(f"must be a whole number from {minimum} to {maximum}")
        return int(raw)

    return parse


def _seconds(minimum: int, maximum: int) -> Callable[[str], timedelta]:
    whole = _integer(minimum, maximum)
    return lambda raw: timedelta(seconds=whole(raw))


def _days(raw: str) -> timedelta:
    return timedelta(days=_integer(1, 3650)(raw))


def _one_of[T: str](first: T, second: T) -> Callable[[str], T]:
    allowed = {first: first, second: second}

    def parse(raw: str) -> T:
        if raw not in allowed:
            raise ValueError(f"must be {first} or {second}")
        return allowed[raw]

    return parse


def _flag(raw: str) -> bool:
    return _one_of("true", "false")(raw) == "true"


def _id_pattern(raw: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(raw)
    except (re.error, OverflowError, RecursionError) as error:  # OverflowError: too many repetitions
        raise ValueError(f"is not a regular expression: {error}") from None
    if "video_id" not in pattern.groupindex:
        raise ValueError("must have a group named video_id, as in (?P<video_id>...)")
    return pattern


def _list(raw: str) -> tuple[str, ...]:
    items = tuple(item.strip() for item in raw.split(",") if item.strip())
    if not items:
        raise ValueError("must name at least one")
    return items


def _names(raw: str) -> frozenset[str]:
    return frozenset(_list(raw))


def _networks(raw: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(item) for item in _list(raw))
    except ValueError as error:
        raise ValueError(f"must be networks such as 10.0.0.0/8: {error}") from None


def _tiers(raw: str) -> tuple[tuple[str, ...], ...]:
    tiers = tuple(_list(tier) for tier in raw.split(";") if tier.strip())
    if any(not re.fullmatch(r"(https?|udp|wss?)://[!-.0-~][!-~]*", tracker) for tier in tiers for tracker in tier):
        raise ValueError("must be trackers' URLs: tiers apart by semicolons, those of one tier by commas")
    return tiers


def _base_urls(raw: str) -> tuple[str, ...]:
    urls = _list(raw)
    if any(not re.fullmatch(r"https?://[!-.0-~][!-~]*", url) or {"?", "#"} & set(url) for url in urls):
        raise ValueError("must be http or https URLs without a query, apart by commas")
    return tuple(url.rstrip("/") for url in urls)


def _piece_length(raw: str) -> int:
    length = _integer(2**20, 2**26)(raw)
    if length & (length - 1):
        raise ValueError("must be a power of two")
    return length


class Setting[T]:
    """A variable as an attribute of a settings class: `parse` reads it, or raises ValueError with what would be good.

    Data classes would say the same, but each of them compiles its methods anew at every start.
    """

    name: str

    def __init__(self, parse: Callable[[str], T], default: T | None = None, *, alias: str = "") -> None:
        self.parse = parse
        self.default = default
        self.alias = alias

    def __set_name__(self, _owner: type, name: str) -> None:
        self.name = name

    def __get__(self, settings: Settings, _owner: type) -> T:
        value: T = settings.values[self.name]
        return value

    def __set__(self, _settings: Settings, _value: Never) -> NoReturn:
        raise AttributeError(f"{self.name} is not to be changed")

    def read(self, environ: Mapping[str, str]) -> T:
        """The value, an empty variable being an absent one. ValueError says what is wrong."""
        raw = environ.get(self.name.upper()) or environ.get(self.alias)
        if raw:
            return self.parse(raw)
        if self.default is None:
            raise ValueError("is missing")
        return self.default


class Settings:
    """What every function reads, and how."""

    environment = Setting(_text, "dev")

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    @classmethod
    def variables(cls) -> dict[str, Setting[Any]]:
        """The environment variables this class reads, aliases left out."""
        attributes = (each for base in reversed(cls.__mro__) for each in vars(base).values())
        return {each.name.upper(): each for each in attributes if isinstance(each, Setting)}

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Reads and checks every variable. SettingsError names all that are wrong."""
        values, problems = {}, []
        for variable, setting in cls.variables().items():
            try:
                values[setting.name] = setting.read(environ)
            except ValueError as error:
                problems.append(f"{variable} {error}")
        if problems:
            raise SettingsError(problems)
        return cls(values)


def is_starting() -> bool:
    """Whether Lambda imports this, which it does before it has an event for a function."""
    return "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ


# ---- what several functions need ------------------------------------------------------------------------------------


class JobsSettings(Settings):
    """What every function needs that reads or writes jobs."""

    jobs_table = Setting(_text)


class StoreSettings(JobsSettings):
    """What every function needs that moves jobs from status to status."""

    lanes_table = Setting(_text)
    ttl_days = Setting(_days, timedelta(days=30))


class LaneSettings(StoreSettings):
    """What every function needs that can start a job, whatever runs it."""

    claim_grace_seconds = Setting(_seconds(1, 3600), timedelta(seconds=120))
    max_receive_count = Setting(_integer(1, 1000), 5)
    lane_shards = Setting(_integer(1, 64), 1)


class BatchLaneSettings(LaneSettings):
    """The lane of video jobs."""

    lane = Setting(_text, "video")
    max_concurrent_jobs = Setting(_integer(1, _MAX_JOBS), 1)
    dead_letter_queue_url = Setting(_text)


class ClusterSettings(JobsSettings):
    """Where tasks run. Without a cluster there are no lanes for them, and nothing else about tasks counts."""

    ecs_cluster = Setting(_text, "")


class EcsLaneSettings(LaneSettings, ClusterSettings):
    """The lanes of what runs on ECS."""

    subnet_ids = Setting[tuple[str, ...]](_list, ())
    security_group_ids = Setting[tuple[str, ...]](_list, ())
    assign_public_ip = Setting[PublicIp](_one_of("ENABLED", "DISABLED"), "DISABLED")
    fargate_spot = Setting(_flag, default=False)
    container_name = Setting(_text, "worker")
    max_concurrent_recordings = Setting(_integer(1, _MAX_JOBS), 10)
    max_concurrent_images = Setting(_integer(1, _MAX_JOBS), 5)
    max_concurrent_seeders = Setting(_integer(1, _MAX_JOBS), 5)
    ecs_dead_letter_queue_url = Setting(_text)


class TaskSettings(ClusterSettings):
    """What every function needs that reads job messages: the same message then means the same work to all of them."""

    queue_url = Setting(_text)
    s3_bucket = Setting(_text)
    ecs_task_def = Setting(_text, "")
    image_task_def = Setting(_text, "")
    allowed_networks = Setting[tuple[Network, ...]](_networks, ())


class TorrentSettings(Settings):
    """What every function needs that reads requests for torrents: which objects get none is then the same to all."""

    s3_bucket = Setting(_text)
    torrent_source_prefix = Setting(_text, "recordings/")
    torrent_prefix = Setting(_text, "torrents/")
    torrent_scratch_prefix = Setting(_text, "torrent-scratch/")


class ApiSettings(Settings):
    """What every function of the API needs. No origin: no CORS; `*`: any."""

    cors_origins = Setting[frozenset[str]](_names, frozenset())


# ---- one class a function -------------------------------------------------------------------------------------------


class SqsToBatchSettings(BatchLaneSettings):
    """`functions/sqs_to_batch`."""

    queue_url = Setting(_text)
    batch_job_queue = Setting(_text)
    batch_job_definition = Setting(_text)
    at_capacity = Setting[AtCapacity](_one_of("wait", "return"), "wait")
    video_id_pattern = Setting(
        _id_pattern,
        re.compile(r"(?P<video_id>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})[^/]*$"),
    )
    source_buckets = Setting(_names)


class DispatchToEcsSettings(EcsLaneSettings, TaskSettings):
    """`functions/dispatch_to_ecs`."""

    jobs_table = Setting(_text, alias="DDB_TABLE")  # what the systems that this one replaces call it
    transmission_task_def = Setting(_text, "")
    at_capacity = Setting[AtCapacity](_one_of("wait", "return"), "wait")


class TrackJobSettings(BatchLaneSettings, EcsLaneSettings):
    """`functions/track_job`."""

    queue_url = Setting(_text)
    track_dead_letter_queue_url = Setting(_text)


class ReconcileJobsSettings(BatchLaneSettings, EcsLaneSettings):
    """`functions/reconcile_jobs`."""

    pending_grace_seconds = Setting(_seconds(60, 1_209_600), timedelta(hours=1))
    stuck_runnable_seconds = Setting(_seconds(60, 604_800), timedelta(minutes=30))
    torrent_queue_url = Setting(_text, "")


class PresignUploadSettings(ApiSettings):
    """`functions/presign_upload`. A URL lives no longer than the role's credentials: 12 hours at the most."""

    s3_bucket = Setting(_text)
    upload_prefix = Setting(_text, "uploads/")
    upload_url_seconds = Setting(_seconds(60, 43_200), timedelta(minutes=15))
    # 10,000 parts of 4 GiB, the greatest power of two that S3 takes for one. CloudFormation can't multiply, hence GiB.
    max_upload_gib = Setting(_integer(1, 40_000), 50)

    @property
    def max_upload_bytes(self) -> int:
        """The greatest upload, in bytes."""
        return self.max_upload_gib * 2**30


class SubmitJobSettings(ApiSettings, TaskSettings, TorrentSettings):
    """`functions/submit_job`. Without a queue for torrents it takes no requests for them."""

    torrent_queue_url = Setting(_text, "")


class GetJobSettings(ApiSettings, JobsSettings):
    """`functions/get_job`. A URL lives no longer than the role's credentials: 12 hours at the most."""

    s3_bucket = Setting(_text)
    result_url_seconds = Setting(_seconds(60, 43_200), timedelta(minutes=15))
    torrent_prefix = Setting(_text, "torrents/")


class CancelJobSettings(ApiSettings, StoreSettings):
    """`functions/cancel_job`."""


class S3TorrentCreatorSettings(JobsSettings, TorrentSettings):
    """`functions/s3_torrent_creator`. Sizes in bytes."""

    queue_url = Setting(_text)
    dead_letter_queue_url = Setting(_text)
    max_receive_count = Setting(_integer(1, 1000), 5)
    ttl_days = Setting(_days, timedelta(days=30))
    torrent_format = Setting[TorrentFormat](_one_of("v1", "hybrid"), "v1")
    torrent_private = Setting(_flag, default=False)
    torrent_source = Setting(_text, "")
    torrent_comment = Setting(_text, "")
    trackers = Setting[tuple[tuple[str, ...], ...]](_tiers, ())
    web_seed_base_urls = Setting[tuple[str, ...]](_base_urls, ())
    max_piece_size = Setting(_piece_length, 2**26)
    hash_by_copy = Setting(_flag, default=False)
    hash_connections = Setting(_integer(1, 64), 8)
    hash_megabytes_per_second = Setting(_integer(1, 10_000), 75)
    ecs_queue_url = Setting(_text, "")
    transmission_task_def = Setting(_text, "")
