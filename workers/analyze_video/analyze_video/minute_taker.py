"""Minutes by a language model: the transcript in parts, each answer checked, each unusable one replaced."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from analyze_video.minutes import MAX_SENTENCE, MAX_TITLE, Embed, Minutes, Point, Talk, chapters, extracted
from analyze_video.stage import Chapter
from switchyard.language.citing import MAX_CITES, Cited, cited, line_of, parsed, passages, quoted
from switchyard.language.models import Model, ModelFailed, prompt

log = logging.getLogger(__name__)

PART_BYTES: Final = 16_000
"""Of a part's transcript: some 4,000 tokens of English, and never more than 16,000."""
MAX_PARTS: Final = 16
"""Calls of one video, and one more to merge them."""
_MAX_POINTS = 5
_MAX_SUMMARY = 6
_MAX_CHAPTERS = 8
_TOKENS = 1500
_SECONDS = 120.0
_BESIDE_TEXT = 60  # bytes of a passage


@dataclass
class MinuteTaker:
    """Takes minutes by a model, and by `extracted` where that fails.

    Attributes:
        model: writes.
        embed: as for `extracted`.
        progress: called before each call with the share done; may raise to stop.
        calls: how many there were.
        fallbacks: what the model did not write: the number of a part from 1, or `merge`, and why.
    """

    model: Model
    embed: Embed | None
    progress: Callable[[float], None]
    calls: int = 0
    fallbacks: list[dict[str, Any]] = field(default_factory=list)
    _lost: str = ""  # why further calls would be useless

    def take(self, talk: Talk) -> tuple[Minutes, bool]:
        """The minutes, and whether anything of them is the model's."""
        parts = _parts(talk)
        taken: list[Minutes] = []
        for number, part in enumerate(parts, start=1):
            self.progress((number - 1) / (len(parts) + 1))
            minutes = self._part(talk, part)
            if minutes is None:
                self._fell_back(number)
            taken.append(minutes or _extracted(talk, part, self.embed))
        is_written = len(self.fallbacks) < len(parts)
        begins = [(each.start, each.title) for minutes in taken for each in minutes.chapters]
        highlights = [point for minutes in taken for point in minutes.highlights]
        summary = taken[0].summary if len(taken) == 1 else self._merged(taken, ask=is_written)
        return Minutes(chapters(begins, talk.duration), summary, highlights), is_written

    def _part(self, talk: Talk, part: Sequence[int]) -> Minutes | None:
        """The model's minutes of a part; None if they are unusable. The ends of its chapters mean nothing."""
        texts, sources = _passages(talk, part)
        answer = self._ask("summary", f"<transcript>\n{passages(texts)}\n</transcript>")
        summary = cited(answer.get("summary"), sources, _MAX_POINTS)
        begins = _begins(answer.get("chapters"), talk, frozenset(part))
        if not (summary and begins):
            return None
        said = {number: talk.segments[number].text for number in part}
        highlights = quoted(answer.get("highlights"), said, _MAX_POINTS)
        return Minutes(begins, _points(summary), sorted(_points(highlights), key=lambda point: point.segments))

    def _merged(self, taken: Sequence[Minutes], *, ask: bool) -> list[Point]:
        """A few sentences for all parts. Without the model, the first sentences of parts from beginning to end."""
        if ask:
            self.progress(len(taken) / (len(taken) + 1))
            numbered = dict(enumerate((point for minutes in taken for point in minutes.summary), start=1))
            texts = {number: {"text": point.text} for number, point in numbered.items()}
            answer = self._ask("merge", f"<minutes>\n{passages(texts)}\n</minutes>")
            sources = {number: point.text for number, point in numbered.items()}
            if summary := cited(answer.get("summary"), sources, _MAX_SUMMARY):
                return [Point(each.text, _all_of(numbered[number] for number in each.cites)) for each in summary]
            self._fell_back("merge")
        firsts = [minutes.summary[0] for minutes in taken if minutes.summary]
        return firsts[:: max(1, -(-len(firsts) // _MAX_SUMMARY))]

    def _ask(self, name: str, data: str) -> dict[str, Any]:
        """The JSON of the model's answer; empty if there is none."""
        if self._lost:
            return {}
        self.calls += 1
        try:
            return parsed(self.model.ask(prompt(name, _TOKENS), data, seconds=_SECONDS)) or {}
        except ModelFailed as failed:
            log.warning("the model failed: %s", failed)
            self._lost = failed.code if failed.is_lasting else ""
            return {}

    def _fell_back(self, part: int | str) -> None:
        self.fallbacks.append({"part": part, "code": self._lost or "UNUSABLE"})


def _parts(talk: Talk) -> list[list[int]]:
    """The numbers of the segments of each part. Of talks beyond all parts, evenly chosen segments."""
    sizes = [len(line_of(each.text, MAX_SENTENCE * 4).encode()) + _BESIDE_TEXT for each in talk.segments]
    share = min(1.0, 0.9 * MAX_PARTS * PART_BYTES / max(1, sum(sizes)))
    parts: list[list[int]] = [[]]
    size = 0
    for number, each in enumerate(sizes):
        if int((number + 1) * share) == int(number * share):
            continue
        if parts[-1] and size + each > PART_BYTES:
            if len(parts) == MAX_PARTS:
                break
            parts.append([])
            size = 0
        parts[-1].append(number)
        size += each
    return parts


def _passages(talk: Talk, part: Sequence[int]) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """What the model gets of each segment, and what a sentence may quote of it."""
    texts = {}
    for number in part:
        segment = talk.segments[number]
        fields = {
            "speaker": segment.speaker,
            "text": line_of(segment.text, MAX_SENTENCE * 4),
            "onScreen": line_of(talk.shown(number, number + 1), MAX_SENTENCE),
        }
        texts[number] = {name: value for name, value in fields.items() if value or name == "text"}
    return texts, {number: f"{each['text']} {each.get('onScreen', '')}" for number, each in texts.items()}


def _begins(told: object, talk: Talk, part: frozenset[int]) -> list[Chapter]:
    """Chapters as the model tells them, as far as they begin with a segment of the part."""
    found = []
    for each in told if isinstance(told, list) else ():
        match each:
            case {"first": int(first), "title": str(title)} if first in part and first is not True:
                start = talk.begin(first)
                found.append(Chapter(start, start, title))
    return [each for each in found if line_of(each.title, MAX_TITLE)][:_MAX_CHAPTERS]


def _extracted(talk: Talk, part: Sequence[int], embed: Embed | None) -> Minutes:
    first, end = part[0], part[-1] + 1
    found = extracted(replace(talk, segments=talk.segments[first:end]), embed)

    def shifted(points: Sequence[Point]) -> list[Point]:
        return [Point(each.text, tuple(number + first for number in each.segments)) for each in points]

    begins = [found.chapters[0]._replace(start=talk.begin(first)), *found.chapters[1:]]
    return Minutes(begins, shifted(found.summary), shifted(found.highlights))


def _points(sentences: Sequence[Cited]) -> list[Point]:
    return [Point(each.text, each.cites) for each in sentences]


def _all_of(points: Iterable[Point]) -> tuple[int, ...]:
    return tuple(sorted({number for point in points for number in point.segments})[:MAX_CITES])
