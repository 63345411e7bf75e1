"""`python -m tests.chaos`, behind `make test-chaos` and `make soak`."""

import random
import sys

import click

from local.environment import STATE, seal_this_process
from local.processes import end_like_ctrl_c
from tests.chaos import soak as soaks
from tests.chaos import storm as storms
from tests.chaos.report import Report


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Show what Switchyard bears: faults on every AWS call, killed processes, long work."""
    seal_this_process()
    end_like_ctrl_c()


@main.command()
@click.option("--videos", default=1000, show_default=True, help="Uploads to S3.")
@click.option("--jobs", default=1000, show_default=True, help="Jobs submitted over the API.")
@click.option("--torrents", default=20, show_default=True, help="Objects uploaded that get a torrent.")
@click.option("--rate", default=6.0, show_default=True, help="How many of them a second.")
@click.option("--slots", default=4, show_default=True, help="Of each lane: so few that work waits for them.")
@click.option("--seed", type=int, help="Of everything that dice decide; printed. Timing has none.")
@click.option("--minutes", default=45.0, show_default=True, help="How long it may take in all, settling included.")
@click.option("--job-kills", default=4.0, show_default=True, help="Seconds between two kills of jobs, on average.")
@click.option("--function-kills", default=15.0, show_default=True, help="The same for processes of functions.")
@click.option("--strength", default=1.0, show_default=True, help="Of the weather: multiplies every fault's chance.")
def storm(*, seed: int | None, **options: float) -> None:
    """Let AWS misbehave on every call that functions make, and kill processes, while work is done.

    Prints what was injected, what was seen, and what may not be; keeps it under .local/chaos/. The exit code is 1 if
    anything was lost, done twice, over the limit, or left behind.
    """
    plan = storms.Plan(
        videos=int(options["videos"]),
        jobs=int(options["jobs"]),
        torrents=int(options["torrents"]),
        rate=options["rate"],
        slots=int(options["slots"]),
        seed=random.randrange(2**32) if seed is None else seed,  # noqa: S311 - a seed, not a secret
        minutes=options["minutes"],
        job_kills=options["job_kills"],
        function_kills=options["function_kills"],
        strength=options["strength"],
    )
    click.echo(f"seed {plan.seed}")
    report = storms.storm(plan, click.echo)
    _tell(report, "chaos")


@main.command()
@click.option("--minutes", default=60.0, show_default=True, help="How long work comes in.")
@click.option("--rate", default=40.0, show_default=True, help="Uploads and jobs a minute.")
@click.option("--slots", default=2, show_default=True, help="Of each lane: so few that work sometimes waits for them.")
@click.option("--seed", default=1, show_default=True, help="Of everything that dice decide.")
def soak(*, minutes: float, rate: float, slots: int, seed: int) -> None:
    """Do steady work for long, and look every ten seconds at what is held, counted and used.

    Prints how it went and what grew; keeps it under .local/soak/. The exit code is 1 if slots drifted from what really
    runs, a process of ours leaks, or anything was lost or left behind.
    """
    _tell(soaks.soak(soaks.Plan(minutes, rate, slots, seed), click.echo), "soak")


def _tell(report: Report, folder: str) -> None:
    where = storms.write(report, STATE / folder)
    click.echo(f"\n{report.text()}\n\nkept in {where}")
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
