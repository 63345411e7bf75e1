"""The local system from the command line: `python -m local --help`, or `make help`."""

import http.client
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import click
import httpx
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from local.api import ApiError
from local.demos import api as demo_api
from local.demos import torrents as demo_torrent
from local.demos import videos as scenario
from local.demos.media import MediaError
from local.demos.torrent_clients import DownloadError
from local.environment import STATE, VENVS, seal_this_process
from local.follow import FollowTimeoutError, follow
from local.invoke import InvokeError, require_docker
from local.invoke import api as api_in_docker
from local.invoke import invoke as run_in_docker
from local.processes import CommandFailedError, end_like_ctrl_c
from local.sending import SendError
from local.sending import send as send_work
from local.stack import LocalStack, LogLine, NotRunningError
from local.view import LANES, Job, View, cluster_of, console
from local.workers import own_worker

_FUNCTIONS = {
    "sqs_to_batch": "SqsToBatchFunction",
    "dispatch_to_ecs": "DispatchToEcsFunction",
    "track_job": "TrackJobFunction",
    "reconcile_jobs": "ReconcileJobsFunction",
    "presign_upload": "PresignUploadFunction",
    "submit_job": "SubmitJobFunction",
    "get_job": "GetJobFunction",
    "cancel_job": "CancelJobFunction",
    "s3_torrent_creator": "S3TorrentCreatorFunction",
}
_SHOWN = 10
"""How many jobs `status` lists."""
_EXPECTED = (
    ApiError,
    CommandFailedError,
    DownloadError,
    FollowTimeoutError,
    InvokeError,
    MediaError,
    NotRunningError,
    SendError,
    TimeoutError,
    scenario.DemoError,
    BotoCoreError,
    ClientError,
    httpx.HTTPError,
)
"""What may go wrong without a bug in this program: told in a sentence, not by a traceback."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=STATE,
    help="Folder for everything that runs; another folder is another system.  [default: .local]",
)
@click.pass_context
def main(context: click.Context, state: Path) -> None:
    """Switchyard on one machine: no AWS account, no Docker."""
    end_like_ctrl_c()
    seal_this_process()
    context.obj = LocalStack(state.resolve())


@main.command()
@click.option(
    "--worker",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help="Your own worker for uploads, instead of analyze_video: a Python file or an executable.",
)
@click.pass_obj
def up(stack: LocalStack, *, worker: Path | None) -> None:
    """Start the system and deploy template.yaml to it; run again, it deploys what has changed."""
    if worker:
        stack = LocalStack(stack.folder, definitions=own_worker(worker))
    out = console()
    with _plainly():
        started = _up(stack, out)
    out.print("running" if started else "was running already, and is up to date", style="green")
    _print_places(stack, out)


@main.command()
@click.pass_obj
def down(stack: LocalStack) -> None:
    """End everything that `up` started."""
    with _plainly():
        ran = stack.down()
    console().print("ended" if ran else "nothing was running")


@main.command()
@click.option("--keep", is_flag=True, help="Leave the system running afterwards.")
@click.pass_obj
def demo(stack: LocalStack, *, keep: bool) -> None:
    """Send real videos through the system and check what becomes of them."""
    _play(stack, scenario.play, keep=keep)


@main.command("demo-api")
@click.option("--keep", is_flag=True, help="Leave the system running afterwards.")
@click.pass_obj
def demo_of_the_api(stack: LocalStack, *, keep: bool) -> None:
    """Have photographs looked at and a live stream recorded over the HTTP API, and check what becomes of them."""
    _play(stack, demo_api.play, keep=keep)


@main.command("demo-torrent")
@click.option("--keep", is_flag=True, help="Leave the system running afterwards.")
@click.pass_obj
def demo_of_torrents(stack: LocalStack, *, keep: bool) -> None:
    """Have a stream recorded, see it become a torrent, and download that by clients nobody here wrote."""
    _play(stack, demo_torrent.play, keep=keep)


@main.command()
@click.pass_obj
def status(stack: LocalStack) -> None:
    """What runs where, and what it is doing."""
    out = console()
    with _plainly():
        _print_places(stack, out)
        view = View(stack)
        jobs = view.jobs()
        counts = Counter(job.status for job in jobs)
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_row("jobs", ", ".join(f"{count} {name}" for name, count in counts.items()) or "none yet")
        for name, (parameter, default) in LANES.items():
            lane = view.lane(name)
            taken = f"{len(lane.holders)} of {stack.parameters.get(parameter, default)} slots taken"
            table.add_row(f"lane {name}", f"{taken}, {lane.waiting} waiting")
        for name, (visible, handled) in view.queues().items():
            table.add_row(name, f"{visible} waiting, {handled} in flight")
        out.print(table)
        for job in jobs[-_SHOWN:]:
            out.print(f"  {job.id}  {job.kind}  {job.status}  {job.name}  {job.error}".rstrip(), markup=False)


@main.command()
@click.argument("what", metavar="FILE|URL")
@click.option("--key", help="The object's key, of a video.  [default: uploads/<file name>]")
@click.option("--timeout", default=3600.0, show_default=True, help="Seconds to follow the job.")
@click.pass_obj
def send(stack: LocalStack, what: str, key: str | None, timeout: float) -> None:
    """Send work and follow its job to the end: a video or a picture by its file, a stream to record by its URL."""
    out = console()
    if "://" not in what and not Path(what).is_file():
        raise click.UsageError(f"there is no file {what}")
    with _plainly():
        view = View(stack)
        sent = send_work(stack, what, key)
        [job] = follow(view, {sent.mark: sent.at}, out, seconds=timeout, lane=sent.lane)
        out.print(scenario.timeline(view, job, sent.at))
        if job.status != "COMPLETED":
            raise scenario.DemoError(f"{job.name} ended as {job.status}: {job.error or 'no reason given'}")
        scenario.show_results(view, job, stack.folder / "results" / job.id, out)


@main.command()
@click.argument("what", default="functions", metavar="[WHAT]")
@click.argument("job_id", required=False)
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until Ctrl-C.")
@click.pass_obj
def logs(stack: LocalStack, what: str, job_id: str | None, *, following: bool) -> None:
    """Print a log.

    WHAT is `functions` (all of them, the default), one function's name, `emulator`, `compute`, or `job` and a
    job's id for what its worker printed.
    """
    with _plainly():
        source = _log_source(stack, what, job_id)
        for lines in source:
            for line in lines:
                click.echo(line)
            if not following:
                return
            time.sleep(0.3)


@main.command()
@click.argument("function")
@click.argument("event", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def invoke(stack: LocalStack, function: str, event: Path) -> None:
    """Run FUNCTION (its name in template.yaml) in Docker with the event in the file EVENT."""
    out = Console(stderr=True)
    with _plainly():
        require_docker()
        with _running(stack, out):
            code = run_in_docker(stack, function, event)
    if code:
        raise click.exceptions.Exit(code)


@main.command("start-api")
@click.option("--port", default=3000, show_default=True, help="Where it answers, on 127.0.0.1.")
@click.pass_obj
def start_api(stack: LocalStack, *, port: int) -> None:
    """Serve the HTTP API in Docker until Ctrl-C; `sam local start-api` asks for no key."""
    out = Console(stderr=True)
    with _plainly():
        require_docker()
        with _running(stack, out), api_in_docker(stack, port) as server:
            server.wait()


# ---- the pieces ----------------------------------------------------------------------------------------------


@contextmanager
def _running(stack: LocalStack, out: Console) -> Iterator[None]:
    """The system for the length of a `with` block; ended after it only if it was started for it."""
    started = False
    try:
        started = _up(stack, out)
        yield
    finally:
        if started:
            stack.down()


def _play(stack: LocalStack, play: Callable[[LocalStack, Console], None], *, keep: bool) -> None:
    """Play a demo on the system, started for it unless it runs."""
    out = console()
    began = time.monotonic()
    started = False
    with _plainly():
        try:
            started = _up(stack, out)
            ready = time.monotonic() - began
            play(stack, out)
        finally:
            # Also when the start itself was interrupted: up() has then cleaned up, and there is nothing to end.
            if started and not keep:
                out.print("ending the system")
                stack.down()
    seconds = time.monotonic() - began
    out.print(f"all as promised: {seconds:.0f} s, {ready:.0f} of them to set up", style="bold green")
    if keep or not started:
        out.print("the system still runs: `make status`, `make logs`, `make down`")


def _up(stack: LocalStack, out: Console) -> bool:
    for name in ("sam", "emulator", "runtime", "analyze_video", "record_stream", "detect_objects", "seed_torrent"):
        if not (VENVS / name).exists():
            raise click.ClickException(f".venvs/{name} is missing: run `make setup`")
    if not out.is_terminal:
        return stack.up(lambda step: out.print(step, markup=False))
    with out.status("looking at what runs") as spinner:

        def say(step: str) -> None:
            out.print(f"[dim]•[/dim] {step}")
            spinner.update(step)

        return stack.up(say)


def _print_places(stack: LocalStack, out: Console) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("AWS emulator", stack.emulator.url, f"pid {stack.emulator.pid}")
    table.add_row("compute stand-in", stack.compute.url, f"pid {stack.compute.pid}")
    table.add_row("uploads go to", f"s3://{stack.resource('MediaBucket')}/uploads/", "")
    table.add_row("logs", str(stack.logs), "")
    out.print(table)


def _log_source(stack: LocalStack, what: str, job_id: str | None) -> Iterator[list[str]]:
    if what in {"emulator", "compute"}:
        return _file_log(stack.logs / f"{what}.log")
    if what == "job":
        return _job_log(stack, job_id)
    if what == "functions":
        return _function_logs(stack, list(_FUNCTIONS))
    # SqsToBatchFunction and sqs-to-batch are as good as sqs_to_batch.
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", what).lower().replace("-", "_").removesuffix("_function")
    if name not in _FUNCTIONS:
        known = ", ".join(["functions", *_FUNCTIONS, "emulator", "compute", "job ID"])
        raise click.UsageError(f"there is no log of {what!r}; there are {known}")
    return _function_logs(stack, [name])


def _function_logs(stack: LocalStack, names: list[str]) -> Iterator[list[str]]:
    """What functions have logged, each time asked only what is new."""
    seen: set[tuple[str, LogLine]] = set()
    while True:
        new = [
            (name, line) for name in names for line in stack.function_log(_FUNCTIONS[name]) if (name, line) not in seen
        ]
        seen.update(new)
        new.sort(key=lambda entry: entry[1].time)
        yield [f"{name}: {line.text}" if len(names) > 1 else line.text for name, line in new]


def _file_log(path: Path) -> Iterator[list[str]]:
    if not path.exists():
        raise NotRunningError(f"there is no {path}; `make up` starts the system")
    with path.open(errors="replace") as log:
        while True:
            yield log.read().splitlines()


def _job_log(stack: LocalStack, job_id: str | None) -> Iterator[list[str]]:
    if not job_id:
        raise click.UsageError("which job? `logs job ID`; `make status` lists the newest")
    job = _job(stack, job_id)
    offset = 0
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", stack.compute.port, timeout=10)
        connection.request("GET", f"{_log_of(job)}?offset={offset}")
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        offset = int(response.headers.get("X-Next-Offset", offset))
        connection.close()
        yield text.splitlines()


def _log_of(job: Job) -> str:
    """Where the stand-in shows what a job's worker printed."""
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


@contextmanager
def _plainly() -> Iterator[None]:
    """Expected errors end the command with a sentence and exit code 1."""
    try:
        yield
    except _EXPECTED as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m local")
