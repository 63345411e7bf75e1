"""Gives each word of a transcript its speaker."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from analyze_video.transcript import Segment, Transcript, Word

_LEAST_SECONDS = 0.6  # a turn of less inside another's is a mistake, not a turn


class Speakers:
    """Who speaks when.

    Args:
        times: seconds, ascending; at least one.
        numbers: the speaker at each time, from 0.
        names: of speakers who are known, by number.
    """

    def __init__(self, times: Sequence[float], numbers: Sequence[int], names: Mapping[int, str] | None = None) -> None:
        self._times = times
        self._names = names or {}
        self._numbers = _smoothed(numbers)

    def at(self, seconds: float) -> str:
        """Who speaks then: a name that is known, or `SPEAKER_01` and so on."""
        after = min(bisect_left(self._times, seconds), len(self._times) - 1)
        before = max(after - 1, 0)
        nearest = before if seconds - self._times[before] < self._times[after] - seconds else after
        number = self._numbers[nearest]
        return self._names.get(number) or f"SPEAKER_{number + 1:02d}"


def _smoothed(numbers: Sequence[int]) -> list[int]:
    """Each print's speaker, unless both neighbours agree on another."""
    return [
        before if before == after else number
        for before, number, after in zip(
            [*numbers[:1], *numbers[:-1]], numbers, [*numbers[1:], *numbers[-1:]], strict=True
        )
    ]


def with_speakers(transcript: Transcript, speakers: Speakers) -> Transcript:
    """The transcript with who speaks; a segment in which the speaker changes becomes several."""
    segments = [part for segment in transcript.segments for part in _split(segment, speakers)]
    return replace(transcript, segments=segments)


def _split(segment: Segment, speakers: Speakers) -> Iterator[Segment]:
    if not segment.words:
        yield replace(segment, speaker=speakers.at((segment.start + segment.end) / 2))
        return
    runs: list[tuple[str, list[Word]]] = []
    for word in segment.words:
        who = speakers.at((word.start + word.end) / 2)
        if runs and runs[-1][0] == who:
            runs[-1][1].append(word)
        else:
            runs.append((who, [word]))
    runs = _without_slips(runs)
    if len(runs) == 1:
        yield replace(segment, speaker=runs[0][0])
        return
    for who, words in runs:
        text = " ".join(word.text for word in words)
        yield replace(segment, start=words[0].start, end=words[-1].end, text=text, words=tuple(words), speaker=who)


def _without_slips(runs: list[tuple[str, list[Word]]]) -> list[tuple[str, list[Word]]]:
    """Turns too short to be ones go to the speaker before, or at the beginning to the one after."""
    kept: list[tuple[str, list[Word]]] = []
    carried: list[Word] = []
    for who, words in runs:
        if words[-1].end - words[0].start < _LEAST_SECONDS and len(runs) > 1:
            if kept:
                kept[-1][1].extend(words)
            else:
                carried += words
        elif kept and kept[-1][0] == who:
            kept[-1][1].extend(words)
        else:
            kept.append((who, [*carried, *words]))
            carried = []
    return kept or [(runs[0][0], carried)]
