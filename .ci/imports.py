"""Checks what a function imports for its first event, as each import slows every cold start: names, not times.

Each function is started as in Lambda, with X-Ray on, has one sample event, and is answered by an endpoint on this
machine that stands for all of AWS. Modules below a forbidden one are forbidden too.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, os.fspath(ROOT))

from bench.environment import variables  # noqa: E402 - found by the line above
from tests.fakes.endpoint import Reply, serving  # noqa: E402 - as above

_ANSWER: Mapping[str, Any] = {"jobId": "b1", "Items": [], "jobs": [], "tasks": [{"taskArn": "t1"}], "failures": []}
"""What every call is answered with: what they want of it, DynamoDB, SQS, Batch and ECS each find in it."""

_NOBODY = {
    "boto3": "clients are botocore's own",
    "s3transfer": "boto3 brings it, and with it multiprocessing",
    "multiprocessing": "as s3transfer",
    "aws_lambda_powertools.event_handler": "switchyard.http does what is needed",
    "aws_lambda_powertools.utilities.batch": "it brings data classes of forty services",
    "aws_lambda_powertools.utilities.data_classes": "as utilities.batch",
    "aws_lambda_powertools.utilities.parser": "pydantic is large",
    "aws_xray_sdk.core.sampling.connector": "a client of X-Ray's: in Lambda, Lambda samples",
    "requests": "urllib3 is there already",
    "sqlite3": "X-Ray's patches of it",
    "unittest": "for tests",
    "switchyard.worker": "for workers' images",
}
_HTTP = {"fastjsonschema": "it compiles schemas", "switchyard.http": "for the API"}
_STARTS = {
    "switchyard.dispatch": "for what starts jobs",
    "switchyard.queues": "for what is fed by a queue",
    "switchyard.targets": "for what starts or ends jobs",
    "switchyard.tracking": "for what follows jobs",
}
_BATCH = {"switchyard.targets.batch": "for what runs on Batch"}
_ECS = {"switchyard.targets.ecs": "for what runs on ECS", "switchyard.tasks": "as targets.ecs"}
_MAKES_TORRENTS = {
    f"switchyard.torrents.{name}": "for s3_torrent_creator"
    for name in ("bencode", "checksums", "copying", "creator", "metainfo", "ranges", "segments", "streaming", "trees")
}
_TORRENTS = {"switchyard.torrents.jobs": "for what makes or repairs torrents", **_MAKES_TORRENTS}
_S3_ALONE = {"switchyard.store": "it has no tables", "switchyard.records": "as store"}
_RECONCILES = {"switchyard.reconcile": "for reconcile_jobs", "switchyard.cancel": "for cancel_job"}


@dataclass(frozen=True)
class _Function:
    """The sample of its first event, and what must not be imported for that, with the reason."""

    sample: str
    forbidden: tuple[Mapping[str, str], ...]


_FUNCTIONS: Mapping[str, _Function] = {
    "sqs_to_batch": _Function("s3_put", (_HTTP, _ECS, _TORRENTS, _RECONCILES)),
    "dispatch_to_ecs": _Function("images", (_HTTP, _BATCH, _TORRENTS, _RECONCILES)),
    "track_job": _Function("succeeded", (_HTTP, _TORRENTS, _RECONCILES)),
    "reconcile_jobs": _Function("schedule", (_HTTP, _MAKES_TORRENTS)),
    "presign_upload": _Function("presign_put", (_STARTS, _ECS, _TORRENTS, _RECONCILES, _S3_ALONE)),
    "submit_job": _Function("process", (_STARTS, _TORRENTS, _RECONCILES)),
    "get_job": _Function("job", (_STARTS, _ECS, _TORRENTS, _RECONCILES, {"fastjsonschema": "a GET has no body"})),
    "cancel_job": _Function("cancel", (_TORRENTS, {"fastjsonschema": "a DELETE has no body"})),
    "s3_torrent_creator": _Function("s3_test_event", (_HTTP, _BATCH, _ECS, _RECONCILES)),
}

_FIRST_EVENT = """
import json, sys, types
import app
context = types.SimpleNamespace(
    function_name="f", memory_limit_in_mb=512, aws_request_id="r", get_remaining_time_in_millis=lambda: 30_000,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:f",
)
with open(sys.argv[1]) as event:
    answer = app.lambda_handler(json.load(event), context) or {}
if answer.get("batchItemFailures") or answer.get("statusCode", 200) >= 500:
    sys.exit(f"the first event went wrong: {answer}")
print()
print(json.dumps(sorted(sys.modules)))
"""


def main() -> int:
    """Print every finding; 1 if there is one."""
    with serving(Reply(body=_ANSWER)) as endpoint:
        findings = [finding for name in _FUNCTIONS for finding in _findings(name, endpoint.url)]
    sys.stderr.writelines(f"{finding}\n" for finding in findings)
    return 1 if findings else 0


def _findings(name: str, url: str) -> list[str]:
    function = _FUNCTIONS[name]
    imported = _imported(name, function.sample, url)
    forbidden = dict(pair for group in (_NOBODY, *function.forbidden) for pair in group.items())
    return [
        f"functions/{name} imports {module} for its first event ({why})"
        for module, why in forbidden.items()
        if _has(imported, module)
    ]


def _has(imported: Iterable[str], module: str) -> bool:
    return any(f"{each}.".startswith(f"{module}.") for each in imported)


def _imported(name: str, sample: str, url: str) -> list[str]:
    environment = {
        **variables(traced=True, path=[ROOT / "functions" / name, ROOT / "layers" / "switchyard"]),
        "AWS_ENDPOINT_URL": url,
    }
    event = ROOT / "events" / name / f"{sample}.json"
    command = [sys.executable, "-c", _FIRST_EVENT, os.fspath(event)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - fixed
    imported: list[str] = json.loads(done.stdout.splitlines()[-1])
    return imported


if __name__ == "__main__":
    sys.exit(main())
