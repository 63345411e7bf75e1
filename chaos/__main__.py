"""`python -m chaos`, behind `make test-chaos` and `make soak`."""

import random
import sys

import click

from chaos import storm as storms
from local.environment import STATE, seal_this_process
from local.processes import end_like_ctrl_c


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
@click.option("--seed", type=int, help="Of everything that dice decide; printed. Timing has none.")
@click.option("--minutes", default=30.0, show_default=True, help="How long it may take in all, settling included.")
@click.option("--kill-pause", default=4.0, show_default=True, help="Seconds between two kills of a kind, on average.")
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
        seed=random.randrange(2**32) if seed is None else seed,  # noqa: S311 - a seed, not a secret
        minutes=options["minutes"],
        kill_pause=options["kill_pause"],
        strength=options["strength"],
    )
    click.echo(f"seed {plan.seed}")
    report = storms.storm(plan, click.echo)
    where = storms.write(report, STATE / "chaos")
    click.echo(f"\n{report.text()}\n\nkept in {where}")
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
