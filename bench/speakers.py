"""Who speaks when: the error of the stage `speakers`, beside taking everybody for one speaker."""

import tempfile
from collections.abc import Iterator
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Final

import simpleder
from rich.table import Table

from bench.environment import Layer
from bench.measure import Effort
from bench.recordings import Recording, prompts
from bench.report import table, verdict
from bench.understanding import analysed, join
from local.demos.media import speech
from local.models import fetch

_MOST_ERROR: Final = 10.0  # percent: diarization error rate with collar, as is usual
_COLLAR: Final = 0.25  # seconds around each change of speaker that don't count, as is usual
_TURNS: Final = 4  # of each speaker

type Turn = tuple[str, float, float]
"""Who speaks from when to when."""


def run(_layer: Layer, effort: Effort) -> list[Table]:
    """Diarization error on dialogues joined from real recordings of two people, and on a telephone call."""
    fetch("whisper-base", "voices")
    with tempfile.TemporaryDirectory() as folder:
        turns = effort.of(_TURNS, 1)
        shown = table(
            "Who speaks when",
            *(
                "",
                "minutes",
                "speakers",
                "found",
                "error, %",
                "with collar, %",
                "one speaker for all, %",
                "must",
            ),
            caption="Dialogues are joined: two people's recordings in turns, half a second apart. The call is real, "
            f"but the stage was developed with it. Error: simpleder. Collar: {_COLLAR} s around each end of a turn.",
        )
        for label, one, other in (
            ("two women", "en", "fr"),
            ("woman and man", "en", "it"),
            ("man and woman", "it", "fr"),
        ):
            pairs = zip(prompts(one)[:turns], prompts(other)[:turns], strict=True)
            every = join([*chain(*pairs)], Path(folder) / f"{one}-{other}.mp4", gap=0.5)
            said: list[Turn] = [(str(number % 2), *span) for number, span in enumerate(every.spans)]
            shown.add_row(label, *_speaker_figures(every.path, said, 2))
        path = Path(folder) / "call.mp4"
        join([Recording(speech("sample.wav"), "")], path, gap=0.0)
        lines = (line.split() for line in speech("sample.rttm").read_text().splitlines())
        call: list[Turn] = [(each[7], float(each[3]), float(each[3]) + float(each[4])) for each in lines]
        shown.add_row("telephone call", *_speaker_figures(path, call, 2))
        return [shown]


def _speaker_figures(path: Path, said: list[Turn], count: int) -> Iterator[str]:
    answer = analysed(path, ["scenes", "speech", "speakers"])
    found: list[Turn] = [(each["speaker"] or "?", each["start"], each["end"]) for each in answer["segments"]]
    error, outside = _error(said, found), _error(*_without_collar(said, found))
    one = _error(said, [("one", start, end) for _, start, end in found])
    yield f"{sum(end - start for _, start, end in said) / 60:.1f}"
    yield str(count)
    yield str(len(answer["speakers"]))
    yield from (f"{each:.1f}" for each in (error, outside, one))
    yield verdict(round(outside, 1), _MOST_ERROR, " %")


def _error(said: list[Turn], found: list[Turn]) -> float:
    return 100 * float(simpleder.DER(_flat(said), _flat(found)))


def _flat(turns: list[Turn]) -> list[Turn]:
    """Turns without overlaps, which simpleder demands of one speaker: neighbours of the same speaker are joined."""
    kept: list[Turn] = []
    for _, some in groupby(sorted(turns, key=itemgetter(0, 1)), key=itemgetter(0)):
        for who, start, end in some:
            if kept and kept[-1][0] == who and start <= kept[-1][2]:
                kept[-1] = (who, kept[-1][1], max(end, kept[-1][2]))
            else:
                kept.append((who, start, end))
    return kept


def _without_collar(said: list[Turn], found: list[Turn]) -> tuple[list[Turn], list[Turn]]:
    edges = sorted(edge for _, start, end in said for edge in (start, end))
    return _cut(said, edges), _cut(found, edges)


def _cut(turns: list[Turn], edges: list[float]) -> list[Turn]:
    for edge in edges:
        left = [(who, start, min(end, edge - _COLLAR)) for who, start, end in turns]
        right = [(who, max(start, edge + _COLLAR), end) for who, start, end in turns]
        turns = [turn for turn in (*left, *right) if turn[1] < turn[2]]
    return turns
