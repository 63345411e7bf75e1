"""The recogniser `openai`: a service with OpenAI's `POST /audio/transcriptions`, OpenAI's own or a compatible one."""

import io
import json
import logging
import time
import wave
from typing import Any, Final, TypeGuard

import numpy as np
from urllib3.filepost import encode_multipart_formdata

from analyze_video.recognition import Heard, Sentence
from analyze_video.settings import SpeechSettings
from analyze_video.sound import RATE
from analyze_video.stage import StageFailed
from analyze_video.transcript import Word
from analyze_video.utterances import Utterance
from switchyard.outside.sites import NoAnswer, Site

log = logging.getLogger(__name__)

_ATTEMPTS = 5
_SECONDS = 120.0
_LONGEST_WAIT = 30.0  # seconds, whatever Retry-After says
_MOST_BYTES = 2**20  # of an answer: half a minute has some hundred words
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


class TranscriptionService:
    """Sends utterances to a service.

    Args:
        settings: where it is, the model and the key.
    """

    threads: Final = 4

    def __init__(self, settings: SpeechSettings) -> None:
        self._settings = settings
        self._site = Site(settings.url, seconds=_SECONDS, most_bytes=_MOST_BYTES)
        self._headers = {"Authorization": f"Bearer {settings.key}"} if settings.key else {}
        self._format = "verbose_json"

    def hear(self, utterance: Utterance, likely: str | None) -> Heard:  # noqa: ARG002 - the service knows better
        """See `Recogniser`."""
        answer = self._answer(utterance)
        language = answer.get("language")
        code = _CODE_OF.get(language.lower(), language.lower()) if isinstance(language, str) and language else None
        return Heard(code or self._settings.language or None, None, tuple(_sentences(answer, utterance)))

    def _answer(self, utterance: Utterance) -> dict[str, Any]:
        for attempt in range(_ATTEMPTS):
            told = self._format
            status, body, retry_after = self._post(utterance, told)
            if status == 200:
                return _parsed(body)
            if status == 400 and told == "verbose_json":
                self._format = "json"  # newer models of OpenAI's give nothing but the text
                continue
            if status not in {0, 408, 409, 429} and status < 500:
                raise StageFailed("SPEECH_REFUSED", f"the speech service refused the request (HTTP {status})")
            log.warning("the speech service doesn't answer as it should (HTTP %d)", status)
            if attempt < _ATTEMPTS - 1:
                time.sleep(min(_LONGEST_WAIT, retry_after or 0.5 * 2**attempt))
        raise StageFailed("SPEECH_UNAVAILABLE", f"the speech service failed {_ATTEMPTS} times")

    def _post(self, utterance: Utterance, answer_format: str) -> tuple[int, bytes, float]:
        """Status (0 if there is no answer), body, and the seconds that the service asks to wait for."""
        fields: list[tuple[str, Any]] = [
            ("file", ("speech.wav", _wave(utterance.samples), "audio/wav")),
            ("model", self._settings.model),
            ("response_format", answer_format),
        ]
        if answer_format == "verbose_json":
            fields += [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")]
        fields += [("language", self._settings.language)] if self._settings.language else []
        fields += [("prompt", self._settings.prompt)] if self._settings.prompt else []
        body, kind = encode_multipart_formdata(fields)
        try:
            answer = self._site.post("/audio/transcriptions", body, self._headers | {"Content-Type": kind})
        except NoAnswer as failed:
            log.warning("can't reach the speech service: %s", failed)
            return 0, b"", 0.0
        wait = answer.retry_after or ""
        return answer.status, answer.body, float(wait) if wait.isdecimal() else 0.0


def _wave(samples: Any) -> bytes:  # noqa: ANN401 - numpy's
    whole = io.BytesIO()
    with wave.open(whole, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return whole.getvalue()


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise StageFailed("SPEECH_UNINTELLIGIBLE", "the speech service's answer isn't the documented JSON")
    return answer


def _sentences(answer: dict[str, Any], utterance: Utterance) -> list[Sentence]:
    """The answer's segments with their words; where it has none, its text as one sentence."""
    words = [word for each in _dicts(answer.get("words")) if (word := _word(each, utterance))]
    found = []
    for segment in _dicts(answer.get("segments")):
        start, end, text = (segment.get(name) for name in ("start", "end", "text"))
        if not (_number(start) and _number(end) and isinstance(text, str) and text.strip()):
            continue
        begin, finish = _within(start, utterance), _within(end, utterance)
        inside = tuple(word for word in words if begin <= (word.start + word.end) / 2 < finish)
        found.append(Sentence(begin, finish, text.strip(), inside))
    text = answer.get("text")
    if not found and isinstance(text, str) and text.strip():
        start, end = round(utterance.start, 2), round(utterance.end, 2)
        found = [Sentence(start, end, text.strip(), tuple(words))]
    return found


def _word(told: dict[str, Any], utterance: Utterance) -> Word | None:
    start, end, text = (told.get(name) for name in ("start", "end", "word"))
    if not (_number(start) and _number(end) and isinstance(text, str) and text.strip()):
        return None
    return Word(_within(start, utterance), _within(end, utterance), text.strip())


def _dicts(told: object) -> list[dict[str, Any]]:
    return [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []


def _number(told: object) -> TypeGuard[float]:
    return isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told < 1e6


def _within(seconds: float, utterance: Utterance) -> float:
    return round(min(utterance.start + seconds, utterance.end), 2)
