"""The transcript: who says what, when. transcript.json, version 1, documented in README.md."""

import json
from dataclasses import dataclass, field
from typing import Any

VERSION = 1


def clean(text: str) -> str:
    """A service's text on one line, without what UTF-8 can't hold: half a surrogate pair, which JSON can."""
    return " ".join(text.encode("utf-8", "replace").decode().split())


@dataclass(frozen=True)
class Word:
    """A spoken word. Times in seconds from the beginning of the video; `probability` 0 to 1, or None if unknown."""

    start: float
    end: float
    text: str
    probability: float | None = None


@dataclass(frozen=True)
class Segment:
    """What one speaker says without a pause: a sentence or two. `words` is empty if the backend knows no word times."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    language: str | None = None
    speaker: str | None = None


@dataclass
class Transcript:
    """The transcript of a video.

    Attributes:
        language: the language of most of the speech, as in ISO 639; None if nobody knows.
        language_probability: 0 to 1; None if the backend doesn't say.
        duration: the video's, in seconds.
        segments: ordered by start.
    """

    language: str | None
    language_probability: float | None
    duration: float
    segments: list[Segment] = field(default_factory=list)

    @property
    def speakers(self) -> list[str]:
        """Names of the speakers, sorted."""
        return sorted({segment.speaker for segment in self.segments if segment.speaker})

    @property
    def words(self) -> int:
        """The number of words."""
        return sum(len(segment.words) or len(segment.text.split()) for segment in self.segments)

    def content(self) -> dict[str, Any]:
        """The content of transcript.json."""
        return {
            "version": VERSION,
            "language": self.language,
            "languageProbability": self.language_probability,
            "duration": self.duration,
            "segments": [_segment(segment) for segment in self.segments],
        }

    def as_json(self) -> bytes:
        """The bytes of transcript.json."""
        return json.dumps(self.content(), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "start": segment.start,
        "end": segment.end,
        "speaker": segment.speaker,
        "language": segment.language,
        "text": segment.text,
        "words": [
            {"start": word.start, "end": word.end, "text": word.text, "probability": word.probability}
            for word in segment.words
        ],
    }
