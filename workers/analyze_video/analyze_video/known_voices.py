"""Known voices: samples of speech in the bucket, by which the stage `speakers` gives names. Off by default.

A sample is an object `known-voices/NAME.SUFFIX` or, for the jobs of one owner, `known-voices/OWNER/NAME.SUFFIX`: speech
of one person alone, ten seconds or more, in any format that FFmpeg reads. Its metadata `consent-until` is a date,
YYYY-MM-DD: without one, or after it, the sample isn't used. Nothing else is kept of a voice, so whoever removes the
object has erased it. docs/understanding.md has the commands.
"""

import io
import logging
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import av
import numpy as np
from botocore.exceptions import BotoCoreError, ClientError
from faster_whisper.vad import get_speech_timestamps

from analyze_video.loudness import demand_audible
from analyze_video.sound import RATE, Block
from analyze_video.stage import Spoken, StageFailed, Video

if TYPE_CHECKING:
    from analyze_video.voices import Encoder

log = logging.getLogger(__name__)

PREFIX: Final = "known-voices/"
CONSENT: Final = "consent-until"
MOST: Final = 50
"""Samples that are read for a job. Each takes about half a second."""
_MOST_BYTES = 32 * 2**20
_SECONDS = 60.0
_ALIKE = 0.86  # cosine: the same voice reaches more, other voices less; docs/understanding.md has figures
_NAME = re.compile(r"(?!SPEAKER_\d)[^\W_][\w .'-]{0,63}")


def names(video: Video, encoder: "Encoder", prints: Any, numbers: Any) -> dict[int, str]:  # noqa: ANN401 - numpy's
    """The names of the speakers whose voices are known, by number. A name has at most one speaker.

    Args:
        video: the video.
        encoder: computes the samples' voice prints.
        prints: the video's voice prints, an array (prints, 256).
        numbers: the speaker of each print, from 0.

    Raises:
        StageFailed: the samples can't be read.
    """
    speakers = {int(number): _mean(prints[numbers == number]) for number in np.unique(numbers)}
    likeness = [
        (float(mean @ known), number, name)
        for name, known in _known(video, encoder)
        for number, mean in speakers.items()
    ]
    found: dict[int, str] = {}
    for alike, number, name in sorted(likeness, reverse=True):
        if alike >= _ALIKE and number not in found and name not in found.values():
            found[number] = name
    return found


def _known(video: Video, encoder: "Encoder") -> Iterator[tuple[str, Any]]:
    """Names and voice prints of those who agreed to be recognised in this owner's videos."""
    today = datetime.now(UTC).date()
    for key in _keys(video):
        video.job.checkpoint()
        name = PurePosixPath(key).stem
        if not _NAME.fullmatch(name):
            log.warning("a known voice isn't used: its name must be letters, digits, spaces and .'-, at most 64")
            continue
        content, consent = _read(video, key)
        if not _agreed(consent, today):
            log.warning("the known voice %s isn't used: its metadata %s names no day to come", key, CONSENT)
            continue
        try:
            samples = _decoded(content)
        except (av.FFmpegError, ValueError) as error:
            log.warning("the known voice %s can't be decoded: %s", key, error)
            continue
        spoken = [Spoken(part["start"] / RATE, part["end"] / RATE) for part in get_speech_timestamps(samples)]
        found = [prints for _, prints in encoder.heard(Block(0.0, samples), spoken)]
        if found:
            yield name, _mean(np.concatenate(found))
        else:
            log.warning("nobody speaks in the known voice %s", key)


def _keys(video: Video) -> list[str]:
    owner, segment = video.settings.index.owner, video.job.environment.owner
    if owner and not segment:  # no key can name them, so nobody can have put a sample for them
        return []
    prefix = f"{PREFIX}{segment}/" if segment else PREFIX
    try:
        page = video.job.s3.list_objects_v2(
            Bucket=video.job.environment.bucket, Prefix=prefix, Delimiter="/", MaxKeys=MOST + 1
        )
    except (BotoCoreError, ClientError) as error:
        raise StageFailed("NO_KNOWN_VOICES", "the samples of known voices can't be listed") from error
    keys = [each["Key"] for each in page.get("Contents", []) if 0 < each["Size"] <= _MOST_BYTES]
    if len(keys) > MOST:
        log.warning("there are more than %d known voices: the others aren't used", MOST)
    return keys[:MOST]


def _read(video: Video, key: str) -> tuple[bytes, str]:
    """A sample, and until when it may be used."""
    try:
        found = video.job.s3.get_object(Bucket=video.job.environment.bucket, Key=key)
        return found["Body"].read(_MOST_BYTES), found["Metadata"].get(CONSENT, "")
    except (BotoCoreError, ClientError) as error:
        raise StageFailed("NO_KNOWN_VOICES", "a sample of a known voice can't be read") from error


def _agreed(consent: str, today: date) -> bool:
    try:
        return date.fromisoformat(consent) >= today
    except ValueError:
        return False


def _decoded(content: bytes) -> Any:  # noqa: ANN401
    """The first minute, at 16 kHz, mono.

    Raises:
        FFmpegError, ValueError: it isn't sound.
    """
    with av.open(io.BytesIO(content)) as container:
        if not container.streams.audio:
            raise ValueError("it has no sound")
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        parts = [np.zeros(0, np.float32)]
        length = 0
        for frame in container.decode(audio=0):
            demand_audible(frame.sample_rate)
            parts += [each.to_ndarray().reshape(-1) for each in resampler.resample(frame)]
            length += frame.samples
            if length > _SECONDS * frame.sample_rate:
                break
    return np.concatenate(parts)


def _mean(prints: Any) -> Any:  # noqa: ANN401
    mean = prints.mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-6)
