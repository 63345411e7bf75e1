"""Replaces the system's resolver, for tests that must not use the network."""

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from unittest import mock

PUBLIC = "93.184.215.14"

type Answer = str | Sequence[str] | int | threading.Event
"""An address, several, the code of a `socket.gaierror`, or none until the event is set."""


@dataclass
class Resolver:
    """Answers look-ups from a table. An address resolves to itself, every other name to `otherwise`."""

    answers: dict[str, Answer] = field(default_factory=dict)
    otherwise: Answer = PUBLIC
    asked: list[tuple[str, int]] = field(default_factory=list)

    def getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        self.asked.append((host, port))
        found = self.answers.get(host, host if _is_address(host) else self.otherwise)
        if isinstance(found, threading.Event):
            found.wait()
            found = socket.EAI_AGAIN
        if isinstance(found, int):
            raise socket.gaierror(found, "as told")
        return [_answer(each, port) for each in ([found] if isinstance(found, str) else found)]


@contextmanager
def resolving(answers: Mapping[str, Answer] | None = None, otherwise: Answer = PUBLIC) -> Iterator[Resolver]:
    """Replaces the system's resolver while the block runs."""
    resolver = Resolver(dict(answers or {}), otherwise)
    with mock.patch.object(socket, "getaddrinfo", resolver.getaddrinfo):
        yield resolver


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _answer(text: str, port: int) -> tuple[Any, ...]:
    if ":" in text:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (text, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port))
