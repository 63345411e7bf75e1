"""The recogniser `whisper`: faster-whisper (CTranslate2) on this machine, on a GPU where there is one."""

import logging
import os
import threading
from pathlib import Path
from typing import Any, Final

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel

from analyze_video.recognition import Heard, Sentence
from analyze_video.transcript import Word
from analyze_video.utterances import Utterance

logging.getLogger("faster_whisper").setLevel(logging.WARNING)  # a line for each utterance

_SURE = 0.8  # probability from which a language that isn't the video's usual one is believed
_REPETITIVE = 2.4  # text that compresses better is a loop, in which Whisper got caught
_LEAST_FRAMES, _SPARE_FRAMES = 1000, 100  # 10 ms each: a window shorter than ten seconds is unlike any in training
_UNSURE = -1.0  # mean log probability of words that nobody said


class Model(WhisperModel):  # type: ignore[misc] # it isn't installed where types are checked
    """Encodes an utterance once, and no more than there is of it.

    faster-whisper does it once for its language and again for its words, each time with silence up to 30 s.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:  # noqa: ANN401 - faster-whisper's, as all below
        super().__init__(*arguments, **settings)
        self._known = threading.local()

    def detect_language(self, *, features: Any, **settings: Any) -> Any:  # noqa: ANN401
        """See faster-whisper; without the last frame, since `transcribe` doesn't hear it either."""
        return super().detect_language(features=features[..., :-1], **settings)

    def encode(self, features: Any) -> Any:  # noqa: ANN401
        """See faster-whisper. What this thread encoded last is still known."""
        known = getattr(self._known, "last", None)
        if known is None or not np.array_equal(known[0], features):
            told = int(features.any(axis=0).nonzero()[0].max(initial=-1)) + 1  # what follows was added
            frames = max(_LEAST_FRAMES, told + _SPARE_FRAMES) // 2 * 2
            known = self._known.last = features, super().encode(np.ascontiguousarray(features[:, :frames]))
        return known[1]


class Whisper:
    """A Whisper model.

    Args:
        folder: the model's, as CTranslate2 has it.
        language: the only language; empty to detect it in each utterance.
        prompt: words that it should know how to spell; empty for none.
    """

    def __init__(self, folder: Path, language: str, prompt: str) -> None:
        gpu = ctranslate2.get_cuda_device_count() > 0
        # One thread a core, each with an utterance of its own, is faster than all cores on one.
        self.threads: Final = 2 if gpu else len(os.sched_getaffinity(0))
        self._language = language or None
        self._prompt = prompt or None
        self._model: Any = Model(
            str(folder),
            device="cuda" if gpu else "cpu",
            compute_type="int8_float16" if gpu else "int8",
            cpu_threads=1,
            num_workers=self.threads,
            local_files_only=True,
        )

    def hear(self, utterance: Utterance, likely: str | None) -> Heard:
        """See `Recogniser`."""
        segments, info = self._transcribed(utterance, self._language)
        if not self._language and likely and info.language != likely and info.language_probability < _SURE:
            segments, info = self._transcribed(utterance, likely)  # so far nothing but the language was computed
        sentences = [sentence for each in segments if (sentence := _sentence(each, utterance))]
        return Heard(info.language, round(info.language_probability, 3), tuple(sentences))

    def _transcribed(self, utterance: Utterance, language: str | None) -> Any:  # noqa: ANN401 - a generator, and info
        return self._model.transcribe(
            utterance.samples,
            language=language,
            initial_prompt=self._prompt,
            beam_size=5,
            temperature=(0.0, 0.4, 0.8),
            condition_on_previous_text=False,
            word_timestamps=True,
            vad_filter=False,
        )


def _sentence(segment: Any, utterance: Utterance) -> Sentence | None:  # noqa: ANN401 - faster-whisper's
    """A segment in the video's time, or None if it is nothing that somebody said."""
    if segment.compression_ratio > _REPETITIVE or segment.avg_logprob < _UNSURE or not segment.words:
        return None
    words = tuple(
        Word(
            round(min(utterance.start + word.start, utterance.end), 2),
            round(min(utterance.start + word.end, utterance.end), 2),
            word.word.strip(),
            round(word.probability, 3),
        )
        for word in segment.words
        if word.word.strip()
    )
    return Sentence(words[0].start, words[-1].end, segment.text.strip(), words) if words else None
