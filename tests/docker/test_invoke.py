"""`sam local invoke` of every function with its sample events, in Lambda's own image, beside the running system."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from local.environment import ROOT
from local.invoke import invoke
from local.stack import LocalStack
from local.view import View
from tests.docker.conftest import SAMPLES_BUCKET

EVENTS = ROOT / "events"

pytestmark = pytest.mark.usefixtures("lambda_image")


def answer(stack: LocalStack, function: str, event: Path, capfd: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401 - any JSON
    """What a function answers to an event."""
    code = invoke(stack, function, event)
    printed = capfd.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out.splitlines()[-1])


def batches(folder: str, tmp_path: Path) -> list[Path]:
    """The messages of all samples of a function, ten to an event as Lambda delivers them."""
    samples = [json.loads(path.read_text()) for path in sorted((EVENTS / folder).glob("*.json"))]
    records = itertools.chain.from_iterable(sample["Records"] for sample in samples)
    paths = []
    for number, batch in enumerate(itertools.batched(records, 10, strict=False)):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps({"Records": batch}))
    return paths


def test_sqs_to_batch_deals_with_its_samples(
    stack: LocalStack, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for event in batches("sqs_to_batch", tmp_path):
        assert answer(stack, "SqsToBatchFunction", event, capfd) == {"batchItemFailures": []}


def test_track_job_deals_with_its_samples(stack: LocalStack, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for event in batches("track_job", tmp_path):
        assert answer(stack, "TrackJobFunction", event, capfd) == {"batchItemFailures": []}


def test_reconcile_jobs_deals_with_its_sample(stack: LocalStack, capfd: pytest.CaptureFixture[str]) -> None:
    assert answer(stack, "ReconcileJobsFunction", EVENTS / "reconcile_jobs" / "schedule.json", capfd) is None


def test_what_is_invoked_in_docker_starts_a_real_job(
    stack: LocalStack, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sample = json.loads((EVENTS / "sqs_to_batch" / "plain_bucket_key.json").read_text())
    key = "uploads/started from a container.mp4"
    sample["Records"][0]["body"] = json.dumps({"bucket": SAMPLES_BUCKET, "key": key})
    event = tmp_path / "event.json"
    event.write_text(json.dumps(sample))

    answer(stack, "SqsToBatchFunction", event, capfd)

    job = View(stack).jobs_of([key])[key]
    assert job.target_id is not None
    assert job.status in {"SUBMITTED", "RUNNING", "COMPLETED"}
