"""The layer's size unzipped, by package."""

from collections import Counter
from pathlib import Path

from rich.table import Table

from bench.environment import RUNTIME, Layer
from bench.measure import Effort
from bench.report import table, verdict

_BUDGET = 15
_MEGABYTE = 1_000_000
_OF_THE_RUNTIME = ("botocore", "jmespath", "dateutil", "six", "urllib3")
"""Dependencies of aws-xray-sdk that the Lambda runtime already has."""


def run(layer: Layer, _effort: Effort) -> list[Table]:
    """Measures the sizes once: they don't vary."""
    packages = _sizes(layer.deployed)
    sources = _sizes(layer.sources).total()
    brought = _sizes(RUNTIME, but=".pyc")  # SAM's builder doesn't compile bytecode
    baseline = sources + sum(brought[name] for name in _OF_THE_RUNTIME)
    shown = table("The layer, unzipped", *("package", "MB", "share", "budget"))
    for name, size in packages.most_common():
        shown.add_row(name, _megabytes(size), f"{size / packages.total():.0%}", "")
    total = packages.total()
    shown.add_section()
    shown.add_row("ours", _megabytes(total), "100%", verdict(total / _MEGABYTE, _BUDGET, " MB"))
    shown.add_row("ours, without bytecode", _megabytes(sources), f"{sources / total:.0%}", "")
    shown.add_row("as SAM's own builder would resolve it", _megabytes(baseline), f"{baseline / total:.0%}", "")
    return [shown]


def _sizes(folder: Path, *, but: str = "") -> Counter[str]:
    """Returns bytes by package without files that end in `but`. A package's metadata and stubs count towards it."""
    sizes: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.is_file() and not (but and path.suffix == but):
            parts = path.relative_to(folder).parts
            name = parts[1] if parts[0] == "__pycache__" else parts[0]  # bytecode of top-level modules
            sizes[name.split("-")[0].split(".")[0]] += path.stat().st_size
    return sizes


def _megabytes(size: int) -> str:
    return f"{size / _MEGABYTE:.2f}"
