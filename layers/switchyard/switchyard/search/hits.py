"""Reads a match as callers see it: the moment, who speaks, the text with the matching words marked. Pure.

Workers write the metadata, and they process what strangers send: a match of unexpected shape is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from switchyard.search.chunks import SCREEN, TEXT, owner_name

if TYPE_CHECKING:
    from switchyard.search.ports import Match, Metadata

_WORD = re.compile(r"\w+")
_ENDINGS = re.compile(r"(?:ing|ed|es|s|e)$")
_COMMON = frozenset(
    _WORD.findall(
        """
        a about an and are as at be been but by can could did do does for from had has have how i if in is it its
        me my of on or our she so that the their them then there they this to was we were what when where which
        who why will with would you your he him her his not no say said tell
        """
    )
)
"""English words that say nothing about what is looked for: they would find everything."""
_MAX_WORDS = 1024


@dataclass(frozen=True, slots=True)
class Hit:
    """A moment of a video.

    Attributes:
        owner: The user whose job it is; None for nobody.
        at: The second at which the first matching word is said; that of the chunk's start if none is said.
        marks: Where matching words begin and end in `text`, in code points.
        speaker: Who speaks at `at`.
        frame, video: Keys as the worker wrote them; empty if it wrote none.
    """

    owner: str | None
    job_id: str
    kind: str
    start: float
    end: float
    at: float
    text: str
    marks: list[tuple[int, int]]
    screen: str
    speaker: str | None
    speakers: list[str] = field(default_factory=list)
    frame: str = ""
    video: str = ""


def telling_words(question: str) -> str:
    """The words of a question that full-text search looks for, at most 1,024 characters."""
    words = (word for word in _WORD.findall(question) if word.casefold() not in _COMMON)
    return " ".join(dict.fromkeys(words))[:_MAX_WORDS].strip()


def read_hit(match: Match, question: str) -> Hit | None:
    """The hit of a match; None if its metadata is not as the worker writes it."""
    match match.metadata:
        case {
            "owner": str(owner),
            "job": str(job_id),
            "kind": str(kind),
            "start": int() | float() as start,
            "end": end,
        }:
            pass
        case _:
            return None
    if not isinstance(end, int | float):
        return None
    text, screen = _text(match.metadata, TEXT), _text(match.metadata, SCREEN)
    user = owner.removeprefix("user:") if owner.startswith("user:") else None
    if owner_name(user) != owner:
        return None
    spans, words = _marks(text, question)
    times = [int(each) for each in _text(match.metadata, "times").split() if each.isdecimal()]
    first = words[0] if words else 0
    at = start + (times[first] / 10 if first < len(times) else 0)
    speakers = _texts(match.metadata, "speakers")
    return Hit(
        user,
        job_id,
        kind,
        float(start),
        float(end),
        round(min(at, float(end)), 1),
        text,
        spans,
        screen,
        _speaker(_texts(match.metadata, "turns"), first),
        speakers,
        _text(match.metadata, "frame"),
        _text(match.metadata, "video"),
    )


def _marks(text: str, question: str) -> tuple[list[tuple[int, int]], list[int]]:
    """Where words of the question are in a text, and the numbers of those words in it."""
    wanted = {_stem(word) for word in _WORD.findall(telling_words(question))}
    spans, numbers = [], []
    for number, found in enumerate(re.finditer(r"\S+", text)):
        for word in _WORD.finditer(found[0]):
            if _stem(word[0]) in wanted:
                spans.append((found.start() + word.start(), found.start() + word.end()))
                numbers.append(number)
    return spans, numbers


def _stem(word: str) -> str:
    """A word in lower case without an ending, if enough is left of it."""
    word = word.casefold()
    short = _ENDINGS.sub("", word)
    return short if len(short) >= 3 else word


def _speaker(turns: Sequence[str], word: int) -> str | None:
    """Who says a word. Each turn is the number of its first word and the speaker."""
    found = None
    for turn in turns:
        number, _, speaker = turn.partition(" ")
        if not number.isdecimal() or int(number) > word:
            break
        found = speaker
    return found


def _text(metadata: Metadata, name: str) -> str:
    value = metadata.get(name)
    return value if isinstance(value, str) else ""


def _texts(metadata: Metadata, name: str) -> list[str]:
    value: object = metadata.get(name)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
