"""Takes pictures of the console's screens for the docs: `make console-shots`.

They show the local system with real work: a video that is heard, photographs, a torrent, an import, and what fails.
"""

import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import httpx
from playwright.sync_api import Browser, Page, expect
from rich.console import Console

from local import api
from local.demos.media import CLIPS, clip, photo
from local.demos.search import make_video
from local.environment import ROOT, STATE, seal_this_process, shown
from local.players import Players
from local.stack import LocalStack
from local.workers import DEFINITIONS, JobDefinition
from tests.browser import CHROMIUM, chromium

FOLDER: Final = ROOT / "docs" / "images"
PHOTOS: Final = ("astronaut.png", "china.jpg", "flower.jpg")
QUESTION: Final = "Which of the two grew up in Chicago?"
PLAYER: Final = "76561197960287930"
ENDS: Final = 300_000
"""Milliseconds that an analysis may take on a busy machine."""
LOOKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "light": {"viewport": {"width": 1200, "height": 760}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1200, "height": 760}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 780}, "color_scheme": "light", "has_touch": True},
}
SETTLED: Final = 2500
"""Milliseconds in which pictures load."""


@click.command()
def main() -> None:
    """Start a system of its own, do some work on it in the page, and picture each screen."""
    if CHROMIUM is None:
        raise click.ClickException("there is no Chromium; on Debian it is in the package chromium")
    seal_this_process()
    analysis = DEFINITIONS["analyze-video"]
    heard = JobDefinition(analysis.command, {**analysis.environment, "SPEECH_MODEL": "whisper-tiny.en"})
    stack = LocalStack(STATE / "shots", definitions={"analyze-video": heard}, parameters={"MaxConcurrentJobs": "1"})
    console = Console()
    with stack.running(console.print), chromium() as browser:
        FOLDER.mkdir(exist_ok=True)
        with _signed_in(browser, stack, "light") as page:
            screens = _work(page, stack)
            names = page.evaluate("localStorage.getItem('switchyard.names')")
        for look in LOOKS:
            with _signed_in(browser, stack, look) as page:
                page.evaluate("names => localStorage.setItem('switchyard.names', names)", names)
                for name, where in screens.items():
                    _go(page, where)
                    page.wait_for_timeout(SETTLED)
                    path = FOLDER / f"console-{name}-{look}.png"
                    page.screenshot(path=path)
                    console.print(f"{shown(path)}  {path.stat().st_size / 1000:.0f} kB")


@contextmanager
def _signed_in(browser: Browser, stack: LocalStack, look: str) -> Iterator[Page]:
    context = browser.new_context(**LOOKS[look])
    page = context.new_page()
    page.set_default_timeout(ENDS)
    page.goto(f"{api.address(stack)}/console")
    page.get_by_label("API key").fill(api.key(stack))
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Jobs").wait_for()
    yield page
    context.close()


def _work(page: Page, stack: LocalStack) -> dict[str, str]:
    """Does work of every kind; the screens to picture, as parts of the page's address."""
    screens = {"jobs": "#/jobs", "upload": "#/upload", "search": f"#/search?q={QUESTION}", "lanes": "#/lanes"}
    with tempfile.TemporaryDirectory() as folder, api.client(stack) as http:
        video, broken = Path(folder) / "voices.mp4", Path(folder) / "minutes.mp4"
        make_video(video)
        broken.write_text("These are minutes, not a video.")
        _share(stack)
        Players(stack.steam.url).put(PLAYER, personaName="Rabscuttle", games=12)
        api.ask(http, "POST", "/imports/steam", {"userId": "user-42", "steamId": PLAYER})
        _go(page, "#/upload")
        page.locator("input[data-pick=files]").set_input_files([video, broken, *map(photo, PHOTOS)])
        page.get_by_role("button", name="Find objects in 3 pictures").click()
        screens["pictures"] = _ended(page, "Completed")
        for name, upload, status in (("failed", broken.name, "Failed"), ("video", video.name, "Completed")):
            _go(page, "#/upload")
            page.locator("li", has_text=upload).get_by_role("link", name="Show job").click()
            screens[name] = _ended(page, status)
        jobs = http.get("/jobs", params={"kind": "torrent"}).json()["jobs"]
        screens["torrent"] = f"#/jobs/{jobs[0]['jobId']}"
        for each in ("bears.mp4", "fountain.mp4", "harbour.mp4"):  # the next in the queue
            _upload(http, each, clip(CLIPS[0]).read_bytes())
        time.sleep(2)
    return screens


def _upload(http: httpx.Client, name: str, body: bytes) -> None:
    wanted = {"filename": name, "contentType": "video/mp4", "size": len(body)}
    signed = api.ask(http, "POST", "/uploads/presign", wanted)
    httpx.put(signed["url"], headers=signed["headers"], content=body, trust_env=False, timeout=60).raise_for_status()


def _share(stack: LocalStack) -> None:
    """Puts a recording in the bucket, which gets a torrent."""
    key = f"recordings/{uuid.uuid4()}/evening.ts"
    stack.client("s3").put_object(Bucket=stack.resource("MediaBucket"), Key=key, Body=bytes(5 * 2**20))


def _ended(page: Page, status: str) -> str:
    """Waits until the job that is shown has ended; its part of the address."""
    page.wait_for_url("**#/jobs/**")
    expect(page.locator(".heading .status")).to_have_text(status, timeout=ENDS)
    return "#" + page.url.partition("#")[2]


def _go(page: Page, where: str) -> None:
    page.evaluate("where => { location.hash = where }", where)


if __name__ == "__main__":
    main()
