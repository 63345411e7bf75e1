"""The console against the deployed system, in a browser: a real video, from the file to the second."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from local import api
from local.demos.media import speech
from tests.browser import chromium, opened, violations
from tests.integration.system import System
from tests.unit.workers.test_analyze_video import Make, made  # noqa: F401 - a fixture
from tests.unit.workers.test_analyze_video_speech import installed

ENDS: Final = 240_000
"""Milliseconds that an analysis may take on a busy machine."""
PART: Final = 20 * 2**20
"""Bytes of a file that is sent in two parts."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(browser: Browser, scene: System) -> Iterator[Page]:
    """A page that somebody has signed in to."""
    with opened(browser) as found:
        found.goto(f"{api.address(scene.stack)}/console")
        found.get_by_label("API key").fill(api.key(scene.stack))
        found.get_by_role("button", name="Sign in").click()
        found.get_by_role("heading", name="Jobs").wait_for()
        yield found


@pytest.fixture(scope="module")
def job_id(page: Page, scene: System, made: Make) -> str:  # noqa: F811 - the fixture above
    """A real telephone call as a video, uploaded in the page and watched to its end."""
    installed("whisper-tiny.en", "voices", "minilm")
    call: Path = made("talk", ".mp4", str(speech("sample.wav")))
    scene.deploy(BatchJobDefinition="real-analysis")
    go(page, "#/upload")
    page.locator("input[data-pick=files]").set_input_files(call)
    page.get_by_role("link", name="Show job").click()
    expect(page.locator(".heading .status")).to_have_text("Completed", timeout=ENDS)
    return page.url.rpartition("/")[2]


def go(page: Page, where: str) -> None:
    page.evaluate("where => { location.hash = where }", where)


def second(page: Page) -> float:
    found: float = page.locator("video").evaluate("video => video.currentTime")
    return found


def test_a_clip_is_uploaded_watched_and_played_with_captions(page: Page, job_id: str) -> None:
    go(page, f"#/jobs/{job_id}")
    line = page.locator(".said li").nth(2)
    line.get_by_role("button").first.click()
    page.wait_for_timeout(1500)
    assert second(page) > 1
    captions = page.locator("video").evaluate(
        "async video => { while (!video.textTracks[0]?.cues?.length) await new Promise(requestAnimationFrame);"
        " return video.textTracks[0].cues.length }"
    )
    assert captions > 2
    expect(page.locator(".said li[aria-current]")).to_have_count(1)
    page.locator(".strip button").last.click()
    page.wait_for_timeout(1000)
    assert second(page) > 15
    assert violations(page) == []


def test_a_speaker_gets_a_name(page: Page, job_id: str) -> None:
    go(page, f"#/jobs/{job_id}")
    page.locator(".speaker").first.click()
    page.get_by_role("textbox", name="Name").fill("Ada <b>")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".speaker").first).to_have_text("Ada <b>")


def test_a_question_finds_the_second_and_plays_there(page: Page, job_id: str) -> None:
    go(page, "#/search")
    page.get_by_role("searchbox").fill("Where does she come from originally?")
    page.keyboard.press("Enter")
    found = page.locator(".moments li").first
    expect(found.locator("mark").first).to_be_visible()
    found.get_by_role("button").click()
    page.wait_for_timeout(1500)
    assert 10 < second(page) < 30
    assert job_id in (page.locator("#found h2 a").first.get_attribute("href") or "")
    assert violations(page) == []


def test_a_running_job_is_cancelled(page: Page, scene: System) -> None:
    scene.deploy(BatchJobDefinition="analyze-video")
    key = scene.upload(gate=True)
    scene.wait_for(key, "RUNNING")
    [running] = scene.jobs(key)
    go(page, f"#/jobs/{running['jobId']}")
    page.get_by_role("button", name="Cancel job").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel job").click()
    expect(page.locator(".heading .status")).to_have_text("Cancelled")


def test_an_upload_goes_on_after_a_reload(page: Page, scene: System, tmp_path: Path) -> None:
    clip = tmp_path / "large.mp4"
    clip.write_bytes(bytes(PART))
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if "partNumber=" in request.url else None)
    page.route(re.compile("partNumber=2"), lambda route: route.abort())
    go(page, "#/upload")
    page.locator("input[data-pick=files]").set_input_files(clip)
    scene.until(lambda: _arrived(scene) or None, "the first part")
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    page.unroute_all()
    expect(page.get_by_text("choose the same file again")).to_be_visible()
    sent.clear()
    page.locator("input[data-pick=files]").set_input_files(clip)
    expect(page.locator(".uploads li").first).to_have_attribute("data-state", "done")
    assert {int(re.findall(r"partNumber=(\d+)", url)[0]) for url in sent} == {2}


def _arrived(scene: System) -> list[object]:
    s3 = scene.stack.client("s3")
    found = s3.list_multipart_uploads(Bucket=scene.bucket).get("Uploads", [])
    return [
        part
        for each in found
        for part in s3.list_parts(Bucket=scene.bucket, Key=each["Key"], UploadId=each["UploadId"]).get("Parts", [])
    ]


def test_the_page_has_no_data_without_a_key(scene: System) -> None:
    """Everybody can load it, and nobody learns from it more than how to sign in."""
    answer = httpx.get(f"{api.address(scene.stack)}/console/index.html", trust_env=False, timeout=30)
    assert answer.status_code == 200
    assert api.key(scene.stack) not in answer.text
    assert "unsafe" not in answer.headers["content-security-policy"]
