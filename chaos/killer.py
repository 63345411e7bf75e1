"""Kills processes, as crashes of Lambda's hosts and lost machines of Batch and ECS do: SIGKILL, at any moment."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from chaos.world import World


class Killer:
    """Kills a process of a function or of a job now and then, while its `with` block lasts.

    Args:
        world: Where.
        seed: Decides when, and which kind; which process there is then, nobody can.
        pause: Seconds between two kills of a kind, on average.

    Attributes:
        killed: How many of what.
    """

    def __init__(self, world: World, seed: int, pause: float) -> None:
        self._world = world
        self._dice = random.Random(seed)  # noqa: S311 - dice, not a secret
        self._pause = pause
        self._ended = threading.Event()
        self._functions = {world.stack.resource(name): name for name in world.stack.resources if "Function" in name}
        self.killed: Counter[str] = Counter()

    @contextlib.contextmanager
    def at_large(self) -> Iterator[None]:
        """Kill, until the block has ended."""
        thread = threading.Thread(target=self._go_about, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _go_about(self) -> None:
        while not self._ended.wait(self._dice.expovariate(2 / self._pause)):
            victims = self._of_functions() if self._dice.random() < 0.5 else self._of_jobs()
            if victims:
                self._kill(*self._dice.choice(victims))

    def _kill(self, pid: int, what: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.killed[what] += 1
            if what == "job":
                self._world.kills.append((pid, time.time()))

    def _of_jobs(self) -> list[tuple[int, str]]:
        """The nursery's children."""
        nursery = self._world.nursery.pid
        children = Path(f"/proc/{nursery}/task/{nursery}/children").read_text().split()
        return [(int(pid), "job") for pid in sorted(children, key=int)]

    def _of_functions(self) -> list[tuple[int, str]]:
        """The emulator's processes that run functions."""
        found = []
        for pid in sorted(int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()):
            with contextlib.suppress(OSError):
                if os.getpgid(pid) != self._world.stack.emulator.pid:
                    continue
                command = Path(f"/proc/{pid}/cmdline").read_text()
                found += [
                    (pid, name) for full, name in self._functions.items() if f"ministack-lambda-{full}-" in command
                ]
        return found
