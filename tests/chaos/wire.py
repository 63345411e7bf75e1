"""Runs microburst, the fault-injecting proxy between functions and the emulator."""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self
from urllib.request import ProxyHandler, Request, build_opener

from local.environment import ROOT, VENVS, bare
from local.processes import start, wait_until_answering
from tests.chaos import forecast
from tests.chaos.forecast import Disturbance, Operation, Rule

HEALTH: Final = "/_microburst/health"

_PYTHON = VENVS / "chaos" / "bin" / "python"
_LET_THROUGH = re.compile(r'microburst_faults_total\{service="([^"]+)",operation="([^"]+)",action="match"\} (\d+)')
_direct = build_opener(ProxyHandler({}))  # a proxy of the user's can't reach this machine's loopback address


class Wire:
    """A running proxy.

    Args:
        port: Where it listens, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._rules: list[tuple[Operation | None, str, Rule]] = []
        self._before: Counter[tuple[Operation, str]] = Counter()

    @classmethod
    @contextlib.contextmanager
    def running(cls, port: int, upstream: str, *, seed: int, log: Path) -> Iterator[Self]:
        """Runs a proxy in front of `upstream` while the block runs. At first it passes everything."""
        listening = ("--host", "127.0.0.1", "--port", str(port))
        command: list[str | Path] = [
            _PYTHON,
            ROOT / "tests" / "chaos" / "proxy.py",
            str(seed),
            "--upstream",
            upstream,
            *listening,
        ]
        process = start(command, env=bare(), cwd=log.parent, log=log)
        try:
            if not wait_until_answering(process, port, HEALTH):
                raise RuntimeError(f"microburst won't start; see {log}")
            wire = cls(port)
            wire.clear()
            yield wire
        finally:
            process.stop(grace=2)

    def disturb(self, rules: Sequence[tuple[Operation | None, str, Rule]]) -> None:
        """Replaces the rules in force."""
        self._before = self._hits()
        self._ask("POST", "/_microburst/rules", [rule for _, _, rule in rules])
        self._rules = list(rules)

    def clear(self) -> None:
        """Passes everything, and keeps counting."""
        self.disturb(forecast.on_the_wire([]))

    def seen(self) -> list[Disturbance]:
        """Returns each operation's calls and faults so far, including operations without rules."""
        hits = self._hits()
        calls = self._undisturbed()
        faults: dict[Operation, dict[str, int]] = {}
        for (operation, kind), count in hits.items():
            calls[operation] += count
            faults.setdefault(operation, {})[kind] = count
        return [Disturbance(operation, calls[operation], faults.get(operation, {})) for operation in sorted(calls)]

    def _hits(self) -> Counter[tuple[Operation, str]]:
        """Returns how often each kind of fault hit each operation."""
        hits = Counter(self._before)
        if self._rules:
            told = json.loads(self._ask("GET", "/_microburst/rules"))
            for (operation, kind, _), rule in zip(self._rules, told, strict=True):
                if operation and rule["fired_count"]:
                    hits[operation, kind] += rule["fired_count"]
        return hits

    def _undisturbed(self) -> Counter[Operation]:
        """Returns how often each operation passed, counted by the last rule."""
        lines = self._ask("GET", "/_microburst/metrics").decode().splitlines()
        return Counter(
            {Operation(found[1], found[2]): int(found[3]) for found in map(_LET_THROUGH.fullmatch, lines) if found}
        )

    def _ask(self, method: str, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._url + path, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310 - our own address
        with _direct.open(request, timeout=30) as answer:
            found: bytes = answer.read()
            return found
