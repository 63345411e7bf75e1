"""What cfn-lint knows of CloudFormation, asked of both templates."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.template.rendering import COMPUTE, ROOT, TEMPLATE

CFN_LINT = Path(sys.executable).with_name("cfn-lint")


@pytest.mark.parametrize("path", [TEMPLATE, COMPUTE], ids=["template", "compute"])
def test_cfn_lint_finds_nothing(path: Path) -> None:
    found = subprocess.run([CFN_LINT, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 0)


def test_cfn_lint_would_find_something(tmp_path: Path) -> None:
    broken = tmp_path / "template.yaml"
    broken.write_text(COMPUTE.read_text().replace("MinvCpus", "MinCpus"))
    found = subprocess.run([CFN_LINT, broken], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "MinCpus" in found.stdout
    assert found.returncode != 0
