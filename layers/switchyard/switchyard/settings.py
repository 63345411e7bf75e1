"""The only module that reads the environment: one frozen class a function, one error for all that is wrong.

A field's name in upper case is the variable's name; a field without a default is required. The meaning of each is in
docs/configuration.md, which a test holds against this module and the template.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Literal, Self, cast

from switchyard.errors import SettingsError
from switchyard.torrents.layout import Format

type AtCapacity = Literal["wait", "return"]
type PublicIp = Literal["ENABLED", "DISABLED"]
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


def _one_of(first: str, second: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw not in (first, second):
            raise ValueError(f"must be {first} or {second}")
        return raw

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


def _format(raw: str) -> Format:
    return Format(_one_of(Format.V1, Format.HYBRID)(raw))


def _setting(parse: Callable[[str], Any], default: Any = MISSING, *, alias: str | None = None) -> Any:  # noqa: ANN401 - the field's type decides
    return field(default=default, metadata={"parse": parse, "alias": alias})


# No slots: a function's class is made of several of these, and Python can't lay out two bases that both have them. No
# methods that nobody asks for: each is compiled at every start, of every class here.
@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Settings:
    """What every function reads, and how."""

    environment: str = _setting(_text, "dev")

    @classmethod
    def variables(cls) -> frozenset[str]:
        """The environment variables this class reads, aliases left out."""
        return frozenset(setting.name.upper() for setting in fields(cls))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Reads and checks every variable; an empty one counts as absent. SettingsError names all that are wrong."""
        values, problems = {}, []
        for setting in fields(cls):
            raw = environ.get(setting.name.upper()) or environ.get(setting.metadata["alias"] or "", "")
            if not raw:
                if setting.default is MISSING:
                    problems.append(f"{setting.name.upper()} is missing")
                continue
            try:
                values[setting.name] = _parser(setting)(raw)
            except ValueError as error:
                problems.append(f"{setting.name.upper()} {error}")
        if problems:
            raise SettingsError(problems)
        return cls(**values)


def _parser(setting: Field[Any]) -> Callable[[str], Any]:
    return cast("Callable[[str], Any]", setting.metadata["parse"])


# ---- what several functions need ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class JobsSettings(Settings):
    """What every function needs that reads or writes jobs."""

    jobs_table: str = _setting(_text)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class StoreSettings(JobsSettings):
    """What every function needs that moves jobs from status to status."""

    lanes_table: str = _setting(_text)
    ttl_days: timedelta = _setting(_days, timedelta(days=30))


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LaneSettings(StoreSettings):
    """What every function needs that can start a job, whatever runs it."""

    claim_grace_seconds: timedelta = _setting(_seconds(1, 3600), timedelta(seconds=120))
    max_receive_count: int = _setting(_integer(1, 1000), 5)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class BatchLaneSettings(LaneSettings):
    """The lane of video jobs."""

    lane: str = _setting(_text, "video")
    max_concurrent_jobs: int = _setting(_integer(1, _MAX_JOBS), 1)
    dead_letter_queue_url: str = _setting(_text)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ClusterSettings(JobsSettings):
    """Where tasks run. Without a cluster there are no lanes for them, and nothing else about tasks counts."""

    ecs_cluster: str = _setting(_text, "")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EcsLaneSettings(LaneSettings, ClusterSettings):
    """The lanes of what runs on ECS."""

    subnet_ids: tuple[str, ...] = _setting(_list, ())
    security_group_ids: tuple[str, ...] = _setting(_list, ())
    assign_public_ip: PublicIp = _setting(_one_of("ENABLED", "DISABLED"), "DISABLED")
    fargate_spot: bool = _setting(_flag, default=False)
    container_name: str = _setting(_text, "worker")
    max_concurrent_recordings: int = _setting(_integer(1, _MAX_JOBS), 10)
    max_concurrent_images: int = _setting(_integer(1, _MAX_JOBS), 5)
    max_concurrent_seeders: int = _setting(_integer(1, _MAX_JOBS), 5)
    ecs_dead_letter_queue_url: str = _setting(_text)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TaskSettings(ClusterSettings):
    """What every function needs that reads job messages: the same message then means the same work to all of them."""

    queue_url: str = _setting(_text)
    s3_bucket: str = _setting(_text)
    ecs_task_def: str = _setting(_text, "")
    image_task_def: str = _setting(_text, "")
    allowed_networks: tuple[Network, ...] = _setting(_networks, ())


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TorrentSettings(Settings):
    """What every function needs that reads requests for torrents: which objects get none is then the same to all."""

    s3_bucket: str = _setting(_text)
    torrent_source_prefix: str = _setting(_text, "recordings/")
    torrent_prefix: str = _setting(_text, "torrents/")
    torrent_scratch_prefix: str = _setting(_text, "torrent-scratch/")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ApiSettings(Settings):
    """What every function of the API needs. No origin: no CORS; `*`: any."""

    cors_origins: frozenset[str] = _setting(_names, frozenset())


# ---- one class a function -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SqsToBatchSettings(BatchLaneSettings):
    """`functions/sqs_to_batch`."""

    queue_url: str = _setting(_text)
    batch_job_queue: str = _setting(_text)
    batch_job_definition: str = _setting(_text)
    at_capacity: AtCapacity = _setting(_one_of("wait", "return"), "wait")
    video_id_pattern: re.Pattern[str] = _setting(
        _id_pattern,
        re.compile(r"(?P<video_id>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})[^/]*$"),
    )
    source_buckets: frozenset[str] = _setting(_names)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class DispatchToEcsSettings(EcsLaneSettings, TaskSettings):
    """`functions/dispatch_to_ecs`."""

    jobs_table: str = _setting(_text, alias="DDB_TABLE")  # what the systems that this one replaces call it
    transmission_task_def: str = _setting(_text, "")
    at_capacity: AtCapacity = _setting(_one_of("wait", "return"), "wait")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TrackJobSettings(BatchLaneSettings, EcsLaneSettings):
    """`functions/track_job`."""

    queue_url: str = _setting(_text)
    track_dead_letter_queue_url: str = _setting(_text)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ReconcileJobsSettings(BatchLaneSettings, EcsLaneSettings):
    """`functions/reconcile_jobs`."""

    pending_grace_seconds: timedelta = _setting(_seconds(60, 1_209_600), timedelta(hours=1))
    stuck_runnable_seconds: timedelta = _setting(_seconds(60, 604_800), timedelta(minutes=30))
    torrent_queue_url: str = _setting(_text, "")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class PresignUploadSettings(ApiSettings):
    """`functions/presign_upload`. A URL lives no longer than the role's credentials: 12 hours at the most."""

    s3_bucket: str = _setting(_text)
    upload_prefix: str = _setting(_text, "uploads/")
    upload_url_seconds: timedelta = _setting(_seconds(60, 43_200), timedelta(minutes=15))
    # 10,000 parts of 4 GiB, the greatest power of two that S3 takes for one. CloudFormation can't multiply, hence GiB.
    max_upload_gib: int = _setting(_integer(1, 40_000), 50)

    @property
    def max_upload_bytes(self) -> int:
        """The greatest upload, in bytes."""
        return self.max_upload_gib * 2**30


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SubmitJobSettings(ApiSettings, TaskSettings, TorrentSettings):
    """`functions/submit_job`. Without a queue for torrents it takes no requests for them."""

    torrent_queue_url: str = _setting(_text, "")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class GetJobSettings(ApiSettings, JobsSettings):
    """`functions/get_job`. A URL lives no longer than the role's credentials: 12 hours at the most."""

    s3_bucket: str = _setting(_text)
    result_url_seconds: timedelta = _setting(_seconds(60, 43_200), timedelta(minutes=15))
    torrent_prefix: str = _setting(_text, "torrents/")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CancelJobSettings(ApiSettings, StoreSettings):
    """`functions/cancel_job`."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class S3TorrentCreatorSettings(JobsSettings, TorrentSettings):
    """`functions/s3_torrent_creator`. Sizes in bytes."""

    queue_url: str = _setting(_text)
    dead_letter_queue_url: str = _setting(_text)
    max_receive_count: int = _setting(_integer(1, 1000), 5)
    ttl_days: timedelta = _setting(_days, timedelta(days=30))
    torrent_format: Format = _setting(_format, Format.V1)
    torrent_private: bool = _setting(_flag, default=False)
    torrent_source: str = _setting(_text, "")
    torrent_comment: str = _setting(_text, "")
    trackers: tuple[tuple[str, ...], ...] = _setting(_tiers, ())
    web_seed_base_urls: tuple[str, ...] = _setting(_base_urls, ())
    max_piece_size: int = _setting(_piece_length, 2**26)
    hash_by_copy: bool = _setting(_flag, default=False)
    hash_connections: int = _setting(_integer(1, 64), 8)
    hash_megabytes_per_second: int = _setting(_integer(1, 10_000), 75)
    ecs_queue_url: str = _setting(_text, "")
    transmission_task_def: str = _setting(_text, "")
