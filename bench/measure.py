"""Measures on a shared machine: subjects take turns, ratios are taken within a turn, and medians are reported."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.environment import ROOT, RUNTIME, Layer, python, variables


@dataclass(frozen=True)
class Effort:
    """How much a run measures.

    Attributes:
        rounds: How often all subjects take turns.
        smoke: Whether a bench only has to show that it works: one round, no warm-up, the smallest sizes. Its figures
            mean nothing.
    """

    rounds: int
    smoke: bool = False

    def of[Size](self, full: Size, small: Size) -> Size:
        """Returns the size to measure: the small one in a smoke run."""
        return small if self.smoke else full


@dataclass(frozen=True)
class Samples:
    """Repeated measurements of one figure."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Returns the figure to quote."""
        return statistics.median(self.values)

    def show(self, digits: int = 2) -> str:
        """Formats the median with the lowest and highest value."""
        return f"{self.median:,.{digits}f}  [dim]{min(self.values):,.{digits}f}-{max(self.values):,.{digits}f}[/dim]"

    def over(self, other: Samples) -> Samples:
        """Returns the ratios to another figure, each within one turn: a busy moment of the machine slows both."""
        return Samples(tuple(mine / its for mine, its in zip(self.values, other.values, strict=True)))


def interleaved[Name](measures: Mapping[Name, Callable[[], float]], effort: Effort) -> dict[Name, Samples]:
    """Takes every measure once a round, in an order that shifts from round to round.

    A warm-up round is not counted: it fills caches, such as those of service models.
    """
    names = list(measures)
    values: dict[Name, list[float]] = {name: [] for name in names}
    for turn in range(effort.of(-1, 0), effort.rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            value = measures[name]()
            if turn >= 0:
                values[name].append(value)
    return {name: Samples(tuple(found)) for name, found in values.items()}


def resident(which: str) -> int:
    """Returns this process's memory in bytes: VmRSS is the current size, VmHWM the peak (man 5 proc)."""
    found = re.search(rf"^{which}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found  # noqa: S101 - Linux
    return int(found[1]) * 1024


def forget_peak() -> None:
    """Resets the peak to the current size."""
    Path("/proc/self/clear_refs").write_text("5")


class Probe(AbstractContextManager["Probe"]):
    """Runs a subject in its own process (see `bench.subjects` and similar modules) and takes samples."""

    def __init__(
        self,
        subject: str,
        layer: Layer,
        options: Mapping[str, object],
        *,
        module: str = "bench.subjects",
        function: str = "sqs_to_batch",
        traced: bool | None = None,
        also: Path | None = None,
    ) -> None:
        path = [ROOT / "functions" / function, layer.deployed, RUNTIME, ROOT, *([also] if also else [])]
        self._process = subprocess.Popen(
            python("-m", module, subject, json.dumps(options)),
            cwd=ROOT,
            env=variables(traced=traced, path=path, function=function),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def sample(self, **asked: int) -> dict[str, Any]:
        """Takes one sample. The subject's module documents the parameters and the answer."""
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps(asked) + "\n")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a subject has ended; its output is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # the process ends when its stdin ends
