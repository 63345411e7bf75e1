"""The console's routes: the page and its files, their policy and caching, and what the files must not contain."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.serve_console import app
from switchyard import observability
from switchyard.api.console import Console
from switchyard.api.http import Api
from switchyard.errors import SettingsError
from tests.cases import cases
from tests.rest import event

ROOT: Final = Path(__file__).parents[3]
FOLDER: Final = ROOT / "console"
FILES: Final = {path.relative_to(FOLDER).as_posix(): path.read_text() for path in FOLDER.rglob("*") if path.is_file()}
MODULES: Final = {name: text for name, text in FILES.items() if name.endswith(".js")}
MEDIA: Final = "https://media.s3.eu-central-1.amazonaws.com"
PAGE, ENTRY = "GET /console/{file+}", "GET /console"
FIRST_SCREEN: Final = 150_000
"""Bytes that the first screen may transfer, uncompressed."""

CONSOLE: Final = Console(FOLDER, {"auth": "api-key"}, MEDIA)
API: Final = Api({ENTRY: CONSOLE.enter, PAGE: CONSOLE.file})


def get(name: str, api: Api = API, **headers: str) -> dict[str, Any]:
    asked = event(PAGE, path={"file": name}, headers={key.replace("_", "-"): value for key, value in headers.items()})
    return api.handle(asked, None)


def directives(policy: str) -> dict[str, list[str]]:
    return {name: values for name, *values in (each.split() for each in policy.split("; "))}


# ---- routes ---------------------------------------------------------------------------------------------------------


@cases(("path", "there"), [("/console", "console/index.html"), ("/console/", "index.html")], ids=["bare", "slash"])
def test_the_address_leads_to_the_page(path: str, there: str) -> None:
    answer = API.handle(event(ENTRY) | {"path": path}, None)
    assert (answer["statusCode"], answer["headers"]["Location"]) == (302, there)


def test_the_page_names_files_of_its_own_version() -> None:
    answer = get("index.html")
    named = re.findall(r'(?:href|src)="([^"]+)"', answer["body"])
    assert answer["statusCode"] == 200
    assert answer["headers"]["Content-Type"] == "text/html; charset=utf-8"
    assert len(named) == 3
    assert all(get(name)["statusCode"] == 200 for name in named)


def test_the_page_is_asked_for_again_and_its_files_are_not() -> None:
    page, module = get("index.html"), get(f"{CONSOLE.version}/app.js")
    assert page["headers"]["Cache-Control"] == "no-cache"
    assert module["headers"]["Cache-Control"] == "public, max-age=31536000, immutable"
    again = get("index.html", if_none_match=page["headers"]["ETag"])
    assert (again["statusCode"], again["body"]) == (304, "")


@cases("name", sorted({*FILES} - {"index.html"}))
def test_every_file_is_served_as_what_it_is(name: str) -> None:
    answer = get(f"{CONSOLE.version}/{name}")
    kinds = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
    assert (answer["statusCode"], answer["body"]) == (200, FILES[name])
    assert answer["headers"]["Content-Type"] == kinds[name.rpartition(".")[2]]
    assert answer["headers"]["X-Content-Type-Options"] == "nosniff"


@given(st.one_of(st.text(), st.sampled_from(["../app.py", "0/app.js", f"{CONSOLE.version}/../index.html", "app.js"])))
def test_nothing_else_is_served(name: str) -> None:
    known = {"index.html", *(f"{CONSOLE.version}/{each}" for each in FILES)}
    assert get(name)["statusCode"] == (200 if name in known else 404)


def test_another_content_has_another_version(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("a page")
    first = Console(tmp_path, {}, MEDIA).version
    assert Console(tmp_path, {"auth": "iam"}, MEDIA).version != first
    (tmp_path / "index.html").write_text("another")
    assert Console(tmp_path, {}, MEDIA).version != first


def test_what_the_page_is_told_can_not_leave_its_attribute() -> None:
    told = {"auth": '"><script>alert(1)</script>'}
    body = get("index.html", Api({PAGE: Console(FOLDER, told, MEDIA).file}))["body"]
    found: list[dict[str, str | None]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append({"tag": tag, **dict(attrs)})

    Reader().feed(body)
    [meta] = [each for each in found if each.get("name") == "deployment"]
    assert json.loads(meta["content"] or "") == told
    assert len([each for each in found if each["tag"] == "script"]) == 1


# ---- the policy -----------------------------------------------------------------------------------------------------


def test_the_policy_is_strict() -> None:
    assert directives(get("index.html")["headers"]["Content-Security-Policy"]) == {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", MEDIA],
        "media-src": [MEDIA, "blob:"],
        "connect-src": ["'self'", MEDIA],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }


def test_a_sign_in_page_may_be_called() -> None:
    policy = Console(FOLDER, {}, MEDIA, ["https://a.auth.example.com"]).policy
    assert directives(policy)["connect-src"] == ["'self'", MEDIA, "https://a.auth.example.com"]


# ---- the function ---------------------------------------------------------------------------------------------------


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name, value in {
        "S3_BUCKET": "media",
        "CONSOLE": "true",
    }.items():
        monkeypatch.setenv(name, value)
    # Powertools warns where one process, as never in Lambda, names two environments.
    monkeypatch.setattr(observability, "configure", lambda _: None)
    app.api.cache_clear()
    yield monkeypatch
    app.api.cache_clear()


def test_the_function_allows_the_origin_of_the_signed_links_alone(deployed: pytest.MonkeyPatch) -> None:
    policy = get("index.html", app.api())["headers"]["Content-Security-Policy"]
    assert directives(policy)["media-src"] == ["https://media.s3.us-east-1.amazonaws.com", "blob:"]


def test_without_a_console_there_is_nothing(deployed: pytest.MonkeyPatch) -> None:
    deployed.setenv("CONSOLE", "false")
    assert get("index.html", app.api())["statusCode"] == 404
    assert app.api().handle(event(ENTRY), None)["statusCode"] == 404


def test_users_need_a_page_to_sign_in_at(deployed: pytest.MonkeyPatch) -> None:
    deployed.setenv("API_AUTH", "cognito")
    with pytest.raises(SettingsError):
        app.api()
    deployed.setenv("CONSOLE_SIGN_IN_URL", "https://a.auth.example.com")
    deployed.setenv("CONSOLE_CLIENT_ID", "client")
    assert "https://a.auth.example.com" in get("index.html", app.api())["headers"]["Content-Security-Policy"]


# ---- the files ------------------------------------------------------------------------------------------------------

_HTML = re.compile(
    r"\b(innerHTML|outerHTML|insertAdjacentHTML|setHTML\w*|srcdoc|document\.write\w*|createContextualFragment"
    r"|DOMParser|parseFromString|eval|new Function|javascript:|setAttribute\(\"style)"
)


@cases("name", sorted(MODULES))
def test_no_module_parses_html_or_text_as_code(name: str) -> None:
    assert not _HTML.findall(MODULES[name])


@cases("name", sorted(FILES))
def test_no_file_names_another_site(name: str) -> None:
    others = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", FILES[name]))
    assert others <= {"http://www.w3.org"}, "the namespace of SVG is the only one"


@cases("name", sorted(MODULES))
def test_imports_lead_to_modules(name: str) -> None:
    imported = re.findall(r'(?:from|import\()\s*"\./([^"]+)"', MODULES[name])
    assert set(imported) <= set(MODULES)


def test_credentials_are_stored_in_the_session_alone() -> None:
    assert [name for name, text in MODULES.items() if "sessionStorage" in text] == ["session.js"]
    assert "localStorage" not in MODULES["session.js"]


def test_the_page_has_no_script_and_no_style_of_its_own() -> None:
    page = FILES["index.html"]
    assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) == [""]
    assert "<style" not in page
    assert not re.search(r"\s(style|on\w+)=", page)


def test_the_first_screen_is_small() -> None:
    needed, left = set(), ["app.js"]
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            left += re.findall(r'from "\./([^"]+)"', MODULES[name])
    assert "video.js" not in needed
    transferred = sum(len(FILES[name].encode()) for name in [*needed, "index.html", "style.css", "icon.svg"])
    assert transferred < FIRST_SCREEN
