"""A subject's environment: what Lambda gives the template's functions, and nothing of the user's."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
RUNTIME: Final = ROOT / ".venvs" / "runtime"
LANE_LIMIT: Final = 10_000
"""The highest possible MAX_CONCURRENT_JOBS: no bench measures a full lane."""

VARIABLES: Final = {
    "PATH": os.environ["PATH"],
    "LANG": "C.UTF-8",
    # As in Lambda, whose folders are read-only: modules without bytecode are compiled at every start.
    "PYTHONDONTWRITEBYTECODE": "1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_SESSION_TOKEN": "test",  # as in Lambda, where the token is signed too
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",  # by which `switchyard.cold_start` knows Lambda
    "POWERTOOLS_METRICS_NAMESPACE": "Switchyard",
    "POWERTOOLS_SERVICE_NAME": "bench",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "ENVIRONMENT": "bench",
    "JOBS_TABLE": "JobsTable",
    "LANES_TABLE": "LanesTable",
    "LIBRARY_TABLE": "LibraryTable",
    "STEAM_API_KEY_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:steam-Ab12Cd",
    "MAX_CONCURRENT_JOBS": str(LANE_LIMIT),
    "MAX_CONCURRENT_IMAGES": str(LANE_LIMIT),
    "BATCH_JOB_QUEUE": "video",
    "BATCH_JOB_DEFINITION": "analyze-video",
    "SOURCE_BUCKETS": "switchyard-media",
    "S3_BUCKET": "switchyard-media",
    "ECS_CLUSTER": "switchyard",
    "ECS_TASK_DEF": "record-stream",
    "IMAGE_TASK_DEF": "detect-objects",
    "SUBNET_IDS": "subnet-0a1b2c3d4e5f60718",
    "SECURITY_GROUP_IDS": "sg-0a1b2c3d4e5f60718",
    "QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/video",
    "VIDEO_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/video",
    "ECS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/ecs-jobs",
    "SUBMIT_FUNCTION": "switchyard-submit_job",
    "DEAD_LETTER_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/video-dead-letters",
    "ECS_DEAD_LETTER_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/ecs-dead-letters",
    "NOTIFY_DEAD_LETTER_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/notify-dead-letters",
    "WEBHOOKS_TABLE": "WebhooksTable",
    "WEBHOOK_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/webhooks",
    "WEBHOOK_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:webhooks-Ab12Cd",
    "TRACK_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/track",
    "TRACK_DEAD_LETTER_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/track-dead-letters",
}

_OF: Final = {
    "search_media": {
        "SEARCH_INDEX": "s3vectors",
        "SEARCH_INDEX_ARN": "arn:aws:s3vectors:us-east-1:123456789012:bucket/switchyard-search/index/minilm-l6-v2-384",
        "OPENBLAS_NUM_THREADS": "1",  # it has one vCPU on Lambda
    }
}
"""More variables of single functions."""


def variables(*, traced: bool | None, path: Sequence[Path], function: str = "") -> dict[str, str]:
    """Returns the environment of one subject.

    Args:
        traced: whether X-Ray samples the invocation; None turns X-Ray off.
        path: folders where Python finds modules outside its own library.
        function: the function that runs in it, if it is one.
    """
    xray = {"POWERTOOLS_TRACE_DISABLED": "true"}
    if traced is not None:
        # Powertools and the X-Ray SDK take a process with LAMBDA_TASK_ROOT for a function.
        trace = f"Root=1-6b03aa06-06c3b1f5d27649dfbc1bcbd7;Parent=55ee03150403a210;Sampled={int(traced)}"
        xray = {"LAMBDA_TASK_ROOT": os.fspath(ROOT), "_X_AMZN_TRACE_ID": trace}
    return {**VARIABLES, **_OF.get(function, {}), **xray, "PYTHONPATH": os.pathsep.join(map(os.fspath, path))}


def python(*arguments: str) -> list[str]:
    """Returns a command line for Python without this environment's packages: only PYTHONPATH counts, as in Lambda."""
    return [sys.executable, "-S", *arguments]


@dataclass(frozen=True)
class Layer:
    """The layers, built on first use in a folder from the current sources."""

    folder: Path

    @cached_property
    def deployed(self) -> Path:
        """The layer of all functions as deployed, bytecode included, built by its own Makefile."""
        # The Lambda runtime's own boto3 has bytecode, so this machine's gets it too.
        subprocess.run([sys.executable, "-m", "compileall", "-q", f"{RUNTIME}"], check=True)
        return self._built("switchyard", "SwitchyardLayer")

    @cached_property
    def sources(self) -> Path:
        """The layer without bytecode."""
        copy = self.folder / "sources"
        shutil.copytree(self.deployed, copy, ignore=shutil.ignore_patterns("__pycache__"))
        return copy

    @cached_property
    def embedding(self) -> Path:
        """The layer that embeds questions, with its model."""
        return self._built("embedding", "EmbeddingLayer")

    def path(self, function: str) -> list[Path]:
        """Returns the folders where a deployed function finds its modules."""
        own = [self.embedding] if function == "search_media" else []
        return [ROOT / "functions" / function, self.deployed, *own, RUNTIME]

    def _built(self, name: str, target: str) -> Path:
        pip = ROOT / ".venvs" / "uv" / "bin" / "python"
        command = ["make", "--silent", "-C", f"{ROOT / 'layers' / name}", f"build-{target}"]
        # PIP_QUIET beyond its own --quiet: no warnings about this machine's settings.
        quiet = {**os.environ, "PIP_QUIET": "1", "MODELS": f"{ROOT / '.venvs' / 'models'}"}
        folder = self.folder / name
        subprocess.run(
            [*command, f"ARTIFACTS_DIR={folder}", f"PYTHON={pip}"], check=True, stdout=subprocess.DEVNULL, env=quiet
        )
        return folder / "python"
