"""Transcripts as data: captions that other programs read, and who speaks, for any words."""

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import srt
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from analyze_video import captions
from analyze_video.transcript import Segment, Transcript, Word
from analyze_video.who_speaks import Speakers, with_speakers

TEXTS = st.text(min_size=1, max_size=30).filter(lambda text: bool(text.strip()))


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    """Transcripts with and without times of words; the text may be anything."""
    segments, at = [], 0.0
    for _ in range(draw(st.integers(1, 8))):
        at += draw(st.floats(0, 100))
        if draw(st.booleans()):
            words = []
            for text in draw(st.lists(TEXTS, min_size=1, max_size=25)):
                end = at + draw(st.floats(0, 2))
                words.append(Word(round(at, 2), round(end, 2), text.strip(), 0.5))
                at = end
            text = " ".join(word.text for word in words)
            segments.append(Segment(words[0].start, words[-1].end, text, tuple(words), "en"))
        else:
            segments.append(Segment(round(at, 2), round(at + 5, 2), draw(TEXTS).strip()))
            at += 5
    return Transcript("en", 0.9, round(at, 2), segments)


@settings(max_examples=40)  # each makes four files
@given(transcript=transcripts())
def test_any_words_become_captions_that_others_read(transcript: Transcript) -> None:
    shown = list(captions.captions(transcript))
    for before, after in pairwise(shown):
        assert before.end <= after.start, "captions overlap"
    subtitles = list(srt.parse(captions.srt(shown), ignore_errors=False))
    assert len(subtitles) == len(shown)
    cues = webvtt.from_string(captions.vtt(shown)).captions
    assert len(cues) == len(shown)
    for caption, subtitle, cue in zip(shown, subtitles, cues, strict=True):
        assert caption.start < caption.end
        assert abs(subtitle.start.total_seconds() - caption.start) < 0.002
        assert abs(subtitle.end.total_seconds() - caption.end) < 0.002
        assert "<" not in subtitle.content
        assert cue.raw_text
    document = captions.files(transcript)
    assert json.loads(document["transcript.json"])["segments"]
    assert "<" not in document["transcript.md"].decode()


def test_text_in_captions_is_no_markup() -> None:
    evil = "<script>alert(1)</script> --> 00:00:01.000 & <b>bold</b>"
    shown = list(captions.captions(Transcript("en", 1.0, 9.0, [Segment(0.0, 9.0, evil, speaker="SPEAKER_01")])))
    assert "<script" not in captions.vtt(shown)
    assert captions.vtt(shown).count("-->") == len(shown)
    assert "<" not in captions.srt(shown)
    assert captions.srt(shown).count("-->") == len(shown)


def test_captions_are_short_enough_to_read(tmp_path: Path) -> None:
    words = tuple(Word(number * 0.4, number * 0.4 + 0.3, f"word{number}", 1.0) for number in range(60))
    segment = Segment(0.0, words[-1].end, " ".join(word.text for word in words), words, "en", "SPEAKER_02")
    (tmp_path / "t.vtt").write_text(captions.vtt(list(captions.captions(Transcript("en", 1.0, 30.0, [segment])))))
    cues = webvtt.read(str(tmp_path / "t.vtt")).captions
    assert " ".join(cue.text for cue in cues).split() == [word.text for word in words]
    for cue in cues:
        lines = cue.text.split("\n")
        assert len(lines) <= 2
        assert max(map(len, lines)) <= 42
        assert cue.voice == "SPEAKER_02"


# ---- who speaks

NUMBERS = st.lists(st.integers(0, 3), min_size=1, max_size=40)


@settings(max_examples=40)  # each makes four files
@given(transcript=transcripts(), numbers=NUMBERS)
def test_no_word_is_lost_or_moved_when_speakers_are_added(transcript: Transcript, numbers: Sequence[int]) -> None:
    speakers = Speakers([number * 0.4 for number in range(len(numbers))], numbers)
    known = with_speakers(transcript, speakers)
    assert [word for segment in known.segments for word in segment.words] == [
        word for segment in transcript.segments for word in segment.words
    ]
    assert all(re.fullmatch(r"SPEAKER_0[1-4]", segment.speaker or "") for segment in known.segments)
    assert (known.language, known.duration) == (transcript.language, transcript.duration)


def test_a_segment_is_divided_where_the_speaker_changes() -> None:
    words = tuple(Word(float(number), number + 0.9, str(number), 1.0) for number in range(6))
    whole = Transcript("en", 1.0, 6.0, [Segment(0.0, 5.9, "0 1 2 3 4 5", words, "en")])
    speakers = Speakers([0.5, 1.5, 2.5, 3.5, 4.5, 5.5], [0, 0, 0, 1, 1, 1])
    found = [(part.speaker, part.text, part.start, part.end) for part in with_speakers(whole, speakers).segments]
    assert found == [("SPEAKER_01", "0 1 2", 0.0, 2.9), ("SPEAKER_02", "3 4 5", 3.0, 5.9)]


def test_a_single_window_between_two_of_another_voice_is_a_mistake() -> None:
    speakers = Speakers([0.0, 0.4, 0.8, 1.2], [0, 0, 1, 0])
    assert {speakers.at(time / 10) for time in range(20)} == {"SPEAKER_01"}
