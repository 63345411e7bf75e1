"""Words that `analyze_video` gets wrong, beside a smaller model and beside faster-whisper's usual way."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import jiwer
from rich.table import Table
from whisper_normalizer.english import EnglishTextNormalizer

from bench.environment import Layer
from bench.measure import Effort
from bench.recordings import Recording, prompts, readings
from bench.report import table, verdict
from bench.understanding import Joined, analysed, join, subject
from local.models import MODELS, fetch

_MOST_WRONG: Final = 9.0  # percent of the words


def run(_layer: Layer, effort: Effort) -> list[Table]:
    """Words wrong on recordings with published texts, beside a smaller model and beside faster-whisper's usual way."""
    fetch("whisper-base", "whisper-tiny.en")
    with tempfile.TemporaryDirectory() as folder:
        parts = {"prompts": prompts("en")[:: effort.of(2, 100)], "novel": readings()[: effort.of(None, 1)]}
        every = join([*chain(*parts.values())], Path(folder) / "speech.mp4", gap=1.0)
        heard = {"ours": _words(analysed(every.path, ["scenes", "speech"]))}
        heard["tiny.en"] = _words(analysed(every.path, ["scenes", "speech"], SPEECH_MODEL="whisper-tiny.en"))
        heard["usual way"] = _words(subject(do="whole", path=str(every.path), model=str(MODELS / "whisper-base")))
        return _speech_tables(parts, every, heard)


def _speech_tables(
    parts: Mapping[str, Sequence[Recording]], every: Joined, heard: Mapping[str, Sequence[tuple[float, str]]]
) -> list[Table]:
    texts = {name: _by_recording(every, words) for name, words in heard.items()}
    shown = table(
        "Words wrong, of all words that are said",
        *("", "minutes", "words", *(f"{name}, %" for name in heard), "must"),
        caption="Ours: Whisper base behind the voice detector. tiny.en: the same with a smaller model. Usual way: "
        "Whisper base on the whole file, by faster-whisper's defaults.",
    )
    whole = [*chain(*parts.values())]
    for name, some in {**parts, "all": whole}.items():
        ids = [index for index, each in enumerate(every.recordings) if each in some]
        minutes = sum(every.spans[index][1] - every.spans[index][0] for index in ids) / 60
        wrong = {
            who: _wrong([every.recordings[i].text for i in ids], [told[i] for i in ids]) for who, told in texts.items()
        }
        counted = sum(len(_normal(each.text).split()) for each in some)
        must = verdict(round(wrong["ours"], 1), _MOST_WRONG, " %") if name == "all" else ""
        shown.add_row(name, f"{minutes:.1f}", f"{counted:,}", *(f"{each:.1f}" for each in wrong.values()), must)
    clips = table("Recordings, the worst first", "", "words", *(f"{name}, %" for name in heard))
    ours = [_wrong([each.text], [told]) for each, told in zip(every.recordings, texts["ours"], strict=True)]
    for index in sorted(range(len(ours)), key=lambda index: -ours[index]):
        each = every.recordings[index]
        figures = (f"{_wrong([each.text], [told[index]]):.1f}" for told in texts.values())
        clips.add_row(each.path.stem, str(len(_normal(each.text).split())), *figures)
    return [shown, clips]


def _by_recording(every: Joined, words: Iterable[tuple[float, str]]) -> list[str]:
    """What was heard, for each recording: a word counts for the one that is nearest to its middle."""
    found: list[list[str]] = [[] for _ in every.spans]
    for at, word in words:
        distances = [max(start - at, at - end, 0.0) for start, end in every.spans]
        found[distances.index(min(distances))].append(word)
    return [" ".join(each) for each in found]


_normal = EnglishTextNormalizer()


def _wrong(references: Sequence[str], heard: Sequence[str]) -> float:
    return 100 * float(jiwer.wer([_normal(each) for each in references], [_normal(each) for each in heard]))


def _words(answer: Mapping[str, Any]) -> list[tuple[float, str]]:
    """The middle and the text of each word."""
    return [
        ((word["start"] + word["end"]) / 2, word["text"]) for segment in answer["segments"] for word in segment["words"]
    ]
