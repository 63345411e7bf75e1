"""Reads what Amazon Transcribe has understood: the JSON document that a transcription job writes to S3."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from analyze_video.transcript import Segment, Word, clean

_ENDS = (".", "?", "!", "。", "？", "！")
_PAUSE_SECONDS = 1.0
_LONGEST_SECONDS = 20.0
_MOST_SECONDS = 1e6


class DocumentError(Exception):
    """It isn't such a document."""


def read(body: bytes) -> list[Segment]:
    """The sentences of a document, with words, language and speaker as far as it has them; ordered by time.

    Speakers are `SPEAKER_01` and so on, in the order of appearance.

    Raises:
        DocumentError: it isn't one. Single items that make no sense are left out.
    """
    try:
        results = json.loads(body)["results"]
        items = results["items"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise DocumentError("not a transcript of Amazon Transcribe") from error
    if not isinstance(items, list):
        raise DocumentError("its items are no list")
    names: dict[str, str] = {}
    words = sorted(_words(items, _labels(results)), key=lambda each: each.word.start)
    return [_segment(some, names) for some in _sentences(words)]


def _labels(results: dict[str, Any]) -> dict[str, str]:
    """Who speaks, by the time at which a word begins. Newer documents also have it in each item."""
    found: dict[str, str] = {}
    labels = results.get("speaker_labels")
    for segment in _dicts(labels.get("segments") if isinstance(labels, dict) else None):
        for item in _dicts(segment.get("items")):
            start, label = item.get("start_time"), item.get("speaker_label")
            if isinstance(start, str) and isinstance(label, str):
                found[start] = label
    return found


def _dicts(told: object) -> list[dict[str, Any]]:
    return [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []


class _Said:
    """A word, and what else is known of it."""

    def __init__(self, word: Word, language: str | None, speaker: str | None) -> None:
        self.word, self.language, self.speaker = word, language, speaker


def _words(items: list[Any], labels: dict[str, str]) -> Iterator[_Said]:
    """Words with the punctuation that follows them: it has no time of its own."""
    held: _Said | None = None
    for item in items:
        told = _Item(item, labels)
        if told.kind == "punctuation" and held:
            old = held.word
            held.word = Word(old.start, old.end, old.text + told.text, old.probability)
        elif told.kind == "pronunciation" and told.text and told.start is not None and told.end is not None:
            if held:
                yield held
            end = max(told.start, told.end)
            held = _Said(Word(told.start, end, told.text, told.confidence), told.language, told.speaker)
    if held:
        yield held


class _Item:
    """An entry of `results.items`. Numbers in it are strings."""

    def __init__(self, item: object, labels: dict[str, str]) -> None:
        told: dict[str, Any] = item if isinstance(item, dict) else {}
        alternatives = told.get("alternatives")
        best = alternatives[0] if isinstance(alternatives, list) and alternatives else {}
        best = best if isinstance(best, dict) else {}
        text, language = best.get("content"), told.get("language_code")
        speaker = told.get("speaker_label") or labels.get(str(told.get("start_time")))
        self.kind = told.get("type")
        self.text = clean(text) if isinstance(text, str) else ""
        self.start, self.end = _seconds(told.get("start_time")), _seconds(told.get("end_time"))
        confidence = _number(best.get("confidence"))
        self.confidence = min(max(confidence, 0.0), 1.0) if confidence is not None else None
        self.language = code_of(language) if isinstance(language, str) else None
        self.speaker = speaker if isinstance(speaker, str) else None


def code_of(language: str) -> str | None:
    """The code of a language of Transcribe's, such as `en` of `en-US`; None if it isn't one."""
    code = language.partition("-")[0]
    return code if code.isascii() and code.isalpha() and 2 <= len(code) <= 3 and code.islower() else None


def _seconds(told: object) -> float | None:
    number = _number(told)
    return round(number, 2) if number is not None and 0 <= number < _MOST_SECONDS else None


def _number(told: object) -> float | None:
    if isinstance(told, bool) or not isinstance(told, int | float | str) or len(str(told)) > 40:
        return None
    try:
        return float(told)
    except ValueError:
        return None


def _sentences(words: list[_Said]) -> Iterator[list[_Said]]:
    """Words together until a sentence, a speaker or a language ends, or nobody speaks for a while."""
    held = words[:1]
    for before, word in pairwise(words):
        if (
            before.word.text.endswith(_ENDS)
            or (before.speaker, before.language) != (word.speaker, word.language)
            or word.word.start - before.word.end > _PAUSE_SECONDS
            or word.word.end - held[0].word.start > _LONGEST_SECONDS
        ):
            yield held
            held = []
        held.append(word)
    if held:
        yield held


def _segment(said: list[_Said], names: dict[str, str]) -> Segment:
    words, first = tuple(each.word for each in said), said[0]
    speaker = names.setdefault(first.speaker, f"SPEAKER_{len(names) + 1:02d}") if first.speaker else None
    end = max(word.end for word in words)
    return Segment(words[0].start, end, " ".join(word.text for word in words), words, first.language, speaker)
