"""Reads the running system's logs, and copies them before it ends."""

import http.client
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from local import functions
from local.stack import LocalStack, LogLine, NotRunningError
from local.view import Job, View, cluster_of

type Lines = Iterator[list[str]]
"""Endless; each item has the lines since the last one."""

_KEPT = ("emulator.log", "compute.log", "steam.log", "build.log", "deploy.log")


class UnknownLogError(Exception):
    """There is no such log; the message lists the logs."""


def lines(stack: LocalStack, what: str, job_id: str | None = None) -> Lines:
    """The lines of a log.

    Args:
        stack: Must be running.
        what: `functions` for all functions, a function's name, `emulator`, `compute`, `steam` or `job`.
        job_id: With `job`: the job whose worker's output is wanted.

    Raises:
        UnknownLogError: If there is no such log.
        NotRunningError: If the system isn't running, or the job has no run yet.
    """
    if what in {"emulator", "compute", "steam"}:
        return _of_file(stack.logs / f"{what}.log")
    if what == "job":
        return _of_job(stack, job_id)
    deployed = functions.names(stack)
    if not deployed:
        raise NotRunningError("the system isn't running; `make up` starts it")
    if what == "functions":
        return _of_functions(stack, list(deployed.values()))
    logical_id = functions.logical_id(stack, what)
    if logical_id is None:
        known = ", ".join(["functions", *deployed, "emulator", "compute", "steam", "job ID"])
        raise UnknownLogError(f"there is no log {what!r}; the logs are {known}")
    return _of_functions(stack, [logical_id])


def keep(stack: LocalStack) -> Path:
    """Copy the logs of processes, functions and jobs to a folder that the next start keeps; the folder."""
    folder = stack.logs / f"failed-{time.strftime('%Y-%m-%dT%H-%M-%S')}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in _KEPT:
        if (stack.logs / name).exists():
            shutil.copy(stack.logs / name, folder)
    (folder / "functions.log").write_text("\n".join(next(lines(stack, "functions"))) + "\n")
    for job in View(stack).jobs():
        if job.target_id is not None:
            (folder / f"job-{job.id}.log").write_text("\n".join(next(_of_job(stack, job.id))) + "\n")
    return folder


def _of_functions(stack: LocalStack, logical_ids: Sequence[str]) -> Lines:
    named = {logical: name for name, logical in functions.names(stack).items()}
    seen: set[tuple[str, LogLine]] = set()
    while True:
        new = [
            (named[logical], line)
            for logical in logical_ids
            for line in stack.function_log(logical)
            if (named[logical], line) not in seen
        ]
        seen.update(new)
        new.sort(key=lambda entry: entry[1].time)
        yield [f"{name}: {line.text}" if len(logical_ids) > 1 else line.text for name, line in new]


def _of_file(path: Path) -> Lines:
    if not path.exists():
        raise NotRunningError(f"there is no {path}; `make up` starts the system")
    with path.open(errors="replace") as log:
        while True:
            yield log.read().splitlines()


def _of_job(stack: LocalStack, job_id: str | None) -> Lines:
    if not job_id:
        raise UnknownLogError('which job? `make logs ARGS="job ID"`; `make status` lists the newest')
    job = _job(stack, job_id)
    offset = 0
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", stack.compute.port, timeout=10)
        connection.request("GET", f"{_path(job)}?offset={offset}")
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        offset = int(response.headers.get("X-Next-Offset", offset))
        connection.close()
        yield text.splitlines()


def _path(job: Job) -> str:
    """The path by which the stand-in for Batch and ECS serves a worker's output."""
    target_id = job.target_id or ""
    kind = "tasks" if cluster_of(target_id) else "jobs"
    return f"/_compute/{kind}/{quote(target_id.rpartition('/')[2])}/log"


def _job(stack: LocalStack, job_id: str) -> Job:
    for job in View(stack).jobs():
        if job.id == job_id:
            if job.target_id is None:
                raise NotRunningError(f"{job_id} is {job.status} and has no run yet, so no log")
            return job
    raise NotRunningError(f"there is no job {job_id!r}; `make status` lists the newest")
