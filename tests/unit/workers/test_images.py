"""Each worker's Dockerfile copies everything its code needs, and workers start no program of the machine."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
WORKERS = sorted(path.parent.name for path in ROOT.glob("workers/*/Dockerfile"))
PROGRAMS = ("deno", "ffmpeg", "ffprobe", "file", "mkvmerge", "node", "phantomjs")
"""What libraries of the workers look for on PATH."""

IMPORT_ALL = """
import importlib, pkgutil, runpy, sys

worker = importlib.import_module(sys.argv[1])
try:
    runpy.run_module(worker.__name__, run_name="__main__")
except SystemExit as end:
    code = end.code
for module in pkgutil.walk_packages(worker.__path__, f"{worker.__name__}."):  # some are imported only when needed
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
sys.exit(code)
"""


def copies(worker: str) -> list[tuple[Path, str]]:
    """Returns the Dockerfile's copies: each path in the repository, and its path in the image."""
    found = []
    for line in re.findall(
        r"^COPY (?!--from)(.+)$", (ROOT / "workers" / worker / "Dockerfile").read_text(), re.MULTILINE
    ):
        *sources, target = line.split()
        found += [(Path(source), target + Path(source).name if target.endswith("/") else target) for source in sources]
    return found


@pytest.mark.parametrize("worker", WORKERS)
def test_the_build_context_holds_what_the_image_copies_and_no_more(worker: str) -> None:
    ignored = (ROOT / "workers" / worker / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == {str(source) for source, _ in copies(worker)}


@pytest.mark.parametrize("worker", WORKERS)
def test_an_image_holds_all_that_its_worker_imports_and_starts_no_program(worker: str, tmp_path: Path) -> None:
    programs, ran = tmp_path / "bin", tmp_path / "ran"
    for folder in (programs, ran):
        folder.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text(f"#!/bin/sh\necho noise; echo noise >&2; echo >{ran / name}\n")
        (programs / name).chmod(0o755)
    for source, target in copies(worker):
        place = tmp_path / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, place)
    python = ROOT / ".venvs" / worker / "bin" / "python"
    environment = {"PYTHONPATH": str(tmp_path / "app"), "PATH": f"{programs}{os.pathsep}{os.defpath}"}

    ended = subprocess.run(
        [python, "-c", IMPORT_ALL, worker],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 65, ended.stderr
    assert "JOB_ID is missing" in ended.stdout
    assert (len(ended.stdout.splitlines()), ended.stderr) == (1, "")
    assert [path.name for path in ran.iterdir()] == []
