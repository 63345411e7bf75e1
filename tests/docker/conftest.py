"""Provides Docker to the tests that need it. Without Docker they are skipped with a reason.

SWITCHYARD_DOCKER=1 starts the engine and builds the base image if necessary, if the tools for that are next to the
clone.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from local.environment import ROOT, STATE, seal_this_process
from local.invoke import IMAGE
from local.processes import locked
from local.stack import LocalStack
from local.workers import JobDefinition

BUILD_SECONDS = 900
"""Seconds an image may take to build if its packages must be downloaded."""
TOOLS = ROOT.parent / "shared" / "tools"
IMAGES = "switchyard-test/"
SAMPLES_BUCKET = "switchyard-media"
"""The bucket in the samples under events/."""

PASSED_ON = (
    *("JOB_ID", "FENCE", "JOBS_TABLE", "KIND", "LANE", "VIDEO_ID", "S3_BUCKET", "S3_KEY", "S3_VERSION_ID"),
    *("SQS_MESSAGE_ID", "RESULTS_PREFIX", "AWS_BATCH_JOB_ID", "AWS_BATCH_JOB_ATTEMPT"),
    *("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.docker)
            # A fixture may wait for another run of these tests, and then build an image.
            item.add_marker(pytest.mark.timeout(2 * BUILD_SECONDS + 300))


@pytest.fixture(scope="session")
def docker() -> str:
    """Returns the docker command, with a running engine."""
    if not sys.platform.startswith("linux"):
        pytest.skip("containers reach the local system by the host's own network, which only Linux gives them")
    _provide("docker-up", unless=("docker", "info"))
    command = shutil.which("docker")
    if not command or not _succeeds(command, "info"):
        pytest.skip("no Docker engine answers; SWITCHYARD_DOCKER=1 starts one where the tools for it are at hand")
    return command


@pytest.fixture(scope="session")
def lambda_image(docker: str) -> None:
    """Makes sure that SAM's image for functions exists."""
    _provide("lambda-image", unless=(docker, "image", "inspect", IMAGE))
    if not _succeeds(docker, "image", "inspect", IMAGE):
        pytest.skip(f"the image {IMAGE} isn't here; `docker pull` gets it")


@pytest.fixture(scope="session")
def stack(docker: str) -> Iterator[LocalStack]:
    """Starts the local system, whose jobs complete at once or run in the worker's container."""
    seal_this_process()
    environment = [word for name in PASSED_ON for word in ("--env", name)]
    definitions = {
        "at-once": JobDefinition(("/bin/true",)),
        "container": JobDefinition(
            (docker, "run", "--rm", "--network", "host", *environment, f"{IMAGES}analyze-video"),
            {"RESULTS_PREFIX": "results/"},
        ),
    }
    parameters = {"SourceBuckets": SAMPLES_BUCKET, "MaxConcurrentJobs": "100"}
    with alone(folder := own_folder()):
        stack = LocalStack(folder, parameters=parameters, definitions=definitions)
        stack.down()  # left by a killed run
        with stack.running():
            yield stack


def own_folder() -> Path:
    """Returns this process's own folder, so that tests don't wait minutes for another file's system."""
    return STATE / "tests" / f"docker-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"


@contextmanager
def alone(folder: Path, seconds: float = BUILD_SECONDS) -> Iterator[None]:
    """Waits until another test run of this clone releases the folder. Skips if it takes longer than `seconds`."""
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / "session.lock", seconds=seconds))
        except TimeoutError:
            pytest.skip(f"another run of these tests has used {folder} for {seconds:.0f} s; run them again after it")
        yield


def _provide(tool: str, unless: tuple[str, ...]) -> None:
    path = TOOLS / tool
    if os.environ.get("SWITCHYARD_DOCKER") == "1" and path.exists() and not _succeeds(*unless):
        subprocess.run([path], check=True)


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
