"""Checks of the readers of what speech services answer, and of the files that become of it."""

import json
import re
from collections.abc import Sequence

from analyze_video import captions, transcription_answer, transcription_document
from analyze_video.transcript import Segment, Transcript, Word

_CUE = r"\d{2,}:\d\d:\d\d[.,]\d{3} --> \d{2,}:\d\d:\d\d[.,]\d{3}"
_START, _END = 100.0, 128.0


def transcribe_document(data: bytes) -> None:
    """Amazon Transcribe's document: segments in order, or a DocumentError."""
    try:
        segments = transcription_document.read(data)
    except transcription_document.DocumentError:
        return
    assert [each.start for each in segments] == sorted(each.start for each in segments)
    for segment in segments:
        assert re.fullmatch(r"SPEAKER_\d\d+", segment.speaker or "SPEAKER_01")
        assert segment.language is None or re.fullmatch("[a-z]{2,3}", segment.language)
        _check_words(segment.words, segment.start, segment.end)
    _check_files(segments)


def service_answer(data: bytes) -> None:
    """The answer of a service with OpenAI's API: sentences within the utterance, or an AnswerError."""
    try:
        _, sentences = transcription_answer.read(data, _START, _END)
    except transcription_answer.AnswerError:
        return
    for sentence in sentences:
        assert _START <= sentence.start <= _END
        assert _START <= sentence.end <= _END
        _check_words(sentence.words, _START, _END)
    _check_files([Segment(each.start, each.end, each.text, each.words) for each in sentences])


def _check_words(words: Sequence[Word], start: float, end: float) -> None:
    for word in words:
        assert word.text.strip()
        assert start <= word.start <= end
        assert start <= word.end <= end
        assert word.probability is None or 0 <= word.probability <= 1


def _check_files(segments: Sequence[Segment]) -> None:
    """Whatever was said, every cue is one cue, and no file has markup that we didn't write."""
    files = captions.files(Transcript("en", None, 1.0, list(segments)))
    assert len(json.loads(files["transcript.json"])["segments"]) == len(segments)
    assert "<" not in files["transcript.md"].decode("utf-8")
    for name, first in (("transcript.vtt", "WEBVTT"), ("transcript.srt", "")):
        text = files[name].decode("utf-8")
        cues = [block for block in text.removeprefix(first).split("\n\n") if block.strip()]
        assert len(re.findall(_CUE, text)) == text.count("-->") == len(cues)
        assert not re.search(r"<(?!v SPEAKER_\d\d+>)", text)
