"""Drill: a table is restored from a backup; some damage repairs itself, some needs an operator, some is lost."""

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
"""Each table's items."""


def play(system: System, say: Callable[[str], None]) -> None:
    """Restores both tables from a backup; then empties LanesTable; then removes the newest jobs from JobsTable."""
    both(system, say)
    lanes(system, say)
    jobs(system, say)


def both(system: System, say: Callable[[str], None]) -> None:
    """Restores both tables: they lack the latest changes, but Batch and S3 have them."""
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
    say("since then a running and a waiting one have ended, the other waiting one runs, and a new one waits")

    with paused(system, "SqsToBatchFunction"):
        write(system, copy)
        assert not system.jobs(new)
        say("work is paused and both tables are restored: in them two run and two wait, and the new one is missing")
        system.until(lambda: exits(system, stops) == [SUPERSEDED], "the unknown run to stop")
        say("the run missing in the tables stops at its next heartbeat (exit code 77): wait a minute for that")
        system.invoke("ReconcileJobsFunction")
        job = system.wait_for(ends, "COMPLETED")
        assert "result" not in job, "the record should lack its result"
        prefix = f"results/{job['jobId']}/"
        assert system.stack.client("s3").list_objects_v2(Bucket=system.bucket, Prefix=prefix)["KeyCount"]
        say(f"the reconciler records the ended one; its result is under {prefix}, but no longer in its record")
        system.wait_for(again, "COMPLETED")
        system.wait_for(stops, "RUNNING")
        say("it starts the jobs that waited at the backup, so the one that had ended since ran twice, in sequence")
    resend(system, copied_at)
    system.until(lambda: system.jobs(new), "the new one's job")
    say("all uploads since the backup are sent again, each with its versionId: only the missing one starts")
    finish(system, runs, stops, new)
    say(truth.compare(system, ends, runs, again, stops, new, worked={again: 2, stops: 2}))


def lanes(system: System, say: Callable[[str], None]) -> None:
    """Empties LanesTable: slots, places and locks are lost, but the jobs' records show who had them."""
    system.deploy(MaxConcurrentJobs="1")
    first = running(system)
    second = waiting(system, 1)
    say("now only LanesTable is lost and recreated empty, while one job runs and one waits for the only slot")
    with paused(system, "SqsToBatchFunction"), system.variables("ReconcileJobsFunction", CLAIM_GRACE_SECONDS="1"):
        write(system, {"LanesTable": []})
        system.until(lambda: reconciled(system) == 1, "the waiting job to have its place again")
    assert system.lane().holders == {(system.job(first) or {})["jobId"]}
    assert not system.runs(second), "the limit was exceeded"
    say("the reconciler restores the one's slot and the other's place, and starts neither: the limit holds")
    finish(system, first, second)
    say(truth.compare(system, first, second))


def jobs(system: System, say: Callable[[str], None]) -> None:
    """Removes jobs that LanesTable still knows."""
    first = running(system)
    uploaded_at = system.stack.client("s3").head_object(Bucket=system.bucket, Key=first)["LastModified"]
    second = waiting(system, 1)
    say("now only JobsTable is restored, from before one running and one waiting job")
    with paused(system, "SqsToBatchFunction"):
        run = (system.job(first) or {})["targetId"]
        lost = {(system.job(key) or {})["jobId"] for key in (first, second)}
        write(system, {"JobsTable": [item for item in read(system)["JobsTable"] if item["jobId"]["S"] not in lost]})
        stopped = lambda: system.stack.client("batch").describe_jobs(jobs=[run])["jobs"][0]["status"] == "FAILED"  # noqa: E731
        system.until(stopped, "the unknown run to stop")
        system.invoke("ReconcileJobsFunction")
        system.wait_for(second, "RUNNING")
        say("the run stops; the reconciler frees its slot and starts the waiting job: the room kept its request")
    assert not system.jobs(first)
    resend(system, uploaded_at)
    system.until(lambda: system.jobs(first), "the lost job to be back")
    say("the lost running job is sent again, as above")
    finish(system, second, first)
    say(truth.compare(system, first, second, worked={first: 2}))


# ---- helpers ---------------------------------------------------------------------------------------------------------


def running(system: System) -> str:
    """Uploads a video whose job runs until it is released, and returns its key."""
    key = system.upload(gate=True)
    at_work(system, key)
    return key


def waiting(system: System, count: int) -> str:
    """Uploads a video whose job waits, as number `count` in line, and returns its key."""
    key = system.upload(gate=True)
    system.until(lambda: system.lane().waiting == count, f"{count} to wait")
    return key


def finish(system: System, *keys: str) -> None:
    """Releases jobs and waits until they end."""
    for key in keys:
        system.release(key)
    system.completed(*keys)


def reconciled(system: System) -> int:
    """Runs the reconciler and returns how many jobs wait then."""
    system.invoke("ReconcileJobsFunction")
    return system.lane().waiting


def exits(system: System, key: str) -> list[int | None]:
    """Returns the exit codes of all runs of an object's job."""
    return [start.exit_code for job in system.jobs(key) for start in system.starts(job["jobId"])]


def read(system: System, tables: Collection[str] = tuple(KEYS)) -> Copy:
    """Reads every item of the tables, like a backup."""
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
    """Makes the tables hold exactly these items, as after a restore under the old name.

    Items in both are never missing in between: a run whose heartbeat finds no job considers itself superseded.
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
    """Sends messages for all uploads since then, with the runbook's own expression."""
    listed = system.stack.client("s3").list_object_versions(Bucket=system.bucket, Prefix="uploads/")["Versions"]
    shown = [{**version, "LastModified": version["LastModified"].isoformat()} for version in listed]  # like the AWS CLI
    expression = (
        f"Versions[?IsLatest && LastModified >= '{since.isoformat()}']"
        f".to_string({{bucket: '{system.bucket}', key: Key, versionId: VersionId}})"
    )
    for body in jmespath.search(expression, {"Versions": shown}):
        system.send(body)
