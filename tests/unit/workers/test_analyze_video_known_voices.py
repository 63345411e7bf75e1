"""Known voices: who agreed to be recognised gets a name, in the videos of one owner, until the day they named."""

import io
import json
import subprocess
import wave
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from local.demos.media import speech
from tests.unit.workers.test_analyze_video import PYTHON, Account, Make, made  # noqa: F401 - a fixture
from tests.unit.workers.test_analyze_video_speech import (  # noqa: F401 - fixtures
    ROOT,
    account,
    models,
    stages,
    talk,
)

FIRST: Final = ((10.6, 14.4), (18.6, 21.4))
"""Where only she speaks who speaks first in the telephone call, in seconds. Its transcribers' times."""
SECOND: Final = ((14.8, 17.9), (21.8, 27.8))
TODAY: Final = datetime.now(UTC).date()
LATER, BEFORE = (TODAY + timedelta(days=2)).isoformat(), (TODAY - timedelta(days=2)).isoformat()


def excerpt(*spans: tuple[float, float], name: str = "sample.wav") -> bytes:
    """Returns parts of a recording, as WAV."""
    with wave.open(str(speech(name))) as sound:
        rate, facts = sound.getframerate(), sound.getparams()
        frames = b""
        for start, end in spans:
            sound.setpos(round(start * rate))
            frames += sound.readframes(round((end - start) * rate))
    cut = io.BytesIO()
    with wave.open(cut, "wb") as out:
        out.setparams(facts)
        out.writeframes(frames)
    return cut.getvalue()


def names_with(
    account: Account,  # noqa: F811 - the fixture above
    talk: Path,  # noqa: F811
    samples: Sequence[tuple[str, bytes, str]],
    **settings: str,
) -> list[str]:
    """Analyses the call with samples (key, sound, consent) in the bucket, and returns the speakers' names."""
    account.upload(talk)
    for key, sound, consent in samples:
        metadata = {"consent-until": consent} if consent else {}
        account.s3.put_object(Bucket="media", Key=f"known-voices/{key}", Body=sound, Metadata=metadata)
    told = {"KNOWN_VOICES": "true", "ANALYSIS_STAGES": "scenes,speech,speakers"} | settings
    outcome = account.finish(account.start(**told))
    assert outcome.exit_code == 0, outcome.log
    assert {stage["state"] for stage in stages(account).values()} == {"done"}
    transcript = json.loads(account.result("transcript.json")[1])
    found = {segment["speaker"]: segment["start"] for segment in reversed(transcript["segments"])}
    return sorted(found, key=lambda name: found[name])


def test_a_known_voice_gets_its_name_and_another_does_not(account: Account, talk: Path) -> None:  # noqa: F811
    samples = [
        ("Zoë O'Neill-Byron.wav", excerpt(*SECOND), LATER),
        ("Reader.wav", excerpt((0, 10), name="beckett.wav"), LATER),
        ("broken.wav", b"RIFF", LATER),
        ("SPEAKER_07.wav", excerpt(*FIRST), LATER),
        ("<b>.wav", excerpt(*FIRST), LATER),
    ]
    assert names_with(account, talk, samples) == ["SPEAKER_01", "Zoë O'Neill-Byron"]
    assert [each["name"] for each in account.summary()["speakers"]] == ["SPEAKER_01", "Zoë O'Neill-Byron"]
    assert "<v Zoë O'Neill-Byron>" in account.result("transcript.vtt")[1].decode()


def test_without_consent_or_after_it_nobody_is_named(account: Account, talk: Path) -> None:  # noqa: F811
    samples = [
        ("Never.wav", excerpt(*FIRST), ""),
        ("Past.wav", excerpt(*SECOND), BEFORE),
        ("Unclear.wav", excerpt(*SECOND), "for ever"),
    ]
    assert names_with(account, talk, samples) == ["SPEAKER_01", "SPEAKER_02"]


def test_an_owners_videos_know_that_owners_voices_alone(account: Account, talk: Path) -> None:  # noqa: F811
    samples = [
        ("Everybody.wav", excerpt(*FIRST), LATER),
        ("ada/Ada.wav", excerpt(*SECOND), LATER),
        ("eve/Eve.wav", excerpt(*FIRST), LATER),
    ]
    assert names_with(account, talk, samples, OWNER="ada") == ["SPEAKER_01", "Ada"]


@pytest.mark.parametrize(
    "settings", [{"KNOWN_VOICES": "false"}, {"OWNER": "a name/that no key can have"}], ids=["off", "nameless owner"]
)
def test_voices_are_not_looked_for_where_they_may_not_be(
    account: Account,  # noqa: F811
    talk: Path,  # noqa: F811
    settings: dict[str, str],
) -> None:
    sample = ("Everybody.wav", excerpt(*FIRST), LATER)
    assert names_with(account, talk, [sample], **settings) == ["SPEAKER_01", "SPEAKER_02"]


@pytest.mark.parametrize("failing", ["list_objects_v2", "get_object"])
def test_samples_that_can_not_be_read_fail_the_stage_and_say_so(failing: str) -> None:
    """The worker's own code with a client that refuses."""
    script = """
import sys
from types import SimpleNamespace
import numpy as np
from botocore.exceptions import ClientError
from analyze_video import known_voices
from analyze_video.stage import StageFailed

def refuse(**_):
    raise ClientError({"Error": {"Code": "AccessDenied"}}, "S3")

s3 = SimpleNamespace(list_objects_v2=lambda **_: {"Contents": [{"Key": "known-voices/Ada.wav", "Size": 9}]})
setattr(s3, sys.argv[1], refuse)
video = SimpleNamespace(
    settings=SimpleNamespace(index=SimpleNamespace(owner=None)),
    job=SimpleNamespace(s3=s3, checkpoint=lambda: None, environment=SimpleNamespace(owner="", bucket="media")),
)
try:
    known_voices.names(video, None, np.ones((1, 256)), np.zeros(1, int))
except StageFailed as error:
    print(error.code)
"""
    folders = ("workers/analyze_video", "workers/library", "layers/switchyard")
    environment = {"PYTHONPATH": ":".join(str(ROOT / folder) for folder in folders)}
    command: list[str | Path] = [PYTHON, "-c", script, failing]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "NO_KNOWN_VOICES\n"
