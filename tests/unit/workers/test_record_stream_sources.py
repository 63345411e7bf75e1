"""How `record_stream` reads from a URL: playlists, manifests, failing servers, forbidden addresses."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import override

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from requests.exceptions import SSLError
from streamlink.exceptions import PluginError
from streamlink.stream.dash.manifest import MPD, Representation

from local.demos.live import playlist
from local.serving import served
from record_stream import dash, egress, hls, rtmp, segments
from record_stream.egress import Encrypted, Session, TooLarge, Unusable, WebFile, cause
from record_stream.settings import safe_name
from record_stream.sources import explained, sources
from switchyard.urls import UrlNotAllowed
from switchyard_worker import WorkerError

LOOPBACK = [ip_network("127.0.0.1/32")]
URL = "https://example.com/live/index"


@dataclass
class Server:
    """A server on 127.0.0.1.

    Its answer for a path is a body; a number (a status); a tuple with a URL (a redirect); a body and a longer length (a
    broken connection); or a list of these, given in order, with the last one repeated.
    """

    address: str = ""
    answers: dict[str, object] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    missing: tuple[int, float] = (0, 0.0)


class _Handler(BaseHTTPRequestHandler):
    state: Server

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.state.asked.append((self.path, wanted))
        answer = self.state.answers.get(self.path, 404)
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        match answer:
            case int(status):
                self._send(status, {}, b"")
            case (str(place),):
                self._send(302, {"Location": place}, b"")
            case (bytes(body), int(length)):
                self._send(200, {"Content-Length": str(length)}, body)
            case bytes(body) if wanted:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                part = body[int(first) : int(last) + 1 if last else None]
                self._send(206, {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"}, part)
            case bytes(body):
                self._send(200, {}, body)

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
            self.send_header(name, value)
        with suppress(ConnectionError):  # a peek may be enough
            self.end_headers()
            self.wfile.write(body)

    @override
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def listening() -> Iterator[Server]:
    server = Server()

    class Handler(_Handler):
        state = server

    with served(Handler) as server.address:
        yield server


@pytest.fixture
def server(listening: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(egress, "_PAUSE", 0.001)
    listening.missing = 0, 0.0
    listening.answers.clear()
    listening.asked.clear()
    return listening


@pytest.fixture
def session() -> Iterator[Session]:
    stop = threading.Event()
    with Session(LOOPBACK, stop) as session:
        yield session
    stop.set()


def recorded(server: Server, path: str) -> bytes:
    """Reads what the source of a URL gives, with everything it refers to."""
    stop = threading.Event()
    bodies = b""
    try:
        for source in sources(Session(LOOPBACK, stop), server.address + path, stop):
            takes = source()
            for take in takes:
                assert not isinstance(take, rtmp.RtmpStream)
                while data := take.read(1000):
                    bodies += data
            if takes.failure is not None:
                raise takes.failure
            if takes.missing.segments:
                server.missing = takes.missing.segments, takes.missing.seconds
    finally:
        stop.set()
    return bodies


# ---- addresses: whatever names them


LET = [
    "http://169.254.169.254/x",
    "http://10.0.0.1/x",
    "http://[::1]/x",
    "http://2130706433/x",
    "http://[::ffff:10.0.0.1]/",
]


@pytest.mark.parametrize("target", [*LET, "file:///etc/passwd", "gopher://127.0.0.1/", "http://user:pass@127.0.0.1/"])
@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(lambda url: {"/": (url,)}, id="redirect"),
        pytest.param(lambda url: {"/": ("/2",), "/2": ("/3",), "/3": (url,)}, id="redirect behind redirects"),
        pytest.param(lambda url: {"/": b"#EXTM3U\n#EXTINF:1,\n%s\n#EXT-X-ENDLIST" % url.encode()}, id="segment"),
        pytest.param(lambda url: {"/": b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n%s\n" % url.encode()}, id="variant"),
        pytest.param(
            lambda url: {"/": b"#EXTM3U\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST", "/a.ts": (url,)}, id="segment's redirect"
        ),
        pytest.param(
            lambda url: {
                "/": b'#EXTM3U\n#EXT-X-MAP:URI="%s"\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST' % url.encode(), "/a.ts": b"x",
            }, id="init",
        ),
        pytest.param(
            lambda url: {
                "/": b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="%s"\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST' % url.encode(),
                "/a.ts": b"x",
            }, id="key",
        ),
        pytest.param(
            lambda url: {
                "/": b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST',
                "/a.ts": b"x", "/k": (url,),
            }, id="key's redirect",
        ),
        pytest.param(
            lambda url: {
                "/": b'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="%s"\n'
                b'#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"\nv\n' % url.encode(),
                "/v": b"#EXTM3U\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST", "/a.ts": b"x",
            }, id="separate audio",
        ),
        pytest.param(
            lambda url: {
                "/": b'<MPD type="static" mediaPresentationDuration="PT1S"><Period>'
                b'<AdaptationSet contentType="video"><Representation id="1" bandwidth="1">'
                b'<SegmentTemplate duration="1" media="%s"/></Representation></AdaptationSet></Period></MPD>'
                % url.encode()
            }, id="template",
        ),
        pytest.param(
            lambda url: {
                "/": b'<MPD><UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="%s"/></MPD>' % url.encode()
            }, id="clock",
        ),
        pytest.param(
            lambda url: {
                "/": b'<MPD><Period><AdaptationSet contentType="video"><Representation><BaseURL>%s</BaseURL>'
                b"</Representation></AdaptationSet></Period></MPD>" % url.encode()
            }, id="manifest",
        ),
    ],
)  # fmt: skip
def test_no_answer_leads_to_an_address_that_isnt_let(
    server: Server, answers: Callable[[str], dict[str, object]], target: str
) -> None:
    server.answers |= answers(target)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it means is what counts
        recorded(server, "/")
    assert explained(caught.value).code == "URL_NOT_ALLOWED"


def test_a_name_that_changes_its_mind_is_looked_at_when_connecting(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: each request looks the name up once, and connects to the address that it checked."""
    port = int(server.address.rpartition(":")[2])
    answers = iter(["127.0.0.1", "10.0.0.1"])

    def resolve(*_what: object, **_how: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    server.answers["/"] = ("/again",)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it means is what counts
        Session(LOOPBACK, threading.Event()).get(f"http://rebind.example:{port}/")
    assert isinstance(cause(caught.value), UrlNotAllowed)
    assert [path for path, _ in server.asked] == ["/"]


def test_a_segment_host_that_changes_its_address_is_connected_to_where_it_was_checked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between check and connect there is no second look-up that could answer differently."""
    port = int(server.address.rpartition(":")[2])
    looked_up: list[str] = []

    def resolve(name: str, *_what: object, **_how: object) -> list[object]:
        looked_up.append(name)
        turns = looked_up.count("segments.example")
        inward = "127.0.0.1" if name == "127.0.0.1" or turns == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (inward, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    server.answers |= {
        "/": b"#EXTM3U\n#EXTINF:1,\nhttp://segments.example:%d/a\n#EXTINF:1,\nhttp://segments.example:%d/b\n#EXT-X-ENDLIST"
        % (port, port),
        "/a": b"aaaa",
        "/b": b"bbbb",
    }
    with pytest.raises(UrlNotAllowed):
        recorded(server, "/")
    # The second segment's connection looked the name up anew, and the new address was refused.
    assert looked_up.count("segments.example") == 2
    assert "/b" not in [path for path, _ in server.asked]


@pytest.mark.parametrize(
    "url",
    ["rtmp://10.0.0.1/live/x", "rtmp://[::1]/live/x", "rtmp://127.1/live/x", "rtmp://me@127.0.0.1/live/x",
     "rtmp://127.0.0.1:x/live"],
)  # fmt: skip
def test_rtmp_is_held_to_the_same_addresses(url: str) -> None:
    with pytest.raises(UrlNotAllowed):
        rtmp.opened(Session(LOOPBACK, threading.Event()), url)


def test_rtmp_goes_to_the_address_and_asks_by_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, 1, 6, "", ("93.184.215.14", 1935))])
    assert rtmp.opened(
        Session([], threading.Event()), "rtmp://live.example.com/app/name/of/it?key=1"
    ) == rtmp.RtmpStream(
        "rtmp://93.184.215.14:1935/app",
        {"rtmp_app": "app", "rtmp_playpath": "name/of/it?key=1", "rtmp_tcurl": "rtmp://live.example.com/app"},
    )


def test_a_secure_server_is_connected_to_where_it_was_checked_and_must_prove_its_name(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "live.example")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("live.example")]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = tmp_path / "certificate.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate.write_bytes(made.sign(key, SHA256()).public_bytes(Encoding.PEM) + secret)
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": Server(answers={"/": b"hello"})}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        port = server.server_port
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        trusting = str(certificate)
        assert session.get(f"https://live.example:{port}/", verify=trusting).content == b"hello"
        for host, verify in (("live.example", True), ("other.example", trusting)):
            with pytest.raises(PluginError) as caught:
                session.get(f"https://{host}:{port}/", verify=verify)
            assert isinstance(cause(caught.value), SSLError)
    finally:
        server.shutdown()
        server.server_close()


def test_redirects_end(server: Server, session: Session) -> None:
    server.answers["/"] = ("/",)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        session.get(server.address + "/")
    assert explained(caught.value).code == "STREAM_UNREACHABLE"


# ---- servers that fail


@pytest.mark.parametrize(
    ("answer", "code"),
    [(404, "STREAM_NOT_FOUND"), (410, "STREAM_NOT_FOUND"), (403, "STREAM_REFUSED"), (503, "STREAM_UNREACHABLE")],
)
@pytest.mark.parametrize("what", ["/", "/v"])
def test_a_status_has_a_meaning(server: Server, answer: int, code: str, what: str) -> None:
    server.answers |= {"/": b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv", what: answer}
    with pytest.raises(Exception) as caught:  # noqa: PT011
        recorded(server, "/")
    assert explained(caught.value).code == code


def test_a_silent_server_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(Exception) as caught:  # noqa: PT011
        Session(LOOPBACK, threading.Event()).get(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert explained(caught.value).code == "STREAM_UNREACHABLE"


@pytest.mark.parametrize("body", [b"#EXTM3U\n", b"<MPD>"])
def test_a_page_larger_than_any_is_not_read(server: Server, body: bytes) -> None:
    server.answers["/"] = body + b"#" * egress.PAGE_BYTES
    with pytest.raises(WorkerError) as caught:
        recorded(server, "/")
    assert isinstance(cause(caught.value), TooLarge)


def test_a_segment_larger_than_any_is_left_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "BODY_BYTES", 100_000)
    server.answers |= {"/": TWO, "/a": b"a" * 100_001, "/b": b"bbbb"}
    assert recorded(server, "/") == b"bbbb"
    assert server.missing == (1, 1.0)
    assert [path for path, _ in server.asked].count("/a") == 1


TWO = b"#EXTM3U\n#EXTINF:1,\na\n#EXTINF:1,\nb\n#EXT-X-ENDLIST"


def test_a_segment_that_breaks_off_is_fetched_again(server: Server) -> None:
    server.answers |= {"/": TWO, "/a": [(b"aa", 4), 503, 404, b"aaaa"], "/b": b"bbbb"}
    assert recorded(server, "/") == b"aaaabbbb"
    assert server.missing == (0, 0.0)


@pytest.mark.parametrize("answer", [404, 503, (b"half", 8)], ids=["gone", "in trouble", "cut short"])
def test_a_segment_that_cant_be_had_is_left_out_whole_and_counted(server: Server, answer: object) -> None:
    server.answers |= {"/": TWO, "/a": [answer], "/b": b"bbbb"}
    assert recorded(server, "/") == b"bbbb"
    assert server.missing == (1, 1.0)


def test_a_range_is_cut_out_by_hand_if_the_server_sends_all(server: Server) -> None:
    body = b"0123456789"
    server.answers |= {
        "/": b"#EXTM3U\n#EXTINF:1,\n#EXT-X-BYTERANGE:4@2\n/whole\n"
        b"#EXTINF:1,\n#EXT-X-BYTERANGE:3\n/whole\n#EXT-X-ENDLIST",
        "/whole": (body, len(body)),  # status 200
    }
    assert recorded(server, "/") == b"2345678"


def test_a_file_that_breaks_off_is_taken_up_where_it_broke(server: Server, session: Session) -> None:
    body = bytes(range(256)) * 20
    server.answers["/"] = body
    file = WebFile(session, server.address + "/", threading.Event())
    assert file.read(1000) == body[:1000]
    file._answer.raw.close()
    assert b"".join(iter(lambda: file.read(1000), b"")) == body[1000:]
    assert server.asked == [("/", "bytes=0-"), ("/", "bytes=1000-")]


def test_a_file_is_sought_in_by_ranges(server: Server, session: Session) -> None:
    server.answers["/"] = b"0123456789"
    file = WebFile(session, server.address + "/", threading.Event())
    assert file.seekable()
    assert (file.seek(-2, 2), file.read(9), file.seek(3), file.read(2), file.tell()) == (8, b"89", 3, b"34", 5)


# ---- HLS


def parsed(text: str) -> hls.Playlist:
    return hls.parse(text.encode(), URL)


def test_the_best_variant_is_taken_with_its_sound() -> None:
    text = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="low",NAME="x",URI="low.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="hi",NAME="de",URI="de.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="hi",NAME="en",DEFAULT=YES,URI="en.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=9000000,CODECS="mp4a.40.2"
sound-only.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=100,RESOLUTION=640x360,AUDIO="low"
small.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=200,RESOLUTION=1280x720,AUDIO="hi"
../large.m3u8?a,b
"""
    assert hls.best(parsed(text)) == ("https://example.com/large.m3u8?a,b", "https://example.com/live/en.m3u8")


@pytest.mark.parametrize("more", ["201", "200.5", "200.5,NAME=two words,X=", "201 , AVERAGE-BANDWIDTH=x"])
def test_odd_bandwidths_and_attributes_count(more: str) -> None:
    text = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=200\na\n#EXT-X-STREAM-INF:BANDWIDTH={more}\nb\n"
    assert hls.best(parsed(text + "#EXT-X-STREAM-INF:BANDWIDTH=1\nc"))[0] == "https://example.com/live/b"


def test_a_variant_whose_default_sound_is_within_has_no_separate_one() -> None:
    text = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="de",DEFAULT=YES
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",URI="en.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"
v.m3u8
"""
    assert hls.best(parsed(text))[1] is None


def test_an_initialization_outlives_a_discontinuity() -> None:
    found = parsed('#EXTM3U\n#EXT-X-MAP:URI="i"\n#EXTINF:1,\na\n#EXT-X-DISCONTINUITY\n#EXTINF:1,\nb')
    assert [each.map and each.map.uri for each in found.segments] == ["https://example.com/live/i"] * 2
    assert [each.discontinuity for each in found.segments] == [False, True]


def test_an_insecure_segment_of_a_secure_playlist_is_had() -> None:
    """Streamlink refuses it. It is a public address, and nothing secret is sent."""
    assert parsed("#EXTM3U\n#EXTINF:1,\nhttp://example.org/a").segments[0].uri == "http://example.org/a"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<html>", "NOT_A_STREAM"),
        ("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:x", "NOT_A_STREAM"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:x", "NOT_A_STREAM"),
        ("#EXTM3U\n#EXTINF:1,\nhttp://[/a.ts", "NOT_A_STREAM"),
        ('#EXTM3U\n#EXT-X-DEFINE:NAME="a",VALUE="b"\n#EXTINF:1,\n{$a}', "UNSUPPORTED_STREAM"),
    ],
)
def test_a_playlist_that_cant_be_used_says_why(text: str, code: str) -> None:
    with pytest.raises(Unusable) as caught:
        parsed(text)
    assert explained(caught.value).code == code


@pytest.mark.parametrize("key", ['METHOD=SAMPLE-AES,URI="skd://x"', 'METHOD=AES-128,URI="k",KEYFORMAT="com.apple"'])
def test_a_protected_playlist_is_told_from_a_bad_one(server: Server, key: str) -> None:
    server.answers |= {"/": b"#EXTM3U\n#EXT-X-KEY:%s\n#EXTINF:1,\na\n#EXT-X-ENDLIST" % key.encode(), "/a": b"x"}
    with pytest.raises(Exception) as caught:  # noqa: PT011
        recorded(server, "/")
    assert explained(caught.value).code == "STREAM_ENCRYPTED"


@given(
    st.lists(st.sampled_from(["#EXTINF:1,", "a.ts", "#EXT-X-KEY:", "#EXT-X-BYTERANGE:", "1@2", "\n", "=", '"', "x"]))
)
def test_no_playlist_makes_the_parser_fall(parts: list[str]) -> None:
    with suppress(Unusable):
        parsed("#EXTM3U\n" + "\n".join(parts))


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "line", ["A" * 2**20, "#EXT-X-MEDIA:" + "A-" * 2**19, '#EXT-X-MEDIA:A="' * 2**16], ids=range(3)
)
def test_a_line_without_an_end_is_read_in_one_go(line: str) -> None:
    """A parser that backtracks at every character takes days, and blocks all other threads."""
    assert parsed(f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na\n{line}").is_master


@pytest.mark.parametrize("lines", ["#EXTINF:1,\na\n" * (segments.MOST + 1), "\n" * 900_000], ids=["segments", "lines"])
def test_a_playlist_larger_than_any_is_a_bad_one(lines: str) -> None:
    """Each line takes more memory than its bytes, and a server may send four million lines."""
    with pytest.raises(Unusable):
        parsed(f"#EXTM3U\n{lines}")


def live(first: int, count: int, *more: str) -> bytes:
    listed = [f"#EXTINF:1,\n{number}" for number in range(first, first + count)]
    return "\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}", *listed, *more]).encode()


END = "#EXT-X-ENDLIST"


@pytest.mark.parametrize(
    ("shown", "followed", "missing"),
    [
        ([live(0, 4, END)], "0123", (0, 0.0)),
        ([live(1, 6), live(3, 6, END)], "45678", (0, 0.0)),  # from three before the end
        ([live(0, 3), 404, live(1, 3), live(1, 3, END)], "0123", (0, 0.0)),  # a reload that fails once
        ([live(0, 3, "#EXT-X-PLAYLIST-TYPE:EVENT"), live(0, 5, END)], "01234", (0, 0.0)),
        ([live(0, 3), live(6, 3, END)], "012678", (3, 3.0)),  # it was too slow
        ([live(5, 4), live(0, 2), live(0, 3, END)], "678012", (0, 0.0)),  # a new encoder
        ([live(0, 1), live(0, 2, END)], "01", (0, 0.0)),  # it had only just begun
    ],
)
def test_a_live_playlist_is_followed(
    server: Server, shown: list[object], followed: str, missing: tuple[int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hls._Worker, "_get_reload_time", lambda *_: 0.01)
    server.answers |= {"/live": [shown[0], *shown]} | {f"/{number}": b"%d" % number for number in range(9)}
    assert recorded(server, "/live").decode() == followed
    assert server.missing == missing


def test_a_playlist_that_was_removed_ends_the_stream(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hls._Worker, "_get_reload_time", lambda *_: 0.01)
    server.answers |= {"/live": [live(0, 1), live(0, 1), 404], "/0": b"0"}
    assert recorded(server, "/live") == b"0"


def test_the_live_stream_of_the_demo_shows_its_last_segments() -> None:
    """local/demos/live.py: three segments, over and over."""
    text = playlist(["a", "b", "c"], revealed=8, window=4, length=None)
    assert text.splitlines()[3:] == [
        "#EXT-X-MEDIA-SEQUENCE:4", "#EXTINF:1.0,", "b", "#EXTINF:1.0,", "c",
        "#EXT-X-DISCONTINUITY", "#EXTINF:1.0,", "a", "#EXTINF:1.0,", "b",
    ]  # fmt: skip
    assert playlist(["a", "b"], revealed=9, window=2, length=3).endswith("#EXT-X-ENDLIST\n")


# ---- DASH

NOW = datetime(2026, 11, 22, 12, 0, 10, tzinfo=UTC)
LIVE = 'type="dynamic" availabilityStartTime="2026-11-22T12:00:00Z" minimumUpdatePeriod="PT1S"'


def manifest(
    template: str, attributes: str = 'mediaPresentationDuration="PT7S"', period: str = "", now: datetime = NOW
) -> tuple[MPD, Representation]:
    """Returns a manifest with this template, and its best video."""
    text = f"""
        <MPD xmlns="urn:mpeg:dash:schema:mpd:2011" {attributes}><BaseURL>media/</BaseURL><Period {period}>
        <AdaptationSet mimeType="audio/mp4">
        <Representation id="a" bandwidth="9"><BaseURL>a.mp4</BaseURL></Representation>
        </AdaptationSet>
        <AdaptationSet mimeType="video/mp4">{template}
        <Representation id="lo" bandwidth="100"/><Representation id="hi" bandwidth="1001"/>
        </AdaptationSet></Period></MPD>"""
    url = "https://example.com/x.mpd"
    mpd = MPD(dash.explicit(text.strip().encode(), now), url=url, base_url=url)
    audio = dash.best(mpd.periods[0], "audio")
    assert audio is not None
    assert audio.base_url == "https://example.com/media/a.mp4"
    video = dash.best(mpd.periods[0], "video")
    assert video is not None
    return mpd, video


def paths(found: tuple[MPD, Representation], *, init: bool = False) -> list[str]:
    return [segment.uri.removeprefix("https://example.com/media/") for segment in found[1].segments(init=init)]


def test_a_template_of_numbers_is_counted_out() -> None:
    found = manifest('<SegmentTemplate timescale="10" duration="20" initialization="$RepresentationID$/i" '
                     'media="$RepresentationID$/$Number%03d$-$Bandwidth$-{x}"/>')  # fmt: skip
    listed = ["hi/001-1001-%7Bx%7D", "hi/002-1001-%7Bx%7D", "hi/003-1001-%7Bx%7D", "hi/004-1001-%7Bx%7D"]
    assert paths(found, init=True) == ["hi/i", *listed]


@pytest.mark.parametrize("first", [0, 1, 5])
def test_numbers_begin_where_the_manifest_says_and_the_last_part_counts(first: int) -> None:
    found = manifest(f'<SegmentTemplate duration="2" startNumber="{first}" media="$Number$-$Time$"/>')
    assert paths(found) == [f"{first + index}-{index * 2}" for index in range(4)]


def test_of_a_live_template_there_is_what_players_present_now() -> None:
    template = '<SegmentTemplate duration="2" startNumber="5" media="$Number$-$Time$"/>'
    # Seven seconds of this period. Without a delay, one of three seconds.
    assert paths(manifest(template, LIVE, 'start="PT3S"')) == ["7-4"]
    assert paths(manifest(template, f'{LIVE} suggestedPresentationDelay="PT5S"', 'start="PT3S"')) == ["6-2"]
    assert paths(manifest(template, f'{LIVE} suggestedPresentationDelay="PT0S"', 'start="PT3S"')) == ["7-4"]
    assert paths(manifest(template, LIVE, 'start="PT3S"', NOW + timedelta(seconds=2)))[-1] == "8-6"
    assert paths(manifest(template, LIVE, 'start="PT9S"')) == []  # it hasn't begun


def test_a_live_timeline_begins_at_the_delay() -> None:
    line = (
        '<SegmentTemplate media="$Time$"><SegmentTimeline><S t="100" d="2" r="9"/></SegmentTimeline></SegmentTemplate>'
    )
    assert paths(manifest(line, f'{LIVE} suggestedPresentationDelay="PT5S"')) == ["114", "116", "118"]


def test_a_timeline_is_told_by_its_times() -> None:
    line = '<SegmentTimeline><S t="100" d="10" r="1"/><S d="5"/><S t="200" d="50" r="-1"/></SegmentTimeline>'
    found = manifest(
        f'<SegmentTemplate timescale="50" startNumber="3" media="$Number$-$Time$">{line}</SegmentTemplate>'
    )
    assert paths(found) == ["3-100", "4-110", "5-120", "6-200", "7-250", "8-300"]


def test_a_template_is_completed_by_those_above_it() -> None:
    inner = '<Representation id="best" bandwidth="5000"><SegmentTemplate startNumber="9"/></Representation>'
    found = manifest(f'<SegmentTemplate duration="4" media="$RepresentationID$-$Number$"/>{inner}')
    assert paths(found) == ["best-9", "best-10"]


def test_a_list_names_its_segments() -> None:
    found = manifest('<SegmentList><Initialization sourceURL="i" range="0-9"/><SegmentURL media="a"/>'
                     '<SegmentURL media="b" mediaRange="5-6"/></SegmentList>')  # fmt: skip
    listed = [(each.uri.rpartition("/")[2], each.byterange) for each in found[1].segments()]
    assert listed == [("i", (0, 10)), ("a", None), ("b", (5, 2))]


@pytest.mark.parametrize("duration", ["P0Y0M0DT0H0M7.000S", "PT7S", "PT0.1M1S"])
def test_durations_may_have_years(duration: str) -> None:
    found = manifest('<SegmentTemplate duration="4" media="$Number$"/>', f'mediaPresentationDuration="{duration}"')
    assert paths(found) == ["1", "2"]


def periods(*lengths: int, asset: tuple[int, ...] = ()) -> list[str | None]:
    """Returns the ids of the periods that are the programme."""
    told = "".join(
        f'<Period duration="PT{length}S">{'<AssetIdentifier schemeIdUri="x"/>' * (index in asset)}<AdaptationSet '
        f'contentType="video"><Representation id="{index}"><SegmentTemplate duration="1" media="x"/></Representation>'
        "</AdaptationSet></Period>"
        for index, length in enumerate(lengths)
    )
    mpd = MPD(dash.explicit(f"<MPD>{told}</MPD>".encode(), NOW), url=URL, base_url=URL)
    chosen = [dash.best(each, "video") for each in dash.programme(mpd)]
    return [each.id if each else None for each in chosen]


def test_the_programme_is_taken_and_not_the_advertisement() -> None:
    assert periods(5, 60, 5) == ["1"]
    assert periods(5, 60, 5, 50) == ["1", "3"]  # interrupted
    assert periods(5, 60, 5, 20, asset=(1, 3)) == ["1", "3"]
    assert periods(8) == ["0"]


@pytest.mark.parametrize("scheme", ["http-iso", "http-xsdate", "http-head", "direct"])
def test_the_streams_clock_is_read(server: Server, session: Session, scheme: str) -> None:
    text = "2026-11-22T12:00:00Z"
    server.answers["/time"] = text.encode()
    value = text if scheme == "direct" else "/time"
    root = etree.fromstring(f'<MPD><UTCTiming schemeIdUri="urn:mpeg:dash:utc:{scheme}:2014" value="{value}"/></MPD>')
    ahead = dash.clock(root, session, server.address + "/x.mpd")
    expected = timedelta() if scheme == "http-head" else datetime.fromisoformat(text) - datetime.now(UTC)
    assert abs(ahead - expected) < timedelta(seconds=5)


@pytest.mark.parametrize("value", ["", "x", "/nothing-there"])
def test_a_clock_that_cant_be_read_is_this_machines(server: Server, session: Session, value: str) -> None:
    schemes = "".join(
        f'<UTCTiming schemeIdUri="urn:mpeg:dash:utc:{each}:2014" value="{value}"/>' for each in ("http-iso", "direct")
    )
    assert dash.clock(etree.fromstring(f"<MPD>{schemes}</MPD>"), session, server.address) == timedelta()


BOMB = '<!DOCTYPE MPD [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def of_video(inner: str, attributes: str = "mediaPresentationDuration='PT9S'") -> str:
    adaptation = f"<AdaptationSet contentType='video'>{inner}<Representation/></AdaptationSet>"
    return f"<MPD {attributes}><Period>{adaptation}</Period></MPD>"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<MPD",
        "<MPD/>",
        "<MPD><Period/></MPD>",
        f"{BOMB}]><MPD>&i;</MPD>",
        of_video("", "type='dynamic' availabilityStartTime='x'"),
        of_video("<ContentProtection/>"),
        of_video("<SegmentTemplate duration='0' media='x'/>"),
        of_video("<SegmentTemplate duration='1' media='x'/>", ""),
        of_video(
            "<SegmentTemplate media='x'><SegmentTimeline><S d='1' r='999999'/></SegmentTimeline></SegmentTemplate>"
        ),
        of_video(f"<SegmentList>{"<SegmentURL media='x'/>" * (segments.MOST + 1)}</SegmentList>"),
    ],
    ids=range(11),
)
def test_a_manifest_that_cant_be_used_is_a_bad_one(session: Session, text: str) -> None:
    with pytest.raises(Unusable):
        dash.Manifest(segments.streamlink(session), URL, text.encode())


def test_a_protected_manifest_is_told_from_a_bad_one(session: Session) -> None:
    with pytest.raises(Encrypted):
        dash.Manifest(segments.streamlink(session), URL, of_video("<ContentProtection/>").encode())


@given(numbers=st.lists(st.sampled_from(["1", "-1", "0", "5", "x"]), min_size=3, max_size=3), live=st.booleans())
def test_no_timeline_makes_the_reader_fall(numbers: list[str], *, live: bool) -> None:
    time, length, repeat = numbers
    line = f"<SegmentTimeline><S t='{time}' d='{length}' r='{repeat}'/></SegmentTimeline>"
    with suppress(Unusable):
        paths(manifest(f"<SegmentTemplate media='$Time$'>{line}</SegmentTemplate>", LIVE if live else ""))


# ---- names


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        (None, "recording"), ("", "recording"), (7, "recording"), ("Show.mp4", "Show"), ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\Mein Film (1).mov", "Mein-Film-1"), ("..", "recording"), ("a\x00b\n.ts", "a-b"),
        ("--rm -rf", "rm--rf"), ("日本", "recording"), ("\u202egpj.exe", "gpj"), ("x" * 300 + ".ts", "x" * 100),
    ],
)  # fmt: skip
def test_a_filename_becomes_a_safe_name(filename: object, name: str) -> None:
    assert safe_name(filename) == name


@given(st.text())
def test_no_filename_gives_an_unsafe_name(filename: str) -> None:
    assert set(safe_name(filename)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert 1 <= len(safe_name(filename)) <= 100
