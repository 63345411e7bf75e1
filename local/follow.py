"""Follows work from its sending to the end of its jobs, and shows the progress."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from local.view import Job, Lane
from switchyard.messages.kinds import VIDEO

_EVERY = 0.1
"""Seconds between two reads of the tables."""
PICKUP_SECONDS = 10.0
"""Seconds until work that nothing has picked up is reported."""
REMINDER_SECONDS = 30.0
"""Seconds between two reports of the same state."""
_COLOURS = {"COMPLETED": "green", "FAILED": "red", "CANCELLED": "red", "RUNNING": "cyan", "WAITING": "yellow"}


class Observer(Protocol):
    """The part of `View` that following needs."""

    def jobs_of(self, marks: Iterable[str]) -> dict[str, Job]:
        """Jobs by their object's key, or by their id."""

    def lane(self, name: str) -> Lane:
        """A lane's slots."""


class FollowTimeoutError(Exception):
    """The jobs didn't end in time; the message has each one's status."""


@dataclass(slots=True)
class Followed:
    """An upload or other work, and what is known about it so far.

    Attributes:
        mark: The object's key in the media bucket, or the job's id.
        sent: When the upload began, or the work was submitted (epoch seconds).
        job: The job as last read; None until it exists.
        seen: Each status with the time it was first seen, in order.
    """

    mark: str
    sent: float
    job: Job | None = None
    seen: list[tuple[str, float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The file's name, or another name that people recognize."""
        return self.job.name if self.job else self.mark.rpartition("/")[2]

    @property
    def picked_up(self) -> bool:
        """Whether a function has read the work. A PENDING job was accepted by the API and not read yet."""
        return self.job is not None and self.job.status != "PENDING"

    @property
    def standing(self) -> str:
        """The job's status and progress in a few words."""
        if self.job is None:
            return f"{self.name} is not known yet"
        percent = f", {self.job.percent:.0f} %" if self.job.percent else ""
        return f"{self.name} is {self.job.status}{percent}"

    def update(self, job: Job | None, now: float) -> bool:
        """Store the job as just read; whether its status has changed."""
        # An object uploaded again keeps its job id: until the new upload's message is handled, the job is the old one.
        if job is None or job.sent < self.sent - 1:
            return False
        changed = self.job is None or self.job.status != job.status
        self.job = job
        if changed:
            self.seen.append((job.status, now))
        return changed


def follow(
    view: Observer,
    sent: Mapping[str, float],
    console: Console,
    *,
    seconds: float,
    lane: str = VIDEO.lane,
    look: Callable[[Lane, Sequence[Followed]], None] = lambda _lane, _followed: None,
    explain: Callable[[], str] = lambda: "",
) -> list[Job]:
    """Follow work until all its jobs have ended, however they end.

    Args:
        view: Reads the running stack.
        sent: When each piece of work was sent (epoch seconds), by its object's key or its job's id.
        console: Shows a live table on a terminal, otherwise a line for every change.
        seconds: How long to wait for all of them.
        lane: Their lane.
        look: Called at each read with the lane's slots and the jobs whose status has changed.
        explain: Returns why nothing may have picked up the work, if known.

    Returns:
        The jobs, in the order of `sent`.

    Raises:
        FollowTimeoutError: If some haven't ended in time.
    """
    followed = [Followed(mark, when) for mark, when in sent.items()]
    deadline = time.monotonic() + seconds
    reports = _Reports(explain)
    with _screen(console, min(sent.values())) as screen:
        while True:
            jobs, slots = view.jobs_of(sent), view.lane(lane)
            changed = [each for each in followed if each.update(jobs.get(each.mark), time.time())]
            look(slots, changed)
            screen.show(followed, changed, slots, reports.due(followed, changed))
            ended = [each.job for each in followed if each.job is not None and each.job.over]
            if len(ended) == len(followed):
                return ended
            if time.monotonic() > deadline:
                raise FollowTimeoutError(_unfinished(followed, seconds))
            time.sleep(_EVERY)


class _Reports:
    """Reports now and then what is being waited for, so that the output is never silent for long."""

    def __init__(self, explain: Callable[[], str]) -> None:
        self._explain = explain
        self._next = time.monotonic() + PICKUP_SECONDS

    def due(self, followed: Iterable[Followed], changed: Iterable[Followed]) -> str:
        """A report if one is due, otherwise nothing."""
        now = time.monotonic()
        if any(changed):
            self._next = now + (PICKUP_SECONDS if any(not each.picked_up for each in followed) else REMINDER_SECONDS)
        if now < self._next:
            return ""
        self._next = now + REMINDER_SECONDS
        unseen = [each.name for each in followed if not each.picked_up]
        if unseen:
            why = self._explain()
            return f"nothing has picked up {', '.join(unseen)} yet{f':\n  {why}' if why else ''}"
        return "; ".join(each.standing for each in followed if each.job is not None and not each.job.over)


class _Lines:
    """Output for a file or a pipe: a line for each change."""

    def __init__(self, console: Console, start: float) -> None:
        self._console = console
        self._start = start

    def show(self, _followed: list[Followed], changed: list[Followed], _lane: Lane, report: str) -> None:
        for each in changed:
            status, when = each.seen[-1]
            error = f"  {each.job.error}" if each.job and each.job.error else ""
            self._console.print(f"{when - self._start:8.2f} s  {each.name:34}  {status}{error}", markup=False)
        if report:
            self._console.print(f"{time.time() - self._start:8.2f} s  {report}", markup=False)


class _LiveTable:
    """Output for a terminal: a table that is updated in place."""

    def __init__(self, live: Live, start: float) -> None:
        self._live = live
        self._start = start
        self._report = ""

    def show(self, followed: list[Followed], changed: list[Followed], lane: Lane, report: str) -> None:
        table = Table(box=None, pad_edge=False)
        for column in ("what", "status", "progress", "", "history"):
            table.add_column(column, header_style="dim", no_wrap=column != "history")
        for each in followed:
            table.add_row(*self._row(each))
        foot = f"slots taken: {len(lane.holders)}   waiting: {lane.waiting}   {time.time() - self._start:.1f} s"
        self._report = "" if changed else report or self._report
        self._live.update(Group(table, Text(foot, style="dim"), Text(self._report, style="yellow")))

    def _row(self, each: Followed) -> tuple[RenderableType, ...]:
        history = "  ".join(f"{status.lower()} {when - each.sent:.1f} s" for status, when in each.seen)
        if each.job is None:
            return (each.name, Text("sent", style="dim"), "", "", history)
        percent = 100.0 if each.job.status == "COMPLETED" else each.job.percent
        return (
            each.name,
            Text(each.job.status, style=_COLOURS.get(each.job.status, "")),
            ProgressBar(total=100, completed=percent, width=20),
            Text(f"{percent:3.0f} %"),
            Text(each.job.error or history, style="dim"),
        )


@contextlib.contextmanager
def _screen(console: Console, start: float) -> Iterator[_Lines | _LiveTable]:
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console, start)
        return
    with Live(console=console, refresh_per_second=10) as live:
        yield _LiveTable(live, start)


def _unfinished(followed: list[Followed], seconds: float) -> str:
    return f"not all jobs ended within {seconds:.0f} s: {', '.join(each.standing for each in followed)}"
