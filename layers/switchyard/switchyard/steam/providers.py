"""A request to a provider, and what its failure means: for this import, and for everybody who calls that provider."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from switchyard import clock
from switchyard.errors import RetryableError, SwitchyardError
from switchyard.outside.secrets import Secret
from switchyard.outside.sites import Answer, NoAnswer, retry_after
from switchyard.steam.pace import Grant, Pace, Paused, Reason

_REJECTED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class ProviderFailed(RetryableError):
    """The provider gave no complete response, an error, or a response that isn't as documented."""

    code = "PROVIDER_FAILED"


class Malformed(SwitchyardError):
    """A response isn't as documented. The text says where, and holds nothing of the response."""

    code = "MALFORMED"


@dataclass(slots=True, eq=False)
class Provider:
    """A provider's name, secret and pace."""

    name: str
    secret: Secret
    pace: Pace

    def ask[T](self, grant: Grant, send: Callable[[], Answer], read: Callable[[Any], T]) -> T:
        """Sends a request and reads its JSON response.

        A 429 and a rejected key pause everybody, and the import waits with them. Any other failure pauses everybody
        for a moment, and counts as a failed attempt of this import: the failure may be the account's own.

        Raises:
            Paused: the provider has throttled or rejected the key.
            ProviderFailed: it failed.
        """
        try:
            answer = send()
            if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                self._pause(grant, Reason.THROTTLED, answer)
            if answer.status in _REJECTED:
                self.secret.forget()
                self._pause(grant, Reason.KEY_REJECTED, answer)
            if answer.status != HTTPStatus.OK:
                raise self._failure(grant, f"HTTP status {answer.status}", answer)
            found = read(decoded(answer.body))
        except (NoAnswer, Malformed) as failure:
            raise self._failure(grant, str(failure)) from None
        self.pace.succeed(grant)
        return found

    def _pause(self, grant: Grant, reason: Reason, answer: Answer) -> None:
        until = self.pace.fail(grant, reason, retry_after(answer.retry_after, clock.now()))
        raise Paused(self.name, reason, until)

    def _failure(self, grant: Grant, text: str, answer: Answer | None = None) -> ProviderFailed:
        asked = retry_after(answer.retry_after, clock.now()) if answer else None
        until = self.pace.fail(grant, Reason.UNAVAILABLE, asked)
        return ProviderFailed(f"{self.name}: {text}", (until - clock.now()).total_seconds())


def decoded(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Decodes JSON.

    Raises:
        Malformed: it is anything else.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Malformed("the response is not JSON") from None


# ---- reading JSON values --------------------------------------------------------------------------------------------


def mapping(value: object, name: str) -> Mapping[str, Any]:
    """Checks that a value is an object.

    Raises:
        Malformed: it is anything else.
    """
    if not isinstance(value, dict):
        raise Malformed(f"{name} is not an object")
    return value


def objects(value: object, name: str) -> list[Mapping[str, Any]]:
    """Checks that a value is a list of objects.

    Raises:
        Malformed: it is anything else.
    """
    if not isinstance(value, list):
        raise Malformed(f"{name} is not a list")
    return [mapping(each, f"an entry of {name}") for each in value]


def number(parent: Mapping[str, Any], name: str, most: int, default: int | None = None) -> int:
    """Reads a whole number from 0 to `most`. Without a default it is required.

    Raises:
        Malformed: it is anything else.
    """
    value = parent.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise Malformed(f"{name} is not a number from 0 to {most}")
    return value


def text(parent: Mapping[str, Any], name: str, limit: int) -> str:
    """Reads a text, empty if it is absent, cut to `limit` characters, without what can't be stored or shown.

    Raises:
        Malformed: it is anything else.
    """
    value = parent.get(name, "")
    if not isinstance(value, str):
        raise Malformed(f"{name} is not text")
    encodable = value.encode("utf-8", "replace").decode()
    return "".join(each for each in encodable if each.isprintable())[:limit].strip()
