"""The shortest path through the whole deployed system."""

import json

from local.functions import BUILD
from tests.integration.system import System
from tools.functions import FUNCTIONS

LAMBDA_BYTES = 250 * 2**20
"""A function's code and its layers, unzipped: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


def test_an_upload_becomes_one_completed_job(system: System) -> None:
    key = system.upload(seconds=0.1)

    [job] = system.completed(key)

    assert job["source"]["key"] == key
    assert job["result"]["files"] == ["summary.json"]
    assert len(system.submissions(job["jobId"])) == 1
    assert len(system.runs(key)) == 1
    assert job["createdAt"] <= job["claimedAt"] <= job["startedAt"] <= job["endedAt"]


def test_results_are_where_the_job_says(system: System) -> None:
    [job] = system.completed(system.upload(colour="green"))

    found = system.stack.client("s3").get_object(Bucket=system.bucket, Key=job["result"]["prefix"] + "summary.json")

    assert json.load(found["Body"]) == {"colour": "green"}


def test_a_lane_is_free_again_after_its_job(system: System) -> None:
    key = system.upload(gate=True)
    job = system.wait_for(key, "RUNNING")
    assert system.lane().holders == {job["jobId"]}

    system.release(key)
    system.completed(key)

    assert not system.lane().holders


def test_a_permanent_failure_is_told_and_not_retried(system: System) -> None:
    key = system.upload(permanent="NOT_A_VIDEO")

    job = system.wait_for(key, "FAILED")

    assert job["error"]["code"] == "NOT_A_VIDEO"
    assert len(system.runs(key)) == 1


def test_every_function_fits_with_all_layers(system: System) -> None:
    """As built for this system, which is what `sam deploy` uploads."""

    def size(logical_id: str) -> int:
        return sum(path.stat().st_size for path in (BUILD / logical_id).rglob("*") if path.is_file())

    layers = size("SwitchyardLayer") + size("EmbeddingLayer")
    assert layers > 10 * 2**20
    assert all(layers + size(each.logical_id) <= LAMBDA_BYTES for each in FUNCTIONS.values())
