"""URLs that may be fetched, and URLs of our bucket's objects, tested by corpus and by property."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard import urls
from switchyard.urls import UrlNotAllowed, check_public, open_public_socket, resolve_public, s3_location
from tests.cases import Test, cases
from tests.corpus.urls import INSIDE, INSIDE_NAMES, OUTSIDE, RESOLVES, STRANGE
from tests.fakes.resolver import Resolver, resolving
from tests.strategies import anything

LOOPBACK = [ip_network("127.0.0.0/8")]


@pytest.fixture(autouse=True)
def resolver() -> Iterator[Resolver]:
    with resolving(RESOLVES, otherwise=socket.EAI_NONAME) as fake:
        yield fake


def by_name(corpus: dict[str, str]) -> Callable[[Test], Test]:
    return cases("url", corpus.values(), ids=corpus)


# ---- the corpus ------------------------------------------------------------------------------------------------------


@by_name(INSIDE)
def test_what_leads_inside_is_refused(url: str) -> None:
    with pytest.raises(UrlNotAllowed):
        check_public(url)


@by_name(INSIDE)
def test_what_leads_inside_is_refused_without_a_look_up(url: str, resolver: Resolver) -> None:
    with pytest.raises(UrlNotAllowed):
        check_public(url)
    assert resolver.asked == []


@by_name(STRANGE)
def test_what_is_strange_is_refused_without_a_look_up(url: str, resolver: Resolver) -> None:
    with pytest.raises(UrlNotAllowed):
        check_public(url)
    assert resolver.asked == []


@by_name(INSIDE_NAMES)
def test_a_name_that_leads_inside_is_refused(url: str, resolver: Resolver) -> None:
    resolver.asked.clear()
    with pytest.raises(UrlNotAllowed, match="not a public address"):
        check_public(url)
    assert resolver.asked


@by_name(OUTSIDE)
def test_what_is_public_passes(url: str) -> None:
    check_public(url)


@by_name(INSIDE | STRANGE | INSIDE_NAMES)
def test_the_reason_holds_nothing_of_the_url(url: str) -> None:
    with pytest.raises(UrlNotAllowed) as refused:
        check_public(url)
    text = str(refused.value)
    assert text.isascii()
    assert len(text) < 100
    assert not any(part in text for part in ("169", "127", "example", "etc", "user:", "secret"))


# ---- resolving -------------------------------------------------------------------------------------------------------


def test_a_name_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UrlNotAllowed, match="does not exist"):
        check_public("http://nowhere.example.com/")


@pytest.mark.parametrize("code", [socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM, socket.EAI_MEMORY])
def test_a_resolver_that_fails_for_now_lets_a_name_pass(code: int, resolver: Resolver) -> None:
    resolver.otherwise = code
    check_public("http://nowhere.example.com/")


def test_a_resolver_that_fails_for_now_is_the_callers_to_deal_with_when_it_connects(resolver: Resolver) -> None:
    resolver.otherwise = socket.EAI_AGAIN
    with pytest.raises(socket.gaierror):
        resolve_public("nowhere.example.com", 80)


@pytest.fixture
def silence(resolver: Resolver) -> Iterator[None]:
    """A resolver that doesn't answer before the test ends."""
    over = threading.Event()
    resolver.otherwise = over
    yield
    over.set()


@pytest.mark.usefixtures("silence")
def test_a_look_up_without_an_answer_costs_a_second_and_lets_a_name_pass(resolver: Resolver) -> None:
    started = time.monotonic()
    check_public("http://nowhere.example.com/")
    assert 0.9 < time.monotonic() - started < 3
    assert len(resolver.asked) == 1


@pytest.mark.usefixtures("silence")
def test_who_connects_is_told_that_no_answer_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "LOOK_UP_SECONDS", 0.05)
    with pytest.raises(socket.gaierror, match=r"no answer within 0\.05 s") as failure:
        open_public_socket("nowhere.example.com", 80, timeout=60)
    assert failure.value.errno == socket.EAI_AGAIN


def test_what_does_not_exist_is_refused_also_when_it_is_connected_to() -> None:
    with pytest.raises(UrlNotAllowed, match="does not exist"):
        open_public_socket("nowhere.example.com", 80, timeout=5)


def test_a_name_is_looked_up_as_it_is_written_out(resolver: Resolver) -> None:
    check_public("https://BÜCHER.example.com./")
    assert resolver.asked == [("xn--bcher-kva.example.com", 443)]


@pytest.mark.parametrize(
    ("url", "port"),
    [("http://live.example.com/", 80), ("https://live.example.com/", 443), ("http://live.example.com:8/", 8)],
)
def test_a_name_is_looked_up_for_the_port_it_is_asked_on(url: str, port: int, resolver: Resolver) -> None:
    check_public(url)
    assert resolver.asked == [("live.example.com", port)]


# ---- what is allowed all the same ------------------------------------------------------------------------------------


@cases("url", ["http://127.0.0.1:8080/", "http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/"])
def test_an_address_of_an_allowed_network_passes(url: str) -> None:
    check_public(url, LOOPBACK)


def test_a_name_passes_if_every_address_is_public_or_allowed(resolver: Resolver) -> None:
    resolver.answers["studio.example.com"] = ["127.0.0.1", "93.184.215.14"]
    check_public("http://studio.example.com/", LOOPBACK)


def test_a_name_with_an_address_beside_the_allowed_ones_is_refused() -> None:
    with pytest.raises(UrlNotAllowed):
        check_public("http://localhost/", LOOPBACK)  # ::1 too


def test_an_allowed_network_allows_no_other_notation() -> None:
    with pytest.raises(UrlNotAllowed):
        check_public("http://2130706433/", LOOPBACK)


# ---- properties ------------------------------------------------------------------------------------------------------

ipv4 = st.ip_addresses(v=4)
ipv6 = st.ip_addresses(v=6)


def passes(url: str) -> bool:
    try:
        check_public(url)
    except UrlNotAllowed:
        return False
    return True


@given(st.text(anything, max_size=60))
def test_no_text_breaks_the_check(url: str) -> None:
    passes(url)
    passes(f"http://{url}")
    passes(f"http://{url}/a")


@given(st.text("0123456789abcdefx.:[]%@/\\#?", max_size=24))
def test_what_passes_is_public_to_a_reader_that_takes_every_notation(host: str) -> None:
    """The C library's parser, which many programs use, accepts octal, hexadecimal and missing parts."""
    if not passes(f"http://{host}/"):
        return
    try:
        read = IPv4Address(socket.inet_aton(urlsplit(f"http://{host}/").hostname or ""))
    except OSError:
        return
    assert read.is_global


def _decimal(address: IPv4Address) -> str:
    return str(int(address))


def _hexadecimal(address: IPv4Address) -> str:
    return hex(int(address))


def _octal(address: IPv4Address) -> str:
    return ".".join(f"0{part:o}" for part in address.packed)


def _short(address: IPv4Address) -> str:
    first, *rest = address.packed
    return f"{first}.{int.from_bytes(rest)}"


@pytest.mark.parametrize("written", [_decimal, _hexadecimal, _octal, _short], ids=lambda each: each.__name__)
@given(address=ipv4)
def test_an_odd_notation_never_passes(written: Callable[[IPv4Address], str], address: IPv4Address) -> None:
    assert not passes(f"http://{written(address)}/")


def _mapped(address: IPv4Address) -> str:
    return f"::ffff:{address}"


def _nat64(address: IPv4Address) -> str:
    return f"64:ff9b::{address}"


@pytest.mark.parametrize("embedded", [_mapped, _nat64], ids=lambda each: each.__name__)
@given(address=ipv4)
def test_an_address_in_an_address_is_judged_by_itself(
    embedded: Callable[[IPv4Address], str], address: IPv4Address
) -> None:
    assert passes(f"http://[{embedded(address)}]/") == passes(f"http://{address}/")


@given(ipv6)
def test_no_ipv6_address_passes_that_python_calls_private(address: IPv6Address) -> None:
    embeds = address.ipv4_mapped or address in ip_network("64:ff9b::/96")
    if not embeds and (not address.is_global or address.is_multicast or address.is_reserved):
        assert not passes(f"http://[{address}]/")


@given(ipv4)
def test_no_ipv4_address_passes_that_python_calls_private(address: IPv4Address) -> None:
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert not passes(f"http://{address}/")


# ---- connecting ------------------------------------------------------------------------------------------------------


@pytest.fixture
def port() -> Iterator[int]:
    """A port of 127.0.0.1 that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_connection_goes_to_the_address_that_was_looked_at(port: int, resolver: Resolver) -> None:
    resolver.answers["live.example.com"] = ["127.0.0.1"]
    with open_public_socket("live.example.com", port, LOOPBACK, timeout=5) as connection:
        assert connection.getpeername() == ("127.0.0.1", port)


def test_a_name_is_looked_up_once(port: int, resolver: Resolver) -> None:
    """A second look-up for the connection would allow DNS rebinding."""
    resolver.answers["live.example.com"] = ["127.0.0.1"]
    open_public_socket("live.example.com", port, LOOPBACK, timeout=5).close()
    assert resolver.asked == [("live.example.com", port)]


def test_no_connection_is_made_to_what_lies_inside(port: int, resolver: Resolver) -> None:
    resolver.answers["live.example.com"] = ["127.0.0.1"]
    with pytest.raises(UrlNotAllowed):
        open_public_socket("live.example.com", port, timeout=5)


def test_the_next_address_is_tried_where_one_does_not_answer(port: int, resolver: Resolver) -> None:
    resolver.answers["live.example.com"] = ["127.0.0.2", "127.0.0.1"]  # nobody listens on the first
    with open_public_socket("live.example.com", port, LOOPBACK, timeout=5) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"


def test_the_last_failure_is_told_where_no_address_answers(resolver: Resolver) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        resolver.answers["live.example.com"] = ["127.0.0.1"]
        with pytest.raises(ConnectionRefusedError):
            open_public_socket("live.example.com", taken.getsockname()[1], LOOPBACK, timeout=5)


def test_a_connection_has_the_timeout_it_was_asked_for(port: int, resolver: Resolver) -> None:
    resolver.answers["live.example.com"] = ["127.0.0.1"]
    with open_public_socket("live.example.com", port, LOOPBACK, timeout=7) as connection:
        assert connection.gettimeout() == 7


# ---- objects of our bucket -------------------------------------------------------------------------------------------

KEYS = {
    "s3://media/uploads/a.jpg": "uploads/a.jpg",
    "s3://media/a b?c#d%20.jpg": "a b?c#d%20.jpg",
    "s3://media//a": "/a",
    "s3://media/../a": "../a",
    "s3://media/影.jpg": "影.jpg",
    "https://media.s3.amazonaws.com/uploads/a.jpg": "uploads/a.jpg",
    "https://media.s3.eu-central-1.amazonaws.com/a%20b%3Fc.jpg": "a b?c.jpg",
    "https://media.s3.dualstack.eu-central-1.amazonaws.com/a": "a",
    "https://media.s3-us-west-2.amazonaws.com/a": "a",
    "https://media.s3-accelerate.amazonaws.com/a": "a",
    "https://media.s3-accelerate.dualstack.amazonaws.com/a": "a",
    "https://media.s3-fips.us-gov-west-1.amazonaws.com/a": "a",
    "https://media.s3.cn-north-1.amazonaws.com.cn/a": "a",
    "https://MEDIA.S3.amazonaws.com:443/A%2Bb": "A+b",
    "https://media.s3.amazonaws.com/a+b%2Bc%20d.jpg": "a b+c d.jpg",
    "s3://media/a+b.jpg": "a+b.jpg",
    "https://media.s3.amazonaws.com/%E5%BD%B1.jpg": "影.jpg",
}


@cases(("url", "key"), KEYS.items())
def test_an_objects_url_gives_its_key(url: str, key: str) -> None:
    assert s3_location(url, "media") == key


@cases(
    "url",
    [
        "",
        "media/a",
        "s3:/media/a",
        "S3://media/a",
        "s3://media",
        "s3://media/",
        "s3:///a",
        "s3://Media/a",
        "s3://media-2/a",
        "s3://user@media/a",
        "s3://media:80/a",
        "s3://media/" + "a" * 1025,
        "s3://media/\ud800",
        "http://media.s3.amazonaws.com/a",
        "https://s3.amazonaws.com/media/a",
        "https://media.s3.amazonaws.com",
        "https://media.s3.amazonaws.com/",
        "https://media.s3.amazonaws.com/a?versionId=1",
        "https://media.s3.amazonaws.com/a?",
        "https://media.s3.amazonaws.com/a#b",
        "https://media.s3.amazonaws.com:8443/a",
        "https://user:secret@media.s3.amazonaws.com/a",
        "https://media.s3.amazonaws.com@evil.test/a",
        "https://media.s3.amazonaws.com.evil.test/a",
        "https://evil.test/media.s3.amazonaws.com/a",
        "https://evil.test#media.s3.amazonaws.com/a",
        "https://media.evil.s3.amazonaws.com/a",
        "https://evil.media.s3.amazonaws.com/a",
        "https://media.s3.evil.amazonaws.com/a",
        "https://media.s3xamazonaws.com/a",
        "https://mediaxs3.amazonaws.com/a",
        "https://media-s3.amazonaws.com/a",
        "https://media.s3-website-us-east-1.amazonaws.com/a",
        "https://media.execute-api.us-east-1.amazonaws.com/a",
        "https://media.s3.amazonaws.com/%ff",
        "https://media.s3.amazonaws.com/a b",
        "https://media.s3.amazonaws.com/a\nb",
        "https://media.s3.amazonaws.com\\@evil.test/a",
        "file:///media/a",
    ],
)
def test_anything_else_is_no_object_of_the_bucket(url: str) -> None:
    with pytest.raises(UrlNotAllowed):
        s3_location(url, "media")


def test_a_bucket_with_dots_has_objects_too() -> None:
    assert s3_location("https://my.media.s3.amazonaws.com/a", "my.media") == "a"


def test_a_bucket_is_no_pattern() -> None:
    with pytest.raises(UrlNotAllowed):
        s3_location("https://myxmedia.s3.amazonaws.com/a", "my.media")


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200).filter(
        lambda key: len(key.encode()) <= 600
    )
)
def test_every_key_comes_back_from_both_kinds_of_url(key: str) -> None:
    assert s3_location(f"s3://media/{key}", "media") == key
    assert s3_location(f"https://media.s3.amazonaws.com/{quote(key, safe='/~')}", "media") == key


@given(st.text(anything, max_size=80))
def test_no_text_breaks_the_reading_of_an_objects_url(text: str) -> None:
    for url in (text, f"s3://{text}", f"https://{text}", f"https://media.s3.amazonaws.com/{text}"):
        try:
            s3_location(url, "media")
        except UrlNotAllowed:
            continue
