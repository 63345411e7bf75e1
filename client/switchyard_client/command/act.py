"""Commands that act on jobs, one or thousands."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import click

from switchyard_client.client import AsyncSwitchyard
from switchyard_client.command.session import Session, command, given_ids
from switchyard_client.errors import ApiError
from switchyard_client.uploads import together

BULK: Final = 100
"""Requests that the API takes at once."""
SINGLY: Final = 10
"""Up to so many jobs, each has a request of its own."""


@command()
@click.argument("ids", nargs=-1, metavar="JOB…")
@click.option("--erase", is_flag=True, help="Erase the results of jobs that have ended.")
@click.option("--erase-upload", is_flag=True, help="With --erase: their uploads, too.")
@click.option("--yes", is_flag=True, help="Erase without asking.")
async def cancel(session: Session, ids: Sequence[str], *, erase: bool, erase_upload: bool, yes: bool) -> None:
    """Cancel jobs. Ids come from the arguments or from standard input. A recording keeps what was recorded."""
    if erase_upload and not erase:
        raise click.UsageError("--erase-upload needs --erase")
    found = given_ids(ids)
    if erase and not yes:
        click.confirm(f"Erase the results of {len(found)} jobs for good?", abort=True, err=True)

    async def one(api: AsyncSwitchyard, job_id: str) -> Mapping[str, Any]:
        return await api.cancel_job(job_id, data=erase or None, upload=erase_upload or None)

    await _act(session, found, "cancel", one, bulk=not erase)


@command()
@click.argument("ids", nargs=-1, metavar="JOB…")
async def rerun(session: Session, ids: Sequence[str]) -> None:
    """Do jobs' work again, each as a new job. Ids come from the arguments or from standard input."""

    async def one(api: AsyncSwitchyard, job_id: str) -> Mapping[str, Any]:
        return await api.rerun_job(job_id)

    await _act(session, given_ids(ids), "rerun", one, bulk=True)


async def _act(
    session: Session,
    ids: Sequence[str],
    action: str,
    one: Callable[[AsyncSwitchyard, str], Awaitable[Mapping[str, Any]]],
    *,
    bulk: bool,
) -> None:
    """Act on each job, and report on each. What fails for one leaves the others done."""
    done = 0

    def told(job_id: str, status: int, body: Mapping[str, Any]) -> None:
        nonlocal done
        if status < 400:
            done += 1
            session.item(body, f"{body.get('jobId', job_id)}  {body.get('status', '')}")
        else:
            session.ends(1)
            data = {"jobId": job_id, "error": body.get("error", ""), "message": body.get("message", "")}
            if session.json:
                session.item(data)
            else:
                session.warn(f"{job_id}: {body.get('error', '')} {body.get('message', '')}")

    async with session.client() as api:

        async def single(job_id: str) -> None:
            try:
                told(job_id, 200, await one(api, job_id))
            except ApiError as error:
                told(job_id, error.status, {"error": error.code, "message": str(error)})

        if not bulk or len(ids) <= SINGLY:
            await together(single, ids, 8)
        else:
            for start in range(0, len(ids), BULK):
                some = ids[start : start + BULK]
                answers = await api.bulk_jobs([{"action": action, "jobId": job_id} for job_id in some])
                for job_id, answer in zip(some, answers["responses"], strict=True):
                    told(job_id, answer["status"], answer["body"])
    session.note(f"{action}: {done} of {len(ids)}")


COMMANDS = (cancel, rerun)
