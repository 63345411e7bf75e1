"""Commands for operators. Lanes go through the API; queues and `doctor` use AWS credentials of yours."""

import webbrowser
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import click

from switchyard_client._version import VERSION
from switchyard_client.command.session import Session, command, main
from switchyard_client.doctor import Finding, examine
from switchyard_client.errors import SetupError, SwitchyardError
from switchyard_client.letters import NO_TYPE, About, Letter, Queue, about, advice, plain
from switchyard_client.queues import MOST_IN_HAND, QUEUES, SPARE_SECONDS, Redrive, redrive

_SHOWN: Final = 20
_TRIAGE_SECONDS: Final = 3600.0
"""How long dead letters are hidden from others while a person decides about them."""


def _known(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value == "reconcile":
        raise click.BadParameter(
            "its messages are failed runs of the reconciler, and the next run does all their work: "
            "they may stay (docs/runbook.md, reconcile_jobs errors)"
        )
    if value is not None and value not in QUEUES:
        raise click.BadParameter(f"QUEUE must be one of {', '.join(QUEUES)}, not {value!r}")
    return value


# ---- lanes -----------------------------------------------------------------------------------------------------------


@command()
async def lanes(session: Session) -> None:
    """Show every lane: slots, how many jobs wait and since when, and pauses."""
    async with session.client() as api:
        found = (await api.list_lanes())["lanes"]
        columns = ("lane", "taken", "limit", "waiting", "oldest since", "paused")
        session.rows(columns, ((each, _lane(each)) for each in found))


@command()
@click.argument("lane")
async def pause(session: Session, lane: str) -> None:
    """Let nothing new start in a lane until `switchyard resume`. What runs goes on, what comes waits."""
    async with session.client() as api:
        paused = await api.pause_lane(lane)
        session.item(paused, f"{lane} is paused: switchyard resume {lane}")


@command()
@click.argument("lane")
async def resume(session: Session, lane: str) -> None:
    """End a lane's pause."""
    async with session.client() as api:
        session.item(await api.resume_lane(lane), f"{lane} is resumed")


def _lane(lane: Mapping[str, Any]) -> Sequence[object]:
    paused = lane.get("paused")
    told = ""
    if paused:
        until = f", until {paused['until']}" if paused.get("until") else ""
        told = f"{paused.get('reason') or 'yes'}{until}"
    return lane["name"], lane["taken"], lane["limit"], lane["waiting"], lane.get("oldestWaitingSince") or "", told


# ---- dead letters ----------------------------------------------------------------------------------------------------


@command("redrive")
@click.argument("queue", callback=_known)
@click.option("--apply", is_flag=True, help="Move the messages. Without it, only show them.")
@click.option(
    "--error-type", "types", multiple=True, metavar="TYPE", help=f"Only this ErrorType; {NO_TYPE}: without one."
)
@click.option("--discard", is_flag=True, help="Delete the messages instead. Needs --error-type.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, MOST_IN_HAND), help="At most so many.")
@click.option("--rate", default=10.0, show_default=True, type=click.FloatRange(0.1, 100), help="Messages per second.")
def redrive_queue(
    session: Session, queue: str, *, apply: bool, types: Sequence[str], discard: bool, limit: int, rate: float
) -> None:
    """Move messages from a dead-letter queue back to its queue, once the cause has been fixed.

    QUEUE is video, ecs-jobs, torrents, steam or track. With --discard and an --error-type they are deleted instead:
    those that would fail again, so that the alarm ends.

    Your credentials must allow cloudformation:DescribeStacks, sqs:ReceiveMessage, DeleteMessage,
    ChangeMessageVisibility and GetQueueAttributes on the dead-letter queue, and sqs:SendMessage on the queue.
    """
    if discard and not types:
        raise click.UsageError("--discard deletes messages for good: say which, by --error-type")
    name = cast("Queue", queue)
    mover = redrive(session.context.aws(), name)
    letters = mover.take(limit=limit, seconds=SPARE_SECONDS + limit / 10 + (limit / rate if apply else 0), types=types)
    described = [(letter, about(name, letter)) for letter in letters]
    movable = [letter for letter, what in described if discard or not what.refused]
    moving = {letter.id for letter in movable} if apply else set()
    try:
        _summary(session, mover, described)
        if movable and not apply:
            fate = "be deleted" if discard else f"go to {mover.destination}"
            session.warn(f"nothing was moved. With --apply, {len(movable)} would {fate}")
    finally:
        mover.release([letter for letter in letters if letter.id not in moving])
    if apply:
        _move(session, mover, movable, rate, discard=discard)


def _move(session: Session, mover: Redrive, letters: Sequence[Letter], rate: float, *, discard: bool) -> None:
    counts: Counter[bool] = Counter()
    done = "deleted" if discard else f"moved to {mover.destination}"
    try:
        mover.move_all(letters, rate, lambda _, moved: counts.update([moved]), discard=discard)
    finally:
        data = {"deleted" if discard else "moved": counts[True], "of": len(letters)}
        session.item(data, f"{counts[True]} of {len(letters)} {done}")
        if counts[False]:
            session.warn(f"{counts[False]} were deleted, or received by another redrive")
        if left := len(letters) - counts.total():
            session.warn(f"{left} not moved; the first of these may have been sent nevertheless")


def _summary(session: Session, mover: Redrive, described: Sequence[tuple[Letter, About]]) -> None:
    if not session.json:
        session.out.print(
            f"{len(described)} of about {mover.depth()} messages in {mover.source}", markup=False, soft_wrap=True
        )
        counts = Counter(letter.error_type for letter, _ in described)
        for error_type, count in counts.most_common():
            message = next(letter.error_message for letter, _ in described if letter.error_type == error_type)
            session.out.print(
                f"{count:>6}  {plain(error_type, 40)}  {plain(message, 80)}", markup=False, soft_wrap=True
            )
    shown = described if session.json else described[:_SHOWN]
    session.rows(("sent (UTC)", "ErrorType", "kind", "job", "about"), ((_data(*each), _cells(*each)) for each in shown))
    if len(described) > len(shown):
        session.note(f"… and {len(described) - len(shown)} more")
    if nameless := sum(not what.names_version for _, what in described):
        session.warn(f"without a version: {nameless}. Such a message runs again if its job has ended by then")


def _data(letter: Letter, what: About) -> Mapping[str, Any]:
    return {
        "messageId": letter.id,
        "sentAt": letter.sent_at.isoformat(),
        "errorType": letter.error_type,
        "errorMessage": letter.error_message,
        "kind": what.kind,
        "jobId": what.job or None,
        "subject": what.subject,
        "movable": not what.refused,
        "advice": advice(letter, what),
    }


def _cells(letter: Letter, what: About) -> Sequence[object]:
    subject = f"stays: {what.refused}" if what.refused else what.subject
    return f"{letter.sent_at:%Y-%m-%d %H:%M}", letter.error_type, what.kind, what.job, subject


@command("dead-letters")
@click.argument("queue", callback=_known, required=False)
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="At most so many a queue.")
def dead_letters(session: Session, queue: str | None, *, limit: int) -> None:
    """Go through dead letters one by one: the reason, what to do, and your decision.

    In a pipe or with --json they are only listed. QUEUE as for redrive; without it, all queues.
    """
    aws = session.context.aws()
    asks = session.out.is_terminal and not session.json
    for name in [cast("Queue", queue)] if queue else QUEUES:
        mover = redrive(aws, name)
        left = mover.take(limit=limit, seconds=_TRIAGE_SECONDS if asks else SPARE_SECONDS + limit / 10)
        try:
            if not asks:
                found = ((letter, about(name, letter)) for letter in left)
                session.rows(
                    ("queue", "ErrorType", "job", "about", "what to do"),
                    (
                        (
                            {"queue": name, **_data(*each)},
                            (name, each[0].error_type, each[1].job, each[1].subject, advice(*each)),
                        )
                        for each in found
                    ),
                )
                continue
            session.out.print(f"{name}: {len(left)} dead letters", style="bold", markup=False)
            while left:
                _triage(session, mover, name, left[0])
                del left[0]
        finally:
            mover.release(left)


def _triage(session: Session, mover: Redrive, queue: Queue, letter: Letter) -> None:
    """Show one dead letter and do what the person says."""
    what = about(queue, letter)
    for label, text in (
        ("sent", f"{letter.sent_at:%Y-%m-%d %H:%M} UTC"),
        ("about", " ".join(filter(None, [what.kind, what.job, what.subject]))),
        ("reason", f"{letter.error_type} {letter.error_message}"),
        ("do", advice(letter, what)),
    ):
        session.out.print(f"  {label:7} {plain(text, 400)}", markup=False, soft_wrap=True)
    ways = {"b": "back to its queue", "d": "delete", "k": "keep"}
    if what.refused:
        del ways["b"]
    prompt = "  " + ", ".join(f"[{key}] {way}" for key, way in ways.items())
    choice = click.prompt(prompt, type=click.Choice(list(ways)), default="k", show_choices=False)
    if choice == "k":
        mover.release([letter])
        return
    done = mover.move(letter) if choice == "b" else mover.discard(letter)
    if not done:
        session.warn("it was deleted, or received by another redrive")


# ---- the rest --------------------------------------------------------------------------------------------------------


@command()
def doctor(session: Session) -> None:
    """Check a deployment: its parts, permissions to start jobs, queues, alarms, this machine's clock.

    Each line is ok, or says what to do. The exit code is 1 if something is wrong.
    """

    def report(finding: Finding) -> None:
        session.ends(0 if finding.ok is not False else 1)
        mark = {True: "ok", False: "WRONG", None: "?"}[finding.ok]
        data = {"check": finding.check, "ok": finding.ok, "detail": finding.detail, "advice": finding.advice}
        advised = f": {finding.advice}" if finding.advice else ""
        session.item(data, f"{mark:5}  {finding.check:22}  {plain(finding.detail, 500)}{advised}")

    aws = session.context.aws()
    for finding in examine(aws):
        report(finding)


@command("open")
def open_console(session: Session) -> None:
    """Open the deployment's console in a browser, and print its address."""
    url = session.context.console or session.context.aws().outputs().get("ConsoleUrl")
    if not url:
        raise SetupError("this deployment has no console: deploy it with Console=true")
    session.item({"url": url}, url)
    if session.out.is_terminal and not webbrowser.open(url):
        session.note("no browser could be opened")


@command()
async def version(session: Session) -> None:
    """Print the client's version, and that of the deployment's API."""
    found: dict[str, Any] = {"client": VERSION}
    try:
        async with session.client() as api:
            found |= {"api": (await api.get_document())["info"]["version"], "url": api.url}
    except SwitchyardError as error:
        session.note(str(error))
    session.item(found, "\n".join(f"{name:6}  {value}" for name, value in found.items()))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script: eval "$(switchyard completion bash)"."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - only here

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(found(main, {}, "switchyard", "_SWITCHYARD_COMPLETE").source())


COMMANDS = (lanes, pause, resume, redrive_queue, dead_letters, doctor, open_console, version, completion)
