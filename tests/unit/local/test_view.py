"""The command line reads jobs of every kind, and lanes."""

import json
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer

from local.view import LANES, _job, cluster_of
from switchyard.messages import kinds
from tests.template.rendering import TEMPLATE, load

TASK = "arn:aws:ecs:us-east-1:000000000000:task/switchyard-local/0123"


def item(given: dict[str, Any], key: str = "") -> dict[str, Any]:
    """Returns an item of JobsTable as DynamoDB does."""
    values = {
        "jobId": "a",
        "kind": "image-processing",
        "lane": "images",
        "status": "PENDING",
        "createdAt": "2026-11-22T12:00:00.000Z",
        "source": {"bucket": "media", "key": key},
        "request": json.dumps({"input": given, "sent_at": "2026-11-22T11:59:59.000Z"}),
    }
    return {name: TypeSerializer().serialize(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("given", "key", "name"),
    [
        ({}, "uploads/a/b.mp4", "b.mp4"),
        ({"url": "https://example.com/live/a.m3u8?token=secret"}, "", "example.com/live/a.m3u8"),
        ({"url": "https://name:secret@example.com/live"}, "", "example.com/live"),
        ({"imageUrls": ["s3://media/a.jpg"]}, "", "1 image"),
        ({"imageUrls": ["s3://media/a.jpg", "s3://media/b.jpg"]}, "", "2 images"),
        ({"torrentKey": "watch/a/b.torrent"}, "", "b.torrent"),
        ({}, "", "a"),
    ],
)
def test_a_job_is_called_by_what_it_is_about(given: dict[str, Any], key: str, name: str) -> None:
    assert _job(item(given, key)).name == name


def test_a_job_tells_its_kind_and_lane() -> None:
    job = _job(item({}))
    assert (job.kind, job.lane) == ("image-processing", "images")


@pytest.mark.parametrize(("target_id", "cluster"), [(TASK, "switchyard-local"), ("0123-4567", None)])
def test_an_ecs_task_is_told_from_a_batch_job(target_id: str, cluster: str | None) -> None:
    assert cluster_of(target_id) == cluster


def test_every_lane_is_shown() -> None:
    assert LANES.keys() == kinds.LANES.keys()


def test_limits_are_the_templates() -> None:
    parameters = load(TEMPLATE).written["Parameters"]
    assert dict(LANES.values()) == {name: str(parameters[name]["Default"]) for name, _ in LANES.values()}
