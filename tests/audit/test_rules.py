"""`make audit` finds mistakes in templates and images, committed secrets, and pinned packages with advisories."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.template.rendering import COMPUTE, ROOT

AUDIT = ROOT / ".venvs" / "audit" / "bin" / "python"
CHECKOV = ROOT / ".venvs" / "checkov" / "bin" / "checkov"
UNUSED_PORT = "http://127.0.0.1:9/"


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# ---- templates and images --------------------------------------------------------------------------------------------


def test_checkov_finds_the_mistakes_put_there(tmp_path: Path) -> None:
    """One run for both, as most of its time is its start."""
    template, image = tmp_path / "broken.yaml", tmp_path / "Dockerfile"
    template.write_text(COMPUTE.read_text().replace("HttpTokens: required", "HttpTokens: optional"))
    image.write_text((ROOT / "workers" / "detect_objects" / "Dockerfile").read_text().replace("USER 10001:10001\n", ""))
    options = ("--skip-download", "--compact", "--output", "json", "--framework", "cloudformation", "dockerfile")
    run = _run(CHECKOV, *options, "--file", template, image)
    found = {failed["check_id"] for report in json.loads(run.stdout) for failed in report["results"]["failed_checks"]}
    assert run.returncode == 1
    assert found == {"CKV_DOCKER_3", "CKV_AWS_79"}


# ---- secrets ---------------------------------------------------------------------------------------------------------

# In pieces, so that this file doesn't hold what it plants.
PHRASE = "correct-horse-" + "battery"
KEY_ID, KEY = "AKIA" + "Z3MSJV4WQ7HTC2LB", "q8Zr+Tn0bWc5dLx7" + "Yv2sKf9uEa3gHj6mPiRoXt1N"
PLANTED = {
    "an access key": f"aws_access_key_id = {KEY_ID}\n",
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\n",
    "a password": f'password = "{PHRASE}"\n',
    "a secret key by its looks": f'value: "{KEY}"\n',
    "one that a comment excuses": f'password = "{PHRASE}"  # pragma: allowlist {"secret"}\n',
}


def _checkout(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text)
    for arguments in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


def test_a_planted_secret_is_found_and_not_shown(tmp_path: Path) -> None:
    """One run for all, as most of its time is its start."""
    files = {f"{what.replace(' ', '_')}.py": text for what, text in PLANTED.items()}
    run = _run(AUDIT, "tools/checks/leaks.py", _checkout(tmp_path, files))
    assert run.returncode == 1
    assert {line.split(": ")[0] for line in run.stderr.splitlines()} == {f"{name}:1" for name in files}
    assert not any(secret in run.stderr for secret in (KEY_ID, KEY, PHRASE, "MIIEow"))


def test_what_is_known_to_be_none_is_none(tmp_path: Path) -> None:
    run = _run(AUDIT, "tools/checks/leaks.py", _checkout(tmp_path, {"conftest.py": 'AWS_SECRET_ACCESS_KEY = "test"\n'}))
    assert (run.returncode, run.stderr) == (0, "")


# ---- advisories ------------------------------------------------------------------------------------------------------


@contextmanager
def _osv(*vulnerable: str) -> Iterator[str]:
    """Runs a service with one advisory for each of these packages."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
            events = [{"introduced": "0"}, {"fixed": "99"}]
            affected = {
                "package": {"name": name, "ecosystem": "PyPI"},
                "ranges": [{"type": "ECOSYSTEM", "events": events}],
            }
            advisory = {"id": "PYSEC-0000-1", "summary": "bad", "aliases": [], "affected": [affected]}
            body = json.dumps({"vulns": [advisory]} if name in vulnerable else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("vulnerable", "code", "words"),
    [
        (("jinja2",), 0, ""),
        (("jinja2", "uv"), 1, "PYSEC-0000-1, fixed in 99"),
        ((), 0, "OSV CAN'T BE REACHED"),  # an answer without what everybody knows is no answer
    ],
)
def test_advisories_are_told_of(vulnerable: tuple[str, ...], code: int, words: str) -> None:
    with _osv(*vulnerable) as url:
        run = _run(AUDIT, "tools/checks/advisories.py", "--osv-url", url, "requirements/uv.txt")
    assert run.returncode == code
    assert words in run.stderr if words else run.stderr == ""


def test_where_nobody_answers_it_is_said_and_may_be_fatal() -> None:
    skipped = _run(AUDIT, "tools/checks/advisories.py", "--osv-url", UNUSED_PORT)
    required = _run(AUDIT, "tools/checks/advisories.py", "--osv-url", UNUSED_PORT, "--required")
    assert (skipped.returncode, required.returncode) == (0, 1)
    assert "OSV CAN'T BE REACHED" in skipped.stderr
