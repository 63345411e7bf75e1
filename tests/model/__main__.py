"""Runs the model for a long time in parallel processes: `python -m tests.model`, or `make test-model`.

It prints what happened and how often. On a failure it shows the shortest failing example and exits with 1.
"""

import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import redirect_stdout
from io import StringIO
from itertools import count
from typing import Final

# Set before our modules are imported: logging would take longer than everything else.
os.environ |= {"POWERTOOLS_LOG_LEVEL": "CRITICAL", "POWERTOOLS_METRICS_DISABLED": "true"}

import click
from hypothesis import seed, settings
from hypothesis.stateful import run_state_machine_as_test

import tests.conftest  # noqa: F401 - it isolates this process from AWS
from tests.model.protocol import InMemory, OnMoto, Protocol

MACHINES: Final[dict[str, type[Protocol]]] = {"memory": InMemory, "moto": OnMoto}
EXAMPLES: Final = {"memory": 200, "moto": 5}
"""Examples per task; each task has the next seed."""


def run(store: str, number: int) -> tuple[Counter[str], str]:
    """Runs some examples. Returns what happened in them, and the shortest failing example."""
    machine = MACHINES[store]
    machine.tally.clear()
    wanted = settings(max_examples=EXAMPLES[store], stateful_step_count=60, database=None, print_blob=False)
    wrong = ""
    try:
        with redirect_stdout(StringIO()):
            run_state_machine_as_test(seed(number)(machine), settings=wanted)
    except Exception:  # noqa: BLE001 - reported in full
        wrong = f"{store}, --seed {number}\n{traceback.format_exc()}"
    return Counter(machine.tally), wrong


def run_all(wanted: dict[str, int], first_seed: int, workers: int) -> Iterator[tuple[str, Counter[str], str]]:
    """Runs tasks until every store has done the wanted number of steps, or an example fails."""
    left = dict(wanted)
    seeds = count(first_seed)
    with ProcessPoolExecutor(workers) as pool:
        running: dict[Future[tuple[Counter[str], str]], str] = {}
        while True:
            for store, steps in left.items():
                while steps > 0 and len(running) < workers:
                    running[pool.submit(run, store, next(seeds))] = store
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for task in done:
                store = running.pop(task)
                tally, wrong = task.result()
                left[store] -= tally["steps"]
                yield store, tally, wrong
                if wrong:
                    left = dict.fromkeys(left, 0)


@click.command(help=__doc__)
@click.option("--memory", default=100_000, show_default=True, help="Steps with the store in memory.")
@click.option("--moto", default=3_000, show_default=True, help="Steps with the real store on moto.")
@click.option("--seed", "first_seed", default=1, show_default=True, help="The first task's seed; others count up.")
@click.option("--workers", default=os.cpu_count() or 1, show_default=True, help="Parallel processes.")
def main(memory: int, moto: int, first_seed: int, workers: int) -> None:
    began = time.monotonic()
    tallies = {store: Counter[str]() for store in MACHINES}
    went_wrong = []
    # moto first: its tasks take longest, and the last tasks should be short.
    for store, tally, wrong in run_all({"moto": moto, "memory": memory}, first_seed, workers):
        tallies[store] += tally
        went_wrong += [wrong] if wrong else []
        steps = ", ".join(f"{each}: {tallies[each]['steps']:,}" for each in tallies)
        click.echo(f"{time.monotonic() - began:6.0f} s  steps so far  {steps}", err=True)
    _report(tallies)
    for wrong in went_wrong:
        click.echo(wrong)
    sys.exit(bool(went_wrong))


def _report(tallies: dict[str, Counter[str]]) -> None:
    names = sorted(set().union(*tallies.values()))
    width = max(map(len, names), default=0)
    click.echo(f"{'':{width}}  {'memory':>9}  {'moto':>9}")
    for name in names:
        click.echo(f"{name:{width}}  {tallies['memory'][name]:>9,}  {tallies['moto'][name]:>9,}")


if __name__ == "__main__":
    main()
