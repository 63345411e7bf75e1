"""Runs every benchmark, or the named ones: `python -m bench`, behind `make bench`."""

import io
import os
import subprocess
import tempfile
import time
from pathlib import Path
from types import ModuleType

import click
from rich.console import Console

from bench import (
    api,
    calls,
    contention,
    cost,
    cpu,
    hop,
    init,
    listing,
    memory,
    power,
    realtime,
    reconcile,
    retrieval,
    search,
    size,
    speakers,
    speech,
    torrent,
    wall,
)
from bench.environment import ROOT, Layer
from bench.measure import Effort

_BENCHES: dict[str, ModuleType] = {
    "calls": calls,
    "cpu": cpu,
    "wall": wall,
    "api": api,
    "listing": listing,
    "init": init,
    "memory": memory,
    "reconcile": reconcile,
    "hop": hop,
    "size": size,
    "torrent": torrent,
    "contention": contention,
    "power": power,
    "cost": cost,
    "search": search,
    "retrieval": retrieval,
    "speech": speech,
    "speakers": speakers,
    "realtime": realtime,
}
_POLITE = 10


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("benches", nargs=-1, type=click.Choice(list(_BENCHES)))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1), help="Turns of each subject.")
@click.option("--smoke", is_flag=True, help="Only check that the benches run: one round, smallest sizes, no figures.")
def main(benches: tuple[str, ...], rounds: int, *, smoke: bool) -> None:
    """Measure Switchyard against the floor and the usual way. docs/performance.md explains each figure.

    BENCHES names the benchmarks to run; by default all of them.
    """
    os.nice(_POLITE)  # other programs share the machine
    effort = Effort(1, smoke=True) if smoke else Effort(rounds)
    console = Console(width=None if Console().is_terminal else 140)
    figures = Console(file=io.StringIO()) if smoke else console  # rendering can fail too, so a smoke run renders
    start = time.monotonic()
    told = "smoke run" if smoke else f"medians of {rounds} rounds"
    console.print(f"commit {_commit()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {told}\n")
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as folder:
        layer = Layer(Path(folder))
        for name in benches or _BENCHES:
            begun = time.monotonic()
            for each in _BENCHES[name].run(layer, effort):
                figures.print(each, "")
            if smoke:
                console.print(f"{name} works: {time.monotonic() - begun:.0f} s")
    console.print(f"{time.monotonic() - start:.0f} s, load now {os.getloadavg()[0]:.1f}")


def _commit() -> str:
    command = ("git", "describe", "--always", "--dirty")
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
