"""Explores all interleavings: `python -m tests.interleavings`, or `make test-interleavings`.

Every two actors of a scenario meet, and with --three every three with at most three preemptions; each time also with
one fault at each call. A schedule that breaks an invariant is printed with its trace, and --replay takes it again.
"""

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import combinations_with_replacement, islice

# Set before our modules are imported: logging would take longer than everything else.
os.environ |= {"POWERTOOLS_LOG_LEVEL": "CRITICAL", "POWERTOOLS_METRICS_DISABLED": "true"}

import click

import tests.conftest  # noqa: F401 - it isolates this process from AWS
from tests.interleavings.explorer import Found, Search, Tally, parse
from tests.interleavings.scenarios import SCENARIOS

_TWO = 2
_PREEMPTIONS = 3


def meetings(scenario: str | None, count: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields the name of each scenario, or of one, with the names of every `count` of its actors.

    Those with the reconciler come last: it makes the most calls, and such a meeting takes minutes.
    """
    wanted = [
        (name, names)
        for name in ([scenario] if scenario else SCENARIOS)
        for names in combinations_with_replacement(SCENARIOS[name].actors, count)
    ]
    yield from sorted(wanted, key=lambda meeting: meeting[1].count("reconcile"))


def _run(name: str, names: tuple[str, ...], *, faults: bool) -> tuple[Found | None, Tally]:
    search = Search(name, names, faults=faults, preemptions=None if len(names) == _TWO else _PREEMPTIONS)
    return search.run(), search.tally


@click.command(help=__doc__)
@click.option("--three", is_flag=True, help="Let three actors meet instead of two. Takes hours with faults.")
@click.option("--faults/--no-faults", default=True, show_default=True, help="Let one call fail in each schedule.")
@click.option("--scenario", type=click.Choice([*SCENARIOS]), help="Explore only this one.")
@click.option("--replay", metavar="SCHEDULE", help="Take this schedule, as printed for a violation, and nothing else.")
@click.option("--skip", default=0, show_default=True, help="Leave out so many meetings: an earlier run did them.")
@click.option("--workers", default=os.cpu_count() or 1, show_default=True, help="Processes.")
def main(*, three: bool, faults: bool, scenario: str | None, replay: str | None, skip: int, workers: int) -> None:
    """Runs the searches and prints what they have seen. Exits with 1 on a violation."""
    if replay:
        try:
            search, steps = parse(replay)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--replay") from None
        found = search.replay(steps)
        print(found or "nothing is broken")
        sys.exit(1 if found else 0)
    began, total, count = time.monotonic(), Tally(), 0
    violations = []
    with ProcessPoolExecutor(workers) as pool:
        wanted = islice(meetings(scenario, 3 if three else _TWO), skip, None)
        running = [pool.submit(_run, name, names, faults=faults) for name, names in wanted]
        for done in as_completed(running):
            found, tally = done.result()
            count += 1
            total = Tally(total.nodes + tally.nodes, total.calls + tally.calls, total.ends + tally.ends)
            if found:
                violations.append(found)
                print(found, flush=True)
            if count % 20 == 0 or count == len(running):
                seconds = time.monotonic() - began
                print(f"{count} of {len(running)} meetings, {total.calls} calls, {seconds:.0f} s", flush=True)
    print(f"{total.nodes} states, {total.calls} calls, {total.ends} ends, {len(violations)} violations")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
