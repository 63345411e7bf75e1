"""The local system's command line: `python -m local --help`, or `make help`."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import click
import httpx
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from local import functions, places, samples, workers
from local import logs as logs_of
from local.api import ApiError
from local.demos import api as demo_api
from local.demos import imports as demo_import
from local.demos import search as demo_search
from local.demos import torrents as demo_torrent
from local.demos import videos as scenario
from local.demos.media import MediaError
from local.demos.torrent_clients import DownloadError
from local.environment import STATE, VENVS, seal_this_process, shown
from local.follow import FollowTimeoutError
from local.invoke import InvokeError, require_docker
from local.invoke import api as api_in_docker
from local.invoke import invoke as run_in_docker
from local.processes import CommandFailedError, end_like_ctrl_c
from local.stack import LocalStack, NotRunningError, Outcome
from local.view import LANES, Job, View, console, print_rows

_SHOWN = 10
"""How many jobs `status` lists."""


class BrokenFunctionsError(Exception):
    """Deployed functions can't be imported; the message has their errors."""

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
    TimeoutError,
    logs_of.UnknownLogError,
    scenario.DemoError,
    BotoCoreError,
    ClientError,
    httpx.HTTPError,
)
"""Expected errors: they end a command with a sentence instead of a traceback."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=STATE,
    help="Folder of the local system; another folder is a separate system.  [default: .local]",
)
@click.pass_context
def main(context: click.Context, state: Path) -> None:
    """Run Switchyard on this machine, without an AWS account or Docker."""
    end_like_ctrl_c()
    seal_this_process()
    context.obj = LocalStack(state.resolve())


@main.command()
@click.option(
    "--worker",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help="Your own worker for uploads instead of analyze_video: a Python file or an executable.",
)
@click.pass_obj
def up(stack: LocalStack, *, worker: Path | None) -> None:
    """Start the system and deploy template.yaml. If it runs already, deploy changes."""
    if worker:
        stack = LocalStack(stack.folder, definitions=workers.own_worker(worker))
    out = console()
    with _plainly():
        done = _up(stack, out)
        try:
            _check_imports(stack)
        except BrokenFunctionsError as error:
            raise BrokenFunctionsError(error.errors, "The rest runs. Fix them and run `make up` again.") from None
    if done.started:
        out.print("running", style="green")
    else:
        out.print("deployed the changes" if done.deployed else "already running and up to date", style="green")
    print_rows(out, places.rows(stack))


@main.command()
@click.pass_obj
def down(stack: LocalStack) -> None:
    """End the system and forget its jobs, objects and messages. Logs and results stay."""
    with _plainly():
        ran = stack.down()
    out = console()
    if ran:
        out.print("ended: its jobs, objects and messages are gone")
        out.print(f"logs and results stay in {shown(stack.folder)}", markup=False)
    else:
        out.print("nothing was running")


def _add_demo(name: str, demo: ModuleType, told: str) -> None:
    @main.command(name, help=told)
    @click.option("--keep", is_flag=True, help="Leave the system running afterwards.")
    @click.pass_obj
    def run(stack: LocalStack, *, keep: bool) -> None:
        _play(stack, demo.play, keep=keep)


for _demo in (
    ("demo", scenario, "Demo: real videos, one and then three at once. Checks their jobs and results."),
    ("demo-api", demo_api, "Demo of the HTTP API: photographs and a live stream. Checks the results."),
    (
        "demo-torrent",
        demo_torrent,
        "Demo of torrents: download a recording. Checks what aria2 and libtorrent get.",
    ),
    (
        "demo-import",
        demo_import,
        "Demo of imports: a Steam library twice, a private profile, a throttled hour. Checks the counts.",
    ),
    (
        "demo-search",
        demo_search,
        "Demo of the search: what is said in a video, by whom. Checks the second that questions find.",
    ),
):
    _add_demo(*_demo)


@main.command()
@click.pass_obj
def status(stack: LocalStack) -> None:
    """Show addresses, queues, slots and the newest jobs."""
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
    """Print commands that point your shell at the system.

    They set up the AWS CLI and the variables of the docs' examples: eval "$(make env)". To undo it, open another shell.
    """
    with _plainly():
        click.echo(places.exports(places.variables(stack)))


@main.command()
@click.argument("what", default="functions", metavar="[WHAT]")
@click.argument("job_id", required=False)
@click.option("-f", "--follow", "following", is_flag=True, help="Follow the log until Ctrl-C.")
@click.pass_obj
def logs(stack: LocalStack, what: str, job_id: str | None, *, following: bool) -> None:
    """Print a log.

    WHAT is `functions` (all functions, the default), a function's name, `emulator`, `compute`, `steam`, or `job`
    with a job's id for its worker's output.
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
    """Run a function in Docker.

    FUNCTION is its name in template.yaml, EVENT a file with the event. Samples from events/ get the names of the
    running stack. The jobs and dead letters that result are printed last.
    """
    out = console(stderr=True)
    with _plainly():
        require_docker()
        with _running(stack, out), samples.filled(event, stack) as actual:
            before = samples.scene(stack)
            code = run_in_docker(stack, function, actual)
            if not code:
                out.print("\nResult:")
                for line in samples.outcome(stack, before):
                    out.print(f"  {line}", markup=False)
    if code:
        raise click.exceptions.Exit(code)


@main.command("start-api")
@click.option("--port", default=3000, show_default=True, help="Port on 127.0.0.1.")
@click.pass_obj
def start_api(stack: LocalStack, *, port: int) -> None:
    """Serve the HTTP API in Docker until Ctrl-C. `sam local start-api` requires no key."""
    out = console(stderr=True)
    with _plainly():
        require_docker()
        with _running(stack, out), api_in_docker(stack, port) as server:
            out.print(
                f"The API will answer at http://127.0.0.1:{port}, for example /openapi.json. It requires no key.\n"
                "`sam local start-api` has no stages: leave /v1 out of its addresses.",
                markup=False,
            )
            server.wait()


# ---- helpers -------------------------------------------------------------------------------------------------


@contextmanager
def _running(stack: LocalStack, out: Console) -> Iterator[None]:
    """Run the system for a `with` block. Afterwards, end it only if the block started it."""
    started = False
    try:
        started = _up(stack, out).started
        yield
    finally:
        if started:
            stack.down()


def _play(stack: LocalStack, play: Callable[[LocalStack, Console], None], *, keep: bool) -> None:
    """Run a demo on the system, starting the system first if needed."""
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
            # If starting was interrupted, `started` is False: up() has cleaned up, and there is nothing to end.
            if started and not keep:
                out.print("ending the system")
                stack.down()
    seconds = time.monotonic() - began
    out.print(f"every check passed in {seconds:.0f} s, {ready:.0f} s of it to start the system", style="bold green")
    if keep or not started:
        out.print("the system still runs: `make status`, `make logs`, `make down`")


@contextmanager
def _pointing_to_logs(stack: LocalStack, out: Console, *, ends: bool) -> Iterator[None]:
    """After a failure, say where to look. Copies the logs first if the system is about to end with them."""
    try:
        yield
    except _EXPECTED:
        if ends:
            try:
                folder = logs_of.keep(stack)
            except _EXPECTED:  # the emulator itself may have crashed
                folder = stack.logs
            out.print(f"logs are kept in {shown(folder)}", markup=False)
            out.print("to look at the system itself, leave it running: add ARGS=--keep")
        else:
            out.print("the system still runs: `make status` and `make logs` show more")
        raise


def _up(stack: LocalStack, out: Console) -> Outcome:
    for name in ("sam", "emulator", "runtime", *workers.NAMES):
        if not (VENVS / name).exists():
            raise click.ClickException(f".venvs/{name} is missing: run `make setup`")
    if not out.is_terminal:
        return stack.up(lambda step: out.print(step, markup=False))
    with out.status("checking what runs") as spinner:

        def say(step: str) -> None:
            out.print(f"[dim]•[/dim] {step}")
            spinner.update(step)

        return stack.up(say)


def _check_imports(stack: LocalStack) -> None:
    if errors := functions.broken(stack):
        raise BrokenFunctionsError(errors)


def _print_job(out: Console, job: Job) -> None:
    """Print a line for a job, cut to the width of a terminal, and below it the complete error."""
    line = f"  {job.status:9}  {job.lane or 'torrent':10}  {job.id}  {job.name}"
    out.print(line, markup=False, no_wrap=True, overflow="ellipsis" if out.is_terminal else "ignore")
    if job.error:
        out.print(f"    {job.error}", markup=False)


@contextmanager
def _plainly() -> Iterator[None]:
    """End the command with a sentence and exit code 1 on an expected error."""
    try:
        yield
    except _EXPECTED as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m local")
