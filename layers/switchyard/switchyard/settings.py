"""The only module that reads the environment: one frozen class a function, one error for all that is wrong.

A field's name in upper case is the variable's name; a field without a default is required. The meaning of each is in
docs/configuration.md, which a test holds against this module and the template.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import timedelta
from typing import Any, Literal, Self, cast

from switchyard.errors import SettingsError

type AtCapacity = Literal["wait", "return"]


def _text(raw: str) -> str:
    return raw


def _integer(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        if not raw.isascii() or not raw.isdigit() or not minimum <= int(raw) <= maximum:
            raise ValueError(f"must be a whole number from {minimum} to {maximum}")
        return int(raw)

    return parse


def _seconds(minimum: int, maximum: int) -> Callable[[str], timedelta]:
    whole = _integer(minimum, maximum)
    return lambda raw: timedelta(seconds=whole(raw))


def _days(raw: str) -> timedelta:
    return timedelta(days=_integer(1, 3650)(raw))


def _at_capacity(raw: str) -> AtCapacity:
    if raw not in ("wait", "return"):
        raise ValueError("must be wait or return")
    return cast("AtCapacity", raw)


def _id_pattern(raw: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(raw)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if "video_id" not in pattern.groupindex:
        raise ValueError("must have a group named video_id, as in (?P<video_id>...)")
    return pattern


def _names(raw: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in raw.split(",") if name.strip())
    if not names:
        raise ValueError("must name at least one")
    return names


def _setting(parse: Callable[[str], Any], default: Any = MISSING) -> Any:  # noqa: ANN401 - the field's type decides
    return field(default=default, metadata={"parse": parse})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    @classmethod
    def variables(cls) -> frozenset[str]:
        """The environment variables this class reads."""
        return frozenset(setting.name.upper() for setting in fields(cls))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Reads and checks every variable; an empty one counts as absent. SettingsError names all that are wrong."""
        values, problems = {}, []
        for setting in fields(cls):
            raw = environ.get(setting.name.upper(), "")
            if not raw:
                if setting.default is MISSING:
                    problems.append(f"{setting.name.upper()} is missing")
                continue
            try:
                values[setting.name] = _parser(setting)(raw)
            except ValueError as error:
                problems.append(f"{setting.name.upper()} {error}")
        if problems:
            raise SettingsError(problems)
        return cls(**values)


def _parser(setting: Field[Any]) -> Callable[[str], Any]:
    return cast("Callable[[str], Any]", setting.metadata["parse"])


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings(_Settings):
    """What every function that can start a job needs: the tables, the lane and its limit."""

    environment: str = _setting(_text, "dev")
    jobs_table: str = _setting(_text)
    lanes_table: str = _setting(_text)
    lane: str = _setting(_text, "video")
    max_concurrent_jobs: int = _setting(_integer(1, 10_000), 1)
    ttl_days: timedelta = _setting(_days, timedelta(days=30))
    claim_grace_seconds: timedelta = _setting(_seconds(1, 3600), timedelta(seconds=120))
    max_receive_count: int = _setting(_integer(1, 1000), 5)
    dead_letter_queue_url: str = _setting(_text)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqsToBatchSettings(LaneSettings):
    """`functions/sqs_to_batch`."""

    queue_url: str = _setting(_text)
    batch_job_queue: str = _setting(_text)
    batch_job_definition: str = _setting(_text)
    at_capacity: AtCapacity = _setting(_at_capacity, "wait")
    video_id_pattern: re.Pattern[str] = _setting(
        _id_pattern,
        re.compile(r"(?P<video_id>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})[^/]*$"),
    )
    source_buckets: frozenset[str] = _setting(_names)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackJobSettings(LaneSettings):
    """`functions/track_job`."""

    queue_url: str = _setting(_text)
    track_dead_letter_queue_url: str = _setting(_text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileJobsSettings(LaneSettings):
    """`functions/reconcile_jobs`."""

    pending_grace_seconds: timedelta = _setting(_seconds(60, 86_400), timedelta(hours=1))
    stuck_runnable_seconds: timedelta = _setting(_seconds(60, 604_800), timedelta(minutes=30))
