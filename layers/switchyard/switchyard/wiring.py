"""Builds the parts of the functions out of their settings: store, lanes, targets, dispatcher, torrent creator.

Imports are inside the builders, so that a function loads only the modules it uses and starts faster.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from switchyard import clients, observability
from switchyard.messages.kinds import LANES, TASKS, VIDEO
from switchyard.settings import BatchLaneSettings, EcsLaneSettings, ReturnSettings
from switchyard.variables import is_emulated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from switchyard.api.http import Api, Handler
    from switchyard.api.lanes import LaneRoutes
    from switchyard.api.search import Embed
    from switchyard.api.webhooks import WebhookRoutes
    from switchyard.function_jobs.intake import Intake, Worker
    from switchyard.function_jobs.outbox import Outbox
    from switchyard.function_jobs.work import Work
    from switchyard.language.answers import Answers
    from switchyard.messages.dead_letters import DeadLetterQueue
    from switchyard.messages.queues import Queue
    from switchyard.messages.tasks import TaskWork
    from switchyard.notifications.stream import Channel, Notifier
    from switchyard.protocol.cancel import Canceller
    from switchyard.protocol.dispatch import Dispatcher
    from switchyard.protocol.ports import DeadLetters, Repair, Target
    from switchyard.protocol.tracking import Tracker
    from switchyard.search.ports import Index
    from switchyard.settings import (
        ApiSettings,
        CancelJobSettings,
        DeliverWebhookSettings,
        FunctionJobsSettings,
        ImportSteamLibrarySettings,
        JobsSettings,
        LaneSettings,
        ManageWebhooksSettings,
        NotifySettings,
        ReconcileJobsSettings,
        S3TorrentCreatorSettings,
        SearchMediaSettings,
        SearchSettings,
        StoreSettings,
        TaskSettings,
        TorrentSettings,
        TrackSettings,
    )
    from switchyard.steam.messages import Wanted
    from switchyard.tables.store import Store
    from switchyard.targets.batch import BatchTarget
    from switchyard.targets.ecs import EcsTarget, Placement
    from switchyard.torrents.messages import Segment, TorrentWork
    from switchyard.torrents.messages import Wanted as WantedTorrent


def api(settings: ApiSettings, routes: Mapping[str, Handler]) -> Api:
    """Builds a function of the API. Also adds the environment's name to logs and metrics."""
    from switchyard.api.http import Api

    observability.configure(settings.environment)
    return Api(routes, settings.cors_origins, settings.api_auth)


def dispatcher(settings: LaneSettings) -> Dispatcher:
    """Builds the dispatcher of a function's lanes. Also adds the environment's name to logs and metrics."""
    from switchyard.messages.wakes import WakeQueue
    from switchyard.protocol.dispatch import Dispatcher
    from switchyard.protocol.lanes import Lane

    observability.configure(settings.environment)
    grace = settings.claim_grace_seconds
    targets: dict[str, Target] = {}
    lanes: list[Lane] = []
    dead_letters: dict[str, DeadLetters] = {}
    if isinstance(settings, BatchLaneSettings):
        targets["batch"] = _batch(settings, grace.total_seconds())
        lanes.append(Lane(settings.lane, getattr(settings, VIDEO.limit.lower())))
        dead_letters[settings.lane] = dead_letter_queue(settings.dead_letter_queue_url)
    if isinstance(settings, EcsLaneSettings) and settings.ecs_cluster:
        targets["ecs"] = _ecs(settings, _placement(settings), grace.total_seconds())
        ecs_dead_letters = dead_letter_queue(settings.ecs_dead_letter_queue_url)
        for kind in TASKS.values():
            lanes.append(Lane(kind.lane, getattr(settings, kind.limit.lower())))
            dead_letters[kind.lane] = ecs_dead_letters
    dispatcher = Dispatcher(
        store=_store(settings),
        targets=targets,
        lanes={lane.name: lane for lane in lanes},
        dead_letters=dead_letters,
        wakes=WakeQueue(clients.sqs(), settings.track_queue_url),
        grace=grace,
        max_refusals=settings.max_receive_count,
    )
    if not isinstance(settings, ReturnSettings):
        return dispatcher
    waiting_room, pause = settings.at_capacity == "wait", settings.full_lane_seconds
    return replace(dispatcher, waiting_room=waiting_room, full_lane_pause=pause)


def tracker(settings: TrackSettings, dispatcher: Dispatcher) -> Tracker:
    """Builds the tracker. It starts waiting jobs through `dispatcher`."""
    from switchyard.protocol.tracking import Tracker

    return Tracker(dispatcher.store, dispatcher, settings.max_attempts)


def canceller(settings: CancelJobSettings) -> Canceller:
    """Builds the canceller. Its targets only stop runs, so they have no placement and no grace period."""
    from switchyard.protocol.cancel import Canceller
    from switchyard.targets.ecs import Placement

    return Canceller(_store(settings), {"batch": _batch(settings, 0), "ecs": _ecs(settings, Placement(""), 0)})


def lane_routes(settings: CancelJobSettings) -> LaneRoutes:
    """Builds the handlers of the routes about lanes."""
    from switchyard.api.lanes import LaneRoutes
    from switchyard.messages.wakes import WakeQueue
    from switchyard.protocol.lanes import Lane

    lanes = {name: Lane(name, getattr(settings, kind.limit.lower())) for name, kind in LANES.items()}
    return LaneRoutes(_store(settings), lanes, WakeQueue(clients.sqs(), settings.track_queue_url))


def task_work(settings: TaskSettings) -> TaskWork:
    """Builds the reader of job messages. Without a cluster, it refuses every kind."""
    from switchyard.messages.tasks import TaskWork

    definitions = {name: getattr(settings, kind.definition.lower(), "") for name, kind in TASKS.items()}
    return TaskWork(
        bucket=settings.s3_bucket,
        cluster=settings.ecs_cluster,
        definitions=definitions if settings.ecs_cluster else {},
        networks=settings.allowed_networks,
        upload_prefix=settings.upload_prefix,
        task_tokens=getattr(settings, "task_tokens", False),  # the API takes none
    )


def torrent_work(settings: TorrentSettings) -> TorrentWork:
    """Builds the reader of torrent requests, which the API and the torrent function share."""
    from switchyard.torrents.messages import TorrentWork

    return TorrentWork(
        settings.s3_bucket,
        settings.torrent_source_prefix,
        settings.torrent_prefix,
        settings.torrent_scratch_prefix,
        settings.upload_prefix,
    )


def torrents(settings: S3TorrentCreatorSettings) -> Intake[WantedTorrent | Segment]:
    """Builds the creator of torrents. Also adds the environment's name to logs and metrics."""
    from switchyard.torrents.creator import Creator, Recipe
    from switchyard.torrents.format.layout import Format
    from switchyard.torrents.format.metainfo import Sharing
    from switchyard.torrents.outbox import TorrentOutbox
    from switchyard.torrents.table import TorrentJobs

    observability.configure(settings.environment)
    creator = Creator(
        jobs=TorrentJobs(clients.dynamodb(), settings.jobs_table, keep_ended_jobs=settings.ttl_days),
        work=torrent_work(settings),
        s3=clients.s3_bulk(),
        outbox=TorrentOutbox(
            clients.sqs(),
            settings.queue_url,
            seeding_queue_url=settings.ecs_queue_url if settings.transmission_task_def else "",
        ),
        recipe=Recipe(
            form=Format(settings.torrent_format),
            sharing=Sharing(
                trackers=settings.trackers,
                web_seed_base_urls=settings.web_seed_base_urls,
                private=settings.torrent_private,
                source=settings.torrent_source,
                comment=settings.torrent_comment,
            ),
            max_piece_length=settings.max_piece_size,
            by_copy=settings.hash_by_copy,
            connections=settings.hash_connections,
            megabytes_per_second=settings.hash_megabytes_per_second,
        ),
    )
    return _intake(settings, creator, creator.outbox)


def steam_imports(settings: ImportSteamLibrarySettings) -> Intake[Wanted]:
    """Builds the importer of Steam libraries. Also adds the environment's name to logs and metrics.

    Steam, IGDB and the issuer of IGDB's tokens are the only hosts that it calls, besides AWS.
    """
    from switchyard.function_jobs.outbox import Outbox
    from switchyard.function_jobs.table import FunctionJobs
    from switchyard.outside.secrets import Secret
    from switchyard.outside.sites import Site
    from switchyard.steam.enrichment import Enrichment
    from switchyard.steam.igdb import Igdb
    from switchyard.steam.importer import Importer
    from switchyard.steam.pace import Pace
    from switchyard.steam.providers import Provider
    from switchyard.steam.table import Library
    from switchyard.steam.web import Steam
    from switchyard.steam.worker import ImportWorker

    observability.configure(settings.environment)
    stand_in, dynamodb, table = settings.steam_stand_in, clients.dynamodb(), settings.library_table
    library = Library(dynamodb, table)
    steam = Steam(
        Site(f"{stand_in}/steam" if stand_in else "https://api.steampowered.com"),
        Provider(
            "steam",
            Secret(partial(clients.secret, settings.steam_api_key_secret_arn)),
            Pace(dynamodb, table, "steam", daily=settings.steam_daily_calls),
        ),
    )
    enrichment = None
    if settings.igdb_secret_arn:
        igdb = Igdb(
            Site(f"{stand_in}/igdb" if stand_in else "https://api.igdb.com/v4"),
            Site(f"{stand_in}/token" if stand_in else "https://id.twitch.tv/oauth2/token"),
            Provider(
                "igdb",
                Secret(partial(clients.secret, settings.igdb_secret_arn)),
                Pace(dynamodb, table, "igdb", per_second=4),
            ),
        )
        enrichment = Enrichment(igdb, library)
    jobs = FunctionJobs(dynamodb, settings.jobs_table, keep_ended_jobs=settings.ttl_days)
    importer = Importer(steam, library, clients.s3(), settings.s3_bucket, enrichment, settings.ttl_days)
    return _intake(settings, ImportWorker(jobs, importer), Outbox(clients.sqs(), settings.queue_url))


def notifier(settings: NotifySettings) -> Notifier:
    """Builds what announces jobs. Also adds the environment's name to logs and metrics."""
    from switchyard.notifications.bus import Bus
    from switchyard.notifications.stream import Notifier

    observability.configure(settings.environment)
    channels: list[Channel] = [Bus(clients.events(), settings.event_bus_name)]
    if settings.webhook_queue_url:
        from switchyard.notifications.deliveries import Outgoing, Subscribers
        from switchyard.notifications.table import Webhooks

        webhooks = Webhooks(clients.dynamodb(), settings.webhooks_table)
        channels.append(Subscribers(webhooks, Outgoing(clients.sqs(), settings.webhook_queue_url)))
    if settings.task_tokens:
        from switchyard.notifications.tasks import Tasks

        channels.append(Tasks(clients.states()))
    return Notifier(channels, dead_letter_queue(settings.notify_dead_letter_queue_url))


def heartbeats(settings: ReconcileJobsSettings) -> Callable[[Sequence[str]], None]:
    """Builds what tells tasks of Step Functions that the jobs with these ids are alive."""
    if not settings.task_tokens:
        return lambda _: None
    from switchyard.notifications.tasks import Tasks
    from switchyard.tables.records import task_tokens

    def beat(job_ids: Sequence[str]) -> None:
        Tasks(clients.states()).keep_alive(task_tokens(clients.dynamodb(), settings.jobs_table, job_ids))

    return beat


def deliveries(settings: DeliverWebhookSettings) -> Queue:
    """Builds what posts to webhooks. Also adds the environment's name to logs and metrics."""
    from switchyard.messages.queues import Queue
    from switchyard.notifications.deliveries import Deliverer, Outgoing
    from switchyard.notifications.table import Webhooks
    from switchyard.outside.secrets import Secret

    observability.configure(settings.environment)
    deliverer = Deliverer(
        Webhooks(clients.dynamodb(), settings.webhooks_table),
        Outgoing(clients.sqs(), settings.queue_url),
        Secret(partial(clients.secret, settings.webhook_secret_arn)),
        dead_letter_queue(settings.dead_letter_queue_url),
        settings.webhook_networks,
    )
    return Queue(clients.sqs(), settings.queue_url, settings.max_receive_count, deliverer.handle, deliverer.exhausted)


def webhook_routes(settings: ManageWebhooksSettings) -> WebhookRoutes:
    """Builds the API's handlers for webhooks."""
    from switchyard.api.webhooks import WebhookRoutes
    from switchyard.notifications.deliveries import Outgoing
    from switchyard.notifications.table import Webhooks
    from switchyard.outside.secrets import Secret

    return WebhookRoutes(
        Webhooks(clients.dynamodb(), settings.webhooks_table),
        Outgoing(clients.sqs(), settings.webhook_queue_url) if settings.webhook_queue_url else None,
        Secret(partial(clients.secret, settings.webhook_secret_arn)),
        settings.webhook_networks,
        plain=is_emulated(),
    )


def repairs(settings: ReconcileJobsSettings) -> dict[str, Repair]:
    """Builds the repairs of jobs that functions run, by lane. Kinds without a queue have none."""
    from switchyard.function_jobs.repair import FunctionRepair
    from switchyard.function_jobs.table import FunctionJobs
    from switchyard.messages.kinds import STEAM_IMPORT, TORRENT
    from switchyard.steam import messages as steam
    from switchyard.torrents import messages as torrents

    jobs = FunctionJobs(clients.dynamodb(), settings.jobs_table, keep_ended_jobs=settings.ttl_days)
    known = (
        (TORRENT, settings.torrent_queue_url, torrents.asked_again),
        (STEAM_IMPORT, settings.steam_queue_url, steam.body_of),
    )
    return {
        kind.lane: FunctionRepair(jobs, clients.sqs(), url, settings.pending_grace_seconds, body)
        for kind, url, body in known
        if url
    }


def search_index(settings: SearchSettings) -> Index | None:
    """Builds the index of videos. None if the deployment has none."""
    if settings.search_index == "none":
        return None
    if settings.search_index == "pinecone":
        return _pinecone(settings)
    from switchyard.search.s3vectors import S3VectorsIndex

    return S3VectorsIndex(clients.s3vectors(), settings.search_index_arn)


def _pinecone(settings: SearchSettings) -> Index:
    from switchyard.outside.secrets import Secret
    from switchyard.search.pinecone import PineconeIndex

    secret = Secret(partial(clients.secret, settings.search_index_key_secret_arn))
    return PineconeIndex(
        f"https://{settings.search_index_host}",
        settings.search_index_namespace,
        lambda: secret.read("key")[0],
        reject=secret.forget,
    )


def embedding(settings: SearchSettings) -> Embed:
    """Loads the model that turns texts into vectors. Without an index there is nothing to embed, and no model."""
    if settings.search_index == "none":
        return lambda texts: [() for _ in texts]
    from switchyard_embedding.embedder import Embedder

    embedder = Embedder()
    return lambda texts: embedder.embed(texts).tolist()


def answers(settings: SearchMediaSettings) -> Answers | None:
    """Builds what writes answers. None if no model does."""
    if settings.search_index == "none" or settings.summary_backend not in {"openai", "bedrock"}:
        return None
    from switchyard.language.answers import Answers
    from switchyard.language.models import BedrockModel, OpenAiModel
    from switchyard.outside.secrets import Secret

    if settings.summary_backend == "bedrock":
        return Answers(BedrockModel(clients.bedrock(), settings.summary_model))
    if not (arn := settings.summary_key_secret_arn):
        return Answers(OpenAiModel(settings.summary_url, settings.summary_model, str))
    secret = Secret(partial(clients.secret, arn))
    return Answers(
        OpenAiModel(settings.summary_url, settings.summary_model, lambda: secret.read("key")[0], reject=secret.forget)
    )


def dead_letter_queue(url: str) -> DeadLetterQueue:
    """The dead-letter queue with this URL."""
    from switchyard.messages.dead_letters import DeadLetterQueue

    return DeadLetterQueue(clients.sqs(), url)


def _intake[W: Work](settings: FunctionJobsSettings, worker: Worker[W], outbox: Outbox) -> Intake[W]:
    from switchyard.function_jobs.intake import Intake

    return Intake(worker, outbox, settings.max_receive_count, dead_letter_queue(settings.dead_letter_queue_url))


def _store(settings: StoreSettings) -> Store:
    from switchyard.tables.store import Store

    locks: dict[str, Lock] = {}
    return Store(
        clients.dynamodb(),
        settings.jobs_table,
        settings.lanes_table,
        keep_ended_jobs=settings.ttl_days,
        turns=lambda lane: locks.setdefault(lane, Lock()),
    )


def _batch(settings: JobsSettings, grace_seconds: float) -> BatchTarget:
    from switchyard.targets.batch import BatchTarget

    return BatchTarget(
        clients.batch(),
        clients.batch_submit(),
        jobs_table=settings.jobs_table,
        environment=settings.environment,
        grace_seconds=grace_seconds,
    )


def _ecs(settings: JobsSettings, placement: Placement, grace_seconds: float) -> EcsTarget:
    from switchyard.targets.ecs import EcsTarget

    return EcsTarget(
        clients.ecs(),
        placement,
        jobs_table=settings.jobs_table,
        environment=settings.environment,
        grace_seconds=grace_seconds,
    )


def _placement(settings: EcsLaneSettings) -> Placement:
    from switchyard.targets.ecs import Placement

    return Placement(
        container=settings.container_name,
        subnets=settings.subnet_ids,
        security_groups=settings.security_group_ids,
        public_ip=settings.assign_public_ip,
        spot=settings.fargate_spot,
    )
