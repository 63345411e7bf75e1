"""Writes the right values to the kernel's files, in folders that imitate both versions."""

from pathlib import Path

import pytest

from bench import confined
from bench.confined import Group


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """Imitates version 1 of control groups: a tree per controller."""
    for controller in ("cpu", "memory"):
        (tmp_path / controller).mkdir()
        (tmp_path / controller / "cgroup.procs").touch()
    return tmp_path


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """Imitates version 2 of control groups: one tree."""
    (tmp_path / "cgroup.procs").touch()
    return tmp_path


def _written(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file() and path.parent.name.startswith("switchyard"))
    return {path.name: path.read_text() for path in files}


def test_version_1_is_told_of_a_share_by_quota_and_period(first: Path) -> None:
    group = Group(2**27, first)
    group.share(0.25)
    group.take(4711)
    assert _written(first) == {
        "memory.limit_in_bytes": "134217728",
        "cpu.shares": "262144",
        "cpu.cfs_period_us": "20000",
        "cpu.cfs_quota_us": "5000",
        "cgroup.procs": "4711",
    }


def test_version_2_is_told_of_both_in_one_line(second: Path) -> None:
    group = Group(2**27, second)
    group.share(0.25)
    group.take(4711)
    assert _written(second) == {
        "memory.max": "134217728",
        "cpu.weight": "10000",
        "cpu.max": "5000 20000",
        "cgroup.procs": "4711",
    }


def test_version_1_has_a_process_in_both_trees(first: Path) -> None:
    Group(2**27, first).take(4711)
    assert [len(list(first.glob(f"{each}/switchyard*/cgroup.procs"))) for each in ("cpu", "memory")] == [1, 1]


@pytest.mark.parametrize(
    ("version", "file", "lifted"), [("first", "cpu.cfs_quota_us", "-1"), ("second", "cpu.max", "max 20000")]
)
def test_a_share_can_be_lifted(version: str, file: str, lifted: str, request: pytest.FixtureRequest) -> None:
    root: Path = request.getfixturevalue(version)
    group = Group(2**27, root)
    group.share(0.25)
    group.share(None)
    assert _written(root)[file] == lifted


def test_a_share_is_no_smaller_than_the_kernel_takes(second: Path) -> None:
    group = Group(2**27, second)
    group.share(0.001)
    assert _written(second)["cpu.max"] == "1000 20000"


def test_it_says_why_there_are_no_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined, "ROOT", tmp_path / "nowhere")
    assert "No such file or directory" in (confined.unavailable() or "")
