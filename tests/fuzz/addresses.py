"""URLs that strangers name."""

import re
import socket
import unicodedata
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from switchyard.urls import MAX_URL_LENGTH, UrlNotAllowed, check_public, s3_location
from tests.corpus.urls import RESOLVES
from tests.fakes.resolver import resolving
from tests.fuzz.harness import text

BUCKET: Final = "media"
_HTTPS: Final = re.compile(r"(?i)https://media\.s3[a-z0-9.-]*\.amazonaws\.com(\.cn)?\.?(:0*443|:)?(/|$)")


def public_url(data: bytes) -> None:
    """`check_public`: what passes leads to no address inside, to whatever reader; the refusal holds nothing of it."""
    url = text(data)
    with resolving(RESOLVES) as resolver:  # all other names are public: none is refused for not being there
        try:
            check_public(url)
        except UrlNotAllowed as error:
            assert len(url) < 8 or url not in str(error)
            return
        demand_public(url)
        assert len(resolver.asked) == 1


def demand_public(url: str) -> None:
    """The URL is one that may be fetched, to readers of every notation; names are looked up in the corpus's table."""
    assert len(url) <= MAX_URL_LENGTH
    assert url.isprintable()
    parts = urlsplit(url)
    assert parts.scheme in ("http", "https")
    assert "@" not in parts.netloc
    assert "\\" not in url
    host = parts.hostname or ""
    assert host
    for reading in {host, unquote(host), unicodedata.normalize("NFKC", unquote(host)).rstrip(".")}:
        for address in _addresses(reading):
            assert _is_public(address), f"{address} is inside"


def _addresses(host: str) -> list[IPv4Address | IPv6Address]:
    """What some reader may take the host for: an address in any notation, or what the table knows of the name."""
    found = [ip_address(each.partition("%")[0]) for each in RESOLVES.get(host, ())]
    with suppress(ValueError):
        found.append(ip_address(host))
    with suppress(OSError, ValueError):
        found.append(IPv4Address(socket.inet_aton(host)))
    return found


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            address = address.ipv4_mapped
        elif address.packed[:12] == bytes.fromhex("0064ff9b0000000000000000"):
            address = IPv4Address(address.packed[12:])
    return address.is_global and not address.is_multicast


def bucket_url(data: bytes) -> None:
    """`s3_location`: only addresses of our bucket name keys, and both ways to write a key mean that very key."""
    url = text(data)
    try:
        key = s3_location(url, BUCKET)
    except UrlNotAllowed as error:
        assert len(url) < 8 or url not in str(error)
        return
    assert url.startswith(f"s3://{BUCKET}/") or _HTTPS.match(url)
    if not url.startswith("s3://"):
        assert unquote_to_bytes(url.split("/", 3)[3]) == key.encode()
    assert 1 <= len(key.encode()) <= 1024
    assert s3_location(f"s3://{BUCKET}/{key}", BUCKET) == key
    written = f"https://{BUCKET}.s3.eu-central-1.amazonaws.com/{quote(key, safe='/')}"
    if len(written) <= MAX_URL_LENGTH:
        assert s3_location(written, BUCKET) == key
