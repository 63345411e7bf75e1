"""Debian's Chromium, driven by Playwright, for tests of the console. Without it they are skipped."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM: Final = shutil.which("chromium")
PATIENCE: Final = 60_000
"""Milliseconds that a step may take on a busy machine."""
AXE: Final = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Runs the browser while the block runs. Skips the test if there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; on Debian it is in the package chromium")
    with sync_playwright() as playwright:
        # Tests run as root in containers, where Chromium's own sandbox doesn't work. It only sees the tests' pages.
        expect.set_options(timeout=PATIENCE)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, **options: object) -> Iterator[Page]:
    """A page in a context of its own. Afterwards, it may have had no error of its scripts or its policy."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"{error}"))
    page.on("console", lambda told: wrong.append(told.text) if "Content Security Policy" in told.text else None)
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}") if dialog.type == "alert" else None)
    yield page
    context.close()
    assert wrong == []


def violations(page: Page) -> list[str]:
    """What axe finds wrong with the page's accessibility (WCAG 2.2 AA and best practice)."""
    found = Axe().run(page, options=AXE).response["violations"]
    return [f"{each['id']}: {node['html'][:200]} {node['failureSummary']}" for each in found for node in each["nodes"]]
