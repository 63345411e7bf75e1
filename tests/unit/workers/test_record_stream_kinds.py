"""Streams as people have them, recorded by the worker `record_stream`: odd servers, interrupted streams, odd files.

The media are made here, by FFmpeg in the environment of another worker, and served on 127.0.0.1.
"""

import gzip
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, override

import pytest
from Crypto.Cipher import AES
from Crypto.Util.Padding import pad

from local.serving import served
from tests.unit.workers.attempts import Outcome
from tests.unit.workers.recordings import ROOT, Account, an_account, decoded, files

MAKER = ROOT / ".venvs" / "analyze_video" / "bin" / "python"  # it has numpy
DRM = (
    b"<MPD><Period><AdaptationSet contentType='video'><ContentProtection/><Representation/></AdaptationSet>"
    b"</Period></MPD>"
)
FRAMES = 200
"""Of eight seconds."""


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with an_account() as account:
        yield account


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the folder with a kind of streams.py, made once."""
    place = tmp_path_factory.mktemp("streams")

    def make(kind: str) -> Path:
        if not (place / kind).exists():
            subprocess.run([MAKER, Path(__file__).with_name("streams.py"), kind, place / kind], check=True)
        return place / kind

    return make


Made = Callable[[str], Path]
Answer = Callable[["Site", BaseHTTPRequestHandler, str], bool]
"""Answers a request for a name, or returns False: then the file of that name is sent."""


class Site:
    """A server of files.

    Args:
        bodies: what it serves, by name.
        answer: what is odd about it.
    """

    def __init__(self, bodies: dict[str, bytes], answer: Answer = lambda *_: False) -> None:
        self.bodies = bodies
        self.answer = answer
        self.asked: list[str] = []
        self.begun = 0.0

    @contextmanager
    def running(self) -> Iterator[str]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.removeprefix("/").partition("?")[0]
                site.asked.append(name)
                if not site.answer(site, self, name):
                    body = site.bodies.get(name)
                    send(self, 404 if body is None else 200, body or b"")

            @override
            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        with served(Handler) as address:
            yield address


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> bool:
    handler.send_response(status)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    for name, value in ({"Content-Length": str(len(body))} | given).items():
        handler.send_header(name, value)
    with suppress(ConnectionError):
        handler.end_headers()
        handler.wfile.write(body)
    return True


def bodies(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def played(account: Account, outcome: Outcome, tmp_path: Path) -> dict[str, Any]:
    """Returns what a player finds in the only file of a recording that succeeded."""
    assert outcome.exit_code == 0, (outcome.log, outcome.item.get("error"))
    (name,) = outcome.item["result"]["files"]
    return decoded(account.body(name), tmp_path)


# ---- odd servers


def _gzipped(site: Site, handler: BaseHTTPRequestHandler, name: str) -> bool:
    if not name.endswith(".m3u8"):
        return False
    return send(handler, 200, gzip.compress(site.bodies[name]), Content_Encoding="gzip")


def _behind_a_cookie(_site: Site, handler: BaseHTTPRequestHandler, _name: str) -> bool:
    if "pass=1" in (handler.headers["Cookie"] or ""):
        return False
    if handler.path.endswith("m3u8"):  # to itself
        return send(handler, 302, Location=handler.path, Set_Cookie="pass=1; Path=/")
    return send(handler, 403)


def _moved(_site: Site, handler: BaseHTTPRequestHandler, name: str) -> bool:
    if name == "index.m3u8" and "?" not in handler.path:
        # Raw UTF-8, as careless servers send it.
        return send(handler, 302, Location="/index.m3u8?für=Ø".encode().decode("latin-1"))
    return False


def _late(site: Site, handler: BaseHTTPRequestHandler, name: str) -> bool:
    """A segment is there 0.4 s after it was asked for first."""
    if not name.endswith(".ts"):
        return False
    first = site.bodies.setdefault(f"first {name}", str(time.monotonic()).encode())
    return time.monotonic() - float(first) < 0.4 and send(handler, 404)


def _range_blind(site: Site, handler: BaseHTTPRequestHandler, name: str) -> bool:
    return send(handler, 200, site.bodies[name])


@pytest.mark.parametrize("odd", [_gzipped, _behind_a_cookie, _moved, _late, _range_blind], ids=lambda odd: odd.__name__)
def test_an_odd_server_loses_nothing(account: Account, made: Made, tmp_path: Path, odd: Answer) -> None:
    with Site(bodies(made("hls")), odd).running() as url:
        outcome = account.run(f"{url}/index.m3u8")
    found = played(account, outcome, tmp_path)
    assert (found["format"], found["frames"]["video"], found["errors"]) == ("mpegts", FRAMES, 0)
    result = outcome.item["result"]
    assert (result["ended"], result["discontinuities"], "gaps" in result) == ("end", 0, False)


def test_a_reload_that_fails_once_loses_nothing(account: Account, made: Made, tmp_path: Path) -> None:
    def live(site: Site, handler: BaseHTTPRequestHandler, name: str) -> bool:
        if name != "index.m3u8":
            return False
        site.begun = site.begun or time.monotonic()
        count = min(3 + int((time.monotonic() - site.begun) / 0.5), 8)
        lines = [f"#EXTINF:1,\nindex{number}.ts" for number in range(count)]
        text = "\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:1", *lines, *(["#EXT-X-ENDLIST"] if count == 8 else [])])
        return send(handler, 404 if site.asked.count(name) == 3 else 200, text.encode())

    with Site(bodies(made("hls")), live).running() as url:
        outcome = account.run(f"{url}/index.m3u8")
    assert played(account, outcome, tmp_path)["frames"]["video"] == FRAMES
    assert "gaps" not in outcome.item["result"]


def test_an_odd_bandwidth_and_separate_sound(account: Account, made: Made, tmp_path: Path) -> None:
    master = (
        b'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",DEFAULT=YES,URI="other.m3u8"\n'
        b'#EXT-X-STREAM-INF:BANDWIDTH=195023.5,RESOLUTION=320x180,AUDIO="a"\nindex.m3u8\n'
    )
    served = bodies(made("hls")) | {"master.m3u8": master}
    served["other.m3u8"] = served["index.m3u8"]
    with Site(served).running() as url:
        outcome = account.run(f"{url}/master.m3u8")
    found = played(account, outcome, tmp_path)
    assert [each["type"] for each in outcome.item["result"]["streams"]] == ["video", "audio"]
    assert found["codecs"] == ["h264", "aac"]
    assert found["frames"]["video"] == FRAMES
    assert found["frames"]["audio"] == pytest.approx(345, abs=3)


def test_an_encrypted_initialization_is_decrypted(account: Account, made: Made, tmp_path: Path) -> None:
    key, served = bytes(range(16)), bodies(made("hls-fmp4"))
    for name in [each for each in served if each.endswith((".mp4", ".m4s"))]:
        served[name] = AES.new(key, AES.MODE_CBC, bytes(16)).encrypt(pad(served[name], 16))
    told = b'#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x%032d\n#EXT-X-MAP' % 0
    served["index.m3u8"] = served["index.m3u8"].replace(b"#EXT-X-MAP", told)
    with Site(served | {"k": key}).running() as url:
        outcome = account.run(f"{url}/index.m3u8")
    assert played(account, outcome, tmp_path)["frames"]["video"] == FRAMES


# ---- what is missing is said


def test_refused_segments_are_counted(account: Account, made: Made, tmp_path: Path) -> None:
    served = bodies(made("hls"))
    del served["index2.ts"], served["index5.ts"]
    with Site(served).running() as url:
        outcome = account.run(f"{url}/index.m3u8")
    assert played(account, outcome, tmp_path)["frames"]["video"] == FRAMES - 50
    gaps = outcome.item["result"]["gaps"]
    assert (int(gaps["segments"]), float(gaps["seconds"]), gaps["reason"]) == (2, 2.0, "STREAM_NOT_FOUND")
    assert outcome.item["result"]["ended"] == "end"


@pytest.mark.parametrize("fmp4", [False, True])
@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(403, "STREAM_REFUSED", 65), (410, "STREAM_NOT_FOUND", 65), (503, "STREAM_UNREACHABLE", 75)],
)
def test_a_stream_without_any_segment_fails_and_says_why(
    account: Account, made: Made, status: int, code: str, exit_code: int, *, fmp4: bool
) -> None:
    playlist = bodies(made("hls-fmp4" if fmp4 else "hls"))["index.m3u8"]
    playlist = b"\n".join(playlist.splitlines()[:7]) + b"\n#EXT-X-ENDLIST"
    site = Site({"index.m3u8": playlist}, lambda _, handler, name: name != "index.m3u8" and send(handler, status))
    with site.running() as url:
        outcome = account.run(f"{url}/index.m3u8")
    assert (outcome.exit_code, outcome.error[0]) == (exit_code, code)


def test_a_key_that_is_refused_says_so(account: Account, made: Made) -> None:
    served = bodies(made("hls"))
    served["index.m3u8"] = b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF:1,\nindex0.ts\n#EXT-X-ENDLIST'
    with Site(served, lambda _, handler, name: name == "k" and send(handler, 401)).running() as url:
        outcome = account.run(f"{url}/index.m3u8")
    assert outcome.error[0] == "STREAM_REFUSED"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'#EXTM3U\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x"\n#EXTINF:1,\na\n', "STREAM_ENCRYPTED"),
        (b'#EXTM3U\n#EXT-X-DEFINE:NAME="a",VALUE="b"\n#EXTINF:1,\n{$a}\n', "UNSUPPORTED_STREAM"),
        (b'#EXTM3U\n#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="a"\n', "UNSUPPORTED_STREAM"),
        (DRM, "STREAM_ENCRYPTED"),
        (b"GIF89a", "NOT_A_STREAM"),
    ],
)  # fmt: skip
def test_protected_unsupported_and_no_stream_are_different(account: Account, body: bytes, code: str) -> None:
    with Site({"x": body}).running() as url:
        outcome = account.run(f"{url}/x")
    assert (outcome.exit_code, outcome.error[0]) == (65, code)


def test_a_file_that_breaks_off_says_what_it_lacks(account: Account, made: Made, tmp_path: Path) -> None:
    body = bodies(made("hls"))
    whole = b"".join(body[f"index{number}.ts"] for number in range(8))

    def cut(_site: Site, handler: BaseHTTPRequestHandler, _name: str) -> bool:
        return send(handler, 200, whole[: len(whole) // 2], Content_Length=str(len(whole)))

    with Site({}, cut).running() as url:
        outcome = account.run(f"{url}/x.ts")
    assert 50 < played(account, outcome, tmp_path)["frames"]["video"] < FRAMES
    result = outcome.item["result"]
    assert (result["ended"], result["gaps"]["reason"]) == ("broken", "STREAM_UNREACHABLE")


def test_a_live_stream_that_was_too_fast_says_what_it_lacks(account: Account, made: Made) -> None:
    def live(site: Site, handler: BaseHTTPRequestHandler, name: str) -> bool:
        if name != "index.m3u8":
            return False
        first = 0 if site.asked.count(name) < 3 else 5
        lines = [f"#EXTINF:1,\nindex{number}.ts" for number in range(first, first + 3)]
        end = ["#EXT-X-ENDLIST"] if first else []
        head = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        return send(handler, 200, "\n".join([*head, *lines, *end]).encode())

    with Site(bodies(made("hls")), live).running() as url:
        outcome = account.run(f"{url}/index.m3u8")
    gaps = outcome.item["result"]["gaps"]
    assert (int(gaps["segments"]), float(gaps["seconds"])) == (2, 2.0)


# ---- streams that change midway


@pytest.mark.parametrize("kind", ["hls-two", "hls-two-fmp4"])
def test_an_inserted_advertisement_plays_and_so_does_what_follows(
    account: Account, made: Made, tmp_path: Path, kind: str
) -> None:
    served = bodies(made(kind))
    suffix = "m4s" if "fmp4" in kind else "ts"

    def part(name: str, first: int, end: int) -> list[str]:
        init = [f'#EXT-X-MAP:URI="{name}.mp4"'] if suffix == "m4s" else []
        return [*init, *(f"#EXTINF:1,\n{name}{number}.{suffix}" for number in range(first, end))]

    cut = "#EXT-X-DISCONTINUITY"
    lines = ["#EXTM3U", *part("a", 0, 4), cut, *part("b", 0, 3), cut, *part("a", 4, 8), "#EXT-X-ENDLIST"]
    served["index.m3u8"] = "\n".join(lines).encode()
    with Site(served).running() as url:
        outcome = account.run(f"{url}/index.m3u8")
    found = played(account, outcome, tmp_path)
    assert (found["frames"]["video"], found["errors"], found["format"]) == (FRAMES + 75, 0, "mpegts")
    assert found["sizes"] == [[320, 180], [640, 360]]
    assert found["seconds"] == pytest.approx(11, abs=0.3)
    assert found["frames"]["audio"] == pytest.approx(345 + 141, abs=8)
    result = outcome.item["result"]
    assert (int(result["discontinuities"]), "gaps" in result) == (2, False)


def test_matroska_gets_another_file_for_another_stream(account: Account, made: Made, tmp_path: Path) -> None:
    """Its header can't change. Each file plays from its beginning."""
    served = bodies(made("hls-av1")) | {f"b{name}": body for name, body in bodies(made("hls-fmp4")).items()}
    lines = ["#EXTM3U"]
    for name in ("index", "bindex"):
        lines += ["#EXT-X-DISCONTINUITY", f'#EXT-X-MAP:URI="{name}.mp4"']
        lines += [f"#EXTINF:1,\n{name}{number}.m4s" for number in range(8)]
    served["all.m3u8"] = "\n".join([*lines, "#EXT-X-ENDLIST"]).encode()
    with Site(served).running() as url:
        outcome = account.run(f"{url}/all.m3u8", "x")
    assert outcome.exit_code == 0, outcome.log
    assert outcome.item["result"]["files"] == ["x.mkv", "x-2.ts"]
    assert sorted(account.keys()) == ["x-2.ts", "x.mkv"]
    for name, codec in (("x.mkv", "av1"), ("x-2.ts", "h264")):
        found = decoded(account.body(name), tmp_path)
        assert (found["codecs"][0], found["frames"]["video"]) == (codec, FRAMES)
        assert found["seconds"] == pytest.approx(8, abs=0.3)


# ---- DASH


def test_the_programme_is_recorded_and_not_the_advertisement(account: Account, made: Made, tmp_path: Path) -> None:
    manifest = (made("dash") / "index.mpd").read_text()
    period = re.search(r"<Period.*</Period>", manifest, re.DOTALL)
    assert period is not None
    inner = re.sub(r"<Period[^>]*>", "", period[0]).removesuffix("</Period>")
    ad = re.sub(r'(initialization|media)="', r'\1="ad-', inner)
    ad = re.sub(
        r"<SegmentTimeline>.*?</SegmentTimeline>",
        "<SegmentTimeline><S d='1' r='1'/></SegmentTimeline>",
        ad,
        flags=re.DOTALL,
    )
    text = manifest.replace(
        period[0],
        f'<Period duration="PT2S">{ad}</Period><Period id="p" duration="PT8S">{inner}</Period>'
        f'<Period duration="PT2S">{ad}</Period>',
    )
    site = Site(bodies(made("dash")) | {"index.mpd": text.encode()})
    with site.running() as url:
        outcome = account.run(f"{url}/index.mpd")
    assert played(account, outcome, tmp_path)["frames"]["video"] == FRAMES
    assert not [name for name in site.asked if name.startswith("ad-")]
    assert int(outcome.item["result"]["omittedPeriods"]) == 2
    assert "gaps" not in outcome.item["result"]


@pytest.mark.parametrize("skew", [0, 40])
def test_a_live_manifest_is_followed_at_its_delay_and_by_its_clock(
    account: Account, made: Made, tmp_path: Path, skew: int
) -> None:
    """Segments are there a second late, as the delay allows. The server's clock may differ from this machine's."""
    folder = made("dash")
    listed = sorted(each.name for each in folder.glob("chunk-stream0-*"))
    begun = datetime.now(UTC) + timedelta(seconds=skew - 4)
    representations = "".join(
        f'<AdaptationSet contentType="{kind}"><Representation id="{number}" bandwidth="1000" mimeType="{kind}/mp4">'
        '<SegmentTemplate duration="1" initialization="init-stream$RepresentationID$.m4s" '
        'media="chunk-stream$RepresentationID$-$Number%05d$.m4s"/></Representation></AdaptationSet>'
        for number, kind in enumerate(("video", "audio"))
    )

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=skew)

    def answer(_site: Site, handler: BaseHTTPRequestHandler, name: str) -> bool:
        if name == "time":
            return send(handler, 200, now().isoformat().encode())
        age = (now() - begun).total_seconds()
        if name == "live.mpd":
            over = age > 10
            kind = f'type="static" mediaPresentationDuration="PT{len(listed)}S"' if over else 'type="dynamic"'
            return send(handler, 200, (
                f'<MPD {kind} availabilityStartTime="{begun.isoformat()}" minimumUpdatePeriod="PT1S" '
                'suggestedPresentationDelay="PT3S" minBufferTime="PT1S">'
                '<UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="/time"/>'
                f'<Period start="PT0S">{representations}</Period></MPD>'
            ).encode())  # fmt: skip
        number = re.search(r"-(\d{5})\.", name)
        # Complete after a second, and a second late.
        return number is not None and int(number[1]) + 1 > age and send(handler, 404)

    site = Site(bodies(folder), answer)
    with site.running() as url:
        outcome = account.run(f"{url}/live.mpd")
    found = played(account, outcome, tmp_path)
    assert found["frames"]["video"] == pytest.approx(FRAMES, abs=50)  # from its second segment or so
    assert found["errors"] == 0
    assert "gaps" not in outcome.item["result"], outcome.item["result"]["gaps"]


def test_years_in_durations_are_read(account: Account, made: Made, tmp_path: Path) -> None:
    served = bodies(made("dash"))
    served["index.mpd"] = re.sub(rb'PT8\.\d+S"', b'P0Y0M0DT0H0M8.0S"', served["index.mpd"])
    assert b"P0Y" in served["index.mpd"]
    with Site(served).running() as url:
        outcome = account.run(f"{url}/index.mpd")
    assert played(account, outcome, tmp_path)["frames"]["video"] == FRAMES


# ---- files


@pytest.mark.parametrize(
    ("kind", "name", "container", "codecs"),
    [
        ("turned", "clip.mp4", "matroska", ["h264", "aac"]),
        ("wide", "clip.mp4", "matroska", ["h264", "aac"]),
        ("mp3", "clip.mp4", "mpegts", ["h264", "mp3"]),
        ("av1", "clip.mp4", "matroska", ["av1", "aac"]),
        ("cover", "clip.mp3", "mpegts", ["mp3"]),
        ("hls-mp3", "index.m3u8", "mpegts", ["h264", "mp3"]),
        ("two-programmes", "clip.ts", "mpegts", ["h264", "mp3"]),  # the pictures' sound, not the first programme's
    ],
)
def test_the_container_fits_the_content(
    account: Account, made: Made, tmp_path: Path, kind: str, name: str, container: str, codecs: list[str]
) -> None:
    with files(made(kind)) as url:
        outcome = account.run(f"{url}/{name}")
    found = played(account, outcome, tmp_path)
    assert found["format"].startswith(container)
    assert (found["codecs"], [each["codec"] for each in outcome.item["result"]["streams"]]) == (codecs, codecs)
    if "video" in found["frames"]:
        assert found["frames"]["video"] == FRAMES
    assert found["seconds"] == pytest.approx(8, abs=0.3)
    assert abs(found["rotation"]) == (90 if kind == "turned" else 0)
    assert found["ratio"] == {"wide": "4/3"}.get(kind, found["ratio"])
    assert "gaps" not in outcome.item["result"]


# ---- pages


def test_nobody_else_gives_yt_dlp_orders(account: Account) -> None:
    """Its extractors pass each other headers and more in a fragment."""
    heard: list[str | None] = []

    def answer(_site: Site, handler: BaseHTTPRequestHandler, name: str) -> bool:
        heard.append(handler.headers["Referer"])
        if name == "moved":
            return send(handler, 302, Location=f"/page#__youtubedl_smuggle={smuggled}")
        return send(handler, 200, b"<html>", Content_Type="text/html")

    smuggled = "%7B%22referer%22%3A%20%22http%3A//evil.example/%22%7D"
    with Site({}, answer).running() as url:
        for path in (f"page#__youtubedl_smuggle={smuggled}", "moved"):
            outcome = account.run(f"{url}/{path}")
            assert outcome.error[0] == "NOT_A_STREAM"
            assert "smuggle" not in json.dumps(outcome.log)
    assert len(heard) > 3
    assert not [each for each in heard if each and "evil" in each]


def test_no_thread_outlives_the_tests() -> None:
    assert not [each for each in threading.enumerate() if each.name == "reader"]
