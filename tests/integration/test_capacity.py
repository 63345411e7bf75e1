"""However many messages arrive, no more jobs run than the lane has slots. The others wait, and none is lost."""

import itertools
import json
import statistics
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.integration.roads import BATCH, OVER_BOTH, Road
from tests.integration.system import Item, Span, System

pytestmark = OVER_BOTH

JOBS = 10


@dataclass(frozen=True)
class Course:
    """The course of ten jobs requested at once, while the lane had one slot.

    Attributes:
        jobs: The final jobs, by job id.
        attempts: The target's attempts in order: job id, begin and end in epoch seconds.
        runs: The workers' own records of runs, in order.
        holders: The most slots seen in use at the same time.
        tracked: Ids of the jobs that track_job started.
        dead: Messages in the dead-letter queue.
    """

    jobs: Mapping[str, Item]
    attempts: list[tuple[str, float, float]]
    runs: list[Span]
    holders: int
    tracked: set[str]
    dead: list[Item]


@pytest.fixture(scope="module")
def course(scene: System) -> Course:
    with ThreadPoolExecutor(JOBS) as senders:
        keys = list(senders.map(lambda _: scene.upload(gate=True, seconds=0.1), range(JOBS)))
    # Each is where it belongs before the first ends, so that the order they are taken in depends on nothing else.
    scene.until(lambda: scene.lane().waiting == JOBS - 1 and scene.runs(*keys), "one to run and nine to wait")
    for key in keys:
        scene.release(key)
    holders = 1

    def all_ended() -> list[Item] | None:
        nonlocal holders
        holders = max(holders, len(scene.lane().holders))
        jobs = scene.jobs(*keys)
        return jobs if all(job["status"] in {"COMPLETED", "FAILED"} for job in jobs) else None

    jobs = {job["jobId"]: job for job in scene.until(all_ended, "all to end", seconds=180)}
    attempts = [
        (job_id, begin, end) for job_id in jobs for start in scene.starts(job_id) for begin, end in start.attempts
    ]
    attempts.sort(key=lambda attempt: attempt[1])
    scene.drained("TrackQueue")  # an invocation's log is there when it is over, and what it started may end before that
    log = scene.log("TrackJobFunction")
    tracked = {line["job_id"] for line in log if line.get("message") == "started" and line["job_id"] in jobs}
    return Course(jobs, attempts, scene.runs(*keys), holders, tracked, scene.messages())


def test_ten_jobs_at_once_all_complete(course: Course) -> None:
    assert [job["status"] for job in course.jobs.values()] == ["COMPLETED"] * JOBS


def test_ten_jobs_at_once_run_once_each(course: Course) -> None:
    assert sorted(run.job_id for run in course.runs) == sorted(course.jobs)
    assert len(course.attempts) == JOBS


def test_one_slot_is_never_held_by_two(course: Course) -> None:
    assert course.holders == 1


def test_one_slot_never_has_two_processes_at_work(course: Course) -> None:
    for (_, _, end), (_, begin, _) in itertools.pairwise(course.attempts):
        assert end <= begin


def test_those_that_wait_run_in_the_order_they_were_sent(course: Course) -> None:
    waited = [job_id for job_id, _, _ in course.attempts[1:]]

    assert waited == sorted(waited, key=lambda job_id: (json.loads(course.jobs[job_id]["request"])["sent_at"], job_id))


def test_waiting_puts_nothing_into_the_dead_letter_queue(course: Course) -> None:
    assert course.dead == []


def test_the_news_of_one_jobs_end_starts_the_next_one(
    course: Course, road: Road, capsys: pytest.CaptureFixture[str]
) -> None:
    pauses = [begin - end for (_, _, end), (_, begin, _) in itertools.pairwise(course.attempts)]
    with capsys.disabled():
        print(  # noqa: T201 - one of the figures that the tests are there to show
            f"\n{road}: pause between one job's end and the next one's start, {len(pauses)} times: "
            f"median {statistics.median(pauses):.2f} s, longest {max(pauses):.2f} s"
        )

    assert course.tracked == {job_id for job_id, _, _ in course.attempts[1:]}


def test_a_raised_limit_is_used_at_the_reconcilers_next_run(system: System) -> None:
    first = system.upload(gate=True)
    system.wait_for(first, "RUNNING")
    second, third = system.upload(gate=True), system.upload(gate=True)
    system.until(lambda: system.lane().waiting == 2, "two to wait")
    system.drained()  # the emulator, unlike Lambda, ends invocations that are under way when settings change

    system.deploy(**{system.road.limit: "2"})
    system.invoke("ReconcileJobsFunction")

    system.until(lambda: len(system.runs(second, third)) == 1, "one more to run")
    assert len(system.lane().holders) == 2


def test_with_at_capacity_return_messages_wait_in_their_queue_and_none_is_lost(system: System) -> None:
    if system.road is not BATCH:
        pytest.skip("it takes a deployment, and the road makes no difference to it")
    system.deploy(AtCapacity="return")
    with system.variables("SqsToBatchFunction", FULL_LANE_SECONDS="1"):
        first = system.upload(gate=True)
        system.wait_for(first, "RUNNING")
        second = system.upload()
        system.until(lambda: _returned(system), "the second message to be returned")
        assert system.lane().waiting == 0

        system.release(first)

        system.completed(first, second)
        system.drained()
    assert not system.messages()


def _returned(system: System) -> bool:
    return any(line.get("message") == "message comes back" for line in system.log("SqsToBatchFunction"))


def test_an_entry_whose_job_has_ended_holds_up_nobody(system: System) -> None:
    """A crash leaves such entries, and so does a cancel right after an update that names entries otherwise."""
    first = system.upload(gate=True)
    system.wait_for(first, "RUNNING")
    second = system.upload()
    ended = system.wait_for(second, "WAITING")
    third = system.upload()
    system.wait_for(third, "WAITING")
    system.stack.client("dynamodb").update_item(
        TableName=system.stack.resource("JobsTable"),
        Key={"jobId": {"S": ended["jobId"]}},
        UpdateExpression="SET #status = :ended",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":ended": {"S": "CANCELLED"}},
    )
    system.stack.client("dynamodb").delete_item(
        TableName=system.stack.resource("LanesTable"),
        Key={"pk": {"S": f"OBJECT#{system.bucket}/{second}"}, "sk": {"S": "LOCK"}},
    )

    system.release(first)

    system.completed(third)
    system.drained("TrackQueue")
    assert system.lane().waiting == 0
    assert not system.starts(ended["jobId"])
