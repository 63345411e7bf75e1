"""Every installed package is pinned with a hash, here and in images."""

import re
from pathlib import Path

import pytest

from tests.template.rendering import ROOT

RECIPES = [ROOT / "Makefile", ROOT / "layers" / "switchyard" / "Makefile", *sorted(ROOT.glob("workers/*/Dockerfile"))]
PINS = [*sorted((ROOT / "requirements").glob("*.txt")), ROOT / "layers" / "switchyard" / "requirements.txt"]
_INSTALLS = re.compile(r"^.*\bpip install\b.*$", re.MULTILINE)
_PIN = re.compile(r"^[A-Za-z0-9].*$", re.MULTILINE)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_installed_without_its_hash(path: Path) -> None:
    installs = _INSTALLS.findall(path.read_text().replace("\\\n", " "))
    assert installs
    assert [line for line in installs if "--require-hashes" not in line] == []


@pytest.mark.parametrize("path", PINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_pin_is_exact_and_has_a_hash(path: Path) -> None:
    """An installation would notice, too, but only once there is one."""
    text = path.read_text().replace("\\\n", " ")
    loose = [line for line in _PIN.findall(text) if not re.match(r"\S+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)]
    assert loose == []
