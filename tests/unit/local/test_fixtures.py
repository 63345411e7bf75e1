"""Third-party torrents for tests: the npm packages fetched, and the files kept."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from local import fixtures


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Records the packages requested from npm, and leaves an archive that isn't the pinned one."""
    packages: list[str] = []

    def npm(command: list[str], **_how: object) -> subprocess.CompletedProcess[str]:
        packages.append(command[command.index("pack") + 1])
        with tarfile.open(Path(command[-1]) / "some.tgz", "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("package/fixtures/a.torrent"), io.BytesIO())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fixtures, "KEPT", tmp_path / "fixtures")
    monkeypatch.setattr(subprocess, "run", npm)
    return packages


def test_an_exact_version_is_asked_for(asked: list[str]) -> None:
    with pytest.raises(fixtures.FixturesError):
        fixtures.webtorrent()
    assert asked == ["webtorrent-fixtures@2.0.3"]


def test_another_package_under_its_name_is_refused_and_not_kept(asked: list[str]) -> None:
    with pytest.raises(fixtures.FixturesError, match="doesn't match the pinned hash"):
        fixtures.webtorrent()
    assert list(fixtures.KEPT.iterdir()) == []


def test_it_is_fetched_only_once(asked: list[str]) -> None:
    (fixtures.KEPT / fixtures.PACKAGE).mkdir(parents=True)
    fixtures.webtorrent()
    assert asked == []


def test_why_npm_failed_is_told(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(command: list[str], **_how: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "no route to host")

    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises(fixtures.FixturesError, match="no route to host"):
        fixtures.webtorrent()
