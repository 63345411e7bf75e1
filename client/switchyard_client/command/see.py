"""Commands that show jobs and what they made."""

import asyncio
import itertools
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from switchyard_client.command.following import follow_all, standing
from switchyard_client.command.session import COLOURS, FAILED, Session, command, given_ids
from switchyard_client.following import ENDED
from switchyard_client.letters import plain

STATUSES: Final = ("PENDING", "WAITING", "CLAIMED", "SUBMITTED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LOG_EVERY: Final = 2.0
"""Seconds between two looks for new lines."""


def moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """An option that is a time in RFC 3339, or how long ago: 30m, 12h, 7d."""
    if value is None:
        return None
    if found := re.fullmatch(r"(\d{1,6})([smhdw])", value):
        then = datetime.now(UTC) - timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    else:
        try:
            then = datetime.fromisoformat(value)
        except ValueError:
            raise click.BadParameter(
                f"{value!r} is neither a time (2026-11-22T18:00:00Z) nor an age (30m, 12h, 7d)"
            ) from None
    return then.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@command()
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice(STATUSES, case_sensitive=False), help="May be repeated."
)
@click.option("--kind", help="video-analysis, stream-recording, image-processing, torrent, …")
@click.option("--user", help="Of this userId.")
@click.option("--since", callback=moment, help="Created since: a time, or an age such as 12h or 7d.")
@click.option("--until", callback=moment, help="Created until.")
@click.option("-n", "--limit", default=25, show_default=True, type=click.IntRange(1), help="At most so many.")
@click.option("-a", "--all", "everything", is_flag=True, help="Without limit.")
async def ls(  # noqa: PLR0913 - each argument is an option
    session: Session,
    *,
    statuses: Sequence[str],
    kind: str | None,
    user: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    everything: bool,
) -> None:
    """List jobs, newest first. In a pipe, the id is the first word of a line."""
    async with session.client() as api:
        status = [each.upper() for each in statuses] or None
        found: list[Mapping[str, Any]] = []
        async for job in api.jobs(status=status, kind=kind, user_id=user, from_=since, to=until):
            found.append(job)
            if len(found) >= limit and not everything:
                break
        columns = ("job", "status", "kind", "created", "user")
        session.rows(
            columns,
            (
                (job, (job["jobId"], job["status"], job["kind"], job["createdAt"], job.get("userId", "")))
                for job in found
            ),
        )


@command()
@click.argument("ids", nargs=-1, metavar="JOB…")
async def show(session: Session, ids: Sequence[str]) -> None:
    """Show jobs with all that is known of them."""
    async with session.client() as api:
        for job_id in given_ids(ids):
            job = await api.get_job(job_id)
            if session.json:
                session.item(job)
                continue
            session.out.print(job["jobId"], style="bold", markup=False)
            session.out.print(f"  {standing(job)}", style=COLOURS.get(job["status"], ""), markup=False, soft_wrap=True)
            for name, value in job.items():
                if name not in {"jobId", "status", "error", "links"}:
                    session.out.print(f"  {name:14}  {plain(str(value), 2000)}", markup=False, soft_wrap=True)
            if links := job.get("links"):
                told = ", ".join(plain(name, 60) for name in itertools.islice(links, 10))
                session.out.print(
                    f"  {'results':14}  {told}{' …' if len(links) > 10 else ''}", markup=False, soft_wrap=True
                )


@command()
@click.argument("ids", nargs=-1, metavar="JOB…")
@click.option("--results", type=click.Path(path_type=Path), help="Fetch the results to this folder.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Follow no longer; the jobs go on.")
async def follow(session: Session, ids: Sequence[str], *, results: Path | None, timeout: float | None) -> None:  # noqa: ASYNC109 - an option
    """Follow jobs to their ends. The exit code says how they ended."""
    async with session.client() as api:
        await follow_all(session, api, {each: each for each in given_ids(ids)}, results=results, seconds=timeout)


@command()
@click.argument("job_id", metavar="JOB")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until the job has ended.")
async def logs(session: Session, job_id: str, *, following: bool) -> None:
    """Print what a job's worker has written."""
    async with session.client() as api:
        cursor: str | None = None
        while True:
            ended = not following or (await api.get_job(job_id))["status"] in ENDED
            while True:
                page = await api.get_log(job_id, cursor=cursor)
                for line in page["lines"]:
                    session.item(line, f"{line['time']}  {plain(line['message'], 10_000)}")
                cursor = page.get("cursor") or cursor
                if not page["lines"] or not page.get("cursor"):
                    break
            if ended:  # asked before the lines were read, so that none is missed
                return
            await asyncio.sleep(_LOG_EVERY)


@command()
@click.argument("ids", nargs=-1, metavar="JOB…")
@click.option(
    "--to", "folder", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="A folder."
)
async def results(session: Session, ids: Sequence[str], *, folder: Path) -> None:
    """Fetch jobs' result files, each job's to a folder named by its id."""
    async with session.client() as api:
        for job_id in given_ids(ids):
            job = await api.get_job(job_id)
            fetched = await api.results(job, folder / job["jobId"])
            if not fetched:
                session.ends(1 if job["status"] == "COMPLETED" else FAILED)
                session.warn(f"{job['jobId']} is {job['status']} and has no result files")
            for path in fetched:
                session.item({"jobId": job["jobId"], "file": str(path)}, str(path))


@command()
@click.argument("query")
@click.option("-n", "--limit", default=10, show_default=True, type=click.IntRange(1, 50), help="At most so many hits.")
@click.option("--job", help="In this job's video.")
@click.option("--user", help="In this user's videos.")
@click.option("--kind", help="In jobs of this kind.")
@click.option("--speaker", help="Said by them.")
@click.option("--since", callback=moment, help="In jobs since: a time, or an age such as 7d.")
@click.option("--answer", is_flag=True, help="Let a model answer from the hits.")
async def search(  # noqa: PLR0913 - each argument is an option
    session: Session,
    query: str,
    *,
    limit: int,
    job: str | None,
    user: str | None,
    kind: str | None,
    speaker: str | None,
    since: str | None,
    answer: bool,
) -> None:
    """Find the moments of videos that answer a question."""
    async with session.client() as api:
        found = await api.search_videos(
            query, limit=limit, job_id=job, user_id=user, kind=kind, speaker=speaker, from_=since, answer=answer or None
        )
        if answer and not session.json:
            told = found["answer"]["text"] if "answer" in found else f"no answer: {found.get('noAnswer', 'unknown')}"
            session.out.print(plain(told, 10_000), markup=False)
        rows = (
            (hit, (hit["jobId"], _clock(hit["at"]), hit.get("speaker", ""), f"{hit['score']:.2f}", hit["text"]))
            for hit in found["hits"]
        )
        session.rows(("job", "at", "speaker", "score", "text"), rows)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


COMMANDS = (ls, show, follow, logs, results, search)
