"""The stage `speakers`: tells the voices of the transcript apart, as SPEAKER_01, SPEAKER_02 and so on.

Nobody is recognised unless `KNOWN_VOICES` is true, and nothing of the voices is kept: the numbers that describe them
are forgotten with the stage.
"""

from collections import defaultdict
from typing import Any

from analyze_video.sound import blocks
from analyze_video.stage import Found, Progress, Skipped, Video
from analyze_video.stages.speech import saved
from analyze_video.who_speaks import Speakers, with_speakers

_BLOCK_SECONDS = 120.0


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
    from analyze_video import diarization, known_voices  # noqa: PLC0415
    from analyze_video.voices import Encoder  # noqa: PLC0415

    encoder = Encoder(video.model("voices") / "pretrained.pt")
    times, prints = _prints(video, encoder, progress)
    if not times:
        raise Skipped("nobody speaks long enough")
    numbers = diarization.labels(prints)
    names = known_voices.names(video, encoder, prints, numbers) if video.settings.known_voices else {}
    return Speakers(times, numbers.tolist(), names)


def _prints(video: Video, encoder: Any, progress: Progress) -> tuple[list[float], Any]:  # noqa: ANN401 - an Encoder
    """Voice prints of all speech, and the middle of each in seconds, ascending."""
    import numpy as np  # noqa: PLC0415 - see _told_apart

    times: list[float] = []
    prints = [np.zeros((0, 256), np.float32)]
    for block in blocks(video, _BLOCK_SECONDS, progress):
        for middles, found in encoder.heard(block, video.spoken):
            prints.append(found)
            times += middles
            progress(min(1.0, middles[-1] / (video.duration or 1)), f"{len(times)} voice prints")
    return times, np.concatenate(prints)
