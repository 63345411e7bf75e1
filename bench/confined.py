"""A process held to so much memory and such a share of a CPU, by control groups, as Lambda holds a function.

Both versions of the interface are spoken ("Control Group v2" and "CFS Bandwidth Control" in the kernel's
documentation). Either takes the rights to make groups, which on most machines is root.
"""

from __future__ import annotations

import itertools
import os
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

ROOT: Final = Path("/sys/fs/cgroup")
PERIOD: Final = 20_000
"""Microseconds after which a group has its share anew. Lambda's is not documented; this is short beside an event."""
_MOUNT: Final = "cgroup.procs"
_numbers = itertools.count()


@dataclass(frozen=True)
class _Interface:
    """Where a group's folders lie, in which files its limits stand, what lifts that of the CPU, and the most weight."""

    folders: tuple[str, ...]
    memory: str
    cpu: str
    whole: str
    weight: tuple[str, int]

    def of_share(self, share: float) -> str:
        """What to write for a share of one CPU."""
        quota = max(1000, round(share * PERIOD))  # the kernel takes no less
        return f"{quota}" if len(self.folders) > 1 else f"{quota} {PERIOD}"


_V1 = _Interface(
    ("cpu", "memory"), "memory/{}/memory.limit_in_bytes", "cpu/{}/cpu.cfs_quota_us", "-1", ("cpu/{}/cpu.shares", 262144)
)
_V2 = _Interface(("",), "{}/memory.max", "{}/cpu.max", f"max {PERIOD}", ("{}/cpu.weight", 10000))


class Group(AbstractContextManager["Group"]):
    """A control group of its own, gone when the block ends; by then its processes must have ended.

    Args:
        memory: bytes that its processes may hold; one that needs more is killed.
        root: where control groups are mounted.

    Raises:
        OSError: groups can't be made here.
    """

    def __init__(self, memory: int, root: Path | None = None) -> None:
        self._root = root = root or ROOT
        self._interface = _V1 if (root / "cpu" / _MOUNT).exists() else _V2
        self._name = f"switchyard-bench-{os.getpid()}-{next(_numbers)}"
        self._folders = [root / each / self._name for each in self._interface.folders]
        for folder in self._folders:
            folder.mkdir()
        self._write(self._interface.memory, f"{memory}")
        # Within its share it goes before others: on Lambda there are none.
        file, most = self._interface.weight
        self._write(file, f"{most}")
        if self._interface is _V1:
            self._write("cpu/{}/cpu.cfs_period_us", f"{PERIOD}")

    def take(self, pid: int) -> None:
        """Puts a process into the group."""
        for folder in self._folders:
            (folder / _MOUNT).write_text(f"{pid}")

    def share(self, cpus: float | None) -> None:
        """From now on so many CPUs' time, as 0.5; None for as much as there is."""
        self._write(self._interface.cpu, self._interface.whole if cpus is None else self._interface.of_share(cpus))

    def _write(self, file: str, value: str) -> None:
        (self._root / file.format(self._name)).write_text(value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for folder in self._folders:
            _remove(folder)


def unavailable() -> str | None:
    """Why no groups can be made here; None where they can."""
    try:
        with Group(memory=2**30) as group:
            group.share(1.0)
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    return None


def _remove(folder: Path) -> None:
    """The kernel takes a moment to see that a group's last process is gone."""
    for _ in range(50):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.02)
        else:
            return
