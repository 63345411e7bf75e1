"""The settings of each function, read from its environment variables: one class per function.

The variable is the setting's name in upper case. A setting without a default is required. docs/configuration.md
explains each; a test compares it with this module and the template.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from switchyard.variables import (
    Setting,
    Settings,
    base_urls,
    days,
    flag,
    host,
    id_pattern,
    integer,
    names,
    networks,
    one_of,
    overlaps,
    piece_length,
    seconds,
    service_url,
    several,
    stand_in,
    text,
    tiers,
)

if TYPE_CHECKING:
    from switchyard.urls import Network

type AtCapacity = Literal["wait", "return"]
type ApiAuth = Literal["api-key", "cognito", "iam"]
type PublicIp = Literal["ENABLED", "DISABLED"]
type TorrentFormat = Literal["v1", "hybrid"]
type SummaryBackend = Literal["extractive", "openai", "bedrock", "none"]
type SearchIndex = Literal["s3vectors", "pinecone", "none"]

_MAX_JOBS = 10_000
_OF_WORKERS = {
    "the results' prefix": "results/",
    "the recordings' prefix": "recordings/",
    "the prefix of recordings' pieces": "pieces/",
    "the prefix of known voices": "known-voices/",
}


# ---- settings that functions share -----------------------------------------------------------------------------------


class JobsSettings(Settings):
    """For every function that reads or writes jobs."""

    jobs_table = Setting(text)


class TablesSettings(JobsSettings):
    """For every function that reads lanes, too."""

    lanes_table = Setting(text)


class StoreSettings(TablesSettings):
    """For every function that changes the status of jobs."""

    ttl_days = Setting(days, timedelta(days=30))


class FunctionJobsSettings(JobsSettings):
    """For every function that does jobs itself."""

    queue_url = Setting(text)
    dead_letter_queue_url = Setting(text)
    max_receive_count = Setting(integer(1, 1000), 5)
    ttl_days = Setting(days, timedelta(days=30))


class LaneSettings(StoreSettings):
    """For every function that can start a job, on any target."""

    claim_grace_seconds = Setting(seconds(1, 3600), timedelta(seconds=120))
    max_receive_count = Setting(integer(1, 1000), 5)
    track_queue_url = Setting(text)


class ReturnSettings(Settings):
    """For every function that can return messages of a full lane to their queue."""

    at_capacity = Setting[AtCapacity](one_of("wait", "return"), "wait")
    full_lane_seconds = Setting(seconds(1, 3600), timedelta(seconds=20))


class VideoLimitSettings(Settings):
    """How many video jobs run at once."""

    max_concurrent_jobs = Setting(integer(1, _MAX_JOBS), 1)


class TaskLimitsSettings(Settings):
    """How many tasks of each kind run at once."""

    max_concurrent_recordings = Setting(integer(1, _MAX_JOBS), 10)
    max_concurrent_images = Setting(integer(1, _MAX_JOBS), 5)
    max_concurrent_seeders = Setting(integer(1, _MAX_JOBS), 5)


class BatchLaneSettings(LaneSettings, VideoLimitSettings):
    """For every function that can start video jobs, which run on Batch."""

    lane = Setting(text, "video")
    dead_letter_queue_url = Setting(text)


class ClusterSettings(JobsSettings):
    """The ECS cluster. Without one there are no lanes for tasks, and all other settings of tasks are ignored."""

    ecs_cluster = Setting(text, "")


class TokenSettings(Settings):
    """For every function that takes task tokens of Step Functions, or uses them."""

    task_tokens = Setting(flag, default=False)


class EcsLaneSettings(LaneSettings, ClusterSettings, TaskLimitsSettings):
    """For every function that can start ECS tasks."""

    subnet_ids = Setting[tuple[str, ...]](several, ())
    security_group_ids = Setting[tuple[str, ...]](several, ())
    assign_public_ip = Setting[PublicIp](one_of("ENABLED", "DISABLED"), "DISABLED")
    fargate_spot = Setting(flag, default=False)
    container_name = Setting(text, "worker")
    ecs_dead_letter_queue_url = Setting(text)


class UploadSettings(Settings):
    """For every function that makes or reads keys of uploads. The keys name the uploads' owners."""

    s3_bucket = Setting(text)
    upload_prefix = Setting(text, "uploads/")

    def conflicts(self) -> Iterator[str]:
        """Yields what an upload could be mistaken for."""
        yield from super().conflicts()
        yield from overlaps({"UPLOAD_PREFIX": self.upload_prefix}, _OF_WORKERS)


class TaskSettings(ClusterSettings, UploadSettings):
    """For every function that reads job messages, so that all of them read a message the same way."""

    queue_url = Setting(text)
    ecs_task_def = Setting(text, "")
    image_task_def = Setting(text, "")
    allowed_networks: Setting[tuple[Network, ...]] = Setting(networks, ())


class VideoIdSettings(Settings):
    """For every function that finds a video's id in its key, so that all of them find the same one."""

    video_id_pattern = Setting(
        id_pattern,
        re.compile(r"(?P<video_id>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})[^/]*$"),
    )


class TorrentSettings(UploadSettings):
    """For every function that reads torrent requests, so that all of them exclude the same objects."""

    torrent_source_prefix = Setting(text, "recordings/")
    torrent_prefix = Setting(text, "torrents/")
    torrent_scratch_prefix = Setting(text, "torrent-scratch/")

    def conflicts(self) -> Iterator[str]:
        """Yields prefixes that overlap. TORRENT_SOURCE_PREFIX may be that of results or recordings, or part of it."""
        yield from super().conflicts()
        torrents = {"TORRENT_PREFIX": self.torrent_prefix, "TORRENT_SCRATCH_PREFIX": self.torrent_scratch_prefix}
        source = {"TORRENT_SOURCE_PREFIX": self.torrent_source_prefix}
        yield from overlaps(torrents, source | _OF_WORKERS | {"UPLOAD_PREFIX": self.upload_prefix})
        yield from overlaps(source, {"UPLOAD_PREFIX": self.upload_prefix})


class LibrarySettings(Settings):
    """For every function that reads or writes players' libraries."""

    library_table = Setting(text)


class SearchSettings(Settings):
    """For every function that reads or writes the index of what is said and shown in videos."""

    search_index = Setting[SearchIndex](one_of("s3vectors", "pinecone", "none"), "none")
    search_index_arn = Setting(text, "")
    search_index_host = Setting(host, "")
    search_index_namespace = Setting(text, "switchyard")
    search_index_key_secret_arn = Setting(text, "")

    def conflicts(self) -> Iterator[str]:
        """Yields what the index lacks."""
        yield from super().conflicts()
        if self.search_index == "s3vectors" and not self.search_index_arn:
            yield "SEARCH_INDEX_ARN is missing, which SEARCH_INDEX=s3vectors needs"
        if self.search_index == "pinecone" and not (self.search_index_host and self.search_index_key_secret_arn):
            yield "SEARCH_INDEX=pinecone needs SEARCH_INDEX_HOST and SEARCH_INDEX_KEY_SECRET_ARN"


class ApiSettings(Settings):
    """For every function of the API. Without an origin CORS is off; `*` allows any."""

    cors_origins = Setting[frozenset[str]](names, frozenset())
    api_auth = Setting[ApiAuth](one_of("api-key", "cognito", "iam"), "api-key")


# ---- one class per function -----------------------------------------------------------------------------------------


class SqsToBatchSettings(BatchLaneSettings, ReturnSettings, UploadSettings, VideoIdSettings, TokenSettings):
    """`functions/sqs_to_batch`."""

    queue_url = Setting(text)
    batch_job_queue = Setting(text)
    batch_job_definition = Setting(text)
    source_buckets = Setting(names)


class DispatchToEcsSettings(EcsLaneSettings, TaskSettings, ReturnSettings, TokenSettings):
    """`functions/dispatch_to_ecs`."""

    jobs_table = Setting(text, alias="DDB_TABLE")  # the name in the systems that Switchyard replaces
    transmission_task_def = Setting(text, "")


class TrackSettings(BatchLaneSettings, EcsLaneSettings):
    """For every function that follows runs. `max_attempts` is for tasks; Batch's job definitions have their own."""

    max_attempts = Setting(integer(1, 10), 3)


class TrackJobSettings(TrackSettings):
    """`functions/track_job`."""

    queue_url = Setting(text)
    track_dead_letter_queue_url = Setting(text)


class ReconcileJobsSettings(TrackSettings, TokenSettings):
    """`functions/reconcile_jobs`."""

    pending_grace_seconds = Setting(seconds(60, 1_209_600), timedelta(hours=1))
    stuck_runnable_seconds = Setting(seconds(60, 604_800), timedelta(minutes=30))
    torrent_queue_url = Setting(text, "")
    steam_queue_url = Setting(text, "")


class WebhooksSettings(Settings):
    """For every function that reads or writes webhooks."""

    webhooks_table = Setting(text)


class NotifySettings(WebhooksSettings, TokenSettings):
    """`functions/notify`. Without a queue for deliveries it tells no webhook."""

    webhook_queue_url = Setting(text, "")
    notify_dead_letter_queue_url = Setting(text)
    event_bus_name = Setting(text, "default")


class DeliverWebhookSettings(WebhooksSettings):
    """`functions/deliver_webhook`."""

    queue_url = Setting(text)
    dead_letter_queue_url = Setting(text)
    max_receive_count = Setting(integer(1, 1000), 5)
    webhook_secret_arn = Setting(text, "")
    webhook_networks: Setting[tuple[Network, ...]] = Setting(networks, ())


class ManageWebhooksSettings(ApiSettings, WebhooksSettings):
    """`functions/manage_webhooks`. Without a queue for deliveries this deployment has no webhooks."""

    webhook_queue_url = Setting(text, "")
    webhook_secret_arn = Setting(text, "")
    webhook_networks: Setting[tuple[Network, ...]] = Setting(networks, ())


class ServeConsoleSettings(ApiSettings):
    """`functions/serve_console`. With Cognito, `console_sign_in_url` is the user pool's domain."""

    console = Setting(flag, default=False)
    s3_bucket = Setting(text)
    console_sign_in_url = Setting(service_url, "")
    console_client_id = Setting(text, "")

    def conflicts(self) -> Iterator[str]:
        """Yields what users need to sign in."""
        yield from super().conflicts()
        if self.console and self.api_auth == "cognito" and not (self.console_sign_in_url and self.console_client_id):
            yield "API_AUTH=cognito needs CONSOLE_SIGN_IN_URL and CONSOLE_CLIENT_ID"


class PresignUploadSettings(ApiSettings, UploadSettings, VideoIdSettings):
    """`functions/presign_upload`. A presigned URL ends with the credentials that signed it."""

    upload_url_seconds = Setting(seconds(60, 3600), timedelta(minutes=15))
    # At most 10,000 parts of 4 GiB, the largest power of two that S3 accepts. CloudFormation can't multiply: hence GiB.
    max_upload_gib = Setting(integer(1, 40_000), 50)

    @property
    def max_upload_bytes(self) -> int:
        """The maximum size of an upload, in bytes."""
        return self.max_upload_gib * 2**30


class SubmitJobSettings(ApiSettings, TaskSettings, TorrentSettings):
    """`functions/submit_job`. Without a queue for torrents or imports it refuses such requests."""

    torrent_queue_url = Setting(text, "")
    steam_queue_url = Setting(text, "")


class GetJobSettings(ApiSettings, TablesSettings, LibrarySettings, UploadSettings):
    """`functions/get_job`. A presigned URL ends with the credentials that signed it. Without their group, no logs."""

    result_url_seconds = Setting(seconds(60, 3600), timedelta(minutes=15))
    torrent_prefix = Setting(text, "torrents/")
    job_log_group = Setting(text, "")
    task_log_group = Setting(text, "")
    task_log_prefix = Setting(text, "worker")


class SearchMediaSettings(ApiSettings, UploadSettings, SearchSettings):
    """`functions/search_media`. A presigned URL ends with the credentials that signed it."""

    result_url_seconds = Setting(seconds(60, 3600), timedelta(minutes=15))
    summary_backend = Setting[SummaryBackend](one_of("extractive", "openai", "bedrock", "none"), "extractive")
    summary_url = Setting(service_url, "")
    summary_model = Setting(text, "")
    summary_key_secret_arn = Setting(text, "")

    def conflicts(self) -> Iterator[str]:
        """Yields what the model that writes answers lacks."""
        yield from super().conflicts()
        if self.summary_backend in {"openai", "bedrock"} and not self.summary_model:
            yield f"SUMMARY_MODEL is missing, which SUMMARY_BACKEND={self.summary_backend} needs"
        if self.summary_backend == "openai" and not self.summary_url:
            yield "SUMMARY_URL is missing, which SUMMARY_BACKEND=openai needs"


class CancelJobSettings(
    ApiSettings, StoreSettings, UploadSettings, SearchSettings, VideoLimitSettings, TaskLimitsSettings
):
    """`functions/cancel_job`, which also erases a job's data, does work again, and pauses lanes."""

    track_queue_url = Setting(text)
    video_queue_url = Setting(text)
    ecs_queue_url = Setting(text, "")
    batch_job_queue = Setting(text)
    batch_job_definition = Setting(text)
    submit_function = Setting(text)
    torrent_prefix = Setting(text, "torrents/")


class S3TorrentCreatorSettings(FunctionJobsSettings, TorrentSettings):
    """`functions/s3_torrent_creator`. Sizes in bytes."""

    torrent_format = Setting[TorrentFormat](one_of("v1", "hybrid"), "v1")
    torrent_private = Setting(flag, default=False)
    torrent_source = Setting(text, "")
    torrent_comment = Setting(text, "")
    trackers = Setting[tuple[tuple[str, ...], ...]](tiers, ())
    web_seed_base_urls = Setting[tuple[str, ...]](base_urls, ())
    max_piece_size = Setting(piece_length, 2**26)
    hash_by_copy = Setting(flag, default=False)
    hash_connections = Setting(integer(1, 64), 8)
    hash_megabytes_per_second = Setting(integer(1, 1000), 75)
    ecs_queue_url = Setting(text, "")
    transmission_task_def = Setting(text, "")


class ImportSteamLibrarySettings(FunctionJobsSettings, LibrarySettings):
    """`functions/import_steam_library`. Without a secret for IGDB it tells no more about games than Steam does."""

    s3_bucket = Setting(text)
    steam_api_key_secret_arn = Setting(text)
    igdb_secret_arn = Setting(text, "")
    steam_daily_calls = Setting(integer(100, 10_000_000), 100_000)
    steam_stand_in = Setting(stand_in, "")
