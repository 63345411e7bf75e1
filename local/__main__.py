"""The local system from the command line: `python -m local --help`, or `make help`."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import httpx
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from local import functions, pickup, places, samples
from local import logs as logs_of
from local.api import ApiError
from local.demos import api as demo_api
from local.demos import torrents as demo_torrent
from local.demos import videos as scenario
from local.demos.media import MediaError
from local.demos.torrent_clients import DownloadError
from local.environment import STATE, VENVS, seal_this_process, shown
from local.follow import Followed, FollowTimeoutError, follow
from local.invoke import InvokeError, require_docker
from local.invoke import api as api_in_docker
from local.invoke import invoke as run_in_docker
from local.processes import CommandFailedError, end_like_ctrl_c
from local.sending import SendError
from local.sending import send as send_work
from local.stack import LocalStack, NotRunningError, Outcome
from local.view import LANES, Job, Lane, View, console, print_rows
from local.workers import own_worker

_SHOWN = 10
"""How many jobs `status` lists."""


class BrokenFunctionsError(Exception):
    """Functions were deployed that can't be imported; the message has their errors."""

    def __init__(self, errors: dict[str, str], advice: str = "") -> None:
        told = [f"  {name}: {error}" for name, error in errors.items()]
        super().__init__("\n".join(["these functions can't be imported:", *told, *([advice] if advice else [])]))
        self.errors = errors


_EXPECTED = (
    ApiError,
    BrokenFunctionsError,
    CommandFailedError,
    DownloadError,
    FollowTimeoutError,
    InvokeError,
    MediaError,
    NotRunningError,
    SendError,
    TimeoutError,
    logs_of.UnknownLogError,
    scenario.DemoError,
    BotoCoreError,
    ClientError,
    httpx.HTTPError,
)
"""Errors that are no bug of this program: reported in a sentence, without a traceback."""


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
        done = _up(stack, out)
        try:
            _check_imports(stack)
        except BrokenFunctionsError as error:
            raise BrokenFunctionsError(error.errors, "The rest runs. Mend them and run `make up` again.") from None
    if done.started:
        out.print("running", style="green")
    else:
        out.print("deployed the changes" if done.deployed else "already running and up to date", style="green")
    print_rows(out, places.rows(stack))


@main.command()
@click.pass_obj
def down(stack: LocalStack) -> None:
    """End everything that `up` started, and forget its jobs, objects and messages; logs and results stay."""
    with _plainly():
        ran = stack.down()
    out = console()
    if ran:
        out.print("ended: its jobs, objects and messages are gone")
        out.print(f"logs and results stay in {shown(stack.folder)}", markup=False)
    else:
        out.print("nothing was running")


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
    """Show addresses, the newest jobs, slots and queues."""
    out = console()
    with _plainly():
        print_rows(out, places.rows(stack))
        out.print()
        view = View(stack)
        jobs = view.jobs()
        counts = Counter(job.status for job in jobs)
        rows = [("jobs", ", ".join(f"{count} {name}" for name, count in counts.items()) or "none yet")]
        for name, (parameter, default) in LANES.items():
            lane = view.lane(name)
            taken = f"{len(lane.holders)} of {stack.parameters.get(parameter, default)} slots taken"
            rows.append((f"lane {name}", f"{taken}, {lane.waiting} waiting"))
        for name, (visible, handled) in view.queues().items():
            rows.append((name, f"{visible} waiting, {handled} in flight"))
        print_rows(out, rows)
        for job in jobs[-_SHOWN:]:
            _print_job(out, job)


@main.command()
@click.pass_obj
def env(stack: LocalStack) -> None:
    """Print shell commands that point the AWS CLI and the examples in the docs at the system.

    For your shell: eval "$(make env)". To undo it, open another shell.
    """
    with _plainly():
        click.echo(places.exports(places.variables(stack)))


@main.command()
@click.argument("what", metavar="FILE|URL")
@click.option("--key", help="The object's key, of a video.  [default: uploads/<file name>]")
@click.option("--timeout", default=3600.0, show_default=True, help="Seconds to follow the job.")
@click.pass_obj
def send(stack: LocalStack, what: str, key: str | None, timeout: float) -> None:
    """Send work and follow its job to the end: a video or a picture by its file, a stream to record by its URL."""
    out = console()
    if not what:
        raise click.UsageError("give a file or an http(s) URL: make send FILE=clip.mp4")
    if not what.startswith(("http://", "https://")) and not Path(what).is_file():
        raise click.UsageError(f"{what} is neither a file nor an http(s) URL")
    with _plainly():
        view = View(stack)
        sent = send_work(stack, what, key)

        def name_job(_lane: Lane, changed: Sequence[Followed]) -> None:
            for each in changed:
                if each.job is not None and len(each.seen) == 1:
                    out.print(f"job {each.job.id}", markup=False)

        if off := pickup.switched_off(stack, sent.lane):
            out.print(f"sent, but it has to wait: {off}", style="yellow", markup=False)
        [job] = follow(
            view,
            {sent.mark: sent.at},
            out,
            seconds=timeout,
            lane=sent.lane,
            look=name_job,
            explain=lambda: pickup.explanation(stack, sent.lane),
        )
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
        for lines in logs_of.lines(stack, what, job_id):
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
    """Run FUNCTION (its name in template.yaml) in Docker with the event in the file EVENT.

    Samples under events/ are filled in with the names of the running stack. What became of the work is printed last.
    """
    out = console(stderr=True)
    with _plainly():
        require_docker()
        with _running(stack, out), samples.filled(event, stack) as actual:
            before = samples.scene(stack)
            code = run_in_docker(stack, function, actual)
            if not code:
                out.print("\nWhat became of it:")
                for line in samples.outcome(stack, before):
                    out.print(f"  {line}", markup=False)
    if code:
        raise click.exceptions.Exit(code)


@main.command("start-api")
@click.option("--port", default=3000, show_default=True, help="Where it answers, on 127.0.0.1.")
@click.pass_obj
def start_api(stack: LocalStack, *, port: int) -> None:
    """Serve the HTTP API in Docker until Ctrl-C; `sam local start-api` asks for no key."""
    out = console(stderr=True)
    with _plainly():
        require_docker()
        with _running(stack, out), api_in_docker(stack, port) as server:
            out.print(
                f"The API will answer at http://127.0.0.1:{port}, for example at /openapi.json, and asks for no key.\n"
                "`sam local start-api` knows no stages: leave the /v1 of other addresses out.",
                markup=False,
            )
            server.wait()


# ---- the pieces ----------------------------------------------------------------------------------------------


@contextmanager
def _running(stack: LocalStack, out: Console) -> Iterator[None]:
    """The system for the length of a `with` block; ended after it only if it was started for it."""
    started = False
    try:
        started = _up(stack, out).started
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
            started = _up(stack, out).started
            ready = time.monotonic() - began
            with _pointing_to_logs(stack, out, ends=started and not keep):
                _check_imports(stack)
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


@contextmanager
def _pointing_to_logs(stack: LocalStack, out: Console, *, ends: bool) -> Iterator[None]:
    """After a failure, say where to look. Logs of functions and jobs end with the system, so they are copied first."""
    try:
        yield
    except _EXPECTED:
        if ends:
            try:
                folder = logs_of.keep(stack)
            except _EXPECTED:  # perhaps the emulator itself has crashed
                folder = stack.logs
            out.print(f"logs are kept in {shown(folder)}", markup=False)
            out.print("to look at the system itself, leave it running: add ARGS=--keep")
        else:
            out.print("the system still runs: `make status` and `make logs` show more")
        raise


def _up(stack: LocalStack, out: Console) -> Outcome:
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


def _check_imports(stack: LocalStack) -> None:
    if errors := functions.broken(stack):
        raise BrokenFunctionsError(errors)


def _print_job(out: Console, job: Job) -> None:
    """A line for a job, cut on a terminal to its width; below it its error, whole."""
    line = f"  {job.status:9}  {job.lane or 'torrent':10}  {job.id}  {job.name}"
    out.print(line, markup=False, no_wrap=True, overflow="ellipsis" if out.is_terminal else "ignore")
    if job.error:
        out.print(f"    {job.error}", markup=False)


@contextmanager
def _plainly() -> Iterator[None]:
    """Expected errors end the command with a sentence and exit code 1."""
    try:
        yield
    except _EXPECTED as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m local")
