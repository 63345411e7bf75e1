"""Follows jobs for a person: a line for each change."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from switchyard_client import shapes
from switchyard_client.client import AsyncSwitchyard
from switchyard_client.command.session import CANCELLED, COLOURS, FAILED, TIMED_OUT, Session
from switchyard_client.errors import ApiError, JobTimeoutError
from switchyard_client.letters import plain
from switchyard_client.uploads import together

_AT_ONCE: Final = 64
"""Jobs that are followed at once; the next follow when these have ended."""
_ENDS: Final[Mapping[str, int]] = {"FAILED": FAILED, "CANCELLED": CANCELLED}


async def follow_all(
    session: Session,
    api: AsyncSwitchyard,
    jobs: Mapping[str, str],
    *,
    results: Path | None = None,
    seconds: float | None = None,
) -> None:
    """Follow jobs, named by their ids, to their ends; fetch the results of those that completed."""
    began = time.monotonic()

    async def one(job_id: str) -> None:
        shown = ""
        try:
            async for job in api.watch(job_id, seconds=seconds):
                line = standing(job)
                if session.json:
                    session.item(job)
                elif line != shown:
                    text = Text(f"{time.monotonic() - began:8.2f} s  {plain(jobs[job_id], 34):34}  ")
                    text.append(line, style=COLOURS.get(job["status"], ""))
                    session.item(job, text)
                shown = line
                session.ends(_ENDS.get(job["status"], 0))
                if job["status"] == "COMPLETED" and results:
                    folder = results / job["jobId"]
                    fetched = await api.results(job, folder)
                    if not session.json:
                        session.item(job, f"{len(fetched)} result files in {folder}")
        except JobTimeoutError as error:
            session.ends(TIMED_OUT)
            session.warn(str(error))
        except ApiError as error:
            session.ends(1)
            session.warn(f"{job_id}: {error}")

    await together(one, jobs, _AT_ONCE)


def standing(job: shapes.Job) -> str:
    """A job's status and what there is to say about it."""
    said = [plain(str(job["status"]), 40)]
    if job["status"] == "RUNNING" and (percent := job.get("progress", {}).get("percent")):
        said.append(f"{percent:.0f} %")
    more: Mapping[str, Any] = job  # older deployments have no `ahead`
    ahead = more.get("ahead")
    if job["status"] == "WAITING" and ahead is not None:
        said.append(f"{ahead} ahead")
    if reason := job.get("blockedReason"):
        said.append(plain(str(reason), 200))
    if error := job.get("error"):
        said.append(f"{plain(str(error['code']), 100)}: {plain(str(error['message']), 500)}")
    return "  ".join(said)
