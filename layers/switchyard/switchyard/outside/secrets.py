"""A provider's secret: read when first needed, kept for minutes, read again when the provider rejects it."""

import json
import time
from collections.abc import Callable, Mapping

from switchyard.clients import translated
from switchyard.errors import Unavailable

_KEPT = 300.0
"""Seconds. A rotated key is known everywhere after that, whether or not the old one is rejected."""


class Secret:
    """A secret's fields. `fetch` returns its text: a JSON object of strings, or the key itself."""

    def __init__(self, fetch: Callable[[], str]) -> None:
        self._fetch = fetch
        self._fields: Mapping[str, str] = {}
        self._until = 0.0

    def read(self, *names: str) -> tuple[str, ...]:
        """The fields of these names. A secret that is no JSON object has one field, `key`.

        Raises:
            Unavailable: the secret can't be read, or lacks a field. The text holds nothing of it.
        """
        if time.monotonic() >= self._until:
            with translated():
                self._fields = _fields(self._fetch())
            self._until = time.monotonic() + _KEPT
        missing = [name for name in names if not self._fields.get(name)]
        if missing:
            self.forget()
            raise Unavailable(f"the secret has no {' and no '.join(missing)}")
        return tuple(self._fields[name] for name in names)

    def forget(self) -> None:
        """Reads the secret again when it is needed next: the provider has rejected it."""
        self._until = 0.0


def _fields(text: str) -> Mapping[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return {"key": text.strip()}
    return {name: value for name, value in found.items() if isinstance(value, str)}
