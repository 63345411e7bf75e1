"""Batch says no, once or always: the claim is taken back, nothing is held up, and what is given up can be redriven."""

from collections.abc import Iterator

import pytest

from tests.integration.system import Item, System, environment


def test_a_throttled_submission_is_made_again_and_makes_one_job(system: System) -> None:
    system.fault("SubmitJob", "throttle", times=1)

    key = system.upload()

    [job] = system.completed(key)
    assert len(system.submissions(job["jobId"])) == len(system.runs(key)) == 1


def test_a_refused_claim_is_taken_back_until_the_message_returns(system: System) -> None:
    system.fault("SubmitJob", "refuse", times=1)

    key = system.upload()

    job = system.wait_for(key, "PENDING")
    assert job["error"]["code"] == "START_REFUSED"
    assert not system.lane().holders
    [job] = system.completed(key)
    assert [environment(run)["FENCE"] for run in system.submissions(job["jobId"])] == ["2"]


def test_a_refused_job_leaves_its_slot_to_others(system: System) -> None:
    refused = system.place()
    system.fault("SubmitJob", "refuse", times=1, jobName="video-process-refused")
    system.send({"bucket": system.bucket, "key": refused, "video_id": "refused"})
    system.wait_for(refused, "PENDING")

    key = system.upload(gate=True)

    system.wait_for(key, "RUNNING")


@pytest.fixture
def one_try(system: System) -> Iterator[System]:
    """A message is given up at its first failure."""
    with (
        system.variables("SqsToBatchFunction", MAX_RECEIVE_COUNT="1"),
        system.variables("TrackJobFunction", MAX_RECEIVE_COUNT="1"),
    ):
        yield system


@pytest.fixture
def given_up(one_try: System) -> Item:
    """A job that Batch has refused as often as its message was delivered."""
    one_try.fault("SubmitJob", "refuse")
    key = one_try.upload()
    job = one_try.wait_for(key, "FAILED")
    one_try.no_more_faults()
    return job


def test_a_message_refused_to_the_end_is_dead_lettered_with_the_reason(one_try: System, given_up: Item) -> None:
    [dead] = one_try.until(lambda: one_try.messages() or None, "a dead letter")

    assert dead["attributes"]["ErrorType"] == "START_REFUSED"
    assert "refused, as a test asked for" in dead["attributes"]["ErrorMessage"]


def test_a_job_refused_to_the_end_has_failed_and_says_that_it_never_ran(one_try: System, given_up: Item) -> None:
    assert given_up["error"]["code"] == "START_REFUSED"
    assert given_up["neverStarted"] is True
    assert not one_try.lane().holders


def test_a_redriven_message_runs_its_job_once_under_the_same_id(one_try: System, given_up: Item) -> None:
    [dead] = one_try.until(lambda: one_try.messages() or None, "a dead letter")

    one_try.send(dead["body"])

    key = given_up["source"]["key"]
    job = one_try.until(lambda: _completed(one_try, key), "the redriven job to end")
    assert job["jobId"] == given_up["jobId"]
    assert len(one_try.runs(key)) == 1


def test_a_waiting_job_refused_to_the_end_gets_a_message_that_can_be_redriven(one_try: System) -> None:
    first, second = one_try.upload(gate=True), one_try.key()
    one_try.wait_for(first, "RUNNING")
    one_try.upload(second)
    one_try.until(lambda: one_try.lane().waiting == 1, "the second to wait")
    one_try.fault("SubmitJob", "refuse")
    one_try.release(first)
    one_try.wait_for(second, "FAILED")
    one_try.no_more_faults()
    [dead] = one_try.until(lambda: one_try.messages() or None, "a dead letter")

    one_try.send(dead["body"])

    one_try.until(lambda: _completed(one_try, second), "the redriven job to end")
    assert len(one_try.runs(second)) == 1


def _completed(system: System, key: str) -> Item | None:
    job = system.job(key)
    return job if job and job["status"] == "COMPLETED" else None
