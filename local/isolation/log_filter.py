"""Lambda's filter of log lines, which MiniStack lacks ("Log-level filtering", AWS Lambda developer guide)."""

import json
import re
from collections.abc import Mapping
from typing import Final

_LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_SYNONYMS: Final = {"WARNING": "WARN", "CRITICAL": "FATAL"}
_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def kept(log: str, config: Mapping[str, str]) -> str:
    """The lines of a log that a function's `LoggingConfig` lets pass. In the format Text, all of them."""
    if config.get("LogFormat") != "JSON":
        return log
    least = _LEVELS.index(config.get("ApplicationLogLevel", "INFO"))
    return "\n".join(line for line in log.split("\n") if _LEVELS.index(_level(line)) >= least)


def _level(line: str) -> str:
    """The level of a line. Whatever doesn't say its level and its time, in RFC 3339, counts as INFO."""
    try:
        found = json.loads(line)
    except ValueError:
        return "INFO"
    if not isinstance(found, dict) or not _RFC_3339.fullmatch(str(found.get("timestamp"))):
        return "INFO"
    level = str(found.get("level")).upper()
    return _SYNONYMS.get(level, level if level in _LEVELS else "INFO")
