"""A table restored from a backup: what repairs itself, what somebody has to do, and what is lost."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final

import jmespath  # type: ignore[import-untyped]

from tests.drills import truth
from tests.drills.lost_events import paused
from tests.drills.lost_runs import at_work
from tests.integration.system import Item, System

KEYS: Final = {"JobsTable": ("jobId",), "LanesTable": ("pk", "sk")}
SUPERSEDED: Final = 77

type Copy = dict[str, list[Item]]
"""What was in each table."""


def play(system: System, say: Callable[[str], None]) -> None:
    """Both tables as they were some time ago; then the lanes' table empty; then the jobs' without the newest jobs."""
    both(system, say)
    lanes(system, say)
    jobs(system, say)


def both(system: System, say: Callable[[str], None]) -> None:
    """What happened since the backup is unknown to the tables, but not to Batch and to S3."""
    system.deploy(MaxConcurrentJobs="2")
    ends, runs = running(system), running(system)
    again, stops = waiting(system, 1), waiting(system, 2)
    copied_at, copy = (
        system.stack.client("s3").head_object(Bucket=system.bucket, Key=stops)["LastModified"],
        read(system),
    )
    say("two jobs run and two wait when the tables are copied")
    finish(system, ends)
    at_work(system, again)
    finish(system, again)
    at_work(system, stops)
    new = waiting(system, 1)
    say("since then one that ran and one that waited have ended, the other that waited runs, and a new one waits")

    with paused(system, "SqsToBatchFunction"):
        write(system, copy)
        assert not system.jobs(new)
        say("paused, and both tables put back: to them two run and two wait, and of the new one they know nothing")
        system.until(lambda: exits(system, stops) == [SUPERSEDED], "the unknown run to stop")
        say("the run that they don't know of stops at its next heartbeat (exit code 77): wait a minute for that")
        system.invoke("ReconcileJobsFunction")
        job = system.wait_for(ends, "COMPLETED")
        assert "result" not in job, "the record should have lost its result"
        prefix = f"results/{job['jobId']}/"
        assert system.stack.client("s3").list_objects_v2(Bucket=system.bucket, Prefix=prefix)["KeyCount"]
        say(f"the reconciler ends what has ended; its result is under {prefix}, but no more in its record")
        system.wait_for(again, "COMPLETED")
        system.wait_for(stops, "RUNNING")
        say("it starts what waited then, so the one that had ended meanwhile has run twice, one after the other")
    resend(system, copied_at)
    system.until(lambda: system.jobs(new), "the new one's job")
    say("what was uploaded since the backup is asked for again, each with its versionId: only the unknown one starts")
    finish(system, runs, stops, new)
    say(truth.compare(system, ends, runs, again, stops, new, worked={again: 2, stops: 2}))


def lanes(system: System, say: Callable[[str], None]) -> None:
    """Slots, places and locks are lost; the jobs' own records tell who had them."""
    system.deploy(MaxConcurrentJobs="1")
    first = running(system)
    second = waiting(system, 1)
    say("now the lanes' table alone is lost, and back empty, while one job runs and one waits for the only slot")
    with paused(system, "SqsToBatchFunction"), system.variables("ReconcileJobsFunction", CLAIM_GRACE_SECONDS="1"):
        write(system, {"LanesTable": []})
        system.until(lambda: reconciled(system) == 1, "the waiting job to have its place again")
    assert system.lane().holders == {(system.job(first) or {})["jobId"]}
    assert not system.runs(second), "the limit was passed"
    say("the reconciler gives the one its slot and the other its place back, and starts nobody: the limit holds")
    finish(system, first, second)
    say(truth.compare(system, first, second))


def jobs(system: System, say: Callable[[str], None]) -> None:
    """Jobs are lost; the lanes still know that they were there."""
    first = running(system)
    uploaded_at = system.stack.client("s3").head_object(Bucket=system.bucket, Key=first)["LastModified"]
    second = waiting(system, 1)
    say("now the jobs' table alone is put back to before one job that runs and one that waits")
    with paused(system, "SqsToBatchFunction"):
        run = (system.job(first) or {})["targetId"]
        lost = {(system.job(key) or {})["jobId"] for key in (first, second)}
        write(system, {"JobsTable": [item for item in read(system)["JobsTable"] if item["jobId"]["S"] not in lost]})
        stopped = lambda: system.stack.client("batch").describe_jobs(jobs=[run])["jobs"][0]["status"] == "FAILED"  # noqa: E731
        system.until(stopped, "the unknown run to stop")
        system.invoke("ReconcileJobsFunction")
        system.wait_for(second, "RUNNING")
        say("the run stops; the reconciler frees its slot, and starts who waited: the room has kept the request")
    assert not system.jobs(first)
    resend(system, uploaded_at)
    system.until(lambda: system.jobs(first), "the lost job to be back")
    say("the one that ran is asked for again, as above")
    finish(system, second, first)
    say(truth.compare(system, first, second, worked={first: 2}))


# ---- the hands -------------------------------------------------------------------------------------------------------


def running(system: System) -> str:
    """Upload what runs until it is let go on."""
    key = system.upload(gate=True)
    at_work(system, key)
    return key


def waiting(system: System, count: int) -> str:
    """Upload what waits, as the last of so many."""
    key = system.upload(gate=True)
    system.until(lambda: system.lane().waiting == count, f"{count} to wait")
    return key


def finish(system: System, *keys: str) -> None:
    """Let jobs go on to their ends."""
    for key in keys:
        system.release(key)
    system.completed(*keys)


def reconciled(system: System) -> int:
    """Run the reconciler; how many wait then."""
    system.invoke("ReconcileJobsFunction")
    return system.lane().waiting


def exits(system: System, key: str) -> list[int | None]:
    """The exit codes of all runs of an object's job."""
    return [start.exit_code for job in system.jobs(key) for start in system.starts(job["jobId"])]


def read(system: System, tables: Collection[str] = tuple(KEYS)) -> Copy:
    """Every item of the tables: what a backup holds."""
    pages = system.stack.client("dynamodb").get_paginator("scan")
    return {
        table: [
            item
            for page in pages.paginate(TableName=system.stack.resource(table), ConsistentRead=True)
            for item in page["Items"]
        ]
        for table in tables
    }


def write(system: System, copy: Copy) -> None:
    """Let the tables hold this and nothing else, as after a restore under the old name.

    What is there before and after is never away: a run whose heartbeat finds no job takes itself for superseded.
    """
    dynamodb = system.stack.client("dynamodb")
    for table, items in copy.items():
        name, key = system.stack.resource(table), KEYS[table]
        for item in items:
            dynamodb.put_item(TableName=name, Item=item)
        kept = [{attribute: item[attribute] for attribute in key} for item in items]
        for item in read(system, [table])[table]:
            if (its := {attribute: item[attribute] for attribute in key}) not in kept:
                dynamodb.delete_item(TableName=name, Key=its)


def resend(system: System, since: datetime) -> None:
    """Ask for everything that was uploaded since then, as the runbook does, by its very expression."""
    listed = system.stack.client("s3").list_object_versions(Bucket=system.bucket, Prefix="uploads/")["Versions"]
    shown = [{**version, "LastModified": version["LastModified"].isoformat()} for version in listed]  # as the AWS CLI
    expression = (
        f"Versions[?IsLatest && LastModified >= '{since.isoformat()}']"
        f".to_string({{bucket: '{system.bucket}', key: Key, versionId: VersionId}})"
    )
    for body in jmespath.search(expression, {"Versions": shown}):
        system.send(body)
