"""Every skipped checkov rule has a reason at the place where it is skipped."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.template.rendering import COMPUTE, ROOT, TEMPLATE, WATCH, load

DOCKERFILES = sorted(ROOT.glob("workers/*/Dockerfile"))
_ID = re.compile(r"CKV2?_[A-Z]+_\d+")
_COMMENT = re.compile(r"(?:checkov|bridgecrew):skip=([^:\s]*):?(.*)")


def _skips(path: Path) -> Iterator[tuple[str, str]]:
    """Returns the skipped rules with reasons, from comments and from the metadata of a template's resources."""
    yield from _COMMENT.findall(path.read_text())
    if path.suffix == ".yaml":
        for resource in load(path).written["Resources"].values():
            metadata = resource.get("Metadata", {})
            for skip in [*metadata.get("checkov", {}).get("skip", []), *metadata.get("bridgecrew", {}).get("skip", [])]:
                yield skip.get("id", ""), skip.get("comment", "")


@pytest.mark.parametrize("path", [TEMPLATE, COMPUTE, WATCH, *DOCKERFILES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_skip_names_one_rule_and_a_reason(path: Path) -> None:
    skips = list(_skips(path))
    assert skips
    assert [skip for skip in skips if not _ID.fullmatch(skip[0]) or len(skip[1].split()) < 4] == []


def test_nothing_is_passed_over_elsewhere() -> None:
    """A settings file or an option would skip a rule for all resources without a reason."""
    assert [name for name in (".checkov.yaml", ".checkov.yml", ".checkov.baseline") if (ROOT / name).exists()] == []
    recipe = (ROOT / "Makefile").read_text().split("\naudit-rules: ")[1].split("\n\n")[0]
    assert "bin/checkov" in recipe
    assert not re.search(r"--(skip-check|soft-fail|check|baseline)\b", recipe)
