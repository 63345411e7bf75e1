"""Checks of parsers for untrusted URLs."""

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
    """`check_public`: no parser reads an accepted URL as an internal address; a refusal quotes nothing of it."""
    url = text(data)
    with resolving(RESOLVES) as resolver:  # all other names are public: none is refused as unknown
        try:
            check_public(url)
        except UrlNotAllowed as error:
            assert len(url) < 8 or url not in str(error)
            return
        demand_public(url)
        assert len(resolver.asked) == 1


def demand_public(url: str) -> None:
    """Asserts that a URL may be fetched, in every parser's reading; names are looked up in the corpus's table."""
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
    """Returns the addresses that a parser may read in a host: one in any notation, or the name's in the table."""
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
    """`s3_location`: only URLs of our bucket have keys, and both notations of a key give the same key."""
    url = text(data)
    try:
        key = s3_location(url, BUCKET)
    except UrlNotAllowed as error:
        assert len(url) < 8 or url not in str(error)
        return
    assert url.startswith(f"s3://{BUCKET}/") or _HTTPS.match(url)
    if not url.startswith("s3://"):
        assert unquote_to_bytes(url.split("/", 3)[3].replace("+", " ")) == key.encode()
    assert 1 <= len(key.encode()) <= 1024
    assert s3_location(f"s3://{BUCKET}/{key}", BUCKET) == key
    written = f"https://{BUCKET}.s3.eu-central-1.amazonaws.com/{quote(key, safe='/')}"
    if len(written) <= MAX_URL_LENGTH:
        assert s3_location(written, BUCKET) == key
