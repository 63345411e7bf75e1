"""Checks URLs from untrusted callers: which may be fetched, and which name an object in our bucket.

Standard library only, since worker images hold a copy. Attackers get past such checks with URLs that two parsers read
differently, so every ambiguous URL is refused.
"""

import re
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import SplitResult, unquote_plus, urlsplit

type Network = IPv4Network | IPv6Network
type SocketAddress = tuple[socket.AddressFamily, tuple[Any, ...]]
"""The arguments of `socket.socket` and of its `connect`."""

MAX_URL_LENGTH = 2048
LOOK_UP_SECONDS = 1.0
"""How long a look-up may take. The system's resolver would wait for ten seconds and more."""
_MAX_KEY_BYTES = 1024
"""A copy of `names.MAX_KEY_BYTES`: worker images hold this module without `names`."""

_NAME = re.compile(r"(?!.{254})[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")
_S3_ENDPOINT = re.compile(
    r"\.s3(?:-accelerate|-fips)?(?:\.dualstack)?(?:[.-][a-z]{2}(?:-[a-z]+)+-[0-9]+)?\.amazonaws\.com(?:\.cn)?"
)

# The only publicly routed part of IPv6. `is_global` knows the exceptions within it.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_DOCUMENTATION = IPv6Network("3fff::/20")  # RFC 9637; missing from Python's own table
_RELAY_ANYCAST = IPv4Network("192.88.99.0/24")  # RFC 7526: deprecated 6to4 relays
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: DNS64 answers with these in an IPv6-only subnet
_LOOPBACK: Sequence[Network] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_NEVER_ALLOWED: Sequence[Network] = (
    IPv4Network("0.0.0.0/8"),  # this host
    IPv4Network("169.254.0.0/16"),  # link-local: the metadata services of EC2 and ECS
    IPv6Network("::/128"),
    IPv6Network("fe80::/10"),
    IPv6Network("fd00:ec2::/32"),  # EC2's metadata service, and other services of the host
)
_NOT_THERE = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class UrlNotAllowed(ValueError):
    """The URL must not be used. The text says why and contains no part of the URL."""


def allowed_network(text: str, *, loopback: bool = False) -> Network:
    """Parses a network in CIDR notation that URLs may lead to although it is not public.

    Args:
        text: the network.
        loopback: whether it may hold this machine's own addresses, as the emulator needs.

    Raises:
        ValueError: it is no network, or it holds loopback, link-local or metadata addresses. The text says which.
    """
    network = ip_network(text)
    for never in (*_NEVER_ALLOWED, *(() if loopback else _LOOPBACK)):
        if network.version == never.version and network.overlaps(never):
            raise ValueError(f"{network} holds addresses of {never}, which must stay closed; name smaller networks")
    return network


def check_public(url: str, allowed: Sequence[Network] = ()) -> None:
    """Checks that `url` is http or https and that all addresses of its host are public or `allowed`.

    A host that can't be resolved at the moment passes. Code that connects must therefore check the address that it
    connects to, as `open_public_socket` does.

    Raises:
        UrlNotAllowed: the URL fails the check; the text says why.
    """
    with suppress(socket.gaierror):
        resolve_public(*http_host(url), allowed)


def http_host(url: str) -> tuple[str, int]:
    """Returns host and port of an http or https URL, without a look-up: the name as it is looked up, or the address.

    Raises:
        UrlNotAllowed: the URL can't be used, whatever its host's addresses are; the text says why.
    """
    parts = _split(url)
    if parts.scheme not in ("http", "https"):
        raise UrlNotAllowed("the URL must begin with http:// or https://")
    host, port = _host_and_port(parts)
    return str(_literal(host) or _name(host)), port or (80 if parts.scheme == "http" else 443)


def resolve_public(host: str, port: int, allowed: Sequence[Network] = ()) -> list[SocketAddress]:
    """Resolves `host`, by one look-up, to addresses that are all public or `allowed`.

    Raises:
        UrlNotAllowed: the host is malformed or doesn't exist, or one of its addresses is private, loopback, …
        socket.gaierror: the host can't be resolved at the moment, or not within `LOOK_UP_SECONDS`.
    """
    literal = _literal(host)
    if literal is not None:
        _demand_public(literal, allowed)
    found: list[SocketAddress] = []
    for family, _, _, _, address in _looked_up(str(literal or _name(host)), port):
        _demand_public(ip_address(address[0]), allowed)
        found.append((family, address))
    return found


def _looked_up(name: str, port: int) -> list[Any]:
    """Calls the system's resolver in a thread of its own, which a look-up that takes too long leaves behind."""
    answers: SimpleQueue[list[Any] | OSError] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answers.put(error)

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    try:
        answer = answers.get(timeout=LOOK_UP_SECONDS)
    except Empty:
        raise socket.gaierror(socket.EAI_AGAIN, f"no answer within {LOOK_UP_SECONDS:g} s") from None
    match answer:
        case socket.gaierror(errno=code) if code in _NOT_THERE:
            raise UrlNotAllowed("the URL's host does not exist")
        case OSError():
            raise answer
    return answer


def open_public_socket(
    host: str, port: int, allowed: Sequence[Network] = (), timeout: float | None = None
) -> socket.socket:
    """Connects to `host` at an address that was checked, so that a changed DNS answer can't redirect the connection.

    Raises:
        UrlNotAllowed: as `resolve_public`.
        OSError: the host can't be resolved, or none of its addresses can be reached.
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
    """Extracts the object key from an `s3://bucket/key` or virtual-hosted https URL of `bucket`.

    An s3 URL is taken literally. An https URL (`https://bucket.s3.region.amazonaws.com/key`) is decoded as S3 does it:
    `%2B` is a plus, `+` a space. It must have no query, since nothing here evaluates a signature.

    Raises:
        UrlNotAllowed: the URL has another form or names another bucket.
    """
    if url.startswith("s3://"):
        # Like the AWS CLI: a key may contain `?`, `#` and `%`.
        host, _, key = url.removeprefix("s3://").partition("/")
        if host != bucket:
            raise UrlNotAllowed("the URL is not in this system's bucket")
        return _key(key)
    parts = _split(url)
    if parts.scheme != "https":
        raise UrlNotAllowed("the URL must begin with s3:// or https://")
    host, port = _host_and_port(parts)
    if not host.startswith(f"{bucket}.") or not _S3_ENDPOINT.fullmatch(host, len(bucket)) or port not in (None, 443):
        raise UrlNotAllowed("the URL is not in this system's bucket")
    if "?" in url or "#" in url:
        raise UrlNotAllowed("the URL must have no query and no fragment")
    try:
        return _key(unquote_plus(parts.path.removeprefix("/"), errors="strict"))
    except UnicodeDecodeError:
        raise UrlNotAllowed("the URL's path is not UTF-8") from None


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_LENGTH:
        raise UrlNotAllowed(f"the URL is longer than {MAX_URL_LENGTH} characters")
    # Some parsers drop blanks and control characters, and some take a backslash for a slash.
    if not url.isprintable() or " " in url or "\\" in url:
        raise UrlNotAllowed("the URL contains characters that must be percent-encoded")
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
    if "[" in parts.netloc and ":" not in host:  # "IPvFuture" of RFC 3986, which is not in use
        raise UrlNotAllowed("the URL's host is not a valid IPv6 address")
    return host, port


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """Parses a host that is an IP address. None for a name."""
    if ":" in host:
        try:
            address = IPv6Address(host)
        except ValueError:
            raise UrlNotAllowed("the URL's host is not a valid IPv6 address") from None
        if address.scope_id is not None:
            raise UrlNotAllowed("the URL's host must not name a network interface")
        return address
    name = _name(host)
    # No top-level domain begins with a digit, but the last part of a hexadecimal, octal or shortened address does.
    if name.rpartition(".")[2][0].isdigit():
        try:
            return IPv4Address(name)
        except ValueError:
            raise UrlNotAllowed("an address must be written as four decimal numbers") from None
    return None


def _name(host: str) -> str:
    """Normalizes a host name for look-up: ASCII (IDNA), lower case, without the trailing dot."""
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
    """The IPv4 address inside a mapped or NAT64 address. 6to4 and Teredo are not unwrapped: they are never public."""
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
