"""Batch tries again what its job definition says; Switchyard sees one run with several attempts."""

from tests.integration.system import System


def test_a_worker_that_asks_to_be_tried_again_is_and_completes(system: System) -> None:
    key = system.upload(again=2)

    [job] = system.completed(key)

    assert job["attempts"] == 3
    assert [run.attempt for run in system.runs(key)] == [1, 2, 3]
    assert "error" not in job


def test_a_worker_that_asks_again_too_often_has_failed_with_its_own_reason(system: System) -> None:
    key = system.upload(again=3)

    job = system.wait_for(key, "FAILED")

    assert job["error"] == {"code": "AS_PLANNED", "message": "as the plan says"}
    assert job["attempts"] == 3


def test_a_worker_that_crashes_is_tried_again(system: System) -> None:
    key = system.upload(exit=137)

    job = system.wait_for(key, "FAILED")

    assert job["attempts"] == 3
