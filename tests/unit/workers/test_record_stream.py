"""The worker `record_stream` as ECS runs it: a process in its own environment, with all it talks to on 127.0.0.1."""

import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from local.demos.live import cut, live_stream
from local.demos.media import clip
from tests.unit.workers.recordings import (
    PIECES,
    PREFIX,
    PYTHON,
    TASK,
    Account,
    an_account,
    answering,
    decoded,
    files,
    sending,
    until,
)


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with an_account() as account:
        yield account


def _peak_megabytes(pid: int) -> list[int]:
    """Returns a process's peak memory so far; nothing if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{pid}/status").read_text()
        return [int(kilobytes) // 1024 for kilobytes in re.findall(r"VmHWM:\s+(\d+) kB", status)]
    return []


# ---- what can be recorded


def test_a_live_hls_stream_is_recorded_to_its_end(account: Account, tmp_path: Path) -> None:
    with live_stream(clip("bigbuckbunny.mp4"), pace=0.2, window=8, length=20) as url:
        outcome = account.fresh().run(url, "Bunny live.mp4")
    assert outcome.exit_code == 0, outcome.log
    assert account.keys() == ["Bunny-live.ts"]
    body = account.body("Bunny-live.ts")
    result = outcome.item["result"]
    assert result["ended"] == "end"
    assert result["files"] == ["Bunny-live.ts"]
    assert (result["prefix"], result["runId"], result["bytes"]) == (PREFIX, TASK, len(body))
    assert [stream["codec"] for stream in result["streams"]] == ["h264", "aac"]
    assert "partial" not in result
    found = decoded(body, tmp_path)
    assert (found["format"], found["errors"]) == ("mpegts", 0)
    # Whole segments of a second, without a gap, from somewhere in the middle.
    segments, rest = divmod(found["frames"]["video"], 25)
    assert segments >= 3
    assert rest == 0
    assert found["seconds"] == pytest.approx(segments, abs=0.2)
    assert float(result["seconds"]) == pytest.approx(segments, abs=0.2)


@pytest.mark.parametrize(
    ("kind", "index"),
    [
        ("hls", "index.m3u8"),
        ("hls-encrypted", "index.m3u8"),
        ("hls-fmp4", "index.m3u8"),
        ("dash", "index.mpd"),
        ("mp4", "clip.mp4"),
    ],
)
def test_what_is_whole_already_is_recorded_whole(account: Account, tmp_path: Path, kind: str, index: str) -> None:
    with files(cut(clip("bigbuckbunny.mp4"), kind)) as address:
        outcome = account.run(f"{address}/{index}")
    assert outcome.exit_code == 0, outcome.log
    found = decoded(account.body("recording.ts"), tmp_path)
    assert found["frames"]["video"] == 132
    assert found["errors"] == 0
    assert found["seconds"] == pytest.approx(5.28, abs=0.1)


def test_an_rtmp_stream_is_recorded(account: Account, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"rtmp://127.0.0.1:{port}/live/stream"
    script = Path(__file__).with_name("rtmp.py")
    server = subprocess.Popen([PYTHON, script, cut(clip("bigbuckbunny.mp4"), "mp4") / "clip.mp4", url])
    # It takes one client, so it isn't asked: 0A is the state of a socket that listens.
    until(lambda: re.search(rf":{port:04X} [0-9A-F]+:0000 0A", Path("/proc/net/tcp").read_text()))
    outcome = account.run(url)
    server.kill()
    server.wait()
    assert outcome.exit_code == 0, outcome.log
    assert decoded(account.body("recording.ts"), tmp_path)["frames"]["video"] == pytest.approx(132, abs=2)


def test_a_damaged_stretch_is_passed_over(account: Account, tmp_path: Path) -> None:
    body = bytearray(b"".join(path.read_bytes() for path in sorted(cut(clip("bigbuckbunny.mp4"), "hls").glob("*.ts"))))
    body[300_000:340_000] = bytes(index * 7 & 255 for index in range(40_000))
    with answering(sending(bytes(body), "video/mp2t")) as url:
        outcome = account.run(url)
    assert outcome.exit_code == 0, outcome.log
    assert decoded(account.body("recording.ts"), tmp_path)["seconds"] == pytest.approx(5.28, abs=0.3)


def test_a_page_is_searched_for_its_stream(account: Account, tmp_path: Path) -> None:
    page = b'<!DOCTYPE html><html><head><title>x</title></head><body><video src="%s/index.m3u8"></video></body></html>'
    with (
        files(cut(clip("bigbuckbunny.mp4"), "hls")) as address,
        answering(sending(page % address.encode(), "text/html")) as url,
    ):
        outcome = account.run(f"{url}/watch")
    assert outcome.exit_code == 0, outcome.log
    assert decoded(account.body("recording.ts"), tmp_path)["frames"]["video"] == 132


# ---- how it ends


def test_a_stop_makes_a_whole_recording_of_what_there_is(account: Account, tmp_path: Path) -> None:
    with live_stream(clip("bigbuckbunny.mp4"), pace=0.1) as url:
        account.ask(url=url)
        process = account.start()
        until(account.recorded_bytes)
        process.send_signal(signal.SIGTERM)
        outcome = account.finish(process)
    assert outcome.exit_code == 75
    result = outcome.item["result"]
    assert (result["partial"], result["ended"], result["files"]) == (True, "stopped", ["recording.ts"])
    assert "error" not in outcome.item
    assert account.keys() == ["recording.ts"]
    body = account.body("recording.ts")
    assert len(body) == result["bytes"]
    assert decoded(body, tmp_path)["seconds"] == pytest.approx(float(result["seconds"]), abs=0.3)


def test_a_killed_recording_keeps_what_it_has(account: Account, tmp_path: Path) -> None:
    with live_stream(clip("bigbuckbunny.mp4"), pace=0.03, window=90) as url:
        account.ask(url=url)
        process = account.start()
        until(lambda: account.recorded_bytes() > 6_000_000)
        process.kill()
        outcome = account.finish(process)
    assert outcome.exit_code == -signal.SIGKILL
    assert account.keys() == []
    pieces = account.keys(PIECES)
    assert pieces == [f"pieces-1/{number:05}.ts" for number in range(1, len(pieces) + 1)]
    result = outcome.item["result"]
    assert (result["partial"], result["pieces"], result["files"]) == (True, f"{PIECES}pieces-1/", [])
    assert f"pieces-1/{result['lastPiece']}" == pieces[-1]  # from it, `GET /jobs/{{jobId}}` makes links to all
    assert outcome.item["progress"]["bytes"] > 0
    # In order they are the recording; and each of them plays by itself.
    whole = decoded(account.body(*pieces, prefix=PIECES), tmp_path)
    assert whole["frames"]["video"] > 100
    assert whole["seconds"] >= float(result["seconds"]) - 1
    assert decoded(account.body(pieces[1], prefix=PIECES), tmp_path)["frames"]["video"] > 0


@pytest.mark.heavy
def test_a_long_recording_is_one_object_of_many_parts(account: Account, tmp_path: Path) -> None:
    """Neither memory nor disk use grows with its length after the second piece."""
    files: set[str] = set()
    peaks: list[int] = []
    with live_stream(clip("bigbuckbunny.mp4"), pace=0.01, window=300, length=300) as url:
        account.ask(url=url)
        process = account.fresh().start(TMPDIR=str(tmp_path), HOME=str(tmp_path))
        while process.poll() is None:
            with suppress(FileNotFoundError):  # it has ended, or closed it
                files |= {str(each.readlink()) for each in Path(f"/proc/{process.pid}/fd").iterdir()}
            if account.recorded_bytes() > 6_000_000:
                peaks += _peak_megabytes(process.pid)
            time.sleep(0.05)
        outcome = account.finish(process)
    assert outcome.exit_code == 0, outcome.log
    size = int(outcome.item["result"]["bytes"])
    assert account.keys() == ["recording.ts"]
    head = account.s3.head_object(Bucket="media", Key=f"{PREFIX}recording.ts")
    assert head["ContentLength"] == size > 36_000_000
    # The clip's time stamps began anew sixty times.
    assert float(outcome.item["result"]["seconds"]) == pytest.approx(300, abs=3)
    assert head["ETag"].strip('"').endswith(f"-{-(-size // (5 * 2**20))}")
    assert head["ContentType"] == "video/mp2t"
    assert account.uploads() == []
    assert list(tmp_path.iterdir()) == []
    assert [name for name in files if "deleted" in name] == []
    assert peaks[-1] - peaks[0] < 20, "MB of memory more for 30 MB of recording more"


def test_a_recording_lies_under_its_owner_and_no_later_job_replaces_it(account: Account) -> None:
    own = "recordings/ada/job-1/"
    with live_stream(clip("bigbuckbunny.mp4"), pace=0.01, window=300, length=10) as url:
        first = account.run(url, OWNER="ada")
        assert first.exit_code == 0, first.log
        assert first.item["result"]["prefix"] == own
        (name,) = account.keys(own)
        stored = account.s3.head_object(Bucket="media", Key=own + name)
        assert stored["Metadata"] == {"owner": "ada", "job-id": "job-1"}
        # The record expires, and another job takes the id.
        account.record(job_id="job-1", kind="stream-recording", input={"url": url}, created_at="2027-01-01T00:00:00Z")
        second = account.finish(account.start(OWNER="ada"))
    assert (second.exit_code, second.item["error"]["code"]) == (65, "PREFIX_TAKEN")
    assert account.s3.head_object(Bucket="media", Key=own + name)["LastModified"] == stored["LastModified"]


@pytest.mark.parametrize(
    ("limit", "value", "ended"),
    [("MAX_RECORD_SECONDS", "3", "maximum duration"), ("MAX_RECORD_BYTES", "300000", "maximum size")],
)
def test_a_limit_ends_a_recording_well(account: Account, limit: str, value: str, ended: str) -> None:
    with live_stream(clip("bigbuckbunny.mp4"), pace=0.2) as url:
        outcome = account.run(url, **{limit: value})
    assert outcome.exit_code == 0
    assert outcome.item["result"]["ended"] == ended
    assert account.keys() == ["recording.ts"]


def test_a_stream_that_stalls_keeps_what_came(account: Account) -> None:
    body = b"".join(path.read_bytes() for path in sorted(cut(clip("bigbuckbunny.mp4"), "hls").glob("*.ts")))
    over = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp2t")
        handler.end_headers()
        handler.wfile.write(body)
        over.wait(30)

    with answering(answer) as url:
        outcome = account.run(url, STALL_SECONDS="2")
        over.set()
    assert outcome.exit_code == 0
    assert outcome.item["result"]["ended"] == "stalled"
    assert float(outcome.item["result"]["seconds"]) > 3


def test_a_run_that_was_superseded_writes_nothing(account: Account) -> None:
    with live_stream(clip("bigbuckbunny.mp4"), pace=0.2, length=5) as url:
        outcome = account.run(url, FENCE="2")
    assert outcome.exit_code == 77
    assert account.keys() == []


# ---- what can't be recorded


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        pytest.param("video/mp4", b"Dear customer,\n" * 99, "NOT_A_STREAM", id="text"),
        pytest.param("video/mp2t", b"ffconcat version 1.0\nfile http://169.254.169.254/", "NOT_A_STREAM", id="concat"),
        pytest.param("text/html", b"<html><p>Hello", "NOT_A_STREAM", id="page without a stream"),
        pytest.param(
            "text/html", b'<html><video src="http://169.254.169.254/a.m3u8"></video>', "URL_NOT_ALLOWED", id="page"
        ),
        pytest.param(
            "application/vnd.apple.mpegurl", b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/a.ts\n#EXT-X-ENDLIST",
            "URL_NOT_ALLOWED", id="playlist",
        ),
    ],
)  # fmt: skip
def test_what_cant_be_recorded_says_why(account: Account, kind: str, body: bytes, code: str) -> None:
    with answering(sending(body, kind)) as url:
        outcome = account.run(f"{url}/secret?token=hunter2")
    assert (outcome.exit_code, outcome.error[0]) == (65, code), outcome.log
    assert account.keys() == []
    # Nobody's address, and no exception's text.
    said = json.dumps([outcome.item["error"], outcome.log])
    assert not [word for word in ("hunter2", "169.254", "Traceback") if word in said]


def test_an_input_without_an_address_is_bad(account: Account) -> None:
    account.ask(url=["http://example.com"])
    outcome = account.finish(account.start())
    assert (outcome.exit_code, outcome.error[0]) == (65, "BAD_INPUT")


def test_every_bad_setting_is_named(account: Account) -> None:
    bad = {"MAX_RECORD_SECONDS": "0", "ALLOWED_NETWORKS": "10.0.0.0/99", "STALL_SECONDS": "x"}
    outcome = account.run("http://127.0.0.1/", **bad)
    assert (outcome.exit_code, outcome.error[0]) == (65, "BAD_ENVIRONMENT")
    message = outcome.item["error"]["message"]
    assert all(name in message for name in bad)


def test_no_setting_lets_a_recording_lead_to_the_metadata_service(account: Account) -> None:
    outcome = account.run("http://169.254.169.254/", ALLOWED_NETWORKS="169.254.0.0/16")
    assert (outcome.exit_code, outcome.error[0]) == (65, "BAD_ENVIRONMENT")


def test_without_an_allowance_this_machine_is_not_recorded_from(account: Account) -> None:
    touched = threading.Event()
    with answering(lambda _handler: touched.set()) as url:
        outcome = account.run(url, ALLOWED_NETWORKS="")
    assert (outcome.exit_code, outcome.error[0]) == (65, "URL_NOT_ALLOWED")
    assert not touched.is_set()
