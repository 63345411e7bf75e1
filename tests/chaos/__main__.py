"""The command line: `python -m tests.chaos`, behind `make test-chaos` and `make soak`."""

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
    """Test Switchyard under faults on every AWS call, killed processes and hours of work."""
    seal_this_process()
    end_like_ctrl_c()


@main.command()
@click.option("--videos", default=1000, show_default=True, help="Uploads to S3.")
@click.option("--jobs", default=1000, show_default=True, help="Jobs submitted over the API.")
@click.option("--torrents", default=20, show_default=True, help="Uploads of objects that get a torrent.")
@click.option("--rate", default=6.0, show_default=True, help="Uploads and jobs per second.")
@click.option("--slots", default=4, show_default=True, help="Slots per lane: few, so that jobs wait.")
@click.option("--seed", type=int, help="Seed of all random choices; printed. Timing still varies.")
@click.option("--minutes", default=45.0, show_default=True, help="Time limit in minutes, settling included.")
@click.option("--job-kills", default=4.0, show_default=True, help="Seconds between two kills of jobs, on average.")
@click.option("--function-kills", default=15.0, show_default=True, help="The same for functions' processes.")
@click.option("--strength", default=1.0, show_default=True, help="Multiplies the probability of every fault.")
def storm(*, seed: int | None, **options: float) -> None:
    """Inject faults and kill processes while jobs run.

    The faults hit every AWS call of the functions. The command prints them, their effects and all violations, and saves
    the report under .local/chaos/. The exit code is 1 if anything was lost, done twice, over the limit, or left behind.
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
@click.option("--minutes", default=60.0, show_default=True, help="How many minutes to send work.")
@click.option("--rate", default=40.0, show_default=True, help="Uploads and jobs per minute.")
@click.option("--slots", default=2, show_default=True, help="Slots per lane: few, so that jobs sometimes wait.")
@click.option("--seed", default=1, show_default=True, help="Seed of all random choices.")
def soak(*, minutes: float, rate: float, slots: int, seed: int) -> None:
    """Run steady work for a long time and detect drift.

    The command samples slots, counters and memory every ten seconds, prints the course and all growth, and saves the
    report under .local/soak/. The exit code is 1 if slots drifted from the real runs, one of our processes leaks, or
    anything was lost or left behind.
    """
    _tell(soaks.soak(soaks.Plan(minutes, rate, slots, seed), click.echo), "soak")


def _tell(report: Report, folder: str) -> None:
    where = storms.write(report, STATE / folder)
    click.echo(f"\n{report.text()}\n\nsaved in {where}")
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
