"""The console's page in a browser, with an API that answers as each test says: what is rare, slow or hostile.

`test_console` drives the page against the deployed system.
"""

import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from local.environment import ROOT
from local.serving import served
from switchyard.api.console import Console
from switchyard.api.http import Api
from tests.browser import chromium, opened, violations
from tests.rest import event

type Json = dict[str, Any]
type Answering = Callable[[str, Json, Json | None], tuple[int, object]]
"""Answers a request: by "GET /jobs", the query and the body, with a status and a body."""

KEY: Final = "the-key-of-this-test"
SCRIPT: Final = '<img src=x onerror="alert(1)"><script>alert(2)</script>"\'><svg onload=alert(3)>'
DAY: Final = "2026-11-30T12:00:00.000Z"
LANE: Final = {
    "name": "video",
    "limit": 4,
    "taken": 3,
    "waiting": 12,
    "oldestWaitingSince": DAY,
    "paused": {"until": None, "reason": "maintenance"},
}


def job(number: int = 1, **more: object) -> Json:
    listed = {"jobId": f"job-{number}", "kind": "video-analysis", "status": "COMPLETED", "createdAt": DAY}
    return listed | {"updatedAt": DAY, "startedAt": DAY, "endedAt": DAY} | more


class Fake:
    """The API as the page sees it: what it was asked, and what it answers. Routes that it lacks are missing."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.bodies: list[Json | None] = []
        self.routes: dict[str, object] = {"GET /jobs": {"jobs": [job()]}, "GET /jobs/job-1": job()}
        self.answer: Answering | None = None
        self.keys: set[str | None] = set()

    def handle(self, route: Route) -> None:
        request = route.request
        parts = urlsplit(request.url)
        what = f"{request.method} {parts.path.removeprefix('/v1')}"
        body = json.loads(request.post_data) if request.post_data else None
        self.asked.append(what)
        self.bodies.append(body)
        self.keys.add(request.headers.get("x-api-key"))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        status, found = self.answer(what, query, body) if self.answer else self.known(what)
        route.fulfill(status=status, json=found)

    def known(self, what: str) -> tuple[int, object]:
        """Returns the status and the body of a known route."""
        if what in self.routes:
            return 200, self.routes[what]
        return 403, {"message": "Missing Authentication Token"}


class _Handler(BaseHTTPRequestHandler):
    console: Console

    def do_GET(self) -> None:
        name = urlsplit(self.path).path.removeprefix("/v1/console/")
        headers = {key.lower(): value for key, value in self.headers.items()}
        asked = event("GET /console/{file+}", path={"file": name}, headers=headers)
        answer = Api({"GET /console/{file+}": self.console.file}).handle(asked, None)
        self.send_response(answer["statusCode"])
        for key, value in answer["headers"].items():
            self.send_header(key, value)
        body = answer["body"].encode()
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The console's address, which is not the deployed system's."""
    with served(type("Handler", (_Handler,), {})) as address:
        yield f"{address}/v1/console/index.html"


def serve(site: str, **told: str) -> None:
    media = site.removesuffix("/v1/console/index.html")
    _Handler.console = Console(ROOT / "console", {"auth": "api-key", **told}, media, ["https://users.example.com"])


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def page(browser: Browser, site: str, fake: Fake) -> Iterator[Page]:
    """A page that is signed in by a key."""
    serve(site)
    with opened(browser, permissions=["clipboard-read", "clipboard-write"]) as found:
        found.route(re.compile(r"/v1/(?!console/)"), fake.handle)
        found.goto(site)
        found.get_by_label("API key").fill(KEY)
        found.get_by_role("button", name="Sign in").click()
        found.get_by_role("heading", name="Jobs").wait_for()
        yield found


def go(page: Page, where: str) -> None:
    page.evaluate("where => { location.hash = where }", where)


# ---- signing in -----------------------------------------------------------------------------------------------------


def test_the_key_is_nowhere_but_in_the_session(page: Page, fake: Fake) -> None:
    assert fake.keys == {KEY}
    assert KEY not in page.url
    assert page.evaluate("JSON.stringify(localStorage) + document.cookie") == "{}"
    assert KEY in page.evaluate("JSON.stringify(sessionStorage)")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("API key").wait_for()
    assert KEY not in page.evaluate("JSON.stringify(sessionStorage)")


def test_a_wrong_key_is_said_to_be_wrong(browser: Browser, site: str, fake: Fake) -> None:
    serve(site)
    fake.answer = lambda *_: (403, {"message": "Forbidden"})
    with opened(browser) as page:
        page.route(re.compile(r"/v1/(?!console/)"), fake.handle)
        page.goto(site)
        page.get_by_label("API key").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert").filter(has_text="not accepted")).to_be_visible()


def test_a_session_that_ends_leads_back_to_where_it_was(page: Page, fake: Fake) -> None:
    go(page, "#/jobs/job-1")
    page.get_by_role("button", name="Copy id").wait_for()
    fake.answer = lambda *_: (403, {"error": "INVALID_API_KEY", "message": "Forbidden"})
    go(page, "#/jobs/job-1?again")
    expect(page.get_by_text("Your session has ended")).to_be_visible()
    fake.answer = None
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Copy id").wait_for()
    assert "#/jobs/job-1" in page.url


def test_users_sign_in_with_pkce_and_their_token_is_renewed(browser: Browser, site: str, fake: Fake) -> None:
    serve(site, auth="cognito", signInUrl="https://users.example.com", clientId="client")
    exchanged: list[dict[str, list[str]]] = []
    challenges: list[str] = []
    tokens = iter(["first", "second"])

    def authorize(route: Route) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(route.request.url).query).items()}
        challenges.append(asked["code_challenge"])
        assert (asked["code_challenge_method"], asked["client_id"], asked["response_type"]) == (
            "S256",
            "client",
            "code",
        )
        route.fulfill(status=302, headers={"location": f"{asked['redirect_uri']}?code=the-code&state={asked['state']}"})

    def token(route: Route) -> None:
        exchanged.append(parse_qs(route.request.post_data or ""))
        found = {"id_token": next(tokens), "refresh_token": "the-refresh-token"}
        route.fulfill(status=200, json=found, headers={"access-control-allow-origin": "*"})

    def answer(route: Route) -> None:
        expired = route.request.headers.get("authorization") == "first" and "lanes" not in route.request.url
        route.fulfill(status=401 if expired else 200, json={"message": "expired"} if expired else {"jobs": [job()]})

    with opened(browser) as page:
        page.route("https://users.example.com/oauth2/authorize**", authorize)
        page.route("https://users.example.com/oauth2/token", token)
        page.route(re.compile(r"/v1/(?!console/)"), answer)
        page.goto(f"{site}#/jobs?status=FAILED")
        page.get_by_role("button", name="Continue to sign-in").click()
        page.get_by_role("link", name="job-1").wait_for()

        assert page.url == f"{site}#/jobs?status=FAILED"
        assert page.evaluate("localStorage.length") == 0
    assert [each["grant_type"] for each in exchanged] == [["authorization_code"], ["refresh_token"]]
    assert exchanged[0]["code"] == ["the-code"]
    assert page_challenge(exchanged[0]["code_verifier"][0]) == challenges[0]


def page_challenge(verifier: str) -> str:
    """Returns the S256 challenge of a verifier (RFC 7636, 4.2)."""
    import base64  # noqa: PLC0415 - for this alone
    import hashlib  # noqa: PLC0415 - as above

    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def test_a_sign_in_that_was_not_begun_here_is_refused(browser: Browser, site: str) -> None:
    serve(site, auth="cognito", signInUrl="https://users.example.com", clientId="client")
    with opened(browser) as page:
        page.goto(f"{site}?code=stolen&state=guessed")
        expect(page.get_by_text("Signing in did not work")).to_be_visible()
        assert "stolen" not in page.url


# ---- what strangers write ------------------------------------------------------------------------------------------


def test_scripts_from_strangers_are_shown_as_text(page: Page, fake: Fake) -> None:
    hostile = job(
        jobId="job-1",
        status="FAILED",
        kind="torrent",
        error={"code": SCRIPT, "message": SCRIPT},
        metadata={"filename": SCRIPT, SCRIPT: SCRIPT},
        summary=SCRIPT,
        userId=SCRIPT,
        pastAttempts=[{"code": "A", "message": SCRIPT, "endedAt": DAY}],
        result={"magnet": "javascript:alert(4)", "infohash": SCRIPT, "stages": {SCRIPT: SCRIPT}},
        links={SCRIPT: "javascript:alert(5)"},
    )
    fake.routes["GET /jobs/job-1"] = hostile
    fake.routes["GET /jobs/job-1/logs"] = {"lines": [{"time": DAY, "message": SCRIPT}], "cursor": None}
    go(page, "#/jobs/job-1")
    page.get_by_role("heading", name=SCRIPT, exact=True).wait_for()
    page.locator("summary", has_text="Log").click()
    expect(page.locator(".log")).to_contain_text(SCRIPT)
    page.locator("summary", has_text="Details").click()
    page.locator("summary", has_text="Files").click()
    assert page.locator("a[href^='javascript:'], script:not([src]), img[src='x']").count() == 0

    hit = {"jobId": "job-1", "kind": "x", "start": 0, "end": 9, "at": 1, "text": SCRIPT, "marks": [[0, 4]], "score": 1}
    answer = {"text": SCRIPT, "sentences": [{"text": SCRIPT, "hits": [1]}]}
    fake.routes["POST /search"] = {"hits": [hit | {"onScreen": SCRIPT, "speaker": SCRIPT}], "answer": answer}
    go(page, "#/search?q=a&answer=1")
    expect(page.locator(".moments")).to_contain_text(SCRIPT)
    expect(page.locator(".answer")).to_contain_text(SCRIPT)


# ---- outages --------------------------------------------------------------------------------------------------------


def test_an_outage_is_shown_and_ends_by_itself(page: Page, fake: Fake) -> None:
    go(page, "#/jobs?kind=torrent")
    fake.routes["GET /jobs"] = {"jobs": [job(status="RUNNING")]}
    page.get_by_text("Running").wait_for()
    page.context.set_offline(True)
    page.unroute_all()
    expect(page.get_by_text("No connection")).to_be_visible()
    page.get_by_text("Running").wait_for()
    page.route(re.compile(r"/v1/(?!console/)"), fake.handle)
    page.context.set_offline(False)
    expect(page.get_by_text("Connected again")).to_be_visible()
    expect(page.get_by_text("No connection")).to_be_hidden()


def test_an_error_is_shown_with_its_request_id(page: Page, fake: Fake) -> None:
    refusal = {
        "error": "INVALID_REQUEST",
        "message": "The request is invalid.",
        "details": ["so it is"],
        "requestId": "r",
    }
    fake.answer = lambda *_: (400, refusal)
    go(page, "#/jobs?kind=torrent")
    expect(page.get_by_role("alert").filter(has_text="so it is")).to_contain_text("Request id: r")


# ---- jobs -----------------------------------------------------------------------------------------------------------


def test_jobs_are_listed_live_and_filtered_by_the_address(page: Page, fake: Fake) -> None:
    seen: list[Json] = []
    jobs = [job(1, status="RUNNING")]

    def answer(what: str, query: Json, _: Json | None) -> tuple[int, object]:
        seen.append(query)
        return (200, {"jobs": jobs}) if what == "GET /jobs" else fake.known(what)

    fake.answer = answer
    page.get_by_role("link", name="Active").click()
    page.get_by_text("Running").wait_for()
    assert page.url.endswith("#/jobs?status=active")
    assert seen[-1]["status"] == "PENDING,WAITING,CLAIMED,SUBMITTED,RUNNING"
    jobs[:] = [job(2, status="WAITING", createdAt="2026-11-30T12:00:01.000Z"), job(1)]
    expect(page.locator(".jobs .status")).to_have_text(["Waiting", "Completed"])


def test_many_jobs_are_selected_by_keys_and_run_again_at_once(page: Page, fake: Fake) -> None:
    fake.routes["GET /jobs"] = {"jobs": [job(3, status="FAILED"), job(2, status="FAILED"), job(1)]}
    refusal = {"status": 409, "body": {"error": "JOB_ID_TAKEN", "message": "no", "details": [], "requestId": ""}}
    fake.routes["POST /jobs/bulk"] = {"responses": [{"status": 202, "body": {"jobId": "job-4"}}, refusal]}
    go(page, "#/jobs?kind=video-analysis")
    page.get_by_role("link", name="job-3").wait_for()
    for key in "jxjx":
        page.keyboard.press(key)
    expect(page.get_by_text("2 jobs selected")).to_be_visible()
    page.get_by_role("button", name="Run again (2)").click()
    expect(page.get_by_text("1 job started again; 1 could not be run again")).to_be_visible()
    [body] = [body for what, body in zip(fake.asked, fake.bodies, strict=True) if what == "POST /jobs/bulk"]
    assert body == {"requests": [{"action": "rerun", "jobId": "job-3"}, {"action": "rerun", "jobId": "job-2"}]}
    expect(page.get_by_text("jobs selected")).to_be_hidden()


def test_a_job_is_run_again_as_a_new_job(page: Page, fake: Fake) -> None:
    fake.routes["GET /jobs/job-1"] = job(1, status="FAILED", error={"code": "NOT_A_VIDEO", "message": "It is a text."})
    fake.routes["POST /jobs/job-1/rerun"] = {"jobId": "job-2", "rerunOf": "job-1", "status": "PENDING"}
    fake.routes["GET /jobs/job-2"] = job(2, status="WAITING", ahead=3, priority=5)
    go(page, "#/jobs/job-1")
    expect(page.get_by_text("Upload the video itself")).to_be_visible()
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_text("At most 3 jobs ahead")).to_be_visible()
    assert page.url.endswith("#/jobs/job-2")


def test_ten_thousand_jobs_are_scrolled(page: Page, fake: Fake) -> None:
    pages = 100

    def answer(what: str, query: Json, _: Json | None) -> tuple[int, object]:
        if what != "GET /jobs":
            return fake.known(what)
        number = int(query.get("nextToken", "0"))
        jobs = [job(number * 100 + index) for index in range(100)]
        return 200, {"jobs": jobs} | ({"nextToken": str(number + 1)} if number + 1 < pages else {})

    fake.answer = answer
    go(page, "#/jobs?kind=video-analysis")
    page.get_by_role("link", name="job-99", exact=True).wait_for()
    few = page.evaluate(_FRAMES)
    page.evaluate(_SCROLL_DOWN)
    assert page.locator(".jobs li").count() == pages * 100
    many = page.evaluate(_FRAMES)
    heap = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
    print(f"heap {heap:.0f} MiB; median of frames {many:.0f} ms, with a hundredth of the jobs {few:.0f} ms")  # noqa: T201
    assert heap < 150
    assert many < 4 * few + 50, "frames take longer the more jobs there are"


_SCROLL_DOWN: Final = """async () => {
  const begun = performance.now();
  while (document.querySelectorAll(".jobs li").length < 10000 && performance.now() - begun < 150000) {
    scrollTo(0, document.documentElement.scrollHeight);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}"""
_FRAMES: Final = """async () => {
  const times = [];
  let last = performance.now();
  for (let frame = 0; frame < 120; frame += 1) {
    scrollTo(0, (document.documentElement.scrollHeight * frame) / 120);
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  times.sort((a, b) => a - b);
  return times[60];
}"""


# ---- other screens --------------------------------------------------------------------------------------------------


def test_a_magnet_link_is_copied(page: Page, fake: Fake) -> None:
    magnet = "magnet:?xt=urn:btih:5b1c5d1e9d7c5b8b2a1f0e3d4c6b7a8990a1b2c3&dn=evening.mp4"
    result = {
        "magnet": magnet,
        "infohash": "5b1c5d1e9d7c5b8b2a1f0e3d4c6b7a8990a1b2c3",
        "pieces": 7,
        "pieceLength": 2**20,
    }
    fake.routes["GET /jobs/job-1"] = job(kind="torrent", result=result)
    go(page, "#/jobs/job-1")
    page.get_by_role("button", name="Copy magnet link").click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == magnet


def test_a_file_that_can_not_be_uploaded_is_refused_before_a_byte(page: Page, fake: Fake) -> None:
    go(page, "#/upload")
    files = [
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"text"},
        {"name": "empty.mp4", "mimeType": "video/mp4", "buffer": b""},
    ]
    page.locator("input[data-pick=files]").set_input_files(files)  # type: ignore[arg-type] # as Playwright's FilePayload
    expect(page.get_by_text("This type of file isn't supported.")).to_be_visible()
    expect(page.get_by_text("The file is empty.")).to_be_visible()
    assert not [what for what in fake.asked if "upload" in what]


def test_lanes_are_paused_and_resumed(page: Page, fake: Fake) -> None:
    running = LANE | {"paused": None}
    fake.routes["GET /lanes"] = {"lanes": [running]}
    fake.routes["POST /lanes/video/pause"] = LANE
    go(page, "#/lanes")
    page.get_by_role("button", name="Pause video").click()
    fake.routes["GET /lanes"] = {"lanes": [LANE]}
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused · maintenance")).to_be_visible()
    assert "POST /lanes/video/pause" in fake.asked


def test_without_the_routes_nothing_points_to_lanes(page: Page) -> None:
    expect(page.get_by_role("link", name="Lanes")).to_be_hidden()
    go(page, "#/lanes")
    expect(page.get_by_text("does not show its lanes")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_is_accessible(page: Page, fake: Fake, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # one of its values
    detected = {"label": "face", "confidence": 0.7, "bbox": [1, 1, 5, 5]}
    statuses = ["PENDING", "WAITING", "SUBMITTED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
    hit = {
        "jobId": "job-1",
        "kind": "x",
        "start": 0,
        "end": 9,
        "at": 1,
        "text": "a word",
        "marks": [[0, 1]],
        "score": 1,
    }
    answer = {"text": "So.", "sentences": [{"text": "So.", "hits": [1]}]}
    fake.routes |= {
        "GET /jobs": {"jobs": [job(number, status=status) for number, status in enumerate(statuses)]},
        "GET /lanes": {"lanes": [LANE]},
        "POST /search": {"hits": [hit], "answer": answer},
        "GET /jobs/video": job(summary="About.", chapters=[{"start": 0, "end": 9, "title": "One"}], links={"a": "/a"}),
        "GET /jobs/failed": job(
            status="FAILED", error={"code": "A", "message": "b"}, result={"stages": {"text": "failed"}}
        ),
        "GET /jobs/running": job(status="RUNNING", progress={"percent": 40, "message": "halfway"}),
        "GET /jobs/waiting": job(status="WAITING", ahead=3),
        "GET /jobs/torrent": job(kind="torrent", result={"magnet": "magnet:?a", "infohash": "a"}),
        "GET /jobs/pictures": job(
            kind="image-processing", detections=[{"imageUrl": "a.png", "detections": [detected]}]
        ),
        "GET /jobs/steam": job(kind="steam_import", userId="u", result={"games": 3, "personaName": "P"}),
        "GET /users/u/games": {"games": [{"name": "Portal", "appid": 1, "playtimeMinutes": {"total": 61}}]},
        "GET /jobs/recording": job(kind="stream-recording", result={"bytes": 3, "seconds": 9}, links={"a.ts": "/a.ts"}),
    }
    jobs = ["video", "failed", "running", "waiting", "torrent", "pictures", "steam", "recording", "none"]
    wrong = {}
    for where in [
        "#/jobs",
        "#/upload",
        "#/search",
        "#/search?q=a&answer=1",
        "#/lanes",
        *(f"#/jobs/{each}" for each in jobs),
    ]:
        go(page, where)
        expect(page.locator(".bones")).to_have_count(0)
        for summary in page.locator("main summary").all():
            summary.click()
        if found := violations(page):
            wrong[where] = found
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("API key").wait_for()
    if found := violations(page):
        wrong["sign in"] = found
    assert wrong == {}
