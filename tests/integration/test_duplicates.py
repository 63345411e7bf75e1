"""The same work told more than once, in whatever way, is done once. Other work on the same object is done too."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local.environment import ROOT
from tests.integration.system import Item, System, environment

COPIES = 5


def in_one_batch(system: System, body: Item) -> None:
    system.stack.client("sqs").send_message_batch(
        QueueUrl=system.stack.resource("VideoQueue"),
        Entries=[{"Id": str(number), "MessageBody": json.dumps(body)} for number in range(COPIES)],
    )


def side_by_side(system: System, body: Item) -> None:
    with ThreadPoolExecutor(COPIES) as senders:
        list(senders.map(lambda _: system.send(body), range(COPIES)))


@pytest.mark.parametrize("deliver", [in_one_batch, side_by_side])
def test_a_notification_delivered_five_times_at_once_makes_one_job(
    system: System, deliver: Callable[[System, Item], None]
) -> None:
    key = system.place(seconds=0.2)

    deliver(system, system.notification(key))

    [job] = system.completed(key)
    system.drained()
    assert len(system.submissions(job["jobId"])) == 1
    assert len(system.runs(key)) == 1
    assert not system.messages()


def test_a_notification_that_comes_again_after_the_end_runs_nothing(system: System) -> None:
    key = system.place()
    body = system.notification(key)
    system.send(body)
    [before] = system.completed(key)

    system.send(body)
    system.drained()

    assert system.job(key) == before
    assert len(system.runs(key)) == 1


def test_a_plain_message_delivered_again_after_the_end_runs_nothing(system: System) -> None:
    key = system.place()
    again = _delivery({"bucket": system.bucket, "key": key}, system.send({"bucket": system.bucket, "key": key}))
    [before] = system.completed(key)

    answer = system.invoke("SqsToBatchFunction", again)

    assert answer == {"batchItemFailures": []}
    assert system.job(key) == before


def test_a_plain_message_sent_anew_after_the_end_asks_for_another_run(system: System) -> None:
    key = system.place()
    system.send({"bucket": system.bucket, "key": key})
    system.completed(key)

    system.send({"bucket": system.bucket, "key": key})

    system.until(lambda: _completed_under(system, key, fence=2), "a second run")
    assert len(system.runs(key)) == 2


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


def _delivery(body: Item, message_id: str) -> dict[str, Any]:
    """The event of a later delivery of a message, as Lambda's poller makes it."""
    event: dict[str, Any] = json.loads((ROOT / "events" / "sqs_to_batch" / "plain_bucket_key.json").read_text())
    [record] = event["Records"]
    record |= {"messageId": message_id, "body": json.dumps(body)}
    record["attributes"]["ApproximateReceiveCount"] = "2"
    return event
