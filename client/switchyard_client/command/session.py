"""What all commands share: which deployment, what they print, how they end.

Exit codes: 0 done, or the jobs COMPLETED; 1 an error; 2 a usage error; 3 a job FAILED; 4 a job was CANCELLED; 5 a job
didn't end in time; 130 interrupted.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from switchyard_client import discovery
from switchyard_client._version import VERSION
from switchyard_client.client import AsyncSwitchyard
from switchyard_client.discovery import Context
from switchyard_client.errors import SwitchyardError
from switchyard_client.letters import plain

P = ParamSpec("P")

FAILED: Final = 3
CANCELLED: Final = 4
TIMED_OUT: Final = 5
INTERRUPTED: Final = 130
COLOURS: Final[Mapping[str, str]] = {
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "red",
    "RUNNING": "cyan",
    "WAITING": "yellow",
}


@dataclass
class Session:
    """One run of the command.

    Attributes:
        context: The deployment.
        json: Whether each result is a JSON object on a line of its own.
    """

    context: Context
    json: bool = False
    out: Console = field(default_factory=lambda: _console(stderr=False))
    err: Console = field(default_factory=lambda: _console(stderr=True))
    code: int = 0

    def client(self) -> AsyncSwitchyard:
        """A client of the deployment.

        Raises:
            SetupError: There is none.
        """
        return AsyncSwitchyard(*self.context.open())

    def item(self, data: Mapping[str, Any], line: str | Text | None = None) -> None:
        """One result: JSON, or a line for people."""
        if self.json:
            click.echo(json.dumps(data, ensure_ascii=False))
        else:
            if isinstance(line, str):  # text of strangers must not move the cursor
                line = "\n".join(plain(part, 10_000) for part in line.split("\n"))
            self.out.print(line if line is not None else json.dumps(data), markup=False, soft_wrap=True)

    def rows(self, columns: Sequence[str], items: Iterable[tuple[Mapping[str, Any], Sequence[object]]]) -> None:
        """Results as a table; in a pipe, as lines with tabs between cells and without a head."""
        table = Table(*columns, box=None, pad_edge=False, header_style="dim")
        for data, cells in items:
            # Text of strangers must not move the cursor.
            texts = [plain(str(cell), 200) for cell in cells]
            if self.json:
                self.item(data)
            elif self.out.is_terminal:
                table.add_row(*(Text(text, style=COLOURS.get(text, "")) for text in texts))
            else:
                click.echo("\t".join(texts))
        if not self.json and self.out.is_terminal and table.row_count:
            self.out.print(table)

    def note(self, text: str) -> None:
        """A remark for a person at a terminal."""
        if self.err.is_terminal and not self.json:
            self.err.print(text, style="dim", markup=False)

    def warn(self, text: str) -> None:
        """A remark that matters, in pipes too; on standard error."""
        self.err.print(_readable(text), style="yellow", markup=False, soft_wrap=True)

    def ends(self, code: int) -> None:
        """The command's exit code; the first of failed, cancelled, timed out and any error wins."""
        self.code = min(filter(None, (self.code, code)), key=lambda each: (each == 1, each), default=0)


def _console(*, stderr: bool) -> Console:
    return Console(stderr=stderr, highlight=False)


class _Command(click.Command):
    """A command that takes `--json` after its name, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - click's
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--json", "as_json"], is_flag=True, expose_value=False, callback=_json, help="One object a line."
            )
        )


def _json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
    if value and isinstance(context.obj, Session):
        context.obj.json = True


def command(
    name: str | None = None, *, of: click.Group | None = None
) -> Callable[[Callable[Concatenate[Session, P], Awaitable[None] | None]], click.Command]:
    """Makes a function a command. It gets the session first, and expected errors end it with a sentence.

    A function that isn't async runs on the main thread without a loop: Ctrl-C interrupts it where it is.
    """

    def made(function: Callable[Concatenate[Session, P], Awaitable[None] | None]) -> click.Command:
        @click.pass_obj
        @wraps(function)
        def run(session: Session, /, *args: P.args, **kwargs: P.kwargs) -> None:
            try:
                if (awaitable := function(session, *args, **kwargs)) is not None:
                    asyncio.run(_awaited(awaitable))
            except KeyboardInterrupt:
                session.warn("interrupted")
                raise click.exceptions.Exit(INTERRUPTED) from None
            except BrokenPipeError:
                # `switchyard ls | head`: nobody reads on.
                sys.stderr.close()
                raise click.exceptions.Exit(0) from None
            except SwitchyardError as error:
                raise click.ClickException(_readable(str(error))) from error
            except Exception as error:
                if type(error).__module__.startswith("botocore."):
                    raise click.ClickException(f"AWS refused: {error}") from error
                raise
            raise click.exceptions.Exit(session.code)

        decorate = click.command(name or function.__name__.replace("_", "-"), cls=_Command)
        found: click.Command = decorate(run)
        if of is not None:
            of.add_command(found)
        return found

    return made


def _readable(text: str) -> str:
    """Text of several lines that can't move the cursor."""
    return "\n".join(plain(line, 2000) for line in text.splitlines())


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=("Exit codes: 0 done or COMPLETED, 1 error, 2 usage, 3 FAILED, 4 CANCELLED, 5 timed out, 130 interrupted."),
)
@click.option("--stack", envvar="SWITCHYARD_STACK", metavar="NAME", help="A stack in AWS.")
@click.option("--profile", envvar="SWITCHYARD_PROFILE", metavar="NAME", help="Your AWS profile.")
@click.option("--region", envvar="SWITCHYARD_REGION", metavar="NAME", help="The stack's Region.")
@click.option("--local", is_flag=True, help="The system that `make up` started in this folder.")
@click.option("--url", envvar="SWITCHYARD_URL", help="An API's address, with SWITCHYARD_API_KEY or SWITCHYARD_TOKEN.")
@click.option("--context", "name", envvar="SWITCHYARD_CONTEXT", metavar="NAME", help="A context of contexts.toml.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.version_option(VERSION, "-V", "--version", prog_name="switchyard")
@click.pass_context
def main(  # noqa: PLR0913 - each argument is an option
    context: click.Context,
    *,
    stack: str | None,
    profile: str | None,
    region: str | None,
    local: bool,
    url: str | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Send work to Switchyard, follow it, and operate it."""
    given = [option for option, value in [("--stack", stack), ("--local", local), ("--url", url)] if value]
    if local and context.get_parameter_source("stack") is not click.core.ParameterSource.COMMANDLINE:
        # --local on the command line is meant, whatever the environment says.
        stack, url, given = None, None, ["--local"]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)}: which one?")
    try:
        found = Context(stack, profile, region, local, url) if given else discovery.context(name)
    except SwitchyardError as error:
        raise click.ClickException(str(error)) from error
    context.obj = Session(found, json=as_json)


def given_ids(ids: Sequence[str]) -> list[str]:
    """Ids from the arguments, or each once from standard input: a line's first word, or `jobId` of JSON objects.

    Raises:
        click.UsageError: There are none.
    """
    if ids and tuple(ids) != ("-",):
        return list(ids)
    if not ids and sys.stdin.isatty():
        raise click.UsageError("give ids, or pipe them in: switchyard ls --status FAILED | switchyard rerun")
    found: list[str] = []
    for line in sys.stdin:
        if line.lstrip().startswith("{"):
            try:
                found.append(str(json.loads(line)["jobId"]))
            except (ValueError, KeyError):
                raise click.UsageError(f"this line of standard input has no jobId: {plain(line.strip(), 80)}") from None
        elif words := line.split():
            found.append(words[0])
    return list(dict.fromkeys(found))


def entry() -> None:
    """The program `switchyard`: SIGTERM ends it as Ctrl-C does, so that it leaves nothing half-done."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    main(prog_name="switchyard")
