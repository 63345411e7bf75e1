"""The minutes of a video: chapters, a summary and highlights, of which each sentence names the segments it is from."""

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final

from analyze_video.stage import Chapter, OnScreen
from analyze_video.transcript import Segment
from switchyard.language.citing import line_of
from switchyard.search.hits import telling_words

MAX_TITLE: Final = 80
MAX_SENTENCE: Final = 300
_SHORTEST_CHAPTER = 15.0  # seconds
_SHORTEST_TOPIC = 20.0
_MOST_TOPICS = 40
_MOST_SUMMARY = 5
_SHORTEST_SENTENCE = 5  # words: a shorter one says nothing on its own
_PENALTIES: Final = {"minilm": 0.4, "words": 0.7}
"""What a change of topic must gain, by the sort of vectors. Chosen on the first talk of tests/unit/workers/talks.py."""
_HINT = 0.8  # of a penalty, where a scene begins or somebody pauses
_PAUSE_SECONDS = 2.0
_NEAR_SECONDS = 1.5
_WORD = re.compile(r"[^\W\d_]{4,}")

type Embed = Callable[[Sequence[str]], Any]
"""Makes a row of length 1 of each text."""


@dataclass(frozen=True)
class Point:
    """A sentence, and the numbers of the segments of the transcript that it is from: at least one, ascending."""

    text: str
    segments: tuple[int, ...]


@dataclass(frozen=True)
class Minutes:
    """What is worth knowing of a video. Points are in the order of the video."""

    chapters: list[Chapter] = field(default_factory=list)
    summary: list[Point] = field(default_factory=list)
    highlights: list[Point] = field(default_factory=list)


@dataclass(frozen=True)
class Talk:
    """What minutes are made from.

    Attributes:
        segments: the transcript's.
        duration: the video's, in seconds.
        cuts: when scenes begin, ascending.
        on_screen: what is written on screen.
    """

    segments: Sequence[Segment]
    duration: float
    cuts: Sequence[float] = ()
    on_screen: Sequence[OnScreen] = ()

    def begin(self, number: int) -> float:
        """When a chapter begins that begins with a segment: at the cut before the segment, if there is one."""
        start = self.segments[number].start
        before = self.segments[number - 1].end if number else 0.0
        cuts = [cut for cut in self.cuts if before - 0.5 <= cut <= start]
        return cuts[-1] if cuts else start

    def shown(self, first: int, end: int) -> str:
        """What is written on screen from one segment to another, which isn't included."""
        since = self.segments[first].start if first else 0.0
        until = self.segments[end].start if end < len(self.segments) else self.duration + 1
        return " ".join(dict.fromkeys(each.text for each in self.on_screen if since <= each.time < until))


def chapters(begins: Iterable[tuple[float, str]], duration: float) -> list[Chapter]:
    """Chapters that cover the video in order and without gaps, from where they may begin and their titles.

    Those without a title, beyond the end, or too close to the one before become a part of that one.
    """
    shortest = min(_SHORTEST_CHAPTER, duration / 2)
    kept: list[tuple[float, str]] = []
    for start, title in sorted(begins, key=lambda each: each[0]):
        titled = line_of(title, MAX_TITLE)
        if not titled or not 0 <= start < duration:
            continue
        if not kept or (start - kept[-1][0] >= shortest and duration - start >= shortest):
            kept.append((start, titled))
    starts = [0.0, *(round(start, 2) for start, _ in kept[1:])]
    titles = [title for _, title in kept]
    # Without a title there is no chapter, and nothing to cover.
    return [Chapter(*each) for each in zip(starts, [*starts[1:], duration], titles, strict=False)]


def extracted(talk: Talk, embed: Embed | None) -> Minutes:
    """Minutes of sentences that were said, without a language model. The same talk always gives the same.

    Args:
        talk: with at least one segment.
        embed: makes vectors; None to compare words.
    """
    from analyze_video import topics  # noqa: PLC0415 - numpy

    groups = _groups(len(talk.segments), topics.MOST)
    texts = [" ".join(talk.segments[number].text for number in group) for group in groups]
    vectors = embed(texts) if embed else topics.bag_of_words(texts)
    lengths = [talk.segments[group[-1]].end - talk.segments[group[0]].start for group in groups]
    shortest = max(_SHORTEST_TOPIC, sum(lengths) / _MOST_TOPICS)
    begins = [0, *topics.changes(vectors, lengths, shortest, _penalties(talk, groups, embed))]

    good = [row for row, text in enumerate(texts) if len(text.split()) >= _SHORTEST_SENTENCE] or list(range(len(texts)))
    ranked: list[list[int]] = []
    for first, end in zip(begins, [*begins[1:], len(texts)], strict=True):
        rows = [row for row in good if first <= row < end]
        ranked.append([rows[each] for each in topics.central(vectors[rows], _MOST_SUMMARY + 1)] if rows else [])
    # The best sentence of each chapter, of the longest first; then the second ones, and so on.
    longest = sorted(zip(begins, [*begins[1:], len(texts)], ranked, strict=True), key=lambda each: each[0] - each[1])
    order = [row for turn in zip_longest(*(rows for *_, rows in longest)) for row in turn if row is not None]
    chosen = order[: min(_MOST_SUMMARY, -(-len(good) // _MOST_SUMMARY))]
    telling = [row for rows in ranked for row in [each for each in rows if each not in chosen][:1]]

    def points(rows: Iterable[int]) -> list[Point]:
        return [Point(line_of(texts[row], MAX_SENTENCE), tuple(groups[row])) for row in sorted(rows)]

    titles = _titles(talk, [groups[row][0] for row in begins])
    starts = (talk.begin(groups[row][0]) for row in begins)
    return Minutes(
        chapters(zip(starts, titles, strict=True), talk.duration),
        points(chosen),
        points(telling),
    )


def _groups(count: int, most: int) -> list[range]:
    """Numbers of segments that follow each other, in at most so many groups."""
    size = -(-count // most)
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def _penalties(talk: Talk, groups: Sequence[range], embed: Embed | None) -> list[float]:
    usual = _PENALTIES["minilm" if embed else "words"] * math.log(len(groups) + 1)
    found = []
    for group in groups:
        start = talk.segments[group[0]].start
        pause = start - talk.segments[group[0] - 1].end if group[0] else 0.0
        place = bisect_right(talk.cuts, start)
        near = any(abs(cut - start) <= _NEAR_SECONDS for cut in talk.cuts[max(0, place - 1) : place + 1])
        found.append(usual * (_HINT if near or pause >= _PAUSE_SECONDS else 1.0))
    return found


def _titles(talk: Talk, firsts: Sequence[int]) -> list[str]:
    """The most telling words of each chapter: those that it says often, and the others seldom."""
    ends = [*firsts[1:], len(talk.segments)]
    texts = [
        " ".join([*(each.text for each in talk.segments[first:end]), talk.shown(first, end)])
        for first, end in zip(firsts, ends, strict=True)
    ]
    words = [[word for word in _WORD.findall(text) if telling_words(word)] for text in texts]
    counts = [Counter(word.casefold() for word in each) for each in words]
    total = sum(counts, Counter[str]())
    titles = []
    for first, said, count in zip(firsts, words, counts, strict=True):
        as_said = {word.casefold(): word for word in reversed(said)}
        best = sorted(count, key=lambda word: (-(count[word] ** 2) / total[word], word))
        repeated = [word for word in best if count[word] > 1][:3]
        title = ", ".join(as_said[word] for word in repeated) or line_of(talk.segments[first].text, MAX_TITLE)
        titles.append(title[:1].upper() + title[1:] or "…")
    return titles
