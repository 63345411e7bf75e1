"""Posts to URLs that strangers gave: to checked addresses only, without redirects, within bounds."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from switchyard.outside.sites import Answer, Asked, exchange
from switchyard.urls import Network, UrlNotAllowed, check_public, http_host, open_public_socket

if TYPE_CHECKING:
    import socket

SECONDS = 15.0
"""From the connection to the response's headers."""


def check_receiver(url: str, allowed: Sequence[Network], *, plain: bool) -> None:
    """Checks a URL that somebody wants to be told at.

    Args:
        url: the URL.
        allowed: networks that it may lead to although they are not public.
        plain: whether it may be http.

    Raises:
        UrlNotAllowed: it can't be used; the text says why.
    """
    if not url.isascii() or "#" in url:
        raise UrlNotAllowed("the URL must be ASCII, without a fragment")
    http_host(url)
    if not plain and not url.lower().startswith("https:"):
        raise UrlNotAllowed("the URL must begin with https://")
    check_public(url, allowed)


def post(
    url: str, body: str, headers: Mapping[str, str], allowed: Sequence[Network], *, seconds: float = SECONDS
) -> Answer:
    """Sends a POST request. The response's body is not read, and a redirect is a response like any other.

    Raises:
        UrlNotAllowed: the URL leads to an address that is not public or `allowed`.
        NoAnswer: there was no response in time.
    """
    host, port = http_host(url)
    parts = urlsplit(url)

    def dial(address: tuple[str, int], timeout: float) -> socket.socket:
        return open_public_socket(*address, allowed, timeout)

    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return exchange(
        Asked("POST", host, port, target, body.encode(), headers),
        dial=dial,
        context=_tls() if parts.scheme == "https" else None,
        seconds=seconds,
        most_bytes=None,
    )


def is_success(answer: Answer) -> bool:
    """Whether the receiver took it."""
    return HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
