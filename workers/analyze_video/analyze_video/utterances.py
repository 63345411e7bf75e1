"""Finds speech in the sound, and cuts it into utterances that a recogniser takes whole.

Whisper invents words where nobody speaks, so it hears only what Silero's voice activity detector takes for speech.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps

from analyze_video.sound import RATE, Block
from analyze_video.stage import Spoken

LONGEST_SECONDS = 28.0
"""Whisper hears 30 s at a time."""
_PAUSE_SECONDS = 1.5  # a longer pause ends an utterance
_VAD = VadOptions(
    threshold=0.5,
    min_speech_duration_ms=250,
    max_speech_duration_s=LONGEST_SECONDS - 1,
    min_silence_duration_ms=400,
    speech_pad_ms=250,
)


@dataclass(frozen=True)
class Utterance:
    """Speech without long pauses, at most `LONGEST_SECONDS`. `spoken` are its parts without pauses."""

    start: float
    samples: Any
    spoken: tuple[Spoken, ...] = field(default=())

    @property
    def end(self) -> float:
        """Seconds from the beginning of the video."""
        return self.start + len(self.samples) / RATE


def utterances(blocks: Iterable[Block]) -> Iterator[list[Utterance]]:
    """The utterances of each block, in order. One that reaches a block's end is found whole, in the next block."""
    held: Block | None = None
    for block in blocks:
        if held is not None:
            if abs(held.end - block.start) < 1 / RATE:
                block = Block(held.start, np.concatenate([held.samples, block.samples]))  # noqa: PLW2901 - both are one
            else:
                yield _found(held)[0]
        found, held = _found(block, keep=True)
        yield found
    if held is not None:
        yield _found(held)[0]


def _found(block: Block, *, keep: bool = False) -> tuple[list[Utterance], Block | None]:
    """The utterances of a block, and the rest of the block that speech at its end begins in, if `keep`."""
    spoken = [(part["start"], part["end"]) for part in get_speech_timestamps(block.samples, _VAD)]
    rest = len(block.samples)
    joined = _joined(spoken)
    if keep and joined and rest - joined[-1][-1][1] < _PAUSE_SECONDS * RATE:
        rest = joined.pop()[0][0]
    found = [
        Utterance(
            block.start + parts[0][0] / RATE,
            block.samples[parts[0][0] : parts[-1][1]],
            tuple(Spoken(block.start + begin / RATE, block.start + end / RATE) for begin, end in parts),
        )
        for parts in joined
    ]
    return found, Block(block.start + rest / RATE, block.samples[rest:]) if rest < len(block.samples) else None


def _joined(spoken: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Neighbours together, up to the longest that a recogniser hears at once."""
    joined: list[list[tuple[int, int]]] = []
    for begin, end in spoken:
        if (
            joined
            and begin - joined[-1][-1][1] <= _PAUSE_SECONDS * RATE
            and end - joined[-1][0][0] <= LONGEST_SECONDS * RATE
        ):
            joined[-1].append((begin, end))
        else:
            joined.append([(begin, end)])
    return joined
