"""Batch says no, once: the claim is taken back, others are not held up, and the next try makes one job."""

from tests.integration.system import System, environment


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
