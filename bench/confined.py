"""Limits a process's memory and CPU share with control groups, as Lambda limits a function.

Supports both versions of the interface ("Control Group v2" and "CFS Bandwidth Control" in the kernel's
documentation). Both need permission to create groups; on most machines only root has it.
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
"""The CPU quota's period in microseconds. Lambda's is undocumented; this is short compared with an event."""
_MOUNT: Final = "cgroup.procs"
_numbers = itertools.count()


@dataclass(frozen=True)
class _Interface:
    """One version: a group's folders, its limit files, the value that lifts the CPU limit, and the highest weight."""

    folders: tuple[str, ...]
    memory: str
    cpu: str
    whole: str
    weight: tuple[str, int]

    def of_share(self, share: float) -> str:
        """Returns the quota to write for a share of one CPU."""
        quota = max(1000, round(share * PERIOD))  # the kernel's minimum
        return f"{quota}" if len(self.folders) > 1 else f"{quota} {PERIOD}"


_V1 = _Interface(
    ("cpu", "memory"), "memory/{}/memory.limit_in_bytes", "cpu/{}/cpu.cfs_quota_us", "-1", ("cpu/{}/cpu.shares", 262144)
)
_V2 = _Interface(("",), "{}/memory.max", "{}/cpu.max", f"max {PERIOD}", ("{}/cpu.weight", 10000))


class Group(AbstractContextManager["Group"]):
    """A control group, removed when the block ends. Its processes must have ended by then.

    Args:
        memory: bytes its processes may hold; the kernel kills one that needs more.
        root: where control groups are mounted.

    Raises:
        OSError: groups can't be created here.
    """

    def __init__(self, memory: int, root: Path | None = None) -> None:
        self._root = root = root or ROOT
        self._interface = _V1 if (root / "cpu" / _MOUNT).exists() else _V2
        self._name = f"switchyard-bench-{os.getpid()}-{next(_numbers)}"
        self._folders = [root / each / self._name for each in self._interface.folders]
        for folder in self._folders:
            folder.mkdir()
        self._write(self._interface.memory, f"{memory}")
        # Takes precedence over other processes within its share: Lambda has no others.
        file, most = self._interface.weight
        self._write(file, f"{most}")
        if self._interface is _V1:
            self._write("cpu/{}/cpu.cfs_period_us", f"{PERIOD}")

    def take(self, pid: int) -> None:
        """Moves a process into the group."""
        for folder in self._folders:
            (folder / _MOUNT).write_text(f"{pid}")

    def share(self, cpus: float | None) -> None:
        """Limits the group to this many CPUs, such as 0.5; None lifts the limit."""
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
    """Returns why groups can't be created here; None if they can."""
    try:
        with Group(memory=2**30) as group:
            group.share(1.0)
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    return None


def _remove(folder: Path) -> None:
    """Removes a group, retrying because the kernel takes a moment to notice that its last process has ended."""
    for _ in range(50):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.02)
        else:
            return
