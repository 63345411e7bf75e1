"""Checks that functions don't import modules they don't need for their first event, since imports slow cold starts.

Each function is started as on Lambda, with X-Ray on, and handles one sample event. An endpoint on this machine answers
all AWS calls. Modules below a forbidden one are forbidden too.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, os.fspath(ROOT))

from bench.first_event import ANSWER, after_first_event  # noqa: E402 - found by the line above
from tests.fakes.endpoint import Reply, serving  # noqa: E402 - as above
from tools.functions import for_every_function  # noqa: E402 - as above

_NOBODY = {
    "aws_lambda_powertools.event_handler": "switchyard.api.http replaces it",
    "aws_lambda_powertools.utilities.batch": "it imports data classes of forty services; messages.queues replaces it",
    "aws_lambda_powertools.utilities.parser": "pydantic is large",
    "aws_xray_sdk.core.sampling.connector": "an X-Ray client, but Lambda itself samples",
    "requests": "urllib3 suffices",
    "sqlite3": "only X-Ray's patches need it",
    "unittest": "for tests",
    "switchyard_worker": "for workers' images",
}
_HTTP = {"fastjsonschema": "it compiles schemas", "switchyard.api.http": "for the API"}
_STARTS = {
    "switchyard.targets": "for what starts or ends jobs",
    "switchyard.protocol.tracking": "for what follows jobs",
}
_BATCH = {"switchyard.targets.batch": "for what runs on Batch"}
_ECS = {"switchyard.targets.ecs": "for what runs on ECS", "switchyard.messages.tasks": "as targets.ecs"}
_MAKES_TORRENTS = {
    f"switchyard.torrents.{name}": "for s3_torrent_creator"
    for name in ("creator", "format.bencode", "format.metainfo", "format.segments", "format.trees", "hashing", "outbox")
}
_DOES_JOBS = {"switchyard.function_jobs.table": "for functions that do jobs themselves, and their repair"}
_TORRENTS = {"switchyard.torrents.table": "as hashing", **_DOES_JOBS, **_MAKES_TORRENTS}
_ASKS_STEAM = {
    f"switchyard.steam.{name}": "for import_steam_library" for name in ("importer", "web", "igdb", "pace")
} | {"switchyard.outside": "as switchyard.steam.importer"}
_IMPORTS = {"switchyard.steam": "for imports"}
_ANSWERS = {
    "switchyard.language": "only for answers, with a SummaryBackend that writes them",
    "switchyard.outside": "as switchyard.language",
}
_LAYOUT = {"switchyard.torrents.format.layout": "for what handles torrents; settings don't need it"}
_MOVES_JOBS = {
    "switchyard.protocol.dispatch": "for what starts or ends jobs",
    "switchyard.protocol.lanes": "as dispatch",
    "switchyard.tables.store": "as dispatch; switchyard.tables.items has the items' shapes",
}
_READS_NO_QUEUE = {
    "switchyard.messages.queues": "for what reads a queue; dead letters have a module of their own",
}
_S3_ALONE = {"switchyard.tables.items": "it has no tables", "switchyard.tables.records": "as items"}
_RECONCILES = {"switchyard.protocol.reconcile": "for reconcile_jobs", "switchyard.protocol.cancel": "for cancel_job"}

_FORBIDDEN: Mapping[str, tuple[Mapping[str, str], ...]] = for_every_function(
    {
        "sqs_to_batch": (_HTTP, _ECS, _TORRENTS, _LAYOUT, _IMPORTS, _RECONCILES),
        "dispatch_to_ecs": (_HTTP, _BATCH, _TORRENTS, _LAYOUT, _IMPORTS, _RECONCILES),
        "track_job": (_HTTP, _TORRENTS, _LAYOUT, _IMPORTS, _RECONCILES),
        "notify": (_HTTP, _READS_NO_QUEUE, _MOVES_JOBS, _STARTS, _ECS, _TORRENTS, _LAYOUT, _IMPORTS, _RECONCILES),
        "deliver_webhook": (_HTTP, _MOVES_JOBS, _STARTS, _ECS, _TORRENTS, _LAYOUT, _IMPORTS, _RECONCILES),
        "manage_webhooks": (
            _READS_NO_QUEUE,
            _MOVES_JOBS,
            _STARTS,
            _TORRENTS,
            _LAYOUT,
            _IMPORTS,
            _RECONCILES,
            {"fastjsonschema": "a GET has no body"},
        ),
        "reconcile_jobs": (_HTTP, _READS_NO_QUEUE, _MAKES_TORRENTS, _ASKS_STEAM),
        "presign_upload": (
            _READS_NO_QUEUE,
            _MOVES_JOBS,
            _STARTS,
            _ECS,
            _TORRENTS,
            _LAYOUT,
            _IMPORTS,
            _RECONCILES,
            _S3_ALONE,
        ),
        "submit_job": (_READS_NO_QUEUE, _MOVES_JOBS, _STARTS, _TORRENTS, _ASKS_STEAM, _RECONCILES),
        "get_job": (
            _READS_NO_QUEUE,
            _MOVES_JOBS,
            _STARTS,
            _ECS,
            _TORRENTS,
            _ASKS_STEAM,
            _RECONCILES,
            {"fastjsonschema": "a GET has no body"},
        ),
        "cancel_job": (_READS_NO_QUEUE, _TORRENTS, _IMPORTS, {"fastjsonschema": "most of its requests have no body"}),
        "search_media": (
            _READS_NO_QUEUE,
            _MOVES_JOBS,
            _STARTS,
            _ECS,
            _TORRENTS,
            _IMPORTS,
            _LAYOUT,
            _RECONCILES,
            _S3_ALONE,
            _ANSWERS,
        ),
        "serve_console": (
            _READS_NO_QUEUE,
            _MOVES_JOBS,
            _STARTS,
            _ECS,
            _TORRENTS,
            _LAYOUT,
            _IMPORTS,
            _RECONCILES,
            _S3_ALONE,
            {"fastjsonschema": "a GET has no body"},
        ),
        "s3_torrent_creator": (_HTTP, _MOVES_JOBS, _BATCH, _ECS, _IMPORTS, _RECONCILES),
        "import_steam_library": (_HTTP, _MOVES_JOBS, _BATCH, _ECS, _MAKES_TORRENTS, _LAYOUT, _RECONCILES),
    }
)
"""What each function must not import, in addition to `_NOBODY`."""


def main() -> int:
    """Print every finding; 1 if there is one."""
    with serving(Reply(body=ANSWER)) as endpoint:
        findings = [finding for name in _FORBIDDEN for finding in _findings(name, endpoint.url)]
    sys.stderr.writelines(f"{finding}\n" for finding in findings)
    return 1 if findings else 0


def _findings(name: str, url: str) -> list[str]:
    layer = ROOT / "layers" / "switchyard"
    tell = "print(json.dumps(list(sys.modules)))"
    imported = json.loads(after_first_event(name, tell, url=url, path=[layer], bare=False))
    forbidden = dict(pair for group in (_NOBODY, *_FORBIDDEN[name]) for pair in group.items())
    return [
        f"functions/{name} imports {module} for its first event ({why})"
        for module, why in forbidden.items()
        if _has(imported, module)
    ]


def _has(imported: Iterable[str], module: str) -> bool:
    return any(f"{each}.".startswith(f"{module}.") for each in imported)


if __name__ == "__main__":
    sys.exit(main())
