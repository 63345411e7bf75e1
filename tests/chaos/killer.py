"""Kills processes at random moments with SIGKILL, like crashes of Lambda's hosts and lost Batch and ECS machines."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

from tests.chaos.world import World


class Killer:
    """Kills a process of a function or of a job now and then.

    Args:
        world: The deployed system.
        seed: Decides when to kill, and which kind. Which processes exist at that moment varies.
        job_pause: Seconds between two kills of jobs, on average.
        function_pause: The same for functions. If one process of a function dies, the emulator ends all of them.

    Attributes:
        killed: How many processes were killed, by kind.
    """

    def __init__(self, world: World, seed: int, job_pause: float, function_pause: float) -> None:
        self._world = world
        self._dice = random.Random(seed)  # noqa: S311 - dice, not a secret
        self._chances = (1 / job_pause, 1 / function_pause)
        self._ended = threading.Event()
        self.killed: Counter[str] = Counter()

    @contextlib.contextmanager
    def at_large(self) -> Iterator[None]:
        """Kills processes until the block ends."""
        thread = threading.Thread(target=self._go_about, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _go_about(self) -> None:
        while not self._ended.wait(self._dice.expovariate(sum(self._chances))):
            victims = self._victims()
            if victims:
                self._kill(*self._dice.choice(victims))

    def _victims(self) -> list[tuple[int, str]]:
        kinds = (self._world.job_processes, self._world.function_processes)
        return self._dice.choices(kinds, self._chances)[0]()

    def _kill(self, pid: int, what: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.killed[what] += 1
            if what == "job":
                self._world.kills.append((pid, time.time()))
