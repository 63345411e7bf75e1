"""How `record_stream` reads from a URL: playlists, manifests, failing servers, forbidden addresses."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from typing import Any, override

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.demos.live import playlist, serving
from record_stream import dash, hls, rtmp, segments, web
from record_stream.segments import BadPlaylist, Part, Playlist, Segment, WebFile, follow
from record_stream.settings import safe_name
from record_stream.sources import explained, sources
from record_stream.web import Refused, TooLarge, Unreachable, Web
from switchyard.urls import UrlNotAllowed

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

    with serving(Handler) as server.address:
        yield server


@pytest.fixture
def server(listening: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(segments, "_PAUSE", 0.001)
    listening.answers.clear()
    listening.asked.clear()
    return listening


def recorded(server: Server, path: str) -> bytes:
    """Records a URL, with everything it refers to."""
    files: list[Any] = [source(threading.Event()) for source in sources(Web(LOOPBACK), server.address + path)]
    bodies = b""
    for file in files:
        while data := file.read(1000):
            bodies += data
        if file.failure is not None:
            raise file.failure
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
    with pytest.raises(UrlNotAllowed):
        Web(LOOPBACK).open(f"http://rebind.example:{port}/")
    assert [path for path, _ in server.asked] == ["/"]


@pytest.mark.parametrize(
    "url",
    ["rtmp://10.0.0.1/live/x", "rtmp://[::1]/live/x", "rtmp://127.1/live/x", "rtmp://me@127.0.0.1/live/x",
     "rtmp://127.0.0.1:x/live"],
)  # fmt: skip
def test_rtmp_is_held_to_the_same_addresses(url: str) -> None:
    with pytest.raises(UrlNotAllowed):
        rtmp.opened(Web(LOOPBACK), url)


def test_rtmp_goes_to_the_address_and_asks_by_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, 1, 6, "", ("93.184.215.14", 1935))])
    assert rtmp.opened(Web([]), "rtmp://live.example.com/app/name/of/it?key=1") == rtmp.RtmpStream(
        "rtmp://93.184.215.14:1935/app",
        {"rtmp_app": "app", "rtmp_playpath": "name/of/it?key=1", "rtmp_tcurl": "rtmp://live.example.com/app"},
    )


def test_redirects_end(server: Server) -> None:
    server.answers["/"] = ("/",)
    with pytest.raises(Unreachable):
        Web(LOOPBACK).open(server.address + "/")


# ---- servers that fail


@pytest.mark.parametrize(
    ("answer", "code"),
    [(404, "STREAM_NOT_FOUND"), (410, "STREAM_NOT_FOUND"), (403, "STREAM_REFUSED"), (503, "STREAM_UNREACHABLE")],
)
def test_a_status_has_a_meaning(server: Server, answer: int, code: str) -> None:
    server.answers["/"] = answer
    with pytest.raises(Exception) as caught:  # noqa: PT011
        recorded(server, "/")
    assert explained(caught.value).code == code


def test_a_silent_server_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(Unreachable):
        Web(LOOPBACK).open(f"http://127.0.0.1:{listener.getsockname()[1]}/")


def test_a_page_larger_than_any_is_not_read(server: Server) -> None:
    server.answers["/"] = b"#EXTM3U\n" + b"#" * web.PAGE_BYTES
    with pytest.raises(Exception) as caught:  # noqa: PT011
        recorded(server, "/")
    assert isinstance(caught.value.__cause__, TooLarge)


def test_a_segment_that_breaks_off_is_fetched_again(server: Server) -> None:
    server.answers |= {
        "/": b"#EXTM3U\n#EXTINF:1,\na\n#EXTINF:1,\nb\n#EXT-X-ENDLIST",
        "/a": [(b"aa", 4), 503, b"aaaa"],
        "/b": b"bbbb",
    }
    assert recorded(server, "/") == b"aaaabbbb"


@pytest.mark.parametrize("answer", [404, 503, (b"half", 8)], ids=["gone", "in trouble", "cut short"])
def test_a_segment_that_cant_be_had_is_left_out_whole(server: Server, answer: object) -> None:
    server.answers |= {"/": b"#EXTM3U\n#EXTINF:1,\na\n#EXTINF:1,\nb\n#EXT-X-ENDLIST", "/a": [answer], "/b": b"bbbb"}
    assert recorded(server, "/") == b"bbbb"


def test_a_file_that_breaks_off_is_taken_up_where_it_broke(server: Server) -> None:
    body = bytes(range(256)) * 20
    server.answers["/"] = body
    file = WebFile(Web(LOOPBACK), server.address + "/", {}, threading.Event())
    assert file.read(1000) == body[:1000]
    assert file._answer is not None
    file._answer._response.close()
    assert b"".join(iter(lambda: file.read(1000), b"")) == body[1000:]
    assert server.asked == [("/", "bytes=0-"), ("/", "bytes=1000-")]


def test_a_file_is_sought_in_by_ranges(server: Server) -> None:
    server.answers["/"] = b"0123456789"
    file = WebFile(Web(LOOPBACK), server.address + "/", {}, threading.Event())
    assert file.seekable()
    assert (file.seek(-2, 2), file.read(9), file.seek(3), file.read(2), file.tell()) == (8, b"89", 3, b"34", 5)


# ---- HLS


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
    assert hls.parse(text, URL) == hls.Master("https://example.com/large.m3u8?a,b", "https://example.com/live/en.m3u8")


def test_a_media_playlist_says_where_its_parts_are() -> None:
    text = """#EXTM3U
#EXT-X-TARGETDURATION:6
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-MAP:URI="init.mp4",BYTERANGE="10@5"
#EXT-X-KEY:METHOD=AES-128,URI="k"
#EXTINF:6,
#EXT-X-BYTERANGE:100@1000
all.mp4
#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x0A
#EXTINF:6,
#EXT-X-BYTERANGE:50
all.mp4
#EXT-X-KEY:METHOD=NONE
#EXTINF:6,

/other.mp4
"""
    base = "https://example.com/live/"
    init = Part(f"{base}init.mp4", 5, 14)
    assert hls.parse(text, URL) == Playlist(
        (
            Segment(7, Part(f"{base}all.mp4", 1000, 1099), init, segments.Key(f"{base}k", bytes([0] * 15 + [7]))),
            Segment(8, Part(f"{base}all.mp4", 1100, 1149), init, segments.Key(f"{base}k", bytes([0] * 15 + [10]))),
            Segment(9, Part("https://example.com/other.mp4"), init),
        ),
        ended=False,
        refresh=3.0,
    )


@pytest.mark.parametrize(
    "text",
    ["", "<html>", '#EXTM3U\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x"\n', "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:x",
     "#EXTM3U\n#EXT-X-MAP:x", "#EXTM3U\n#EXT-X-STREAM-INF:x\na", "#EXTM3U\n#EXTINF:1,\nhttp://[/a.ts"],
)  # fmt: skip
def test_a_playlist_that_cant_be_used_is_a_bad_one(text: str) -> None:
    with pytest.raises(BadPlaylist):
        hls.parse(text, URL)


@given(
    st.lists(st.sampled_from(["#EXTINF:1,", "a.ts", "#EXT-X-KEY:", "#EXT-X-BYTERANGE:", "1@2", "\n", "=", '"', "x"]))
)
def test_no_playlist_makes_the_parser_fall(parts: list[str]) -> None:
    with suppress(BadPlaylist):
        hls.parse("#EXTM3U\n" + "\n".join(parts), URL)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "line", ["A" * 2**20, "#EXT-X-MEDIA:" + "A-" * 2**19, '#EXT-X-MEDIA:A="' * 2**16], ids=range(3)
)
def test_a_line_without_an_end_is_read_in_one_go(line: str) -> None:
    """A parser that backtracks at every character takes days, and blocks all other threads."""
    assert isinstance(hls.parse(f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na\n{line}", URL), hls.Master)


@pytest.mark.parametrize(
    "lines",
    ["a\n" * (segments.MOST + 1), "a" * 3000, f"#EXT-X-MAP:URI={'a' * 3000}\na"],
    ids=["too many", "too long", "its beginning too long"],
)
def test_a_playlist_larger_than_any_is_a_bad_one(lines: str) -> None:
    """Each line takes more memory than its bytes, and a server may send four million lines."""
    with pytest.raises(BadPlaylist):
        hls.parse(f"#EXTM3U\n{lines}", URL)


def listed(first: int, count: int, *, ended: bool = False) -> Playlist:
    return Playlist(tuple(Segment(number, Part(str(number))) for number in range(first, first + count)), ended, 0)


@pytest.mark.parametrize(
    ("shown", "followed"),
    [
        ([listed(0, 4, ended=True)], [0, 1, 2, 3]),
        ([listed(10, 6), listed(12, 6, ended=True)], [13, 14, 15, 16, 17]),  # from three before the end
        ([listed(0, 3), listed(0, 3), listed(1, 3), listed(1, 3, ended=True)], [0, 1, 2, 3]),
        ([listed(0, 3), listed(9, 3, ended=True)], [0, 1, 2, 9, 10, 11]),  # it was too slow
        ([listed(50, 3), listed(0, 2), listed(0, 3, ended=True)], [50, 51, 52, 0, 1, 2]),  # a new encoder
        ([listed(0, 0), listed(0, 1), listed(0, 2, ended=True)], [0, 1]),  # it hadn't begun
    ],
)
def test_a_live_playlist_is_followed(shown: list[Playlist], followed: list[int]) -> None:
    rest = iter(shown)
    assert [segment.number for segment in follow(lambda: next(rest), threading.Event())] == followed


def test_trouble_on_the_way_is_waited_out_and_the_end_is_noticed() -> None:
    rest: Iterator[Playlist | Exception] = iter(
        [listed(0, 1), Unreachable(), BadPlaylist(), listed(0, 2), Refused(404)]
    )

    def load() -> Playlist:
        match next(rest):
            case Exception() as error:
                raise error
            case Playlist() as found:
                return found

    assert [segment.number for segment in follow(load, threading.Event())] == [0, 1]


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
) -> Playlist:
    """Returns the video playlist of a manifest with this template."""
    text = f"""
        <MPD xmlns="urn:mpeg:dash:schema:mpd:2011" {attributes}><BaseURL>media/</BaseURL><Period {period}>
        <AdaptationSet mimeType="audio/mp4">
        <Representation id="a" bandwidth="9"><BaseURL>a.mp4</BaseURL></Representation>
        </AdaptationSet>
        <AdaptationSet mimeType="video/mp4">{template}
        <Representation id="lo" bandwidth="100"/><Representation id="hi" bandwidth="200"/>
        </AdaptationSet></Period></MPD>"""
    found = dash.parse(text.strip().encode(), "https://example.com/x.mpd", now)
    assert found["audio"].segments == (Segment(0, Part("https://example.com/media/a.mp4")),)
    return found["video"]


def paths(found: Playlist) -> list[str]:
    return [segment.part.url.removeprefix("https://example.com/media/") for segment in found.segments]


def test_a_template_of_numbers_is_counted_out() -> None:
    found = manifest('<SegmentTemplate timescale="10" duration="20" initialization="$RepresentationID$/i" '
                     'media="$RepresentationID$/$Number%03d$-$Bandwidth$-$$"/>')  # fmt: skip
    assert paths(found) == ["hi/001-200-$", "hi/002-200-$", "hi/003-200-$", "hi/004-200-$"]
    assert {segment.init for segment in found.segments} == {Part("https://example.com/media/hi/i")}
    assert found.ended


def test_of_a_live_template_there_is_what_is_complete_by_now() -> None:
    template = '<SegmentTemplate duration="2" startNumber="5" media="$Number$-$Time$"/>'
    found = manifest(template, LIVE, 'start="PT3S"')
    assert paths(found) == ["5-0", "6-2", "7-4"]  # seven seconds of this period
    assert (found.ended, found.refresh) == (False, 1.0)
    assert paths(manifest(template, LIVE, 'start="PT3S"', NOW + timedelta(seconds=2)))[-1] == "8-6"


def test_a_timeline_is_told_by_its_times() -> None:
    line = '<SegmentTimeline><S t="100" d="10" r="1"/><S d="5"/><S t="200" d="50" r="-1"/></SegmentTimeline>'
    found = manifest(
        f'<SegmentTemplate timescale="50" startNumber="3" media="$Number$-$Time$">{line}</SegmentTemplate>'
    )
    assert paths(found) == ["3-100", "4-110", "5-120", "6-200", "7-250", "8-300"]
    assert [segment.number for segment in found.segments] == [100, 110, 120, 200, 250, 300]


def test_a_list_names_its_segments() -> None:
    found = manifest('<SegmentList><Initialization sourceURL="i" range="0-9"/><SegmentURL media="a"/>'
                     '<SegmentURL media="b" mediaRange="5-6"/></SegmentList>')  # fmt: skip
    base = "https://example.com/media/"
    init = Part(f"{base}i", 0, 9)
    assert found.segments == (Segment(0, Part(f"{base}a"), init), Segment(1, Part(f"{base}b", 5, 6), init))


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
        of_video(
            "<SegmentTemplate media='x'><SegmentTimeline><S d='1' r='999999'/></SegmentTimeline></SegmentTemplate>"
        ),
        of_video(f"<SegmentTemplate duration='1' media='{'x' * 3000}'/>"),
        of_video(f"<SegmentTemplate duration='1' media='x' initialization='{'x' * 3000}'/>"),
        of_video(f"<SegmentTemplate duration='1' media='{'$RepresentationID$' * 100}'/>").replace(
            "<Representation/>", f"<Representation id='{'x' * 2000}'/>"
        ),
        of_video(f"<BaseURL>{'x' * 3000}/</BaseURL><SegmentList><SegmentURL media='x'/></SegmentList>"),
        of_video(f"<SegmentList>{"<SegmentURL media='x'/>" * (segments.MOST + 1)}</SegmentList>"),
    ],
    ids=range(14),
)
def test_a_manifest_that_cant_be_used_is_a_bad_one(text: str) -> None:
    with pytest.raises(BadPlaylist):
        dash.parse(text.encode(), URL, NOW)


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
