"""The whole way of a video: uploaded, heard by the real worker with real models, found by a question to its second.

The API's functions are invoked as for users, see `users`. The video is a real telephone call.
"""

import re
from pathlib import Path

import httpx
import pytest

from local.demos.media import speech
from tests.integration.system import Item, System
from tests.integration.users import User
from tests.unit.workers.test_analyze_video import Make, made  # noqa: F401 - a fixture
from tests.unit.workers.test_analyze_video_speech import installed

QUESTION = "Where does she come from originally?"
SAID = "originally from"
TOLD = (13.0, 23.0)
"""When both say where they come from, in seconds, three of silence included (the recording's own sample.stm)."""


@pytest.fixture(scope="module")
def upload(scene: System, ada: User, made: Make) -> Item:  # noqa: F811 - the fixture above
    """A video of a real telephone call that Ada has uploaded, and whose analysis has ended."""
    installed("whisper-tiny.en", "voices", "minilm")
    call: Path = made("talk", ".mp4", str(speech("sample.wav")))
    scene.deploy(BatchJobDefinition="real-analysis")
    upload = ada.uploaded(call.read_bytes())
    scene.completed(upload["key"])
    return upload


def hits(user: User, query: str = QUESTION, **more: object) -> list[Item]:
    answer = user.ask("search_media", "POST /search", {"query": query, **more})
    assert answer.status == 200, answer.body
    found: list[Item] = answer.body["hits"]
    return found


def test_a_question_finds_the_second(ada: User, upload: Item) -> None:
    stages = ada.job(upload["jobId"]).body["result"]["stages"]
    assert stages | {"speech": "done", "speakers": "done", "index": "done"} == stages
    best = hits(ada)[0]
    assert (best["jobId"], best["userId"], best["kind"]) == (upload["jobId"], ada.id, "video-analysis")
    assert SAID in re.sub(r"[^a-z ]+", "", best["text"].lower())
    assert TOLD[0] <= best["at"] <= TOLD[1]
    assert "originally" in {best["text"][begin:end].lower() for begin, end in best["marks"]}
    assert set(best["speakers"]) == {"SPEAKER_01", "SPEAKER_02"}
    assert best["speaker"] in best["speakers"]


def test_its_links_open_the_picture_and_the_video(ada: User, upload: Item) -> None:
    best = hits(ada)[0]
    frame = httpx.get(best["links"]["frame"], trust_env=False, timeout=30)
    assert frame.content.startswith(b"\xff\xd8"), "the picture is no JPEG"
    video, _, fragment = best["links"]["video"].partition("#")
    assert fragment == f"t={best['at']:g}"
    assert upload["key"].rsplit("/", 1)[1] in video
    part = httpx.get(video, headers={"range": "bytes=4-7"}, trust_env=False, timeout=30)
    assert part.content == b"ftyp"


def test_the_search_is_narrowed_to_a_speaker_and_a_job(ada: User, upload: Item) -> None:
    assert hits(ada, jobId=upload["jobId"], speaker="SPEAKER_01", kind="video-analysis")
    assert hits(ada, speaker="SPEAKER_09") == hits(ada, jobId="another") == hits(ada, to="2020-01-01") == []


@pytest.mark.parametrize("crafted", ['{"$exists": true}', "*", "nobody", "user:"])
def test_another_user_finds_nothing_of_it(ada: User, bob: User, upload: Item, crafted: str) -> None:
    assert hits(bob) == hits(bob, jobId=upload["jobId"]) == hits(bob, speaker=crafted, kind=crafted) == []
    assert hits(bob, query=f"{crafted} {ada.id}") == []
    assert bob.ask("search_media", "POST /search", {"query": QUESTION, "userId": ada.id}).status == 403
    assert bob.ask("search_media", "POST /search", {"query": QUESTION, "userId": crafted}).status == 403


def test_another_analysis_doubles_nothing(ada: User, scene: System, upload: Item) -> None:
    before, run = hits(ada, limit=50), len(scene.submissions(upload["jobId"]))
    scene.send({"bucket": scene.bucket, "key": upload["key"]})  # without a version, it is new work
    scene.until(lambda: len(scene.submissions(upload["jobId"])) > run, "another run")
    scene.completed(upload["key"])
    assert [hit["start"] for hit in hits(ada, limit=50)] == [hit["start"] for hit in before]


def test_a_deleted_job_is_not_found(ada: User, upload: Item) -> None:
    """The last test of the upload."""
    asked = {"path": {"jobId": upload["jobId"]}, "query": {"data": "true"}}
    assert hits(ada)
    answer = ada.ask("cancel_job", "DELETE /jobs/{jobId}", **asked)
    assert (answer.status, answer.body["erased"]) == (200, True)
    assert hits(ada) == []
