"""An upload is processed once, in whatever form it is announced. Other work on the same object is done too."""

from tests.integration.system import Item, System, environment


def test_a_new_upload_to_the_same_key_runs_again(system: System) -> None:
    key = system.upload(colour="old")
    [first] = system.completed(key)

    system.upload(key, colour="new")

    second = system.until(lambda: _completed_under(system, key, fence=2), "a second run")
    assert second["jobId"] == first["jobId"]
    assert second["result"]["obeyed"] == {"colour": "new"}


def test_word_of_an_older_upload_that_comes_late_runs_nothing(system: System) -> None:
    key = system.place(colour="old")
    old = system.notification(key)
    system.place(key, colour="new")
    system.send(system.notification(key))
    [before] = system.completed(key)

    system.send(old)
    system.drained()

    assert system.job(key) == before


def test_a_new_upload_waits_until_the_run_of_the_old_one_has_ended(system: System) -> None:
    system.deploy(MaxConcurrentJobs="2")  # so that it isn't for lack of a slot
    key = system.upload(gate=True)
    system.wait_for(key, "RUNNING")

    system.upload(key, colour="new")
    system.until(lambda: system.lane().waiting == 1, "the new upload to wait")
    system.release(key)
    job = system.until(lambda: _completed_under(system, key, fence=2), "a second run")

    assert system.most_at_once(key) == 1
    assert job["result"]["obeyed"] == {"colour": "new"}


def test_each_run_reads_the_version_that_it_was_made_for(system: System) -> None:
    key = system.upload(gate=True, colour="old")
    first = system.wait_for(key, "SUBMITTED", "RUNNING")
    system.upload(key, colour="new")
    system.until(lambda: system.lane().waiting == 1, "the new upload to wait")
    system.release(key)
    second = system.until(lambda: _completed_under(system, key, fence=2), "a second run")

    runs = {run["jobId"]: environment(run) for run in system.submissions(first["jobId"])}

    assert runs[first["targetId"]]["S3_VERSION_ID"] == first["source"]["versionId"]
    assert runs[second["targetId"]]["S3_VERSION_ID"] == second["source"]["versionId"]
    assert first["source"]["versionId"] != second["source"]["versionId"]


def test_an_upload_told_by_s3_and_by_the_backend_under_another_id_runs_once(system: System) -> None:
    key = system.upload(gate=True)
    system.wait_for(key, "RUNNING")

    system.send(
        {"eventType": "video-uploaded", "video": {"id": "another"}, "s3": {"bucket": system.bucket, "key": key}}
    )
    system.drained()
    system.release(key)

    [job] = system.completed(key)
    assert len(system.submissions(job["jobId"])) == len(system.runs(key)) == 1


def _completed_under(system: System, key: str, fence: int) -> Item | None:
    job = system.job(key)
    return job if job and (job["status"], job["fence"]) == ("COMPLETED", fence) else None
