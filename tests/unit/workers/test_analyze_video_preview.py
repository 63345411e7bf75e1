"""The stage `preview`: poster, strip and rendition, of files that browsers can't play and of some that they can."""

import json
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import webvtt

from local.demos.media import clip
from tests.unit.workers import standin
from tests.unit.workers.attempts import Outcome
from tests.unit.workers.test_analyze_video import KEY, PYTHON, Account, Make, jpeg_size, made  # noqa: F401 - a fixture
from tests.unit.workers.test_analyze_video_speech import stages

ROOT = Path(__file__).resolve().parents[3]

WATCH = """
import json, sys
import av, numpy as np

told = {"times": [], "sound": [], "errors": 0}
with av.open(sys.argv[1]) as file:
    told["duration"] = file.duration / 1e6
    video = file.streams.video[0]
    context = video.codec_context
    told |= {"codec": context.name, "profile": video.profile, "pixels": context.pix_fmt,
             "size": [context.width, context.height], "colours": [context.color_primaries, context.color_trc],
             "sounds": [f"{each.codec_context.name} {each.codec_context.layout.name}" for each in file.streams.audio]}
    for packet in file.demux():
        try:
            frames = packet.decode()
        except av.FFmpegError:
            told["errors"] += 1
            continue
        for frame in frames:
            if isinstance(frame, av.AudioFrame):
                told["sound"].append([frame.time, float(np.abs(frame.to_ndarray()).max())])
            else:
                told["times"].append(frame.time)
                image = frame.to_ndarray(format="gray").astype(int)
                told["corner"] = int(image[: image.shape[0] // 8, : max(1, image.shape[1] // 8)].mean())
                told["rest"] = int(image[image.shape[0] // 2 :, image.shape[1] // 2 :].mean())
                told["combs"] = float(np.abs(image[1:-1:2] - (image[:-2:2] + image[2::2]) / 2).mean())
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with standin.listening() as stand_in, Account(stand_in).forking() as account:
        account.variables(ANALYSIS_STAGES="scenes,preview")
        yield account


def boxes(body: bytes) -> list[str]:
    """Returns the names of an MP4's outer boxes, in order."""
    names, at = [], 0
    while at < len(body):
        size, name = int.from_bytes(body[at : at + 4]), body[at + 4 : at + 8]
        at += int.from_bytes(body[at + 8 : at + 16]) if size == 1 else size
        names.append(name.decode())
    assert at == len(body), "the file is cut off"
    return names


def watch(account: Account, folder: Path) -> dict[str, Any]:
    """Plays the rendition to its end and returns what it shows, having checked what holds for each of them."""
    content_type, body = account.result("preview.mp4")
    assert content_type == "video/mp4"
    kinds = boxes(body)
    assert kinds[:2] == ["ftyp", "moov"], "the index isn't in front"
    assert "mdat" in kinds
    (folder / "preview.mp4").write_bytes(body)
    command: list[str | Path] = [PYTHON, "-c", WATCH, folder / "preview.mp4"]
    told: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert told["errors"] == 0
    assert (told["codec"], told["pixels"]) == ("h264", "yuv420p")
    assert set(told["sounds"]) <= {"aac stereo"}
    assert told["size"] == [account.summary()["preview"]["video"][edge] for edge in ("width", "height")]
    assert told["times"][0] == 0
    assert all(before < after for before, after in pairwise(told["times"]))
    return told


def done(account: Account, video: Path, **changed: str) -> Outcome:
    outcome = account.run(video, **changed)
    assert outcome.exit_code == 0, outcome.log
    assert stages(account)["preview"]["state"] == "done", stages(account)
    return outcome


# ---- renditions


@pytest.mark.parametrize(
    ("made_of", "suffix", "size", "sounds"),
    [
        (("ffv1", "bgr0", "321", "179", "pcm_s16le"), ".mkv", [320, 180], ["aac stereo"]),
        (("mpeg4", "yuv420p", "320", "180", "mp2"), ".avi", [320, 180], ["aac stereo"]),
        (("wmv2", "yuv420p", "160", "120", "ac3"), ".asf", [160, 120], ["aac stereo"]),
        (("mpeg2video", "yuv420p", "176", "144", "none"), ".ts", [176, 144], []),
        (("rawvideo", "yuv420p", "2", "400", "none"), ".mkv", [2, 400], []),
        (("mpeg4", "yuv420p", "720", "1600", "none"), ".mkv", [576, 1280], []),
    ],
    ids=["odd-size", "avi", "windows", "transport-stream", "narrow", "tall"],
)
def test_what_browsers_cant_play_gets_a_rendition(
    account: Account,
    made: Make,  # noqa: F811
    tmp_path: Path,
    made_of: tuple[str, ...],
    suffix: str,
    size: list[int],
    sounds: list[str],
) -> None:
    outcome = done(account, made("film", suffix, *made_of))
    told = watch(account, tmp_path)
    assert (told["size"], told["sounds"]) == (size, sounds)
    assert told["duration"] == pytest.approx(2, abs=0.15)
    assert len(told["times"]) == pytest.approx(40, abs=1)
    assert outcome.item["result"]["preview"] == "results/job-1/preview.mp4"
    assert account.summary()["preview"]["sourcePlays"] is False
    if sounds:
        assert max(loud for _, loud in told["sound"]) > 0.2
        assert told["sound"][-1][0] == pytest.approx(2, abs=0.15)


def test_ten_bits_become_eight_and_keep_their_colours(account: Account, made: Make, tmp_path: Path) -> None:  # noqa: F811
    done(account, made("film", ".mkv", "ffv1", "yuv420p10le", "320", "180", "none"))
    assert watch(account, tmp_path)["colours"] == [9, 16], "players couldn't tone-map it"


def test_a_rotated_video_is_upright_everywhere(account: Account, made: Make, tmp_path: Path) -> None:  # noqa: F811
    """The white corner goes where the key frame has it."""
    done(account, made("film", ".mp4", "mpeg4", "yuv420p", "320", "180", "none", "rotate=90"))
    told = watch(account, tmp_path)
    assert told["size"] == [180, 320]
    facts = account.summary()["preview"]
    assert (facts["strip"]["width"], facts["strip"]["height"]) == (90, 160)
    assert jpeg_size(account.result("poster.jpg")[1]) == (180, 320)
    corners = [told, *(shown(account, tmp_path, name, facts["strip"]) for name in ("poster.jpg", "strip.jpg"))]
    assert [each["corner"] > 200 > each["rest"] for each in corners] == [False] * 3
    # Turned counterclockwise by 90 degrees, the upper left corner is the lower left one.
    assert all(each["lower"] > 200 for each in corners[1:])


def shown(account: Account, folder: Path, name: str, strip: dict[str, int]) -> dict[str, int]:
    """Returns how bright a picture's corners are; of the strip, its first picture's."""
    (folder / name).write_bytes(account.result(name)[1])
    script = """
import json, sys
import numpy as np
from PIL import Image
image = Image.open(sys.argv[1]).convert("L")
if "strip" in sys.argv[1]:
    image = image.crop((0, 0, int(sys.argv[2]), int(sys.argv[3])))
grey = np.asarray(image).astype(int)
height, width = (edge // 8 for edge in grey.shape)
print(json.dumps({"corner": int(grey[:height, :width].mean()), "lower": int(grey[-height:, :width].mean()),
                  "rest": int(grey[grey.shape[0] // 2 :, grey.shape[1] // 2 :].mean())}))
"""
    command: list[str | Path] = [PYTHON, "-c", script, folder / name, str(strip["width"]), str(strip["height"])]
    found: dict[str, int] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def test_half_pictures_become_whole_ones(account: Account, made: Make, tmp_path: Path) -> None:  # noqa: F811
    done(account, made("combed", ".mpg"))
    told = watch(account, tmp_path)
    assert len(told["times"]) == pytest.approx(50, abs=1)
    assert told["combs"] < 1.5, "the fields are still in one picture"


def test_pictures_keep_their_times_and_there_are_at_most_30_a_second(
    account: Account,
    made: Make,  # noqa: F811
    tmp_path: Path,
) -> None:
    done(account, made("film", ".mkv", "mpeg4", "yuv420p", "160", "90", "none", "rate=60", "seconds=3", "gap=1"))
    times = watch(account, tmp_path)["times"]
    assert len(times) == pytest.approx(60, abs=2)
    before, after = next((before, after) for before, after in pairwise(times) if after - before > 0.1)
    assert (before, after) == (pytest.approx(1, abs=0.05), pytest.approx(2, abs=0.05))


def test_sound_that_begins_late_stays_with_the_pictures(account: Account, made: Make, tmp_path: Path) -> None:  # noqa: F811
    done(account, made("film", ".mkv", "mpeg4", "yuv420p", "160", "90", "pcm_s16le", "seconds=3", "late=1.5"))
    told = watch(account, tmp_path)
    first = next(time for time, loud in told["sound"] if loud > 0.1)
    assert first == pytest.approx(1.5, abs=0.06)
    assert told["sound"][0][0] == pytest.approx(0, abs=0.03)


def test_a_broken_tail_shortens_the_rendition(account: Account, made: Make, tmp_path: Path) -> None:  # noqa: F811
    whole = made("film", ".avi", "mpeg4", "yuv420p", "320", "180", "mp2", "seconds=12").read_bytes()
    broken = bytearray(whole)
    tail = len(whole) * 95 // 100
    broken[tail:] = bytes(index * 7 & 255 for index in range(len(whole) - tail))
    (tmp_path / "broken.avi").write_bytes(broken)
    done(account, tmp_path / "broken.avi")
    told = watch(account, tmp_path)
    assert 10.8 < told["times"][-1] < 12.1


# ---- no rendition


@pytest.mark.parametrize(
    ("made_of", "suffix", "plays"),
    [
        (("libx264", "yuv420p", "160", "90", "aac"), ".mp4", True),
        (("libx264", "yuv420p", "160", "90", "none"), ".mp4", True),
        (("libvpx", "yuv420p", "160", "90", "libopus"), ".webm", True),
        (("libx264", "yuv420p", "160", "90", "aac"), ".mov", False),
        (("libx264", "yuv420p", "160", "90", "aac"), ".mkv", False),
        (("libvpx", "yuv420p", "160", "90", "libopus"), ".mkv", False),
        (("libx264", "yuv444p", "160", "90", "aac"), ".mp4", False),
        (("libx264", "yuv420p", "160", "90", "ac3"), ".mp4", False),
    ],
)
def test_only_what_browsers_cant_play_is_encoded_again(
    account: Account,
    made: Make,  # noqa: F811
    made_of: tuple[str, ...],
    suffix: str,
    plays: bool,  # noqa: FBT001 - a case
) -> None:
    done(account, made("film", suffix, *made_of, "seconds=0.5"))
    assert account.summary()["preview"]["sourcePlays"] is plays
    assert ("preview.mp4" in account.results()) is not plays


def test_a_real_clip_gets_a_poster_and_a_strip(account: Account, tmp_path: Path) -> None:
    outcome = done(account, clip("bigbuckbunny.mp4"))
    facts = account.summary()["preview"]
    strip = facts.pop("strip")
    assert facts == {"poster": "poster.jpg", "sourcePlays": True}
    assert strip == {"file": "strip.jpg", "index": "preview.vtt", "pictures": 6, "width": 160, "height": 90}
    assert account.results() >= {"poster.jpg", "strip.jpg", "preview.vtt"}
    assert outcome.item["result"]["poster"] == "results/job-1/poster.jpg"
    assert outcome.item["result"]["files"][:2] == ["poster.jpg", "strip.jpg"], "key frames could crowd them out"
    assert jpeg_size(account.result("poster.jpg")[1]) == (1280, 720)
    assert jpeg_size(account.result("strip.jpg")[1]) == (960, 90)
    content_type, index = account.result("preview.vtt")
    assert content_type == "text/vtt; charset=utf-8"
    (tmp_path / "preview.vtt").write_bytes(index)
    cues = webvtt.read(str(tmp_path / "preview.vtt")).captions
    assert [cue.text for cue in cues] == [f"strip.jpg#xywh={160 * number},0,160,90" for number in range(6)]
    assert [cue.start for cue in cues] == [f"00:00:0{second}.000" for second in range(6)]
    assert cues[-1].end == "00:00:05.280"


# ---- failures


@pytest.mark.parametrize(
    ("sabotage", "code"),
    [
        ("rendition.fitted = lambda *_: rendition.Size(3, 3)", "NO_RENDITION"),
        ("preview._allowed = lambda _: -1.0", "OUT_OF_TIME"),
        ("preview._LONGEST_SECONDS = 1.0", "TOO_LONG"),
    ],
)
def test_without_a_rendition_poster_and_strip_remain(
    account: Account,
    made: Make,  # noqa: F811
    tmp_path: Path,
    sabotage: str,
    code: str,
) -> None:
    outcome = sabotaged(account, made, tmp_path, sabotage)
    assert stages(account)["preview"]["error"]["code"] == code
    assert account.summary()["preview"].keys() == {"poster", "strip", "sourcePlays"}
    assert account.results() >= {"poster.jpg", "strip.jpg", "preview.vtt"}
    assert "preview.mp4" not in account.results() | set(outcome.item["result"]["files"])
    assert "poster.jpg" in account.result("summary.md")[1].decode()


def test_a_preview_that_crashes_takes_nothing_with_it(account: Account, made: Make, tmp_path: Path) -> None:  # noqa: F811
    outcome = sabotaged(account, made, tmp_path, "preview._poster = lambda *_: 1 / 0")
    assert outcome.item["result"]["stages"] == {"scenes": "done", "preview": "failed"}
    assert stages(account)["preview"]["error"]["code"] == "CRASHED"
    assert account.summary()["scenes"]


def test_a_video_whose_pictures_use_up_the_time_fails(account: Account, made: Make, tmp_path: Path) -> None:  # noqa: F811
    line = "from analyze_video import pipeline; pipeline._SHARE_OF_TIME = -1"
    outcome = sabotaged(account, made, tmp_path, line, exit_code=65)
    assert outcome.item["error"]["code"] == "OUT_OF_TIME"


def sabotaged(account: Account, made: Make, folder: Path, line: str, exit_code: int = 0) -> Outcome:  # noqa: F811
    """Runs an attempt whose interpreter runs this line first."""
    (folder / "sitecustomize.py").write_text(
        "from switchyard_worker import refuse_programs\nrefuse_programs()\n"
        f"from analyze_video import rendition\nfrom analyze_video.stages import preview\n{line}\n"
    )
    path = ":".join([str(folder), *(str(ROOT / each) for each in ("workers/analyze_video", "workers/library"))])
    path = f"{path}:{ROOT / 'layers/switchyard'}:{ROOT / 'layers/embedding'}"
    video = made("film", ".mkv", "mpeg4", "yuv420p", "160", "90", "none")
    outcome = account.fresh().run(video, PYTHONPATH=path)
    assert outcome.exit_code == exit_code, outcome.log
    return outcome


def test_a_second_analysis_overwrites_the_first(account: Account, made: Make) -> None:  # noqa: F811
    """A newer upload that browsers play needs no rendition: the old one isn't told of any more."""
    done(account, made("film", ".mkv", "mpeg4", "yuv420p", "160", "90", "none"))
    account.stand_in.uploads[f"/media/{KEY}"] = clip("bigbuckbunny.mp4")
    account.record()
    outcome = account.finish(account.start())
    assert outcome.exit_code == 0, outcome.log
    assert outcome.item["result"].keys().isdisjoint({"preview"})
    assert "preview.mp4" not in outcome.item["result"]["files"]
    assert jpeg_size(account.result("poster.jpg")[1]) == (1280, 720)
