"""Cuts what is said and shown in a video into chunks of some 30 s, and writes and reads a chunk's metadata. Pure.

A chunk is what search finds: long enough to mean something, short enough to be watched. Chunks end where a segment of
the transcript ends, if there is one in time, and never in the middle of a word.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from switchyard.search.ports import MAX_CHUNKS, Metadata

TEXT: Final = "text"
"""The metadata key of what is said."""
SCREEN: Final = "screen"
"""The metadata key of what is written on screen."""
NOT_FILTERABLE: Final = (TEXT, SCREEN, "times", "turns", "frame", "video")
"""Metadata that filters can't name: S3 Vectors allows only 2 KB of the other."""
NAMES: Final = (*NOT_FILTERABLE, "owner", "job", "kind", "date", "start", "end", "speakers")
"""All metadata of a chunk."""

_SECONDS = 30.0
_WORDS = 150  # about what the embedding reads; faster speech gets shorter chunks
# Bounds that keep the metadata below 40 KB, of which 2 KB filterable, whatever the characters.
_MAX_WORD = 100
_MAX_TEXT_BYTES = 12_000
_MAX_SCREEN = 2000
_MAX_SPEAKERS = 8
_MAX_SPEAKER = 32
_MAX_TURNS = 60
_NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Word:
    """A word and when it is said, in seconds."""

    start: float
    end: float
    text: str
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a video, in seconds, with what is said and what is written on screen in it."""

    start: float
    end: float
    words: tuple[Word, ...] = ()
    screen: str = ""

    @property
    def text(self) -> str:
        """What is said. Words are separated by one space and have none."""
        return " ".join(word.text for word in self.words)

    @property
    def content(self) -> str:
        """What is embedded."""
        return f"{self.text}\n{self.screen}".strip()

    @property
    def speakers(self) -> list[str]:
        """Who speaks, in order of appearance."""
        return list(dict.fromkeys(word.speaker for word in self.words if word.speaker))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the chunks of a job come from.

    Attributes:
        owner: The user whose job it is; None for nobody.
        job_id: The job.
        kind: Its kind.
        date: When the job was accepted, in seconds since the epoch.
        video: The key of the file to watch.
    """

    owner: str | None
    job_id: str
    kind: str
    date: float
    video: str


def owner_name(owner: str | None) -> str:
    """The owner in keys and filters. No user's id makes the name that stands for nobody."""
    return _NOBODY if owner is None else f"user:{owner}"


def chunks_of(segments: Iterable[Mapping[str, Any]], screen: Iterable[tuple[float, str]] = ()) -> list[Chunk]:
    """Cuts a video into at most MAX_CHUNKS chunks, in order. Longer videos get longer chunks.

    Args:
        segments: The transcript's, as transcript.json has them: start, end, speaker, text and, if known, words.
        screen: When a text was seen, in seconds, and the text.
    """
    parts = [words for segment in segments if (words := tuple(_words(segment)))]
    shown = sorted(screen)
    chunks: list[Chunk] = []
    for longer in range(8):
        seconds = _SECONDS * 2**longer
        chunks = _with_screen(list(_cut(parts, seconds, _WORDS * 2**longer)), shown, seconds)
        if len(chunks) <= MAX_CHUNKS:
            break
    return chunks[:MAX_CHUNKS]


def metadata_of(chunk: Chunk, origin: Origin, frame: str = "") -> Metadata:
    """A chunk's metadata. `frame` is the key of a picture of it."""
    first = chunk.words[0].start if chunk.words else chunk.start
    speakers = [speaker[:_MAX_SPEAKER] for speaker in chunk.speakers[:_MAX_SPEAKERS]]
    metadata: dict[str, Any] = {
        "owner": owner_name(origin.owner),
        "job": origin.job_id,
        "kind": origin.kind,
        "date": origin.date,
        "start": round(chunk.start, 2),
        "end": round(chunk.end, 2),
        "speakers": speakers,
        TEXT: chunk.text,
        SCREEN: chunk.screen,
        # When each word begins, in tenths of a second after the first.
        "times": " ".join(str(max(0, round(10 * (word.start - first)))) for word in chunk.words),
        # From which word on who speaks.
        "turns": [f"{number} {speaker[:_MAX_SPEAKER]}" for number, speaker in islice(_turns(chunk.words), _MAX_TURNS)],
        "frame": frame,
        "video": origin.video,
    }
    return {name: value for name, value in metadata.items() if value not in ("", [])}


def _words(segment: Mapping[str, Any]) -> Iterator[Word]:
    """A segment's words. Without times of words, they are spread over the segment."""
    speaker, start, end = segment.get("speaker"), float(segment["start"]), float(segment["end"])
    if timed := segment.get("words"):
        for word in timed:
            begin, over = float(word["start"]), float(word["end"])
            for text in _plain(word["text"]):
                yield Word(begin, max(begin, over), text, speaker)
        return
    texts = _plain(segment.get("text", ""))
    step = max(0.0, end - start) / max(1, len(texts))
    for number, text in enumerate(texts):
        yield Word(start + number * step, start + (number + 1) * step, text, speaker)


def _plain(text: object) -> list[str]:
    """The words of a text, without what can't be encoded as UTF-8."""
    clean = str(text).encode("utf-8", "replace").decode()
    return [word[:_MAX_WORD] for word in clean.split()]


def _cut(parts: Iterable[tuple[Word, ...]], seconds: float, most: int) -> Iterator[Chunk]:
    """Collects segments until the next would make the chunk too long; cuts segments that are too long themselves."""
    held: list[Word] = []
    size = 0
    for part in parts:
        if held and (part[-1].end - held[0].start > seconds or len(held) + len(part) > most):
            yield _chunk(held)
            held, size = [], 0
        for word in part:
            size += len(word.text.encode()) + 1
            if held and (word.end - held[0].start > seconds or len(held) >= most or size > _MAX_TEXT_BYTES):
                yield _chunk(held)
                held, size = [], len(word.text.encode()) + 1
            held.append(word)
    if held:
        yield _chunk(held)


def _chunk(words: Sequence[Word]) -> Chunk:
    return Chunk(words[0].start, max(word.end for word in words), tuple(words))


def _with_screen(chunks: list[Chunk], shown: Sequence[tuple[float, str]], seconds: float) -> list[Chunk]:
    """Adds each text on screen to the chunk in which it was seen; texts beside all chunks make chunks of their own."""
    starts = [chunk.start for chunk in chunks]
    texts: dict[int, list[str]] = {}
    alone: dict[float, list[str]] = {}
    for time, text in shown:
        place = bisect_right(starts, time) - 1
        if place >= 0 and time <= chunks[place].end + seconds / 2:
            texts.setdefault(place, []).append(text)
        else:
            alone.setdefault(time // seconds * seconds, []).append(text)
    spoken = [
        Chunk(each.start, each.end, each.words, _joined(texts.get(place, ()))) for place, each in enumerate(chunks)
    ]
    silent = [Chunk(start, start + seconds, (), _joined(found)) for start, found in alone.items()]
    return sorted((each for each in (*spoken, *silent) if each.content), key=lambda chunk: chunk.start)


def _joined(texts: Iterable[str]) -> str:
    """The texts without repetitions: a slide stands still for several pictures."""
    return "\n".join(dict.fromkeys(" ".join(_plain(text)) for text in texts))[:_MAX_SCREEN].strip()


def _turns(words: Sequence[Word]) -> Iterator[tuple[int, str]]:
    last: str | None = None
    for number, word in enumerate(words):
        if word.speaker and word.speaker != last:
            yield number, word.speaker
            last = word.speaker
