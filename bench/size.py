"""How large the layer is, unzipped, and what each package takes of it."""

from collections import Counter
from pathlib import Path

from rich.table import Table

from bench.environment import RUNTIME, Layer
from bench.report import table, verdict

_BUDGET = 15
_MEGABYTE = 1_000_000
_OF_THE_RUNTIME = ("botocore", "jmespath", "dateutil", "six", "urllib3")
"""What aws-xray-sdk asks for, and what the Lambda runtime holds already."""


def run(layer: Layer, _rounds: int) -> list[Table]:
    """Sizes don't vary: one round will do."""
    packages = _sizes(layer.plain)
    brought = _sizes(RUNTIME)
    baseline = packages.total() + sum(brought[name] for name in _OF_THE_RUNTIME)
    bytecode = _sizes(layer.compiled).total()
    shown = table("The layer, unzipped", *("package", "MB", "share", "budget"))
    for name, size in packages.most_common():
        shown.add_row(name, _megabytes(size), f"{size / packages.total():.0%}", "")
    total = packages.total()
    shown.add_section()
    shown.add_row("ours", _megabytes(total), "100%", verdict(total / _MEGABYTE, _BUDGET, " MB"))
    shown.add_row("ours, with bytecode", _megabytes(bytecode), f"{bytecode / total:.0%}", "")
    shown.add_row("as `sam build` would resolve it", _megabytes(baseline), f"{baseline / total:.0%}", "")
    return [shown]


def _sizes(folder: Path) -> Counter[str]:
    """Bytes by package; a package's metadata and stubs count as its own."""
    sizes: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.is_file():
            top = path.relative_to(folder).parts[0]
            sizes[top.removesuffix(".py").removesuffix("-stubs").split("-")[0]] += path.stat().st_size
    return sizes


def _megabytes(size: int) -> str:
    return f"{size / _MEGABYTE:.2f}"
