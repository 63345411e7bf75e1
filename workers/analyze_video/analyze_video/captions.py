"""The transcript's files for people and players: transcript.md, .vtt (WebVTT) and .srt (SubRip)."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from analyze_video.markup import clock, plain, timestamp
from analyze_video.transcript import Segment, Transcript

_LINE = 42  # characters a line and lines a caption, as broadcasters' guidelines have it
_LINES = 2
_LONGEST_SECONDS = 6.0
_SHORTEST_SECONDS = 0.1
_TURN_SECONDS = 30.0
_PAUSE_SECONDS = 2.0
_OPENING_TURNS = 20  # in summary.md


@dataclass(frozen=True)
class Caption:
    """A caption: at most two lines, from `start` to `end` seconds. Captions don't overlap."""

    start: float
    end: float
    text: str
    speaker: str | None = None


def files(transcript: Transcript) -> dict[str, bytes]:
    """The transcript's files, by name."""
    shown = list(captions(transcript))
    return {
        "transcript.json": transcript.as_json(),
        "transcript.md": markdown(transcript).encode(),
        "transcript.vtt": vtt(shown).encode(),
        "transcript.srt": srt(shown).encode(),
    }


def captions(transcript: Transcript) -> Iterator[Caption]:
    """Cut the transcript into captions that can be read in time."""
    end = 0.0
    for segment in transcript.segments:
        for begin, finish, text in _cut(segment):
            start = max(begin, end)
            end = max(finish, start + _SHORTEST_SECONDS)
            yield Caption(round(start, 3), round(end, 3), text, segment.speaker)


def _cut(segment: Segment) -> Iterator[tuple[float, float, str]]:
    pieces = [(word.start, word.end, word.text) for word in segment.words] or _spread(segment)
    held: list[tuple[float, float, str]] = []
    for piece in pieces:
        text = " ".join(each[2] for each in (*held, piece))
        if held and (len(textwrap.wrap(text, _LINE)) > _LINES or piece[1] - held[0][0] > _LONGEST_SECONDS):
            yield held[0][0], held[-1][1], " ".join(each[2] for each in held)
            held = []
        held.append(piece)
    if held:
        yield held[0][0], held[-1][1], " ".join(each[2] for each in held)


def _spread(segment: Segment) -> list[tuple[float, float, str]]:
    """Words without times of their own, spread evenly over their segment."""
    words = segment.text.split()
    each = (segment.end - segment.start) / max(len(words), 1)
    return [
        (segment.start + number * each, segment.start + (number + 1) * each, word) for number, word in enumerate(words)
    ]


def vtt(captions: list[Caption]) -> str:
    """WebVTT (W3C): speakers as voice spans, text without markup."""
    cues = ["WEBVTT"]
    for caption in captions:
        text = _lines(caption.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
        voice = f"<v {caption.speaker}>" if caption.speaker else ""
        cues.append(f"{timestamp(caption.start, '.')} --> {timestamp(caption.end, '.')}\n{voice}{text}")
    return "\n\n".join(cues) + "\n"


def srt(captions: list[Caption]) -> str:
    """SubRip. Players take `<i>` in it for markup, so brackets become ones that look alike."""
    cues = []
    for number, caption in enumerate(captions, start=1):
        text = _lines(caption.text.replace("<", "‹").replace(">", "›"))
        speaker = f"{caption.speaker}: " if caption.speaker else ""
        cues.append(f"{number}\n{timestamp(caption.start, ',')} --> {timestamp(caption.end, ',')}\n{speaker}{text}\n")
    return "\n".join(cues)


def _lines(text: str) -> str:
    """The text in lines; none is empty, which would end the cue, and none holds an arrow, which would begin one."""
    printable = "".join(each if each.isprintable() else " " for each in text).replace("-->", "→")
    return "\n".join(textwrap.wrap(printable, _LINE)) or "…"


def markdown(transcript: Transcript) -> str:
    """transcript.md: a paragraph per turn, with its time and, if known, who speaks."""
    return "\n\n".join(["# Transcript", *map(_paragraph, turns(transcript))]) + "\n"


def _paragraph(turn: Segment) -> str:
    who = f" {plain(turn.speaker)}" if turn.speaker else ""
    return f"**{clock(turn.start)}{who}** {plain(turn.text)}"


def turns(transcript: Transcript) -> Iterator[Segment]:
    """Segments joined to paragraphs: one speaker, no long pause, some 30 s."""
    held: Segment | None = None
    for segment in transcript.segments:
        if (
            held is not None
            and held.speaker == segment.speaker
            and segment.start - held.end < _PAUSE_SECONDS
            and segment.end - held.start < _TURN_SECONDS
        ):
            held = Segment(
                held.start, segment.end, f"{held.text} {segment.text}", language=held.language, speaker=held.speaker
            )
            continue
        if held is not None:
            yield held
        held = segment
    if held is not None:
        yield held


def section(transcript: Transcript, *, doubtful: bool) -> str:
    """The section of `speech` in summary.md: how much is said in what language, and the beginning of it."""
    language = transcript.language or "an unknown language"
    doubt = " (doubtful)" if doubtful else ""
    paragraphs = list(turns(transcript))
    begin = f"{transcript.words:,} words, language {plain(language)}{doubt}."
    if len(paragraphs) > _OPENING_TURNS:
        begin += f" The first {_OPENING_TURNS} paragraphs; [transcript.md](transcript.md) has all."
    return "\n\n".join(["## Transcript", begin, *map(_paragraph, paragraphs[:_OPENING_TURNS])])
