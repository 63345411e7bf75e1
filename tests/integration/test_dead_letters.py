"""A message that fails to its last delivery goes to the dead-letter queue, from where it can be sent again."""

from collections.abc import Iterator

import pytest

from tests.integration.system import Item, System


@pytest.fixture(scope="module", autouse=True)
def one_try(scene: System) -> Iterator[None]:
    """Dead-letters a message at its first failure."""
    with (
        scene.variables("SqsToBatchFunction", MAX_RECEIVE_COUNT="1"),
        scene.variables("TrackJobFunction", MAX_RECEIVE_COUNT="1"),
    ):
        yield


@pytest.fixture
def given_up(system: System) -> Item:
    """Returns a job that Batch refused at every delivery of its message."""
    system.fault("SubmitJob", "refuse")
    key = system.upload()
    job = system.wait_for(key, "FAILED")
    system.no_more_faults()
    return job


def test_a_message_refused_to_the_end_is_dead_lettered_with_the_reason(system: System, given_up: Item) -> None:
    [dead] = system.until(lambda: system.messages() or None, "a dead letter")

    assert dead["attributes"]["ErrorType"] == "START_REFUSED"
    assert "refused by an injected fault" in dead["attributes"]["ErrorMessage"]


def test_a_job_refused_to_the_end_has_failed_and_says_that_it_never_ran(system: System, given_up: Item) -> None:
    assert given_up["error"]["code"] == "START_REFUSED"
    assert given_up["neverStarted"] is True
    assert not system.lane().holders


def test_a_redriven_message_runs_its_job_once_under_the_same_id(system: System, given_up: Item) -> None:
    [dead] = system.until(lambda: system.messages() or None, "a dead letter")

    system.send(dead["body"])

    key = given_up["source"]["key"]
    job = system.until(lambda: _completed(system, key), "the redriven job to end")
    assert job["jobId"] == given_up["jobId"]
    assert len(system.runs(key)) == 1


def test_a_waiting_job_refused_to_the_end_gets_a_message_that_can_be_redriven(system: System) -> None:
    first, second = system.upload(gate=True), system.key()
    system.wait_for(first, "RUNNING")
    system.upload(second)
    system.until(lambda: system.lane().waiting == 1, "the second to wait")
    system.fault("SubmitJob", "refuse")
    system.release(first)
    system.wait_for(second, "FAILED")
    system.no_more_faults()
    [dead] = system.until(lambda: system.messages() or None, "a dead letter")

    system.send(dead["body"])

    system.until(lambda: _completed(system, second), "the redriven job to end")
    assert len(system.runs(second)) == 1


def _completed(system: System, key: str) -> Item | None:
    job = system.job(key)
    return job if job and job["status"] == "COMPLETED" else None
