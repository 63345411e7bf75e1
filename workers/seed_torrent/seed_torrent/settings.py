"""The worker's own settings, besides the contract's environment."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from switchyard_worker import PermanentFailure


@dataclass(frozen=True, slots=True)
class Settings:
    """The worker's own settings. See its README. A limit of 0 means none."""

    torrent_prefix: str
    listen_interfaces: str
    seed_seconds: int
    seed_ratio: float
    stall_seconds: int
    dht: bool

    @classmethod
    def from_env(cls, variables: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            PermanentFailure: settings are invalid; it names all of them.
        """
        problems: list[str] = []

        def text(name: str, default: str, pattern: str, wanted: str) -> str:
            value = variables.get(name) or default
            if re.fullmatch(pattern, value):
                return value
            problems.append(f"{name} is {value[:40]!r}: it must be {wanted}")
            return default

        interface = r"[^\s,]+:[0-9]{1,5}"
        settings = cls(
            torrent_prefix=variables.get("TORRENT_PREFIX") or "torrents/",
            listen_interfaces=text(
                "LISTEN_INTERFACES",
                "0.0.0.0:6881,[::]:6881",
                f"{interface}(,{interface})*",
                "addresses with ports, comma-separated",
            ),
            seed_seconds=int(text("SEED_SECONDS", "86400", "[0-9]{1,9}", "a whole number")),
            seed_ratio=float(text("SEED_RATIO", "2.0", r"[0-9]{1,6}(\.[0-9]{1,6})?", "a number such as 1.5")),
            stall_seconds=int(text("STALL_SECONDS", "300", "[1-9][0-9]{0,5}", "a whole number from 1")),
            dht=text("DHT", "false", "true|false", "true or false") == "true",
        )
        if not settings.seed_seconds and not settings.seed_ratio:
            problems.append("SEED_SECONDS and SEED_RATIO are both 0: it would seed for ever")
        if problems:
            raise PermanentFailure("BAD_ENVIRONMENT", "bad environment: " + "; ".join(problems))
        return settings

    def reached(self, seconds: float, ratio: float) -> tuple[float, str]:
        """The nearer limit: the share of it that is used (1: all), and its name."""
        return max(
            (seconds / (self.seed_seconds or math.inf), "time"),
            (ratio / (self.seed_ratio or math.inf), "ratio"),
        )
