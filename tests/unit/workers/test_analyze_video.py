"""The worker `analyze_video` as Batch runs it: a process in its own environment, with S3 and DynamoDB on 127.0.0.1."""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from local.demos.media import clip
from tests.unit.workers import attempts, standin
from tests.unit.workers.attempts import Outcome
from tests.unit.workers.standin import Fault, StandIn

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venvs" / "analyze_video" / "bin" / "python"
KEY = "uploads/2026/Ein Film (1) & more.mp4"
type Make = Callable[..., Path]
BLOCK = 4 * 2**20


class Account(attempts.Account):
    """An account whose upload comes from a file."""

    def __init__(self, stand_in: StandIn) -> None:
        told = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_BATCH_JOB_ID": "batch-1", "VIDEO_ID": "42", "S3_KEY": KEY}
        super().__init__(stand_in.url, "analyze_video", **told)
        self.stand_in = stand_in

    def upload(self, video: Path | None) -> None:
        """Creates a job for a new upload; None is a deleted upload."""
        self.stand_in.reset()
        if video:
            self.stand_in.uploads[f"/media/{KEY}"] = video
        for found in self.s3.list_objects_v2(Bucket="media").get("Contents", []):
            self.s3.delete_object(Bucket="media", Key=found["Key"])
        self.record()

    def run(self, video: Path | None, **changed: str) -> Outcome:
        """Uploads and runs an attempt."""
        self.upload(video)
        return self.finish(self.start(**changed))

    def summary(self) -> dict[str, Any]:
        """Returns the parsed summary.json."""
        summary: dict[str, Any] = json.loads(self.result("summary.json")[1])
        return summary


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with standin.listening() as stand_in, Account(stand_in).forking() as account:
        account.variables(ANALYSIS_STAGES="scenes")  # the other stages have tests of their own
        yield account


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Generates a video of a kind in generate.py, once."""
    folder = tmp_path_factory.mktemp("videos")

    @cache
    def make(kind: str, suffix: str, *arguments: str) -> Path:
        path = folder / f"{kind}{''.join(Path(argument).name for argument in arguments)}{suffix}"
        subprocess.run([PYTHON, Path(__file__).with_name("generate.py"), kind, path, *arguments], check=True)
        return path

    yield make
    shutil.rmtree(folder)


# ---- good files


def test_a_real_clip_is_analysed_to_the_end(account: Account) -> None:
    outcome = account.fresh().run(clip("bigbuckbunny.mp4"))
    assert outcome.exit_code == 0, outcome.log
    summary = account.summary()
    assert summary["version"] == 1
    assert summary["source"] | {"etag": ""} == {
        "bucket": "media", "key": KEY, "versionId": None, "etag": "", "size": 1_055_736,
    }  # fmt: skip
    assert summary["duration"] == pytest.approx(5.28)
    assert summary["video"] | {"stream": 0} == {
        "stream": 0, "codec": "h264", "resolution": "1280x720", "frameRate": 25, "frames": 132, "rotation": 0,
        "mirrored": False,
    }  # fmt: skip
    video, audio = summary["streams"]
    assert (video["type"], video["pixelFormat"], video["width"], video["height"]) == ("video", "yuv420p", 1280, 720)
    assert (audio["codec"], audio["layout"], audio["channels"], audio["sampleRate"]) == ("aac", "5.1", 6, 48000)
    assert summary["loudness"]["state"] == "measured"
    assert summary["loudness"]["integratedLufs"] == pytest.approx(-22, abs=12)
    assert summary["decodeErrors"] == 0
    assert summary["scenes"][0]["start"] == 0
    assert summary["scenes"][-1]["end"] == summary["duration"]

    pictures = [scene["keyFrame"] for scene in summary["scenes"]]
    assert set(outcome.item["result"]["files"]) == account.results() == {*pictures, "summary.json", "summary.md"}
    assert outcome.item["result"]["summary"] == "results/job-1/summary.json"
    assert outcome.item["result"]["scenes"] == len(summary["scenes"])
    content_type, picture = account.result(pictures[0])
    assert content_type == "image/jpeg"
    assert picture.startswith(b"\xff\xd8\xff")
    assert picture.endswith(b"\xff\xd9")
    assert account.result("summary.json")[0] == "application/json"


def test_the_readable_summary_shows_every_picture_and_lets_no_name_be_markup(account: Account) -> None:
    name = "uploads/<img src=x> | [a](b) `c`.mp4"
    account.upload(None)
    account.stand_in.uploads[f"/media/{name}"] = clip("bikes.mp4")
    assert account.finish(account.start(S3_KEY=name)).exit_code == 0
    content_type, body = account.result("summary.md")
    text = body.decode()
    assert content_type == "text/markdown; charset=utf-8"
    links = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    assert links == [scene["keyFrame"] for scene in account.summary()["scenes"]]
    assert "<img" not in text
    assert "[a](b)" not in text
    assert "no audio" in text


def test_scenes_are_found_where_they_were_made(account: Account, made: Make) -> None:
    assert account.run(made("scenes", ".mp4", "5")).exit_code == 0
    scenes = account.summary()["scenes"]
    assert [scene["start"] for scene in scenes] == pytest.approx([0, 1, 2, 3, 4], abs=0.051)
    assert [scene["end"] for scene in scenes] == pytest.approx([1, 2, 3, 4, 5], abs=0.051)
    for scene in scenes:
        assert scene["start"] <= scene["keyFrameAt"] < scene["end"]


def test_key_frames_are_thinned_out_over_the_whole_video(account: Account, made: Make) -> None:
    outcome = account.run(made("short-scenes", ".mp4", "30"), MAX_KEY_FRAMES="10")
    assert outcome.exit_code == 0, outcome.log
    scenes = account.summary()["scenes"]
    assert len(scenes) == 30
    assert [scene["number"] for scene in scenes if scene["keyFrame"]] == [1, 5, 9, 13, 17, 21, 25, 29]
    assert len(account.results()) == 8 + 2
    assert "8 of 30 scenes have a picture" in account.result("summary.md")[1].decode()


def test_a_rotated_video_gets_upright_pictures(account: Account, made: Make) -> None:
    assert account.run(made("rotated", ".mp4")).exit_code == 0
    assert abs(account.summary()["video"]["rotation"]) == 90
    assert jpeg_size(account.result("scene-00001.jpg")[1]) == (180, 320)


def test_a_whole_file_is_not_truncated_because_sound_and_subtitles_last_longer_than_its_pictures(
    account: Account, made: Make
) -> None:
    """Fonts and subtitles aren't decoded, so they don't count as streams. Each track is told by name, and if silent."""
    outcome = account.run(made("tracks", ".mkv"))
    assert outcome.exit_code == 0, outcome.log
    summary = account.summary()
    assert (summary["duration"], summary["container"]["duration"]) == (3.0, 60.0)
    sounds = [stream for stream in summary["streams"] if stream["type"] == "audio"]
    assert [stream["silent"] for stream in sounds] == [True, False, False]
    assert [stream["codec"] for stream in summary["streams"] if stream["type"] == "subtitle"] == ["subrip"]
    assert [(scene["start"], scene["end"]) for scene in summary["scenes"]] == [(0.0, 3.0)], "a scene shorter than 0.6 s"
    report = account.result("summary.md")[1].decode()
    assert "| mono, 16,000 Hz, silent |" in report
    assert "| mono, 16,000 Hz |" in report
    assert " kB |" in report


def test_a_codec_has_its_own_name_not_its_decoders(account: Account, made: Make) -> None:
    assert account.run(made("film", ".webm", "libvpx-vp9", "yuv420p", "160", "90", "libopus")).exit_code == 0
    assert [stream["codec"] for stream in account.summary()["streams"]] == ["vp9", "opus"]


MATRICES = {
    # a, b, c, d of (x, y) → (ax + cy, bx + dy): where the upper left corner goes, and what the report says
    (1, 0, 0, 1): ("upper left", "mpeg4, 320x180, "),
    (-1, 0, 0, 1): ("upper right", "320x180 mirrored, "),
    (1, 0, 0, -1): ("lower left", "320x180 mirrored and turned by 180° counterclockwise, "),
    (-1, 0, 0, -1): ("lower right", "320x180 turned by 180° counterclockwise, "),
    (0, 1, 1, 0): ("upper left", "320x180 mirrored and turned by 90° counterclockwise, "),
    (0, -1, 1, 0): ("lower left", "320x180 turned by 90° counterclockwise, "),
    (0, 1, -1, 0): ("upper right", "320x180 turned by -90° counterclockwise, "),
    (0, -1, -1, 0): ("lower right", "320x180 mirrored and turned by -90° counterclockwise, "),
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_pictures_are_turned_and_mirrored_as_players_show_them(
    account: Account, made: Make, tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    told = [f"{name}={number}" for name, number in zip("abcd", matrix, strict=True)]
    assert account.run(made("film", ".mp4", "mpeg4", "yuv420p", "320", "180", "none", *told)).exit_code == 0
    where, words = MATRICES[matrix]
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(account.result("scene-00001.jpg")[1])
    assert white_corner(picture) == where
    assert words in account.result("summary.md")[1].decode()


def test_pixels_that_are_not_square_are_straightened(account: Account) -> None:
    assert account.run(clip("carphone_pristine.mp4")).exit_code == 0
    assert jpeg_size(account.result("scene-00001.jpg")[1]) == (193, 144)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # A 1 kHz sine of -20 dBFS in both channels measures -20 + 3.01 LUFS less the sine's own 3.01: EBU Tech 3341.
        ("tone", {"state": "measured", "integratedLufs": -20.0, "truePeakDbtp": -20.0}),
        ("silence", {"state": "silent"}),
    ],
)
def test_loudness(account: Account, made: Make, kind: str, expected: Mapping[str, Any]) -> None:
    assert account.run(made(kind, ".mkv")).exit_code == 0
    loudness = account.summary()["loudness"]
    assert loudness.pop("state") == expected["state"]
    assert loudness == pytest.approx({name: value for name, value in expected.items() if name != "state"}, abs=0.11)


@pytest.mark.timeout(60)
def test_sound_at_a_rate_that_nobody_hears_is_not_measured(account: Account, made: Make) -> None:
    """Resampled to a normal rate it would be 48,000 times as large, all in memory."""
    outcome = account.fresh().run(made("slow-sound", ".mkv"))
    assert outcome.exit_code == 0, outcome.log
    assert account.summary()["loudness"] == {"state": "unmeasurable"}
    assert outcome.peak_megabytes < 200


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_file(account: Account, made: Make) -> None:
    """Only the 64 MiB of cached blocks and the decoder's own pictures may stay in memory."""
    outcomes = [account.fresh().run(made("raw", ".mkv", size)) for size in ("80", "240")]
    assert [outcome.exit_code for outcome in outcomes] == [0, 0]
    small, large = (outcome.peak_megabytes for outcome in outcomes)
    assert large - small < 30, f"80 MB took {small:.0f} MB of memory, 240 MB took {large:.0f} MB"
    fetched = [wanted for wanted in account.stand_in.ranges if not wanted.startswith("bytes=0-")]
    assert len(fetched) <= 1.1 * 240_000_000 / BLOCK, "blocks were fetched more than once"


# ---- bad files: permanent failures that say why


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "EMPTY_FILE", "empty"),
        (b"Dear customer, please find attached\n" * 100, "NOT_A_VIDEO", "not a video"),
        (bytes(range(256)) * 2000, "NOT_A_VIDEO", "not a video"),
    ],
    ids=["empty", "text", "rubbish"],
)
def test_what_is_no_video_is_refused(account: Account, tmp_path: Path, content: bytes, code: str, words: str) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    outcome = account.run(path)
    assert outcome.exit_code == 65
    assert outcome.error[0] == code
    assert words in outcome.error[1]
    assert account.results() == set()


def test_sound_without_pictures_is_refused(account: Account, made: Make) -> None:
    outcome = account.run(made("sound-only", ".mkv"))
    assert outcome.exit_code == 65
    assert outcome.error == ("NO_VIDEO_STREAM", "the file has no video stream (its streams: audio)")


def test_an_mp4_without_its_index_is_broken(account: Account, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    whole = clip("bigbuckbunny.mp4").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    outcome = account.run(path)
    assert outcome.exit_code == 65
    assert outcome.error[0] == "BROKEN_VIDEO"


def test_a_file_cut_short_behind_its_index_is_truncated(account: Account, made: Make, tmp_path: Path) -> None:
    path = tmp_path / "cut.mkv"
    whole = made("scenes", ".mkv", "5").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    outcome = account.run(path)
    assert outcome.exit_code == 65
    assert outcome.error[0] == "TRUNCATED_VIDEO"
    assert re.search(r"ends after 2\.\d s of 5\.0 s", outcome.error[1])


def test_a_scratch_is_passed_over_and_counted(account: Account, tmp_path: Path) -> None:
    damaged = bytearray(clip("bigbuckbunny.mp4").read_bytes())
    damaged[400_000:404_000] = bytes(4000)
    path = tmp_path / "scratched.mp4"
    path.write_bytes(damaged)
    assert account.run(path).exit_code == 0
    assert account.summary()["decodeErrors"] > 0
    assert "could not be decoded" in account.result("summary.md")[1].decode()


def test_a_ruin_is_broken(account: Account, tmp_path: Path) -> None:
    damaged = bytearray(clip("bigbuckbunny.mp4").read_bytes())
    damaged[50_000:1_000_000] = bytes(index * 7 & 255 for index in range(950_000))
    path = tmp_path / "ruin.mp4"
    path.write_bytes(damaged)
    outcome = account.run(path)
    assert outcome.exit_code == 65
    assert outcome.error[0] == "BROKEN_VIDEO"


def test_days_of_pictures_in_a_small_file_are_refused(account: Account, made: Make) -> None:
    """An MP4 counts its pictures, so none is decoded."""
    video = made("still", ".mp4", "42000")
    assert video.stat().st_size < 15_000_000
    outcome = account.run(video)
    assert (outcome.exit_code, outcome.error[0]) == (65, "TOO_COSTLY")
    assert outcome.error[1] == "the file unpacks to more than the 400,000,000,000 pixels that its size allows"


def test_pictures_are_counted_where_the_file_does_not(account: Account, made: Make) -> None:
    video = made("still", ".mkv", "150")
    assert account.run(video, FREE_GIGAPIXELS="1").error[0] == "TOO_COSTLY"
    assert account.run(video, FREE_GIGAPIXELS="2").exit_code == 0


def test_pictures_too_large_to_hold_are_refused_unseen(account: Account, made: Make) -> None:
    outcome = account.fresh().run(made("huge-pictures", ".mp4"))
    assert outcome.exit_code == 65
    assert outcome.error[0] == "TOO_LARGE"
    assert outcome.peak_megabytes < 200


def test_a_playlist_opens_nothing(account: Account, tmp_path: Path) -> None:
    """A playlist opens neither URLs nor files: a server, a secret and a real video next to it are not read."""
    account.upload(None)
    account.stand_in.uploads["/media/leak.ts"] = clip("bikes.mp4")
    address = f"{account.stand_in.url}/media/leak.ts"
    beside = tmp_path / "real.mp4"
    shutil.copy(clip("bikes.mp4"), beside)
    playlists = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{address}\n#EXT-X-ENDLIST\n",
        "hls-file": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{beside}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{beside}'\n",
        "concat-url": f"ffconcat version 1.0\nfile '{address}'\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        "dash": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{address}</BaseURL></MPD>',
    }
    for name, content in playlists.items():
        path = tmp_path / name
        path.write_text(content)
        outcome = account.run(path)
        assert outcome.exit_code == 65, name
        assert outcome.error[0] in {"NOT_A_VIDEO", "REFERS_ELSEWHERE"}, name
        assert all(wanted.startswith("bytes=0-") for wanted in account.stand_in.ranges), name
        assert len(account.stand_in.ranges) == 1, name


def test_a_missing_object_is_permanent(account: Account) -> None:
    outcome = account.run(None)
    assert outcome.exit_code == 65
    assert outcome.error[0] == "SOURCE_MISSING"


def test_an_object_overwritten_midway_is_not_mixed_up(account: Account, made: Make) -> None:
    account.upload(made("raw", ".mkv", "80"))

    def overwrite() -> None:
        if len(account.stand_in.ranges) == 5:
            account.stand_in.uploads[f"/media/{KEY}"] = clip("bikes.mp4")

    account.stand_in.before_get = overwrite
    outcome = account.finish(account.start())
    assert outcome.exit_code == 65
    assert outcome.error[0] == "SOURCE_CHANGED"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("MAX_KEY_FRAMES", value) for value in ("0", "many", "99999")),
        ("FREE_GIGAPIXELS", "0"),
        ("MAX_SECONDS", "1e9"),
    ],
)
def test_a_bad_limit_is_named(account: Account, name: str, value: str) -> None:
    outcome = account.run(clip("bikes.mp4"), **{name: value})
    assert outcome.exit_code == 65
    assert name in outcome.error[1]


# ---- S3 in trouble, and the end of the machine


def test_s3_in_trouble_for_a_moment_is_survived(account: Account) -> None:
    account.upload(clip("bikes.mp4"))
    account.stand_in.faults = [Fault(status=503), Fault(bytes_sent=1000), Fault(status=500)]
    outcome = account.finish(account.start())
    assert outcome.exit_code == 0
    assert len(account.stand_in.ranges) == 4


def test_s3_in_trouble_for_long_means_try_again(account: Account) -> None:
    account.upload(clip("bikes.mp4"))
    account.stand_in.faults = [Fault(bytes_sent=1000)] * 4
    outcome = account.finish(account.start())
    assert outcome.exit_code == 75
    assert outcome.error[0] == "SOURCE_UNREACHABLE"


def test_sigterm_in_the_middle_means_try_again_and_the_retry_succeeds(account: Account, made: Make) -> None:
    account.upload(made("raw", ".mkv", "80"))
    reached: list[None] = []

    def slow_down() -> None:
        reached.append(None)
        time.sleep(0.2)

    account.stand_in.before_get = slow_down
    process = account.start()
    while len(reached) < 4:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    outcome = account.finish(process)
    assert outcome.exit_code == 75
    assert outcome.item["progress"]["message"].startswith("scenes: ")
    assert "error" not in outcome.item
    assert account.results() == set()
    account.stand_in.before_get = lambda: None
    assert account.finish(account.start(AWS_BATCH_JOB_ATTEMPT="2")).exit_code == 0


def test_a_superseded_run_does_nothing(account: Account) -> None:
    account.upload(clip("bikes.mp4"))
    outcome = account.finish(account.start(FENCE="2"))
    assert outcome.exit_code == 77
    assert outcome.item.keys() == {"jobId", "status", "fence", "createdAt"}
    assert (outcome.item["status"], outcome.item["fence"]) == ("SUBMITTED", 1)
    assert account.stand_in.ranges == []


def white_corner(picture: Path) -> str:
    """Returns the corner of a picture that is brightest."""
    script = """
import sys, numpy, PIL.Image
grey = numpy.asarray(PIL.Image.open(sys.argv[1]).convert("L"))
corners = {f"{y} {x}": grey[rows, columns].mean()
           for y, rows in (("upper", slice(20)), ("lower", slice(-20, None)))
           for x, columns in (("left", slice(20)), ("right", slice(-20, None)))}
print(max(corners, key=corners.get))
"""
    told = subprocess.run([PYTHON, "-c", script, picture], capture_output=True, text=True, check=True)
    return told.stdout.strip()


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Returns width and height from a JPEG's frame header (ITU T.81, B.2.2)."""
    frame = re.search(rb"\xff[\xc0\xc2]..\x08(..)(..)", data, re.DOTALL)
    assert frame
    return int.from_bytes(frame[2]), int.from_bytes(frame[1])
