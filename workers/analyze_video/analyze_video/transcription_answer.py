"""Reads what a service with OpenAI's `POST /audio/transcriptions` has understood: `verbose_json`, or `json`."""

import json
from typing import Any, Final, TypeGuard

from analyze_video.recognition import Sentence
from analyze_video.transcript import Word, clean

MOST_BYTES: Final = 2**20
"""Of an answer: half a minute has some hundred words."""
_CODES = (
    "afrikaans:af arabic:ar armenian:hy azerbaijani:az belarusian:be bosnian:bs bulgarian:bg catalan:ca "
    "chinese:zh croatian:hr czech:cs danish:da dutch:nl english:en estonian:et finnish:fi french:fr galician:gl "
    "german:de greek:el hebrew:he hindi:hi hungarian:hu icelandic:is indonesian:id italian:it japanese:ja "
    "kannada:kn kazakh:kk korean:ko latvian:lv lithuanian:lt macedonian:mk malay:ms maori:mi marathi:mr nepali:ne "
    "norwegian:no persian:fa polish:pl portuguese:pt romanian:ro russian:ru serbian:sr slovak:sk slovenian:sl "
    "spanish:es swahili:sw swedish:sv tagalog:tl tamil:ta thai:th turkish:tr ukrainian:uk urdu:ur vietnamese:vi "
    "welsh:cy "
)
_CODE_OF: Final = dict(pair.split(":") for pair in _CODES.split())  # verbose_json names languages in English

type Span = tuple[float, float]
"""Begin and end of an utterance, in seconds from the beginning of the video."""


class AnswerError(Exception):
    """It isn't such an answer."""


def read(body: bytes, start: float, end: float) -> tuple[str | None, tuple[Sentence, ...]]:
    """The language, as in ISO 639 if it is a known one, and the sentences of an utterance from `start` to `end`.

    Raises:
        AnswerError: it isn't the documented JSON. Parts of it that make no sense are left out.
    """
    try:
        answer = json.loads(body) if len(body) <= MOST_BYTES else None
    except (ValueError, RecursionError) as error:
        raise AnswerError("no JSON") from error
    if not isinstance(answer, dict):
        raise AnswerError("no object, or too large")
    told = answer.get("language")
    language = _CODE_OF.get(told.lower(), told.lower()) if isinstance(told, str) and told else None
    return language, tuple(_sentences(answer, (start, end)))


def _sentences(answer: dict[str, Any], span: Span) -> list[Sentence]:
    """The answer's segments with their words; where it has none, its text as one sentence."""
    words = [word for each in _dicts(answer.get("words")) if (word := _word(each, span))]
    found = []
    for segment in _dicts(answer.get("segments")):
        start, end, text = (segment.get(name) for name in ("start", "end", "text"))
        if not (_number(start) and _number(end) and isinstance(text, str) and text.strip()):
            continue
        begin, finish = _within(start, span), _within(end, span)
        inside = tuple(word for word in words if begin <= (word.start + word.end) / 2 < finish)
        found.append(Sentence(begin, finish, clean(text), inside))
    text = answer.get("text")
    if not found and isinstance(text, str) and text.strip():
        start, end = round(span[0], 2), round(span[1], 2)
        found = [Sentence(start, end, clean(text), tuple(words))]
    return found


def _word(told: dict[str, Any], span: Span) -> Word | None:
    start, end, text = (told.get(name) for name in ("start", "end", "word"))
    if not (_number(start) and _number(end) and isinstance(text, str) and text.strip()):
        return None
    return Word(_within(start, span), _within(end, span), clean(text))


def _dicts(told: object) -> list[dict[str, Any]]:
    return [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []


def _number(told: object) -> TypeGuard[float]:
    return isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told < 1e6


def _within(seconds: float, span: Span) -> float:
    return round(min(span[0] + seconds, span[1]), 2)
