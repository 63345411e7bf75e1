"""The demo of the search: four recordings of speech become a video, and questions find the second in it.

The whole way is real: an upload over the API, the worker with its models, the index, the questions. The demo checks
that each question's first hit is the moment at which it was answered.
"""

import json
import subprocess
import tempfile
import wave
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any, Final

import httpx
from rich.console import Console
from rich.text import Text

from local import api
from local.demos.media import speech
from local.demos.videos import DemoError
from local.environment import VENVS, shown
from local.stack import LocalStack
from local.view import WIDTH, print_rows
from switchyard.protocol.jobs import TERMINAL

_SILENCE: Final = 3.0
"""Seconds before each recording."""
_PATIENCE: Final = 600.0
"""Seconds that the analysis may take on a busy machine. Alone on two cores it takes half a minute."""
_SLACK: Final = 2.0
_CUES: Final = 3
_PYTHON: Final = VENVS / "analyze_video" / "bin" / "python"
_SLIDESHOW: Final = Path(__file__).with_name("slideshow.py")

type _Json = dict[str, Any]


@dataclass(frozen=True)
class _Part:
    """A recording of the video.

    Attributes:
        recording: Its file, by `media.speech`.
        slide: What its picture says.
    """

    recording: str
    slide: tuple[str, ...]


@dataclass(frozen=True)
class _Asked:
    """A question, and when its answer is said: seconds of the recording."""

    question: str
    recording: str
    start: float
    end: float


_PARTS: Final = (
    _Part("two_cities.wav", ("A Tale of Two Cities", "Charles Dickens, 1859", "The first sentence, read aloud")),
    _Part("sample.wav", ("A telephone call", "Two women who have never met", "Texas and New Jersey")),
    _Part("endgame_nagg_nell.wav", ("Endgame", "Samuel Beckett, 1957", "Nagg and Nell, in their bins")),
    _Part("beckett.wav", ("Worstward Ho", "Samuel Beckett, 1983")),
)
_QUESTIONS: Final = (
    _Asked("Which of the two grew up in Chicago?", "sample.wav", 14.4, 20.2),
    _Asked("When was it the spring of hope and the winter of despair?", "two_cities.wav", 17.5, 21.4),
    _Asked("Who was fetched out of a ditch?", "endgame_nagg_nell.wav", 23.5, 28.3),
)


def play(stack: LocalStack, console: Console) -> None:
    """Run the demo on a running stack.

    Raises:
        DemoError: If a check fails.
    """
    starts = dict(_starts())
    with api.client(stack) as http, tempfile.TemporaryDirectory() as folder:
        job = _analysed(http, Path(folder) / "voices.mp4", console)
        kept = stack.folder / "results" / job["jobId"]
        files = {path.name: path for path in api.fetch(job, kept)}
        _show_stages(job, console)
        _show_transcript(json.loads(files["transcript.json"].read_text()), console)
        _show_cues("Captions", files["transcript.vtt"].read_text(), console)
        if "chapters.vtt" in files:
            _show_cues("Chapters", files["chapters.vtt"].read_text(), console)
        _show_summary(json.loads(files["summary.json"].read_text()), console)
        console.print(f"\nall of it is in {shown(kept)}", markup=False)
        for asked in _QUESTIONS:
            begin = starts[asked.recording]
            _ask(http, job["jobId"], asked.question, begin + asked.start, begin + asked.end, console)


def _starts() -> Iterator[tuple[str, float]]:
    """When each recording begins in the video."""
    now = 0.0
    for part in _PARTS:
        now += _SILENCE
        yield part.recording, now
        with wave.open(str(speech(part.recording))) as sound:
            now += sound.getnframes() / sound.getframerate()


def make_video(path: Path) -> None:
    """Make the video: each recording with its picture."""
    slides = [(part.slide, str(speech(part.recording))) for part in _PARTS]
    subprocess.run([_PYTHON, _SLIDESHOW, path, str(_SILENCE)], input=json.dumps(slides), text=True, check=True)


def _analysed(http: httpx.Client, video: Path, console: Console) -> _Json:
    """Make the video, upload it, and follow its job to the end."""
    console.rule("A video of four recordings", align="left")
    make_video(video)
    body = video.read_bytes()
    wanted = {"filename": video.name, "contentType": "video/mp4", "size": len(body)}
    upload = api.ask(http, "POST", "/uploads/presign", wanted)
    httpx.put(upload["url"], headers=upload["headers"], content=body, trust_env=False, timeout=60).raise_for_status()
    console.print(f"uploaded {video.name} ({len(body) / 1e6:.1f} MB)", markup=False)
    console.print(f"job {upload['jobId']}", markup=False)
    job = api.follow(http, upload["jobId"], console, until=TERMINAL, seconds=_PATIENCE)
    if job["status"] != "COMPLETED":
        raise DemoError(f"the analysis ended as {job['status']}: {job.get('error')}")
    return job


def _show_stages(job: _Json, console: Console) -> None:
    stages: Mapping[str, str] = job["result"]["stages"]
    print_rows(console, list(stages.items()))
    if missing := [name for name in ("speech", "speakers", "index") if stages.get(name) != "done"]:
        raise DemoError(f"these stages should be done: {', '.join(missing)}; summary.json in the results says why")
    if failed := [name for name, state in stages.items() if state == "failed"]:
        raise DemoError(f"these stages failed: {', '.join(failed)}; summary.json in the results says why")


def _show_transcript(transcript: _Json, console: Console) -> None:
    console.print()
    console.rule("Who says what", align="left")
    said = ""
    for segment in transcript["segments"]:
        speaker = segment["speaker"] or "?"
        head = "" if speaker == said else f"{speaker}: "
        said = speaker
        line = f"{_clock(segment['start'])}  {head}{segment['text']}"
        console.print(fill(line, WIDTH, subsequent_indent=" " * 6), markup=False, highlight=False)
    speakers = {segment["speaker"] for segment in transcript["segments"]} - {None}
    if len(speakers) < len(("Diane", "Sheila")):
        raise DemoError(f"several people speak, but the transcript has {len(speakers)}")


def _show_cues(title: str, text: str, console: Console) -> None:
    """Print the first cues of a WebVTT file."""
    console.print()
    console.rule(f"{title}, the first {_CUES}", align="left")
    _header, *cues = text.strip().split("\n\n")
    for cue in cues[:_CUES]:
        for line in cue.splitlines():
            console.print(line[:WIDTH], markup=False, highlight=False)


def _show_summary(summary: _Json, console: Console) -> None:
    """Print what the stage `summary` found, if this build has the stage."""
    if sentences := summary.get("summary"):
        console.print()
        console.rule("Summary", align="left")
        for each in sentences:
            line = f"{_clock(each['start'])}  {each['text']}"
            console.print(fill(line, WIDTH, subsequent_indent=" " * 6), markup=False, highlight=False)


def _ask(http: httpx.Client, job_id: str, question: str, begin: float, end: float, console: Console) -> None:
    """Ask a question, and check that its first hit is the moment between `begin` and `end`."""
    console.print()
    console.rule(question, align="left")
    hits = api.ask(http, "POST", "/search", {"query": question, "limit": 3, "jobId": job_id})["hits"]
    if not hits:
        raise DemoError("nothing was found")
    best, *others = hits
    console.print(f"{_clock(best['at'])}  {best.get('speaker', '?')}", style="bold")
    text = Text(best["text"])
    for first, last in best["marks"]:
        text.stylize("bold reverse", first, last)
    console.print(*text.wrap(console, WIDTH), sep="\n")
    console.print(f"the video opens there by links.video, {best['links']['video'].rpartition('#')[2]}", style="dim")
    console.print(f"next: {', '.join(_clock(hit['at']) for hit in others) or 'nothing'}", style="dim")
    if not begin - _SLACK <= best["at"] <= end + _SLACK:
        raise DemoError(f"the answer is said at {_clock(begin)}, but the first hit is at {_clock(best['at'])}")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
