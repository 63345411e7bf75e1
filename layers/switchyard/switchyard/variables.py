"""Reads environment variables into settings, and reports all invalid ones in one error. No other module reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from itertools import combinations, product
from typing import Any, Never, NoReturn, Self

from switchyard.errors import SettingsError
from switchyard.urls import Network, allowed_network


def is_lambda() -> bool:
    """Whether this process is a Lambda execution environment."""
    return "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ


def log_level() -> str:
    """The level of the least severe log line to write, whatever Lambda's own filter lets pass."""
    return os.environ.get("POWERTOOLS_LOG_LEVEL", "INFO")


def is_emulated() -> bool:
    """Whether all of AWS is answered by an emulator on this machine."""
    return "AWS_ENDPOINT_URL" in os.environ


# ---- parsers: each returns the value, or raises ValueError saying what is allowed ------------------------------------


def text(raw: str) -> str:
    """Any text."""
    return raw


def integer(minimum: int, maximum: int) -> Callable[[str], int]:
    """Makes a parser of whole numbers from `minimum` to `maximum`, both included."""

    def parse(raw: str) -> int:
        if not raw.isascii() or not raw.isdigit() or not minimum <= int(raw) <= maximum:
            raise ValueError(f"must be a whole number from {minimum} to {maximum}")
        return int(raw)

    return parse


def seconds(minimum: int, maximum: int) -> Callable[[str], timedelta]:
    """Makes a parser of whole seconds from `minimum` to `maximum`, both included."""
    whole = integer(minimum, maximum)
    return lambda raw: timedelta(seconds=whole(raw))


def days(raw: str) -> timedelta:
    """Whole days, 1 to 3,650."""
    return timedelta(days=integer(1, 3650)(raw))


def one_of[T: str](*words: T) -> Callable[[str], T]:
    """Makes a parser of two or more words."""
    allowed = {word: word for word in words}

    def parse(raw: str) -> T:
        if raw not in allowed:
            raise ValueError(f"must be {', '.join(words[:-1])} or {words[-1]}")
        return allowed[raw]

    return parse


def flag(raw: str) -> bool:
    """`true` or `false`."""
    return one_of("true", "false")(raw) == "true"


def id_pattern(raw: str) -> re.Pattern[str]:
    """A regular expression with a group named `video_id`."""
    try:
        pattern = re.compile(raw)
    except (re.error, OverflowError, RecursionError) as error:  # OverflowError: too many repetitions
        raise ValueError(f"is not a regular expression: {error}") from None
    if "video_id" not in pattern.groupindex:
        raise ValueError("must have a group named video_id, as in (?P<video_id>...)")
    return pattern


def several(raw: str) -> tuple[str, ...]:
    """One or more items, separated by commas."""
    items = tuple(item.strip() for item in raw.split(",") if item.strip())
    if not items:
        raise ValueError("must name at least one")
    return items


def names(raw: str) -> frozenset[str]:
    """A set of names, separated by commas."""
    return frozenset(several(raw))


def networks(raw: str) -> tuple[Network, ...]:
    """Networks in CIDR notation, separated by commas; no loopback, link-local or metadata addresses."""
    try:
        return tuple(allowed_network(item, loopback=is_emulated()) for item in several(raw))
    except ValueError as error:
        raise ValueError(f"must be networks such as 10.0.0.0/8: {error}") from None


def tiers(raw: str) -> tuple[tuple[str, ...], ...]:
    """Tiers of tracker URLs: semicolons separate tiers, commas the URLs of a tier."""
    tiers = tuple(several(tier) for tier in raw.split(";") if tier.strip())
    if any(not re.fullmatch(r"(https?|udp|wss?)://[!-.0-~][!-~]*", tracker) for tier in tiers for tracker in tier):
        raise ValueError("must be tracker URLs: semicolons separate tiers, commas the URLs of a tier")
    return tiers


def base_urls(raw: str) -> tuple[str, ...]:
    """HTTP or HTTPS URLs without a query, separated by commas. Trailing slashes are dropped."""
    urls = several(raw)
    if any(not re.fullmatch(r"https?://[!-.0-~][!-~]*", url) or {"?", "#"} & set(url) for url in urls):
        raise ValueError("must be http or https URLs without a query, separated by commas")
    return tuple(url.rstrip("/") for url in urls)


def service_url(raw: str) -> str:
    """The https URL of a service outside AWS, without a query; with an emulator of AWS also one on this machine."""
    local = r"http://127\.0\.0\.1:[0-9]{1,5}(?:/[^\s@?#]*)?"
    if not re.fullmatch(r"https://[^\s@?#]+", raw) and not (is_emulated() and re.fullmatch(local, raw)):
        raise ValueError("must be an https URL without a query")
    return raw.rstrip("/")


def host(raw: str) -> str:
    """A host name with a dot, in lower case, without a port."""
    if not re.fullmatch(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){1,9}", raw):
        raise ValueError("must be a host name, such as index-abc123.svc.region.pinecone.io")
    return raw


def stand_in(raw: str) -> str:
    """The address of a server on this machine that stands in for others; only where all of AWS is emulated."""
    if not is_emulated() or not re.fullmatch(r"http://127\.0\.0\.1:[0-9]{1,5}", raw):
        raise ValueError("must be http://127.0.0.1 and a port, with an emulator of AWS on this machine")
    return raw


def piece_length(raw: str) -> int:
    """A power of two from 1 MiB to 64 MiB, in bytes."""
    length = integer(2**20, 2**26)(raw)
    if length & (length - 1):
        raise ValueError("must be a power of two")
    return length


def overlaps(ours: Mapping[str, str], others: Mapping[str, str]) -> Iterator[str]:
    """Yields each pair of key prefixes, by name, of which one begins with the other and at least one is in `ours`."""
    for (name, prefix), (other_name, other) in (*combinations(ours.items(), 2), *product(ours.items(), others.items())):
        if prefix.startswith(other) or other.startswith(prefix):
            yield f"{name} ({prefix}) and {other_name} ({other}) overlap: neither may begin with the other"


# ---- settings --------------------------------------------------------------------------------------------------------


class Setting[T]:
    """A descriptor for one environment variable of a settings class.

    `parse` returns the value or raises ValueError saying what is allowed. Dataclasses are not used here, since each
    compiles its methods at every cold start.
    """

    name: str

    def __init__(self, parse: Callable[[str], T], default: T | None = None, *, alias: str = "") -> None:
        self.parse = parse
        self.default = default
        self.alias = alias

    def __set_name__(self, _owner: type, name: str) -> None:
        self.name = name

    def __get__(self, settings: Settings, _owner: type) -> T:
        value: T = settings.values[self.name]
        return value

    def __set__(self, _settings: Settings, _value: Never) -> NoReturn:
        raise AttributeError(f"{self.name} can't be changed")

    def read(self, environ: Mapping[str, str]) -> T:
        """Reads the variable; an empty one counts as absent. Raises ValueError saying what is wrong."""
        raw = environ.get(self.name.upper()) or environ.get(self.alias)
        if raw:
            return self.parse(raw)
        if self.default is None:
            raise ValueError("is missing")
        return self.default


class Settings:
    """Base class: reads all settings from the environment at once."""

    environment = Setting(text, "dev")

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    @classmethod
    def variables(cls) -> dict[str, Setting[Any]]:
        """The settings of this class by variable name, without aliases."""
        attributes = (each for base in reversed(cls.__mro__) for each in vars(base).values())
        return {each.name.upper(): each for each in attributes if isinstance(each, Setting)}

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Reads every variable.

        Raises:
            SettingsError: names all that are missing or invalid.
        """
        values, problems = {}, []
        for variable, setting in cls.variables().items():
            try:
                values[setting.name] = setting.read(environ)
            except ValueError as error:
                problems.append(f"{variable} {error}")
        settings = cls(values)
        if problems := problems or list(settings.conflicts()):
            raise SettingsError(problems)
        return settings

    def conflicts(self) -> Iterator[str]:
        """Yields what is wrong with values that are valid one by one."""
        yield from ()
