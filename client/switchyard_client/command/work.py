"""Commands that send work."""

import glob
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from switchyard_client import discovery, uploads
from switchyard_client.client import AsyncSwitchyard
from switchyard_client.command.following import follow_all
from switchyard_client.command.session import Session, command
from switchyard_client.errors import InvalidRequestError, SwitchyardError, UploadError
from switchyard_client.uploads import Journal, Uploaded

F = TypeVar("F", bound=Callable[..., Any])

KEPT_SECONDS: Final = 7 * 24 * 3600.0
"""After this, S3 has removed an unfinished upload."""


def followed(function: F) -> F:
    """Options to follow the submitted jobs."""
    for option in (
        click.option("--timeout", type=float, metavar="SECONDS", help="Follow no longer; the jobs go on."),
        click.option(
            "--results", type=click.Path(path_type=Path), help="Follow, then fetch the results to this folder."
        ),
        click.option("-f", "--follow", is_flag=True, help="Follow the jobs to their end."),
    ):
        function = option(function)
    return function


priority = click.option("--priority", type=click.IntRange(0, 9), help="Higher starts first.  [default: 0]")


@command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--kind", type=click.Choice(["video", "image"]), help="Only files of this kind.")
@click.option("--parallel", default=8, show_default=True, type=click.IntRange(1, 64), help="Parts or files at once.")
@click.option("--again", is_flag=True, help="Don't go on with an interrupted upload: begin anew.")
@followed
async def upload(  # noqa: PLR0913 - each argument is an option
    session: Session,
    files: Sequence[str],
    *,
    kind: Literal["video", "image"] | None,
    parallel: int,
    again: bool,
    follow: bool,
    results: Path | None,
    timeout: float | None,  # noqa: ASYNC109 - an option
) -> None:
    """Upload files; each video becomes a job.

    FILE is a video or picture, a folder (with all in it), or a pattern such as "*.mp4". If the command is interrupted
    or killed, the same command goes on where it stopped: nothing is sent twice, and no video becomes two jobs.
    """
    found = expanded(files, kind)
    async with session.client() as api:
        done = await upload_all(session, api, found, parallel=parallel, kind=kind, again=again)
        if follow or results:
            jobs = {each.job_id: Path(each.file).name for each in done if each.job_id}
            await follow_all(session, api, jobs, results=results, seconds=timeout)


@command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@click.option("--user", default="cli", show_default=True, help="The job's userId.")
@priority
@followed
async def look(
    session: Session,
    images: Sequence[str],
    *,
    user: str,
    priority: int | None,
    follow: bool,
    results: Path | None,
    timeout: float | None,  # noqa: ASYNC109 - an option
) -> None:
    """Find objects in pictures, as one job. IMAGE is a file, a folder, a pattern, or an s3:// or https:// URL."""
    urls = [each for each in images if each.startswith(("s3://", "https://"))]
    files = [each for each in images if each not in urls]
    found = expanded(files, "image") if files else []
    async with session.client() as api:
        sent = await upload_all(session, api, found, parallel=8, kind="image", again=False, quiet=True)
        if session.code:
            raise UploadError("not all pictures were uploaded, so nothing was submitted: run the same command again")
        job = await api.process_images([*urls, *(each.url for each in sent)], user, priority=priority)
        await _submitted(session, api, job, f"{len(images)} images", follow, results, timeout)


@command()
@click.argument("url")
@click.option("--filename", help="The recording's name.")
@click.option("--user", help="The job's userId.")
@click.option("--job-id", help="An id of your own for the job.")
@click.option("--start-after", metavar="TIME", help="Not before this time (RFC 3339).")
@priority
@followed
async def record(  # noqa: PLR0913 - each argument is an option
    session: Session,
    url: str,
    *,
    filename: str | None,
    user: str | None,
    job_id: str | None,
    start_after: str | None,
    priority: int | None,
    follow: bool,
    results: Path | None,
    timeout: float | None,  # noqa: ASYNC109 - an option
) -> None:
    """Record a live stream, or the video on a page, until it ends or you cancel the job."""
    async with session.client() as api:
        job = await api.record_stream(
            url, filename=filename, user_id=user, job_id=job_id, start_after=start_after, priority=priority
        )
        await _submitted(session, api, job, url, follow, results, timeout)


@command()
@click.argument("key")
@click.option("--version-id", help="That version of the object.")
@click.option("--stage", "stages", multiple=True, help="Only this stage; may be repeated.")
@priority
@followed
async def analyze(  # noqa: PLR0913 - each argument is an option
    session: Session,
    key: str,
    *,
    version_id: str | None,
    stages: Sequence[str],
    priority: int | None,
    follow: bool,
    results: Path | None,
    timeout: float | None,  # noqa: ASYNC109 - an option
) -> None:
    """Analyze a video that lies in the deployment's bucket under KEY."""
    async with session.client() as api:
        job = await api.analyze_video(key, version_id=version_id, stages=stages or None, priority=priority)
        await _submitted(session, api, job, key, follow, results, timeout)


@command()
@click.argument("key")
@click.option("--again", is_flag=True, help="Also if there is a torrent already.")
@followed
async def share(
    session: Session,
    key: str,
    *,
    again: bool,
    follow: bool,
    results: Path | None,
    timeout: float | None,  # noqa: ASYNC109 - an option
) -> None:
    """Make a torrent of the object KEY in the deployment's bucket."""
    async with session.client() as api:
        job = await api.make_torrent(key, again=again or None)
        await _submitted(session, api, job, key, follow, results, timeout)


@command("import-steam")
@click.argument("accounts", nargs=-1, required=True, metavar="ID…")
@click.option("--user", required=True, help="Whose library the games go into.")
@followed
async def import_steam(
    session: Session,
    accounts: Sequence[str],
    *,
    user: str,
    follow: bool,
    results: Path | None,
    timeout: float | None,  # noqa: ASYNC109 - an option
) -> None:
    """Import the games of Steam accounts: 17-digit ids, vanity names, or URLs of profiles."""
    async with session.client() as api:
        answers: Any = await api.import_steam(imports=[{"userId": user, "steamId": each} for each in accounts])
        jobs = {}
        for account, answer in zip(accounts, answers["imports"], strict=True):
            if answer["success"]:
                jobs[answer["jobId"]] = account
                session.item(answer, f"{answer['jobId']}  {answer['status']}  {account}")
            else:
                session.ends(1)
                session.item(answer, f"{account} is refused: {answer['error']} {'; '.join(answer['details'])}")
        if follow or results:
            await follow_all(session, api, jobs, results=results, seconds=timeout)


async def _submitted(
    session: Session,
    api: AsyncSwitchyard,
    job: Any,  # noqa: ANN401 - an answer of one of the routes
    name: str,
    follow: bool,  # noqa: FBT001 - an option
    results: Path | None,
    seconds: float | None,
) -> None:
    session.item(job, f"job {job['jobId']}")
    if follow or results:
        await follow_all(session, api, {job["jobId"]: name}, results=results, seconds=seconds)


def expanded(files: Sequence[str], kind: str | None = None) -> list[Path]:
    """The files that are meant, each once: patterns are resolved where the shell doesn't, folders are searched.

    Raises:
        click.UsageError: One is missing, or none is left.
    """
    found: dict[Path, None] = {}
    for each in files:
        path = Path(each)
        matches = [path] if path.exists() else [Path(match) for match in sorted(glob.glob(each, recursive=True))]  # noqa: PTH207 - absolute patterns
        if not matches:
            raise click.UsageError(f"there is no file {each}")
        for match in matches:
            if match.is_dir():
                inside = sorted(inner for inner in match.rglob("*") if inner.suffix.lower() in uploads.TYPES)
                found.update(dict.fromkeys(inner for inner in inside if inner.is_file() and _fits(inner, kind)))
            else:
                found[match] = None
    if not found:
        raise click.UsageError(f"there is no {kind or 'video or picture'} in {', '.join(files)}")
    return list(found)


def _fits(file: Path, kind: str | None) -> bool:
    return kind is None or uploads.TYPES[file.suffix.lower()].startswith(f"{kind}/")


async def upload_all(
    session: Session,
    api: AsyncSwitchyard,
    files: Sequence[Path],
    *,
    parallel: int,
    kind: Literal["video", "image"] | None,
    again: bool,
    quiet: bool = False,
) -> list[Uploaded]:
    """Upload files, some at once. What fails is reported, and the others go on. Results come in the files' order.

    Once all have arrived, the journal forgets them: the same command then uploads them again.
    """
    journal = Journal(discovery.state_folder() / "uploads.sqlite")
    journal.forget_older(KEPT_SECONDS)
    names = {file: uploads.upload_id(api.url, file, file.stat()) for file in files}
    if again:
        journal.forget(names.values())
    at_once = min(parallel, len(files)) or 1
    done: dict[Path, Uploaded] = {}
    began = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    visible = session.err.is_terminal and not session.json
    with Progress(*columns, console=session.err, transient=True, disable=not visible) as bars:
        whole = bars.add_task(f"{len(files)} files", total=sum(file.stat().st_size for file in files))
        gone: dict[Path, int] = {}

        async def one(file: Path) -> None:
            def count(sent: int, _size: int) -> None:
                bars.advance(whole, sent - gone.get(file, 0))
                gone[file] = sent

            try:
                sent = await api.upload(
                    file, kind=kind, parallel=max(1, parallel // at_once), progress=count, journal=journal
                )
            except (UploadError, InvalidRequestError) as error:
                session.ends(1)
                session.warn(f"{file}: {error}" if isinstance(error, InvalidRequestError) else str(error))
                return
            done[file] = sent
            if not quiet:
                data = {
                    "file": str(file),
                    "bucket": sent.bucket,
                    "key": sent.key,
                    "size": sent.size,
                    "jobId": sent.job_id,
                }
                job = f"job {sent.job_id}" if sent.job_id else sent.url
                session.item(data, f"{file}  {job}{'  (resumed)' if sent.resumed else ''}")

        try:
            await uploads.together(one, files, at_once)
        except SwitchyardError:
            session.note("run the same command again to go on where it stopped")
            raise
        finally:
            if len(done) == len(files):
                journal.forget(names.values())
            journal.close()
    session.note(f"{len(done)} of {len(files)} files in {time.monotonic() - began:.1f} s")
    return [done[file] for file in files if file in done]


COMMANDS = (upload, look, record, analyze, share, import_steam)
