"""Each worker's image is built from its Dockerfile and starts; the first does a real job of the running system."""

import subprocess
import time
from pathlib import Path

import pytest

from local.demos.media import CLIPS, clip
from local.environment import ROOT
from local.stack import LocalStack
from local.view import Job, View
from local.workers import NAMES
from tests.docker.conftest import BUILD_SECONDS, IMAGES

PATIENCE = 120.0
BAD_INPUT = 65


@pytest.fixture(scope="module", params=NAMES)
def image(docker: str, request: pytest.FixtureRequest) -> str:
    """A worker's image; its packages are downloaded unless the engine still has that layer."""
    worker = str(request.param)
    tag = IMAGES + worker.replace("_", "-")
    if subprocess.run([docker, "image", "inspect", "python:3.13-slim"], capture_output=True, check=False).returncode:
        pytest.skip("the image python:3.13-slim isn't here; `docker pull` gets it")
    command = [
        docker,
        "build",
        "--network",
        "host",
        "--file",
        f"workers/{worker}/Dockerfile",
        "--tag",
        tag,
    ]
    done = subprocess.run([*command, "."], cwd=ROOT, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return tag


def test_without_a_job_it_says_what_is_missing(docker: str, image: str) -> None:
    locked = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp")  # noqa: S108 - a mount
    done = subprocess.run([docker, "run", "--rm", *locked, image], capture_output=True, text=True, check=False)

    assert done.returncode == BAD_INPUT
    assert "JOB_ID is missing" in done.stdout


def test_it_doesnt_run_as_root(docker: str, image: str) -> None:
    command = [docker, "run", "--rm", "--entrypoint", "python", image, "-c", "import os; print(os.getuid())"]

    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() != "0"


@pytest.mark.parametrize("image", ["analyze_video"], indirect=True)
def test_it_analyzes_a_video_of_the_running_system(stack: LocalStack, image: str, tmp_path: Path) -> None:
    stack.redeploy(BatchJobDefinition="container")
    view, key = View(stack), f"uploads/docker/{CLIPS[0]}"

    view.upload(clip(CLIPS[0]), key)

    job = _ended(view, key)
    assert job.status == "COMPLETED", _log(stack, job)
    assert {"summary.json", "summary.md"} <= {path.name for path in view.results(job, tmp_path)}


def _ended(view: View, key: str) -> Job:
    deadline = time.monotonic() + PATIENCE
    while True:
        job = view.jobs_of([key]).get(key)
        if job and job.over:
            return job
        assert time.monotonic() < deadline, f"the job is {job.status if job else 'unknown'}"
        time.sleep(0.2)


def _log(stack: LocalStack, job: Job) -> str:
    logs = sorted((stack.folder / "compute" / "attempts" / str(job.target_id)).glob("*/log"))
    return "\n".join(path.read_text(errors="replace") for path in logs)
