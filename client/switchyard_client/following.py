"""Follows a job by polling, as slowly as it moves."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Final

from switchyard_client import shapes
from switchyard_client.api import Api
from switchyard_client.errors import JobTimeoutError, NotFoundError

ENDED: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
FIRST: Final = 0.5
"""Seconds until the second look."""
SLOWEST: Final = 5.0
"""Seconds between looks at a job that doesn't move. Workers write their progress every 10 to 30 s."""


async def watch(api: Api, job_id: str, seconds: float | None, unknown: float) -> AsyncGenerator[shapes.Job, None]:
    """As `Switchyard.watch`."""
    began, seen, pause = time.monotonic(), None, FIRST
    while True:
        waited = time.monotonic() - began
        try:
            job = await api.get_job(job_id)
        except NotFoundError:
            if seen or waited > unknown:
                raise
        else:
            if _told(job) != (seen and _told(seen)):
                pause, seen = FIRST, job
                yield job
            if job["status"] in ENDED:
                return
        if seconds is not None and time.monotonic() - began + pause > seconds:
            status = seen["status"] if seen else "not known yet"
            raise JobTimeoutError(
                f"{job_id} is {status} after {waited:.0f} s; it goes on: `switchyard follow {job_id}`"
            )
        await asyncio.sleep(pause)
        pause = min(SLOWEST, pause * 1.5)


def _told(job: shapes.Job) -> dict[str, object]:
    """The job without its links, which are signed anew each time."""
    return {name: value for name, value in job.items() if name != "links"}
