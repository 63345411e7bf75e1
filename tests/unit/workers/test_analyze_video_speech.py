"""The stages `speech` and `speakers`, on real speech: the worker as Batch runs it, with small models."""

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

import pytest
import srt
import webvtt

from local.demos.media import clip, speech
from local.models import MODELS, ModelError, fetch
from local.serving import served
from tests.unit.workers import standin
from tests.unit.workers.attempts import Outcome
from tests.unit.workers.test_analyze_video import PYTHON, Account, Make, made  # noqa: F401 - a fixture

ROOT = Path(__file__).resolve().parents[3]
KEY: Final = "sk-never-shown"  # checked to be nowhere
SAID: Final = "originally from chicago"


def installed(*names: str) -> Path:
    """Returns the folder with these models. They are fetched once; without a network the test is skipped."""
    try:
        fetch(*names)
    except ModelError as error:
        pytest.skip(str(error))
    return MODELS


@pytest.fixture(scope="session")
def models() -> Path:
    """Returns the folder with the tests' models."""
    return installed("whisper-tiny.en", "voices")


@pytest.fixture(scope="module")
def account(models: Path) -> Iterator[Account]:
    with standin.listening() as stand_in, Account(stand_in).forking() as account:
        account.variables(MODELS=str(models), SPEECH_MODEL="whisper-tiny.en")
        account.variables(ANALYSIS_STAGES="scenes,speech,speakers,summary,index")
        yield account


@pytest.fixture(scope="module")
def talk(made: Make) -> Path:  # noqa: F811 - the fixture above
    """Returns a video of a real telephone call between two women."""
    return made("talk", ".mp4", str(speech("sample.wav")))


@dataclass(frozen=True)
class Analysed:
    """A job's outcome and its files. Recognising speech takes seconds, so tests of one video share it."""

    outcome: Outcome
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def call(account: Account, talk: Path) -> Analysed:
    """Returns what all stages found in the telephone call."""
    outcome = account.run(talk)
    assert outcome.exit_code == 0, outcome.log
    return Analysed(outcome, {name: account.result(name)[1] for name in account.results()})


def stages(account: Account) -> dict[str, Any]:
    return by_name(account.summary())


def by_name(summary: dict[str, Any]) -> dict[str, Any]:
    return {stage["name"]: {name: stage[name] for name in stage if name != "name"} for stage in summary["stages"]}


def plain(text: str) -> str:
    return re.sub(r"[^a-z ]+", "", text.lower())


def test_a_telephone_call_is_written_down_with_who_speaks(call: Analysed) -> None:
    transcript = json.loads(call.files["transcript.json"])
    assert (transcript["version"], transcript["language"]) == (1, "en")
    assert transcript["duration"] == pytest.approx(33, abs=0.5)
    segments = transcript["segments"]
    assert SAID in plain(" ".join(segment["text"] for segment in segments))
    # Who says it, and when: as its transcribers heard it, three seconds later.
    names = {}
    for word, begin, end in (("Texas", 17.4, 20.8), ("Jersey", 15.5, 17.2)):
        found = [
            (told, segment["speaker"])
            for segment in segments
            for told in segment["words"]
            if word in told["text"] and begin <= told["start"] <= told["end"] <= end
        ]
        assert found, word
        names[word] = found[0][1]
        assert 0 < found[0][0]["probability"] <= 1
    assert set(names.values()) == {"SPEAKER_01", "SPEAKER_02"}
    times = [time for segment in segments for word in segment["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert times[0] > 3, "words were heard in the silence before the call"

    summary = json.loads(call.files["summary.json"])
    assert summary["speech"]["language"] == "en"
    assert [speaker["name"] for speaker in summary["speakers"]] == ["SPEAKER_01", "SPEAKER_02"]
    assert {name: stage["state"] for name, stage in by_name(summary).items()} == {
        "scenes": "done", "speech": "done", "speakers": "done", "summary": "done", "index": "skipped",
    }  # fmt: skip
    result = call.outcome.item["result"]
    assert result["stages"] == {
        "scenes": "done", "speech": "done", "speakers": "done", "summary": "done", "index": "skipped",
    }  # fmt: skip
    assert result["transcript"] == "results/job-1/transcript.json"
    assert {f"transcript.{suffix}" for suffix in ("json", "md", "vtt", "srt")} <= set(result["files"])
    assert len(result["files"]) == len(set(result["files"])), "a file is listed twice"
    assert "SPEAKER&#95;02" in call.files["summary.md"].decode()


def test_captions_are_read_by_other_programs(call: Analysed, tmp_path: Path) -> None:
    (tmp_path / "t.vtt").write_bytes(call.files["transcript.vtt"])
    cues = webvtt.read(str(tmp_path / "t.vtt")).captions
    subtitles = list(srt.parse(call.files["transcript.srt"].decode(), ignore_errors=False))
    assert len(cues) == len(subtitles) > 5
    for cue, subtitle in zip(cues, subtitles, strict=True):
        assert cue.start_in_seconds == int(subtitle.start.total_seconds())
        assert cue.voice in {"SPEAKER_01", "SPEAKER_02"}
        assert subtitle.content == f"{cue.voice}: {cue.text}"
    assert SAID in plain(" ".join(cue.text.replace("\n", " ") for cue in cues))


def test_nothing_is_invented_for_music(account: Account, made: Make) -> None:  # noqa: F811
    outcome = account.run(made("music", ".mkv", "30"))
    assert outcome.exit_code == 0, outcome.log
    assert stages(account)["speech"] | {"seconds": 0} == {"state": "skipped", "seconds": 0, "reason": "nobody speaks"}
    assert not [name for name in account.results() if name.startswith("transcript")]


def test_nothing_is_invented_for_silence(account: Account, made: Make) -> None:  # noqa: F811
    assert account.run(made("silence", ".mkv")).exit_code == 0
    assert stages(account)["speech"]["reason"] == "nobody speaks"
    assert "speech" not in account.summary()


def test_a_video_without_sound_loads_no_model(account: Account) -> None:
    outcome = account.fresh().run(clip("bikes.mp4"))
    assert outcome.exit_code == 0
    assert stages(account)["speech"]["reason"] == "the video has no sound"
    assert stages(account)["speakers"]["reason"] == "there is no transcript"
    assert outcome.peak_megabytes < 250


def test_only_the_chosen_stages_run(account: Account, talk: Path) -> None:
    assert account.run(talk, ANALYSIS_STAGES="scenes").exit_code == 0
    assert set(stages(account)) == {"scenes"}


def test_without_a_model_it_says_so(account: Account, talk: Path, tmp_path: Path) -> None:
    outcome = account.run(talk, MODELS=str(tmp_path))
    assert outcome.exit_code == 0
    assert stages(account)["speech"]["reason"] == "the model whisper-tiny.en isn't installed (make models)"
    assert "skipped: the model" in account.result("summary.md")[1].decode()


def test_a_stage_that_fails_is_reported_and_the_others_go_on(account: Account, talk: Path, tmp_path: Path) -> None:
    """The model's folder holds rubbish, at which the library raises an error of its own."""
    broken = tmp_path / "whisper-tiny.en"
    broken.mkdir()
    (broken / "model.bin").write_bytes(b"rubbish")
    outcome = account.run(talk, MODELS=str(tmp_path))
    assert outcome.exit_code == 0
    failed = stages(account)["speech"]
    assert (failed["state"], failed["error"]["code"]) == ("failed", "CRASHED")
    assert str(tmp_path) not in json.dumps(account.summary())
    assert outcome.item["result"]["stages"]["speakers"] == "skipped"
    assert account.summary()["scenes"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ANALYSIS_STAGES", "scenes,speeches"),
        ("ANALYSIS_STAGES", "speech"),
        ("SPEECH_BACKEND", "telepathy"),
        ("SPEECH_LANGUAGE", "English"),
        ("SPEECH_MODEL", "../../etc"),
    ],
)
def test_a_bad_setting_is_named(account: Account, talk: Path, name: str, value: str) -> None:
    outcome = account.run(talk, **{name: value})
    assert outcome.exit_code == 65
    assert outcome.error[0] == "BAD_ENVIRONMENT"
    assert name in outcome.error[1]


def test_a_bad_service_is_named(account: Account, talk: Path) -> None:
    outcome = account.run(talk, SPEECH_BACKEND="openai", SPEECH_URL="ftp://somewhere")
    assert (outcome.exit_code, outcome.error[0]) == (65, "BAD_ENVIRONMENT")


# ---- the backend `openai`, against a server that answers as OpenAI's documents say


@dataclass
class Service:
    """A speech service that answers what it is told to."""

    answers: list[tuple[int, dict[str, str], bytes]]
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    url: str = ""

    def next(self) -> tuple[int, dict[str, str], bytes]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def serving(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[Service]:
    service = Service(list(answers))
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                service.asked.append((self.headers.get("Authorization", ""), body))
                status, headers, answer = service.next()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with served(Handler) as url:
        service.url = f"{url}/v1"
        yield service


def ask(account: Account, video: Path, service: Service) -> Outcome:
    given = {"SPEECH_BACKEND": "openai", "SPEECH_URL": service.url, "SPEECH_KEY": KEY, "SPEECH_MODEL": "one"}
    outcome = account.run(video, ANALYSIS_STAGES="scenes,speech", **given)
    assert outcome.exit_code == 0, outcome.log
    everything = json.dumps(outcome.log) + json.dumps(outcome.item, default=str) + json.dumps(account.summary())
    assert KEY not in everything
    return outcome


VERBOSE: Final = {
    "task": "transcribe",
    "language": "german",
    "duration": 20.0,
    "text": "Guten Tag.",
    "segments": [{"id": 0, "start": 0.5, "end": 1.5, "text": " Guten Tag."}, {"start": "x", "text": 7}, "nonsense"],
    "words": [{"word": "Guten", "start": 0.5, "end": 0.9}, {"word": "Tag", "start": 0.9, "end": 99.0}],
}


def test_a_service_hears_the_words(account: Account, talk: Path) -> None:
    """At first it is busy, which is no reason to fail."""
    with serving((429, {"Retry-After": "0"}, b""), (200, {}, json.dumps(VERBOSE).encode())) as service:
        ask(account, talk, service)
    transcript = json.loads(account.result("transcript.json")[1])
    assert (transcript["language"], transcript["languageProbability"]) == ("de", None)
    first = transcript["segments"][0]
    assert first["text"] == "Guten Tag."
    assert [word["text"] for word in first["words"]] == ["Guten"]  # the other one's times are no part of the segment
    assert first["end"] - first["start"] == pytest.approx(1.0)
    assert first["start"] > 9, "times are the utterance's, not the video's"
    assert {header for header, _ in service.asked} == {f"Bearer {KEY}"}
    body = service.asked[0][1]
    assert b"RIFF" in body
    assert b"verbose_json" in body


def test_a_service_that_only_knows_text_is_enough(account: Account, talk: Path) -> None:
    refused: tuple[int, dict[str, str], bytes] = (
        400,
        {},
        b'{"error": {"message": "response_format verbose_json is not compatible"}}',
    )
    with serving(refused, (200, {}, json.dumps({"text": "Hello there."}).encode())) as service:
        ask(account, talk, service)
    transcript = json.loads(account.result("transcript.json")[1])
    assert transcript["segments"][0]["text"] == "Hello there."
    assert transcript["segments"][0]["words"] == []
    assert "Hello" in account.result("transcript.vtt")[1].decode()  # two words over many seconds are two captions


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((401, {}, b'{"error": {"message": "Incorrect API key sk-never-shown"}}'), "SPEECH_REFUSED"),
        ((302, {"Location": "http://127.0.0.1:9/steal"}, b""), "SPEECH_REFUSED"),
        ((200, {}, b"<html>it works</html>"), "SPEECH_UNINTELLIGIBLE"),
        ((200, {}, b"[" * 100_000), "SPEECH_UNINTELLIGIBLE"),
        ((503, {"Retry-After": "0"}, b""), "SPEECH_UNAVAILABLE"),
    ],
    ids=["key", "redirect", "page", "deep", "down"],
)
def test_a_service_that_fails_is_reported(
    account: Account, talk: Path, answer: tuple[int, dict[str, str], bytes], code: str
) -> None:
    with serving(answer) as service:
        ask(account, talk, service)
    assert stages(account)["speech"]["error"]["code"] == code


# ---- limits


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_memory_does_not_grow_with_the_sound(account: Account, made: Make) -> None:  # noqa: F811
    """Half an hour of music, and two hours: 16 kHz of an hour and a half would be 345 MB."""
    videos = [made("music", ".mkv", seconds) for seconds in ("1800", "7200")]
    outcomes = [account.fresh().run(video) for video in videos]
    assert [outcome.exit_code for outcome in outcomes] == [0, 0]
    kept = [min(video.stat().st_size / 2**20, 64.0) for video in videos]  # the blocks of the file that source.py keeps
    short, long = (outcome.peak_megabytes - each for outcome, each in zip(outcomes, kept, strict=True))
    assert long - short < 60, f"half an hour took {short:.0f} MB, two hours {long:.0f} MB"


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    """The reader knows tensors only: a pickle that calls anything else is an error."""
    script = """
import os, pickle, sys
from pathlib import Path
from analyze_video.voices import CheckpointError, read_checkpoint

class Evil:
    def __reduce__(self):
        return os.mkdir, (sys.argv[1] + "/ran",)

place = Path(sys.argv[1]) / "evil.pt"
magic = 0x1950A86A20F9469CFC6C
for content in (pickle.dumps(Evil()), pickle.dumps(magic) * 3 + pickle.dumps({"model_state": Evil()}), b"", b"PK" * 9,
                pickle.dumps(magic) * 3 + pickle.dumps({}) + pickle.dumps(["1"])):
    place.write_bytes(content)
    try:
        read_checkpoint(place)
    except CheckpointError as error:
        print(error)
"""
    environment = {"PYTHONPATH": f"{ROOT / 'workers/analyze_video'}:{ROOT / 'workers/library'}"}
    command: list[str | Path] = [PYTHON, "-c", script, tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 5
    assert "posix.mkdir" in done.stdout
    assert not (tmp_path / "ran").exists()


def test_an_utterance_is_encoded_once_for_its_language_and_its_words() -> None:
    """Encoding is most of the work: no silence is added beyond a second, but none has less than ten.

    What `transcribe` does, in its order: find the language, then hear the words.
    """
    script = """
import threading
from types import SimpleNamespace
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from analyze_video.whisper import Model

encoded = []
WhisperModel.encode = lambda self, features: encoded.append(features) or len(encoded)
model = Model.__new__(Model)
model._known = threading.local()
model.feature_extractor = SimpleNamespace(nb_max_frames=3000)
model.model = SimpleNamespace(detect_language=lambda _encoded: [[("<|it|>", 0.9), ("<|en|>", 0.1)]])
for frames in (1200, 300, 3000):
    features = np.full((80, frames + 1), 0.5, np.float32)
    language, *_ = model.detect_language(features=features)
    print(language, model.encode(pad_or_trim(features[:, :frames])), encoded[-1].shape[1])
other = threading.Thread(target=lambda: print(model.encode(encoded[-1])))
other.start()
other.join()
"""
    environment = {"PYTHONPATH": f"{ROOT / 'workers/analyze_video'}:{ROOT / 'workers/library'}"}
    done = subprocess.run([PYTHON, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["it 1 1300", "it 2 1000", "it 3 3000", "4"]
