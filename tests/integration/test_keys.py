"""A job gets its object's exact key, for every key that S3 allows."""

import uuid

import pytest

from tests.integration.system import Item, System, environment

NAMES = {
    "spaces": "my holiday  film.mp4",
    "plus": "1+1=2.mp4",
    "percent": "100% & 50%25.mp4",
    "quotes": 'it\'s a "quote" `here`.mp4',
    "emoji": "🎬 été 東京.mp4",
    "shell": "$(id);|<>*?[a]{b}~!#\\.mp4",
    "1,000 bytes": "",  # filled up below
}


@pytest.fixture(scope="module")
def keys(scene: System) -> dict[str, str]:
    """Uploads every name as a key; the jobs may still be running."""
    folder = f"uploads/{uuid.uuid4()}/"
    long = "🎬" * ((1000 - len(folder) - 4) // 4)
    keys = {
        what: folder + (name or f"{long.ljust(len(long) + (1000 - len(folder) - 4) % 4, 'x')}.mp4")
        for what, name in NAMES.items()
    }
    for key in keys.values():
        scene.upload(key)
    return keys


@pytest.fixture(params=NAMES)
def key(keys: dict[str, str], request: pytest.FixtureRequest) -> str:
    return keys[request.param]


@pytest.fixture
def job(scene: System, key: str) -> Item:
    [job] = scene.completed(key, seconds=120)
    return job


def test_the_worker_is_given_the_key_as_it_was_uploaded(scene: System, key: str, job: Item) -> None:
    [submission] = scene.submissions(job["jobId"])

    assert environment(submission)["S3_KEY"] == key


def test_the_worker_runs_once_with_that_key(scene: System, key: str, job: Item) -> None:
    assert [run.job_id for run in scene.runs(key)] == [job["jobId"]]


def test_the_longest_key_is_as_long_as_it_says(keys: dict[str, str]) -> None:
    assert len(keys["1,000 bytes"].encode()) == 1000
