"""The recogniser `openai`: a service with OpenAI's `POST /audio/transcriptions`, OpenAI's own or a compatible one."""

import io
import logging
import wave
from http import HTTPStatus
from typing import Any, Final

import numpy as np
from urllib3.filepost import encode_multipart_formdata

from analyze_video.recognition import Heard
from analyze_video.settings import SpeechSettings
from analyze_video.sound import RATE
from analyze_video.stage import StageFailed
from analyze_video.transcription_answer import MOST_BYTES, AnswerError, read
from analyze_video.utterances import Utterance
from switchyard.outside.sites import Answer, Patience, Site, is_passing

log = logging.getLogger(__name__)

_PATIENCE = Patience(5)
_SECONDS = 120.0


class TranscriptionService:
    """Sends utterances to a service.

    Args:
        settings: where it is, the model and the key.
    """

    threads: Final = 4

    def __init__(self, settings: SpeechSettings) -> None:
        self._settings = settings
        self._site = Site(settings.url, seconds=_SECONDS, most_bytes=MOST_BYTES)
        self._headers = {"Authorization": f"Bearer {settings.key}"} if settings.key else {}
        self._format = "verbose_json"

    def hear(self, utterance: Utterance, likely: str | None) -> Heard:  # noqa: ARG002 - the service knows better
        """See `Recogniser`."""
        try:
            language, sentences = read(self._answer(utterance), utterance.start, utterance.end)
        except AnswerError as error:
            raise StageFailed(
                "SPEECH_UNINTELLIGIBLE", "the speech service's answer isn't the documented JSON"
            ) from error
        return Heard(language or self._settings.language or None, None, sentences)

    def _answer(self, utterance: Utterance) -> bytes:
        answer = _PATIENCE.send(lambda: self._post(utterance))
        if answer is None or is_passing(answer):
            log.warning("the speech service doesn't answer as it should (HTTP %s)", answer.status if answer else "-")
            raise StageFailed("SPEECH_UNAVAILABLE", f"the speech service failed {_PATIENCE.attempts} times")
        if answer.status != HTTPStatus.OK:
            raise StageFailed("SPEECH_REFUSED", f"the speech service refused the request (HTTP {answer.status})")
        return answer.body

    def _post(self, utterance: Utterance) -> Answer:
        told = self._format
        fields: list[tuple[str, Any]] = [
            ("file", ("speech.wav", _wave(utterance.samples), "audio/wav")),
            ("model", self._settings.model),
            ("response_format", told),
        ]
        if told == "verbose_json":
            fields += [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")]
        fields += [("language", self._settings.language)] if self._settings.language else []
        fields += [("prompt", self._settings.prompt)] if self._settings.prompt else []
        body, kind = encode_multipart_formdata(fields)
        answer = self._site.post("/audio/transcriptions", body, self._headers | {"Content-Type": kind})
        if answer.status == HTTPStatus.BAD_REQUEST and told == "verbose_json":
            self._format = "json"  # newer models of OpenAI's give nothing but the text
            return self._post(utterance)
        return answer


def _wave(samples: Any) -> bytes:  # noqa: ANN401 - numpy's
    whole = io.BytesIO()
    with wave.open(whole, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return whole.getvalue()
