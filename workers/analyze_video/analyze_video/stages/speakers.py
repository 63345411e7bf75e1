"""The stage `speakers`: tells the voices of the transcript apart, as SPEAKER_01, SPEAKER_02 and so on.

Nobody is recognised, and nothing of the voices is kept: the numbers that describe them are forgotten with the stage.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from analyze_video.sound import RATE, Block, blocks
from analyze_video.stage import Found, Progress, Skipped, Spoken, Video
from analyze_video.stages.speech import saved
from analyze_video.who_speaks import Speakers, with_speakers

_BLOCK_SECONDS = 120.0
_HOP_SECONDS = 0.4
_WINDOW_SECONDS = 1.6


def run(video: Video, progress: Progress) -> Found:
    """Find out who speaks when, and say so in the transcript.

    Raises:
        Skipped: there is no transcript or no model.
    """
    if video.transcript is None:
        raise Skipped("there is no transcript")
    if not video.transcript.speakers:  # otherwise the recogniser has told them apart already
        video.transcript = with_speakers(video.transcript, _told_apart(video, progress))
    again = saved(video, video.transcript)
    seconds: defaultdict[str, float] = defaultdict(float)
    for segment in video.transcript.segments:
        seconds[segment.speaker or ""] += segment.end - segment.start
    facts = [{"name": name, "seconds": round(seconds[name], 1)} for name in video.transcript.speakers]
    return Found({**again.summary, "speakers": facts}, {"speakers": len(facts)}, again.section)


def _told_apart(video: Video, progress: Progress) -> Speakers:
    # They load numpy and a model's library: only here.
    from analyze_video import diarization  # noqa: PLC0415
    from analyze_video.voices import Encoder  # noqa: PLC0415

    encoder = Encoder(video.model("voices") / "pretrained.pt")
    times, prints = _prints(video, encoder, progress)
    if not times:
        raise Skipped("nobody speaks long enough")
    return Speakers(times, diarization.labels(prints).tolist())


def _prints(video: Video, encoder: Any, progress: Progress) -> tuple[list[float], Any]:  # noqa: ANN401 - an Encoder
    """Voice prints of all speech, and the middle of each in seconds, ascending."""
    import numpy as np  # noqa: PLC0415 - see run

    times: list[float] = []
    prints = [np.zeros((0, 256), np.float32)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        for block in blocks(video, _BLOCK_SECONDS, progress):
            passages = [*_passages(block, video.spoken)]
            found = threads.map(lambda each, block=block: encoder.prints(_windows(block, each)), passages)
            for middles, made in zip(passages, found, strict=True):
                prints.append(made)
                times += middles[: len(made)]
                progress(min(1.0, middles[-1] / (video.duration or 1)), f"{len(times)} voice prints")
    return times, np.concatenate(prints)


def _windows(block: Block, middles: Sequence[float]) -> Any:  # noqa: ANN401 - numpy's
    """The spectrograms of the windows with these middles."""
    import numpy as np  # noqa: PLC0415 - see run

    from analyze_video.voices import FRAME_SAMPLES, WINDOW_FRAMES, spectrogram  # noqa: PLC0415

    begin = round((middles[0] - block.start - _WINDOW_SECONDS / 2) * RATE)
    end = round((middles[-1] - block.start + _WINDOW_SECONDS / 2) * RATE)
    samples = block.samples[max(begin, 0) : end]
    frames = spectrogram(np.pad(samples, (max(-begin, 0), max(end - len(block.samples), 0))))
    firsts = range(0, len(frames) - WINDOW_FRAMES + 1, round(_HOP_SECONDS * RATE / FRAME_SAMPLES))
    return np.stack([frames[first : first + WINDOW_FRAMES] for first in firsts][: len(middles)])


def _passages(block: Block, spoken: Sequence[Spoken]) -> Iterator[list[float]]:
    """The middles of the windows, `_HOP_SECONDS` apart, of each stretch of speech in the block; at least one each."""
    for begin, end in spoken:
        start, stop = max(begin, block.start), min(end, block.end)
        if start >= stop:
            continue
        inner = stop - start - _WINDOW_SECONDS
        count = max(1, int(inner / _HOP_SECONDS) + 1)
        first = (start + stop - (count - 1) * _HOP_SECONDS) / 2
        yield [first + number * _HOP_SECONDS for number in range(count)]
