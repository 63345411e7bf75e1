"""URLs that strangers name: which may be fetched, and which mean an object of our own bucket.

Standard library only: worker images hold a copy. Parsers that read one URL differently are how such checks are got
round, so whatever has more than one reading is refused here rather than understood.
"""

import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

type Network = IPv4Network | IPv6Network
type SocketAddress = tuple[socket.AddressFamily, tuple[Any, ...]]
"""What `socket.socket(family)` and its `connect` want."""

MAX_URL_LENGTH = 2048
_MAX_KEY_BYTES = 1024
"""`names.MAX_KEY_BYTES`, written out: worker images hold this module and not that one."""

_NAME = re.compile(r"(?!.{254})[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")
_S3_ENDPOINT = re.compile(
    r"\.s3(?:-accelerate|-fips)?(?:\.dualstack)?(?:[.-][a-z]{2}(?:-[a-z]+)+-[0-9]+)?\.amazonaws\.com(?:\.cn)?"
)

# The only part of IPv6 that is routed in public; what lies in it and isn't public, `is_global` knows.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_DOCUMENTATION = IPv6Network("3fff::/20")  # RFC 9637, newer than Python's own table
_RELAY_ANYCAST = IPv4Network("192.88.99.0/24")  # RFC 7526: 6to4's relays, gone
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: what DNS64 answers in an IPv6-only subnet
_NOT_THERE = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class UrlNotAllowed(ValueError):
    """A URL that must not be used. The text says why and holds nothing of the URL."""


def check_public(url: str, allowed: Sequence[Network] = ()) -> None:
    """Demands an http or https URL whose host is, or resolves to, public addresses only, or ones that are `allowed`.

    A name that can't be resolved just now passes: whoever connects must look again, at the address it connects to,
    which `open_public_socket` does.

    Raises:
        UrlNotAllowed: whatever is wrong with it.
    """
    parts = _split(url)
    if parts.scheme not in ("http", "https"):
        raise UrlNotAllowed("the URL must begin with http:// or https://")
    host, port = _host_and_port(parts)
    try:
        resolve_public(host, port or (80 if parts.scheme == "http" else 443), allowed)
    except socket.gaierror as error:
        if error.errno in _NOT_THERE:
            raise UrlNotAllowed("the URL's host does not exist") from None


def resolve_public(host: str, port: int, allowed: Sequence[Network] = ()) -> list[SocketAddress]:
    """The addresses of `host`, every one of them public or `allowed`.

    Raises:
        UrlNotAllowed: the host can't be read, or one of its addresses is private, loopback, link-local, …
        socket.gaierror: it can't be resolved.
    """
    literal = _literal(host)
    if literal is not None:
        _demand_public(literal, allowed)
    found: list[SocketAddress] = []
    name = str(literal) if literal else _name(host)
    for family, _, _, _, address in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM):
        _demand_public(ip_address(address[0]), allowed)
        found.append((family, address))
    return found


def open_public_socket(
    host: str, port: int, allowed: Sequence[Network] = (), timeout: float | None = None
) -> socket.socket:
    """A connection to `host`, made to an address that was looked at: a name that changes meanwhile changes nothing.

    Raises:
        UrlNotAllowed: as `resolve_public`.
        OSError: no address can be reached; also that of `resolve_public`.
    """
    failure: OSError = OSError("the host has no address")
    for family, address in resolve_public(host, port, allowed):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def s3_location(url: str, bucket: str) -> str:
    """The key that `url` names in `bucket`: of `s3://bucket/key` as it stands, or of an object's https address.

    The https address is the virtual-hosted one (`https://bucket.s3.region.amazonaws.com/key`), percent-encoded and
    without a query: what is signed in a query is not looked at by anybody here.

    Raises:
        UrlNotAllowed: it is anything else, or another bucket's.
    """
    if url.startswith("s3://"):
        # As the AWS CLI reads it: a key may hold `?`, `#` and `%`.
        host, _, key = url.removeprefix("s3://").partition("/")
        if host != bucket:
            raise UrlNotAllowed("the URL is not of this system's bucket")
        return _key(key)
    parts = _split(url)
    if parts.scheme != "https":
        raise UrlNotAllowed("the URL must begin with s3:// or https://")
    host, port = _host_and_port(parts)
    if not host.startswith(f"{bucket}.") or not _S3_ENDPOINT.fullmatch(host, len(bucket)) or port not in (None, 443):
        raise UrlNotAllowed("the URL is not of this system's bucket")
    if "?" in url or "#" in url:
        raise UrlNotAllowed("the URL must have no query and no fragment")
    try:
        return _key(unquote(parts.path.removeprefix("/"), errors="strict"))
    except UnicodeDecodeError:
        raise UrlNotAllowed("the URL's path is not UTF-8") from None


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_LENGTH:
        raise UrlNotAllowed(f"the URL is longer than {MAX_URL_LENGTH} characters")
    # Blanks and controls are dropped by some parsers, a backslash is a slash to some.
    if not url.isprintable() or " " in url or "\\" in url:
        raise UrlNotAllowed("the URL holds characters that must be percent-encoded")
    try:
        return urlsplit(url)
    except ValueError:
        raise UrlNotAllowed("the URL can't be read") from None


def _host_and_port(parts: SplitResult) -> tuple[str, int | None]:
    if "@" in parts.netloc:
        raise UrlNotAllowed("the URL must not hold a user name or password")
    try:
        port = parts.port
    except ValueError:
        raise UrlNotAllowed("the URL's port is not a number from 1 to 65535") from None
    if port == 0:
        raise UrlNotAllowed("the URL's port is not a number from 1 to 65535")
    host = parts.hostname
    if not host:
        raise UrlNotAllowed("the URL has no host")
    if "[" in parts.netloc and ":" not in host:  # "IPvFuture", which nobody speaks
        raise UrlNotAllowed("the URL's host is not an address")
    return host, port


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """A host that is an address; None for a name."""
    if ":" in host:
        try:
            address = IPv6Address(host)
        except ValueError:
            raise UrlNotAllowed("the URL's host is not an address") from None
        if address.scope_id is not None:
            raise UrlNotAllowed("the URL's host must not name a network interface")
        return address
    name = _name(host)
    # No top-level domain begins with a digit, but addresses in hexadecimal, octal or with parts left out do end so.
    if name.rpartition(".")[2][0].isdigit():
        try:
            return IPv4Address(name)
        except ValueError:
            raise UrlNotAllowed("an address must be written as four decimal numbers") from None
    return None


def _name(host: str) -> str:
    """A host name in the form that is looked up: ASCII, lower case, without the root's dot."""
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise UrlNotAllowed("the URL's host is not a valid name") from None
    name = name.lower().removesuffix(".")
    if not _NAME.fullmatch(name):
        raise UrlNotAllowed("the URL's host is not a valid name")
    return name


def _demand_public(address: IPv4Address | IPv6Address, allowed: Sequence[Network]) -> None:
    address = _embedded(address)
    if any(address in network for network in allowed):
        return
    if isinstance(address, IPv6Address):
        public = address in _GLOBAL_UNICAST and address.is_global and address not in _DOCUMENTATION
    else:
        public = address.is_global and not address.is_multicast and address not in _RELAY_ANYCAST
    if not public:
        raise UrlNotAllowed("the URL's host is not a public address")


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that is reached by way of an IPv6 one. 6to4 and Teredo are no longer routed: not public."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _key(key: str) -> str:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise UrlNotAllowed("the URL is not valid Unicode") from None
    if not 1 <= size <= _MAX_KEY_BYTES:
        raise UrlNotAllowed(f"the URL's key must have 1 to {_MAX_KEY_BYTES} bytes")
    return key
