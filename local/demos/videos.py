"""The demo of videos: sends real videos through the deployed system, and checks order, concurrency and results."""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from local.demos.media import CLIPS, clip
from local.environment import shown
from local.follow import Followed, follow
from local.models import MODELS
from local.stack import LocalStack
from local.view import Job, Lane, View, cluster_of

PREFIX: Final = "uploads/demo"
PAUSE_TARGET: Final = 2.0
"""Seconds from one job's end to the next one's start on an idle machine, including the start of its process."""
_PATIENCE: Final = 60.0
"""Seconds to wait for the job of a clip of a few megabytes."""
_APART: Final = 0.2
"""Seconds between the uploads, so that S3's messages have a defined order."""


class DemoError(Exception):
    """A check of a demo failed."""


def play(stack: LocalStack, console: Console) -> None:
    """Run the demo on a running stack.

    Raises:
        DemoError: If a check fails.
    """
    if stack.parameters.get("MaxConcurrentJobs", "1") != "1":
        stack.redeploy(MaxConcurrentJobs="1")
    view = View(stack)
    folder = f"{PREFIX}/{time.strftime('%Y-%m-%dT%H-%M-%S')}"
    one_video(view, console, folder, stack.folder / "results")
    one_at_a_time(view, console, folder)


def one_video(view: View, console: Console, folder: str, results: Path) -> None:
    """Upload a video, follow its job, and download the results to `results`."""
    console.rule("One video", align="left")
    file = clip("bikes.mp4")  # has cuts, so there are scenes to find
    key = f"{folder}/{file.name}"
    console.print(f"uploading {shown(file)} ({file.stat().st_size / 1e6:.1f} MB) to {key}", markup=False)
    uploaded = view.upload(file, key)
    [job] = _completed(follow(view, {key: uploaded}, console, seconds=_PATIENCE))
    console.print(timeline(view, job, uploaded))
    show_results(view, job, results / job.id, console)
    skipped = [name for name, state in job.result.get("stages", {}).items() if state == "skipped"]
    if skipped and not MODELS.is_dir():
        console.print(f"skipped: {', '.join(skipped)}. [dim]`make models` fetches what understands speech[/dim]")


def one_at_a_time(view: View, console: Console, folder: str) -> None:
    """Upload more videos than the lane has slots. Each must wait for the one before it, and no longer."""
    console.print()
    console.rule("Three videos at once, MAX_CONCURRENT_JOBS=1", align="left")
    uploads = {}
    for number, name in enumerate(CLIPS, 1):
        key = f"{folder}/{number}-{name}"
        uploads[key] = view.upload(clip(name), key)
        time.sleep(_APART)
    most = 0

    def count(lane: Lane, _changed: Sequence[Followed]) -> None:
        nonlocal most
        most = max(most, len(lane.holders))

    jobs = _completed(follow(view, uploads, console, seconds=_PATIENCE * len(uploads), look=count))
    check_one_at_a_time(jobs, most)
    table = Table(box=None, pad_edge=False)
    for column, justify in (("video", "left"), ("waited", "right"), ("ran", "right"), ("pause before", "right")):
        table.add_column(column, header_style="dim", justify=justify)  # type: ignore[arg-type]
    pauses = [None, *pauses_between(jobs)]
    for job, pause in zip(jobs, pauses, strict=True):
        started, ended = job.started or 0, job.ended or 0
        waited, ran = f"{started - job.sent:.2f} s", f"{ended - started:.2f} s"
        table.add_row(job.name, waited, ran, "" if pause is None else f"{pause:.2f} s")
    console.print(table)
    longest = max(pauses_between(jobs))
    console.print("never two at once, and in the order they were sent")
    verdict = "" if longest < PAUSE_TARGET else ": is this machine busy?"
    console.print(
        f"longest pause between one job's end and the next one's start: {longest:.2f} s"
        f" (target: under {PAUSE_TARGET:.0f} s){verdict}",
        style="yellow" if verdict else "",
    )


def timeline(view: View, job: Job, uploaded: float) -> Table:
    """The steps of a job, in milliseconds since the work was sent."""
    table = Table(box=None, pad_edge=False)
    for column in ("step", "after", "since the step before"):
        table.add_column(column, header_style="dim", justify="left" if column == "step" else "right")
    steps = [
        ("upload begun" if job.key else "request sent", uploaded),
        ("message sent by S3" if job.key else "message sent", job.sent),
        ("claimed", job.claimed),
        ("run by ECS" if job.target_id and cluster_of(job.target_id) else "submitted to Batch", view.submitted(job)),
        ("running", job.started),
        (job.status.lower(), job.ended),
    ]
    known = [(step, when) for step, when in steps if when is not None]
    previous = uploaded
    for step, when in known:
        table.add_row(step, f"{(when - uploaded) * 1000:,.0f} ms", f"{(when - previous) * 1000:,.0f} ms")
        previous = when
    return table


def show_results(view: View, job: Job, folder: Path, console: Console) -> None:
    """Download a job's results and show where they are.

    Raises:
        DemoError: If a file that the job names is missing or empty.
    """
    fetched = {path.relative_to(folder).as_posix(): path for path in view.results(job, folder)}
    named = list(job.result.get("files", ()))
    missing = [name for name in named if name not in fetched or not fetched[name].stat().st_size]
    if missing or not named:
        raise DemoError(f"{job.id} is COMPLETED, but these results are missing: {', '.join(missing) or 'all'}")
    console.print(f"\n{len(named)} result files under\n  {view.location(job)}\nfetched to", markup=False)
    for name in named:
        path = fetched[name]
        link = f"[link={path.as_uri()}]{escape(shown(path))}[/link]" if console.is_terminal else escape(shown(path))
        console.print(f"  {link}  [dim]{path.stat().st_size / 1000:,.1f} kB[/dim]")


def check_one_at_a_time(jobs: Sequence[Job], most_holders: int) -> None:
    """Check that jobs in a lane with one slot ran one after the other, in order.

    Args:
        jobs: In the order of their uploads.
        most_holders: The highest number of slots seen taken at once.

    Raises:
        DemoError: If two ran at once, or one started before its turn.
    """
    if most_holders > 1:
        raise DemoError(f"{most_holders} jobs held a slot at once, with MAX_CONCURRENT_JOBS=1")
    for before, after in itertools.pairwise(jobs):
        if (after.started or 0) < (before.started or 0):
            raise DemoError(f"{after.name} started before {before.name}, which was sent first")
        if (after.started or 0) < (before.ended or 0):
            raise DemoError(f"{before.name} and {after.name} ran at once, with MAX_CONCURRENT_JOBS=1")


def pauses_between(jobs: Sequence[Job]) -> list[float]:
    """Seconds between each job's end and the start of the one after it."""
    return [(after.started or 0) - (before.ended or 0) for before, after in itertools.pairwise(jobs)]


def _completed(jobs: list[Job]) -> list[Job]:
    for job in jobs:
        if job.status != "COMPLETED":
            raise DemoError(f"{job.name} ended as {job.status}: {job.error or 'no reason given'}")
    return jobs
