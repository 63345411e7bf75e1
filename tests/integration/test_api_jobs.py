"""Jobs over HTTP: submitted once, polled with ETags, listed, and cancelled in any state."""

import uuid
from collections.abc import Iterator

import httpx
import pytest

from local import api
from tests.integration.roads import ECS, Road
from tests.integration.system import Item, System, job_id_of


@pytest.fixture(scope="module")
def road() -> Road:
    return ECS


@pytest.fixture(scope="module")
def http(scene: System) -> Iterator[httpx.Client]:
    with api.client(scene.stack) as client:
        yield client


@pytest.fixture
def submit(http: httpx.Client, system: System) -> "Submit":
    return Submit(http, system)


class Submit:
    """Submits image jobs that do what their plan says."""

    def __init__(self, http: httpx.Client, system: System) -> None:
        self._http = http
        self._system = system

    def body(self, key: str) -> Item:
        return {"imageUrls": [f"s3://{self._system.bucket}/{key}"], "userId": "user-1", "metadata": {"rate": 0.1}}

    def send(self, body: object, **headers: str) -> httpx.Response:
        return self._http.post("/process", json=body, headers=headers)

    def __call__(self, **plan: object) -> tuple[str, str]:
        """An accepted job: its object's key, its id."""
        key = self._system.place(None, **plan)
        answer = self.send(self.body(key))
        assert answer.status_code == 202, answer.text
        return key, answer.json()["jobId"]


def test_a_submitted_job_runs_once_and_is_completed(submit: Submit, http: httpx.Client, system: System) -> None:
    key, job_id = submit(colour="green")

    system.completed(key)

    job = http.get(f"/jobs/{job_id}").json()
    assert (job["jobId"], job["status"], job["kind"], job["imageCount"]) == (
        job_id,
        "COMPLETED",
        "image-processing",
        1,
    )
    assert (job["userId"], job["metadata"]) == ("user-1", {"rate": 0.1})
    assert len(system.runs(key)) == 1


def test_result_files_can_be_fetched_by_the_links_of_the_job(
    submit: Submit, http: httpx.Client, system: System
) -> None:
    key, job_id = submit(colour="green")
    system.completed(key)

    links = http.get(f"/jobs/{job_id}").json()["links"]

    assert httpx.get(links["summary.json"], trust_env=False).json() == {"colour": "green"}


def test_the_same_key_and_body_are_the_same_job(submit: Submit, system: System) -> None:
    key, idempotency_key = system.place(), uuid.uuid4().hex
    headers = {"Idempotency-Key": idempotency_key}

    first, again = (submit.send(submit.body(key), **headers) for _ in range(2))

    assert first.status_code == again.status_code == 202
    assert first.json() == again.json()
    system.completed(key)
    system.drained()
    assert len(system.runs(key)) == 1


def test_the_same_key_with_another_body_is_a_conflict(submit: Submit, system: System) -> None:
    key, idempotency_key = system.place(), uuid.uuid4().hex
    submit.send(submit.body(key), **{"Idempotency-Key": idempotency_key})

    answer = submit.send(submit.body(key) | {"userId": "user-2"}, **{"Idempotency-Key": idempotency_key})

    assert (answer.status_code, answer.json()["error"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    system.completed(key)


def test_a_job_that_cannot_be_queued_is_refused_and_leaves_nothing(submit: Submit, system: System) -> None:
    key = system.place()
    idempotency_key = uuid.uuid4().hex

    with system.variables("SubmitJobFunction", QUEUE_URL=system.stack.resource("TrackQueue")):  # it may not send there
        answer = submit.send(submit.body(key), **{"Idempotency-Key": idempotency_key})

    assert (answer.status_code, answer.json()["error"]) == (503, "UNAVAILABLE")
    assert system.job(key) is None


def test_a_poll_that_has_seen_this_state_is_answered_without_it(
    submit: Submit, http: httpx.Client, system: System
) -> None:
    key, job_id = submit(gate=True)
    system.wait_for(key, "RUNNING")
    seen = http.get(f"/jobs/{job_id}")

    # A heartbeat may come between the two.
    again = http.get(f"/jobs/{job_id}", headers={"If-None-Match": seen.headers["etag"]})

    assert again.status_code == 304 or again.headers["etag"] != seen.headers["etag"]
    assert bool(again.content) == (again.status_code == 200)


def test_a_job_that_nobody_knows_is_not_found(http: httpx.Client) -> None:
    answer = http.get("/jobs/nobody-knows-it")

    assert (answer.status_code, answer.json()["error"]) == (404, "NOT_FOUND")
    assert answer.json()["requestId"]


def test_jobs_are_listed_newest_first_page_by_page(submit: Submit, http: httpx.Client, system: System) -> None:
    user = uuid.uuid4().hex
    keys = [system.place() for _ in range(5)]
    ids = [submit.send(submit.body(key) | {"userId": user}).json()["jobId"] for key in keys]
    system.completed(*keys)

    listed, query = [], {"userId": user, "limit": "2"}
    while True:
        page = http.get("/jobs", params=query).json()
        listed += [job["jobId"] for job in page["jobs"]]
        if "nextToken" not in page:
            break
        query["nextToken"] = page["nextToken"]

    assert listed == ids[::-1]


# ---- cancel --------------------------------------------------------------------------------------------------


def test_a_running_job_is_stopped_and_then_cancelled(submit: Submit, http: httpx.Client, system: System) -> None:
    key, job_id = submit(gate=True)
    system.wait_for(key, "RUNNING")

    answer = http.delete(f"/jobs/{job_id}")

    assert (answer.status_code, answer.json()["cancelRequested"]) == (202, True)
    system.wait_for(key, "CANCELLED")
    assert not system.lane().holders
    assert http.get(f"/jobs/{job_id}").json()["status"] == "CANCELLED"


def test_a_waiting_job_is_cancelled_at_once_and_never_runs(submit: Submit, http: httpx.Client, system: System) -> None:
    first, _ = submit(gate=True)
    system.wait_for(first, "RUNNING")
    second, job_id = submit()
    system.until(lambda: system.lane().waiting == 1, "the second to wait")

    answer = http.delete(f"/jobs/{job_id}")

    assert (answer.status_code, answer.json()["status"]) == (200, "CANCELLED")
    assert system.lane().waiting == 0
    system.release(first)
    system.completed(first)
    assert not system.runs(second)


def test_the_slot_of_a_cancelled_job_goes_to_the_next(submit: Submit, http: httpx.Client, system: System) -> None:
    first, job_id = submit(gate=True)
    system.wait_for(first, "RUNNING")
    second, _ = submit()
    system.until(lambda: system.lane().waiting == 1, "the second to wait")

    http.delete(f"/jobs/{job_id}")

    system.completed(second)


def test_a_job_that_has_ended_cannot_be_cancelled(submit: Submit, http: httpx.Client, system: System) -> None:
    key, job_id = submit()
    system.completed(key)

    answer = http.delete(f"/jobs/{job_id}")

    assert (answer.status_code, answer.json()["error"]) == (409, "ALREADY_ENDED")


def test_a_video_job_is_cancelled_likewise(http: httpx.Client, system: System) -> None:
    video = System(system.stack, *system.folders)
    key = video.upload(gate=True)
    job = video.wait_for(key, "RUNNING")

    answer = http.delete(f"/jobs/{job['jobId']}")

    assert answer.status_code == 202
    video.wait_for(key, "CANCELLED")
    assert not video.lane().holders


def test_a_cancel_whose_stop_was_lost_is_seen_through_by_the_reconciler(
    submit: Submit, http: httpx.Client, system: System
) -> None:
    key, job_id = submit(gate=True)
    system.wait_for(key, "RUNNING")
    system.fault("StopTask", "error500", times=4)
    http.delete(f"/jobs/{job_id}")

    system.invoke("ReconcileJobsFunction")

    system.wait_for(key, "CANCELLED")


def test_a_job_cancelled_before_its_worker_has_begun_does_no_work(
    submit: Submit, http: httpx.Client, system: System
) -> None:
    key = system.place()
    job_id = job_id_of(key)
    with system.booting(key):
        system.send(system.message(key))
        system.wait_for(key, "SUBMITTED", "RUNNING")
        http.delete(f"/jobs/{job_id}")

    system.wait_for(key, "CANCELLED")
    assert not system.runs(key)
