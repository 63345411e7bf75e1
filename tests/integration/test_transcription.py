"""The backend `transcribe` from end to end, with the emulator's Amazon Transcribe: its document, but canned words."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from local.demos.media import clip
from local.emulator import HEALTH, start_emulator
from local.processes import free_ports, wait_until_answering
from tests.unit.workers.attempts import BUCKET, Account

KEY = "uploads/2026/a.mp4"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Runs an emulator of its own, which needs no deployed system."""
    with tempfile.TemporaryDirectory() as folder:
        port, unused = free_ports(2)
        state = Path(folder)
        process = start_emulator(port=port, compute_port=unused, state=state, log=state / "log")
        try:
            assert wait_until_answering(process, port, HEALTH), (state / "log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stop()


def test_a_video_is_transcribed_and_nothing_is_left_behind(endpoint: str) -> None:
    told = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_BATCH_JOB_ID": "batch-1", "VIDEO_ID": "1", "S3_KEY": KEY}
    stages = {"SPEECH_BACKEND": "transcribe", "ANALYSIS_STAGES": "scenes,speech,speakers"}
    account = Account(endpoint, "analyze_video", **told, **stages)
    account.record()
    account.s3.upload_file(str(clip("bigbuckbunny.mp4")), BUCKET, KEY)

    outcome = account.finish(account.start())

    assert outcome.exit_code == 0, outcome.log
    assert outcome.item["result"]["stages"] == {"scenes": "done", "speech": "done", "speakers": "done"}
    transcript = json.loads(account.result("transcript.json")[1])
    text = " ".join(segment["text"] for segment in transcript["segments"])
    assert "no speech recognition performed on the audio" in text
    assert transcript["language"] == "en"
    assert {segment["speaker"] for segment in transcript["segments"]} >= {"SPEAKER_01"}
    assert all(word["end"] > word["start"] for segment in transcript["segments"] for word in segment["words"])
    assert not [name for name in account.results() if name.startswith("transcribe/")]
    transcribe = boto3.client(
        "transcribe",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    assert transcribe.list_transcription_jobs()["TranscriptionJobSummaries"] == []
