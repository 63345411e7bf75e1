"""The worker of docs/your-own-worker.md: the page shows the code of examples/own_worker.py, and that code works."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.workers import RETRY_STRATEGY, JobDefinition, knows, own_worker
from tests.unit.workers.attempts import BUCKET, ROOT, Account
from tests.unit.workers.standin import empty_moto

EXAMPLE = ROOT / "examples" / "own_worker.py"
PAGE = (ROOT / "docs" / "your-own-worker.md").read_text()
KEY = "uploads/clip.mp4"


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    """Starts the example with the local system's own definition."""
    [definition] = own_worker(EXAMPLE).values()
    with empty_moto() as url:
        told = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_BATCH_JOB_ID": "batch-1", "S3_KEY": KEY}
        account = Account(url, "analyze_video", **told, **definition.environment)
        account.command = definition.command
        account.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield account


def upload(account: Account, body: bytes) -> str:
    """Creates a job for a new upload and returns the upload's version."""
    account.record()
    return account.s3.put_object(Bucket=BUCKET, Key=KEY, Body=body)["VersionId"]


def test_the_page_shows_the_code_of_the_example() -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert code == EXAMPLE.read_text()


def test_the_job_definition_of_the_page_retries_as_the_contract_asks() -> None:
    [definition] = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert json.loads(definition)["retryStrategy"] == RETRY_STRATEGY


def test_the_example_hashes_the_version_that_its_job_is_about(account: Account) -> None:
    body = bytes(3 * 2**20 + 1)
    version = upload(account, body)
    account.s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"a newer upload")

    outcome = account.finish(account.start(S3_VERSION_ID=version))

    digest = hashlib.sha256(body).hexdigest()
    assert outcome.exit_code == 0, outcome.log
    assert account.result("sha256.txt") == ("text/plain; charset=utf-8", f"{digest}\n".encode())
    assert outcome.item["result"] == {
        "sha256": digest,
        "bytes": len(body),
        "prefix": "results/job-1/",
        "files": ["sha256.txt"],
        "runId": "batch-1",
    }


def test_the_example_refuses_an_empty_upload_for_good(account: Account) -> None:
    upload(account, b"")
    outcome = account.finish(account.start())
    assert outcome.exit_code == 65
    assert outcome.error == ("EMPTY_FILE", "the file is empty")


def test_a_worker_in_another_language_is_started_as_it_is() -> None:
    [definition] = own_worker(Path("/opt/worker/run")).values()
    assert definition.command == ("/opt/worker/run",)


def test_a_stand_in_knows_the_definitions_that_it_was_started_with(tmp_path: Path) -> None:
    """For other definitions a new one must be started: the old one would refuse the jobs."""
    running = {"own-worker": {"command": ["python", "old.py"]}, "other": {"command": ["other"]}}
    (tmp_path / "config.json").write_text(json.dumps({"definitions": running}))
    assert knows(tmp_path, {"own-worker": JobDefinition(("python", "old.py"))})
    assert not knows(tmp_path, {"own-worker": JobDefinition(("python", "new.py"))})
    assert not knows(tmp_path, {"own-worker": JobDefinition(("python", "old.py")), "new": JobDefinition(("other",))})
