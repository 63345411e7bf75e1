"""Gives a model numbered passages as data, and checks what it cites. Pure.

A model's answer is as untrusted as what it read: whoever speaks in a video may tell the model what to write. So an
answer can only ever become sentences with citations that exist, and quotations that are in what they cite.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MAX_CITES: Final = 8
"""Citations that a sentence keeps."""
_MAX_SENTENCE = 600
_QUOTATION = re.compile(r'"([^"]+)"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|»([^«]+)«')
_NOT_WORDS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Cited:
    """A sentence, and the numbers of the passages that it cites: at least one, ascending."""

    text: str
    cites: tuple[int, ...]


def passages(texts: Mapping[int, Mapping[str, Any]]) -> str:
    """Numbered passages as data for a model: a line of JSON each.

    JSON's strings end where they end, whatever is in them; and without `<` no text can close the tag around it.
    """
    lines = (json.dumps({"n": number, **fields}, ensure_ascii=False) for number, fields in texts.items())
    return "\n".join(line.replace("<", "\\u003c") for line in lines)


def parsed(answer: str) -> dict[str, Any] | None:
    """The JSON object in a model's answer, which may be in a code block or between sentences; None if it has none."""
    begin, end = answer.find("{"), answer.rfind("}")
    try:
        found = json.loads(answer[begin : end + 1])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def cited(told: object, sources: Mapping[int, str], most: int) -> list[Cited]:
    """The sentences of an answer that hold: objects with `text` and `cites`.

    A citation of a passage that doesn't exist is dropped, and so is a sentence without any other. A sentence with a
    quotation that isn't in the passages that it cites is dropped.

    Args:
        told: that part of the answer, of whatever shape.
        sources: what may be cited.
        most: how many sentences.
    """
    kept = []
    for each in told if isinstance(told, list) else ():
        text, cites = _sentence(each), _cites(each, sources)
        if text and cites and all(is_in(quotation, cites, sources) for quotation in _quotations(text)):
            kept.append(Cited(text, cites))
    return kept[:most]


def quoted(told: object, sources: Mapping[int, str], most: int) -> list[Cited]:
    """As `cited`, for sentences that are quotations as a whole: in the words of the passages that they cite."""
    kept = (Cited(_sentence(each), _cites(each, sources)) for each in (told if isinstance(told, list) else ()))
    return [each for each in kept if each.cites and is_in(each.text, each.cites, sources)][:most]


def is_in(quotation: str, cites: Sequence[int], sources: Mapping[int, str]) -> bool:
    """Whether the cited passages have these words in this order. Case, punctuation and spaces don't count."""
    words = _words(quotation)
    return bool(words) and any(f" {words} " in f" {_words(text)} " for text in _runs(cites, sources))


def line_of(text: object, most: int) -> str:
    """A text as one line without control characters, cut between words to `most` characters; empty for no text."""
    if not isinstance(text, str):
        return ""
    # What can't be encoded as UTF-8 could be in no file.
    readable = text.encode("utf-8", "replace").decode()
    line = " ".join("".join(each if each.isprintable() else " " for each in readable).split())
    if len(line) <= most:
        return line
    return f"{line[: most - 1].rsplit(' ', 1)[0].rstrip(',;:–—- ')}…"


def _sentence(told: object) -> str:
    return line_of(told.get("text"), _MAX_SENTENCE) if isinstance(told, dict) else ""


def _cites(told: object, sources: Mapping[int, str]) -> tuple[int, ...]:
    numbers = told.get("cites") if isinstance(told, dict) else None
    if not isinstance(numbers, list):
        return ()
    exist = {number for number in numbers if type(number) is int and number in sources}
    return tuple(sorted(exist)[:MAX_CITES])


def _quotations(text: str) -> Iterator[str]:
    for match in _QUOTATION.finditer(text):
        yield next(filter(None, match.groups()))


def _runs(cites: Sequence[int], sources: Mapping[int, str]) -> Iterator[str]:
    """The cited passages; those that follow each other as one text, since a sentence may go on in the next."""
    held: list[int] = []
    for number in cites:
        if held and number != held[-1] + 1:
            yield _joined(held, sources)
            held = []
        held.append(number)
    yield _joined(held, sources)


def _joined(numbers: Iterable[int], sources: Mapping[int, str]) -> str:
    return " ".join(sources[number] for number in numbers)


def _words(text: str) -> str:
    return _NOT_WORDS.sub(" ", text.casefold()).strip()
