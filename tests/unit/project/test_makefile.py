"""Make targets set up only what they use, work in a clone at any path, and report what is missing."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.__main__ import SLOW
from tests.unit.project.test_pages import MAKEFILE, ROOT, TARGETS

SYSTEM: Final = {"dev", "sam", "emulator", "runtime", *(path.parent.name for path in ROOT.glob("workers/*/Dockerfile"))}
TESTED: Final = SYSTEM | {"audit", "checkov"}
HIDDEN: Final = {"fuzz": {"dev"}, "test-chaos": {"chaos"}}
"""What a target's program calls by itself: the fuzzer hypothesis, where atheris has no wheel."""


def _make(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    # The make that runs these tests hands its options and variables down to every other one.
    kept = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=cwd, env=kept | environment, capture_output=True, text=True, check=False)


def _set_up(target: str) -> set[str]:
    """Returns what a target sets up in a fresh clone; .venvs/uv sets up all others."""
    printed = _make("--dry-run", "VENVS=fresh", target)
    assert printed.returncode == 0, printed.stderr
    return set(re.findall(r'echo "setting up fresh/(\w+)"', printed.stdout)) - {"uv"}


def _used(target: str, venvs: Path) -> set[str]:
    """Returns the environments in a target's recipe."""
    names = {path.stem for path in ROOT.glob("requirements/*.txt")}
    for name in sorted(names, key=lambda name: name != "uv"):  # first, as all others are made by it
        (venvs / name / "bin").mkdir(parents=True, exist_ok=True)
        (venvs / name / ".ready").touch()
        (venvs / name / "bin" / name).touch()
    printed = _make("--dry-run", f"VENVS={venvs}", target).stdout
    assert "setting up" not in printed
    return set(re.findall(rf"{re.escape(str(venvs))}/(\w+)/", printed)) - {"uv"}


# ---- environments on demand ------------------------------------------------------------------------------------------


# `env` sets up nothing: whatever it printed, the shell would evaluate.
@pytest.mark.parametrize("target", sorted(TARGETS - {"test", "setup", "env"}))
def test_a_target_sets_up_what_it_uses(tmp_path: Path, target: str) -> None:
    made, used = _set_up(target), _used(target, tmp_path)
    hidden = HIDDEN.get(target, set()) | (SYSTEM if made >= SYSTEM and "dev" in used else set())
    assert used <= made <= used | hidden


def test_checking_the_style_needs_one_small_environment() -> None:
    assert _set_up("check-style") == {"style"}


def test_what_starts_the_system_has_all_of_it() -> None:
    for target in ("demo", "demo-api", "demo-torrent", "up", "drill", "test-api", "invoke", "start-api", "bench"):
        assert _set_up(target) == SYSTEM


def test_the_tests_and_setup_have_what_any_check_uses() -> None:
    assert _set_up("test") == TESTED
    assert _set_up("setup") == TESTED | {"style"}


def test_ci_runs_the_suites_that_others_may_leave_out() -> None:
    assert [path for path in SLOW if not (ROOT / path).exists()] == []
    assert "make test ALL=1" in (ROOT / ".ci" / "run").read_text()
    assert "--all" in _make("--dry-run", "test", "ALL=1").stdout
    assert "--all" not in _make("--dry-run", "test", "ALL=").stdout


def test_the_linter_is_pinned_once() -> None:
    pins = [
        path.name for path in ROOT.glob("requirements/*.txt") if re.search("^ruff==", path.read_text(), re.MULTILINE)
    ]
    assert pins == ["style.txt"]


# ---- any machine -----------------------------------------------------------------------------------------------------

PYTHON: Final = """#!/bin/sh
case "$*" in
    *version_info*) echo {version} ;;
    "-m venv "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    "-m pip install "*--target*) shift 2; while [ "$1" != --target ]; do shift; done; mkdir -p "$2/bin" ;;
    "-m pip install "*) {pip} ;;
esac
"""
"""A Python as far as the makefiles know it; its pip puts uv, or the folder for the layer, in place."""
INSTALLED: Final = 'touch "$(dirname "$0")/uv"'
OFFLINE: Final = 'echo "Retrying after NewConnectionError"; echo "ERROR: No matching distribution for uv" >&2; exit 1'
REFUSED: Final = 'echo "Collecting uv"; echo "ERROR: hashes do not match" >&2; exit 1'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Creates a minimal clone for the makefiles, in a path with spaces."""
    folder = tmp_path / "a path" / "with blanks"
    (folder / "requirements").mkdir(parents=True)
    for name in ("Makefile", "requirements/uv.txt"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def _python(folder: Path, *, version: str = "3.13", pip: str = INSTALLED) -> str:
    path = folder / "a python"
    path.write_text(PYTHON.format(version=version, pip=pip))
    path.chmod(0o755)
    return f"PYTHON={path}"


def test_a_path_with_blanks_is_as_good_as_any(clone: Path) -> None:
    made = _make(".venvs/uv/bin/uv", _python(clone), cwd=clone)
    assert (made.returncode, made.stderr) == (0, "")
    assert (clone / ".venvs" / "uv" / "bin" / "uv").exists()
    assert not (clone / ".venvs" / "uv.log").exists()


def test_the_layer_is_built_in_a_path_with_blanks(clone: Path) -> None:
    layer = clone / "layer"
    (layer / "switchyard").mkdir(parents=True)
    (layer / "switchyard" / "clock.py").touch()
    shutil.copy(ROOT / "layers" / "switchyard" / "Makefile", layer)
    built = _make("build-SwitchyardLayer", _python(clone), f"ARTIFACTS_DIR={clone / 'built layer'}", cwd=layer)
    assert (built.returncode, built.stderr) == (0, "")
    assert [path.name for path in clone.glob("built layer/python/*")] == ["switchyard"]


@pytest.mark.parametrize(
    ("version", "pip", "told"),
    [
        ("3.12", INSTALLED, "Python 3.13 is needed, but {} is 3.12. Name one: make PYTHON=/path/to/python3.13"),
        ("", INSTALLED, "Python 3.13 is needed, but {} is missing. Name one: make PYTHON=/path/to/python3.13"),
        ("3.13", OFFLINE, "Can't set up .venvs/uv: no package index answers. Check the network, "),
        ("3.13", REFUSED, "Can't set up .venvs/uv: ERROR: hashes do not match (details: .venvs/uv.log)"),
    ],
)
def test_a_set_up_that_fails_says_why_in_one_line(clone: Path, version: str, pip: str, told: str) -> None:
    python = _python(clone, version=version, pip=pip)
    made = _make(".venvs/uv/bin/uv", python, cwd=clone)
    assert made.returncode == 2
    assert made.stderr.startswith(told.format(python.removeprefix("PYTHON=")))
    assert made.stderr.count("\n") == 2  # make's own line follows


@pytest.mark.parametrize(("home", "cache"), [("", ""), ("nowhere/at/all", f"{ROOT}/.venvs/cache")])
def test_caches_lie_in_the_home_unless_it_can_t_be_written(tmp_path: Path, home: str, cache: str) -> None:
    show = r"show: ; @echo $$XDG_CACHE_HOME"
    assert _make(f"--eval={show}", "show", HOME=str(tmp_path / home), XDG_CACHE_HOME="").stdout.strip() == cache


# ---- help ------------------------------------------------------------------------------------------------------------


def test_help_has_three_groups_and_fits_80_columns() -> None:
    lines = _make("help").stdout.splitlines()
    assert [line for line in lines if line and line[0] != " "] == ["Start here", "Operate the local system", "Develop"]
    assert [line for line in lines if len(line) > 80] == []
    assert len([line for line in lines if line.startswith("  ")]) == len(
        re.findall("^[a-z-]+:.*## ", MAKEFILE, re.MULTILINE)
    )
