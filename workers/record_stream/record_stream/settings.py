"""The worker's own settings, and safe names for recordings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Self

from switchyard.urls import Network, allowed_network
from switchyard_worker import PermanentFailure


@dataclass(frozen=True, slots=True)
class Settings:
    """The worker's own settings. See its README."""

    max_seconds: int
    max_bytes: int
    stall_seconds: int
    save_seconds: int
    networks: tuple[Network, ...]

    @classmethod
    def from_env(cls, variables: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            PermanentFailure: settings are invalid; it names all of them.
        """
        problems: list[str] = []

        def number(name: str, default: int) -> int:
            text = variables.get(name) or str(default)
            if re.fullmatch("[1-9][0-9]{0,11}", text):
                return int(text)
            problems.append(f"{name} is {text[:40]!r}: it must be a whole number from 1")
            return default

        networks: list[Network] = []
        for text in filter(None, (each.strip() for each in variables.get("ALLOWED_NETWORKS", "").split(","))):
            try:
                networks.append(allowed_network(text, loopback="AWS_ENDPOINT_URL" in variables))  # the emulator's
            except ValueError as error:
                problems.append(f"ALLOWED_NETWORKS must be networks such as 10.0.0.0/8: {str(error)[:120]}")
        settings = cls(
            max_seconds=number("MAX_RECORD_SECONDS", 4 * 3600),
            max_bytes=min(number("MAX_RECORD_BYTES", 50 * 2**30), 256 * 2**30),
            stall_seconds=number("STALL_SECONDS", 60),
            save_seconds=number("SAVE_SECONDS", 10),
            networks=tuple(networks),
        )
        if problems:
            raise PermanentFailure("BAD_ENVIRONMENT", "bad environment: " + "; ".join(problems))
        return settings


def safe_name(filename: object) -> str:
    """The stem of a file name, with only characters that are safe in a key, a URL and a shell."""
    text = filename if isinstance(filename, str) else ""
    stem = PurePosixPath(text.replace("\\", "/")).stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:100].rstrip("-") or "recording"
