"""What cfn-lint knows of CloudFormation, asked of both templates."""

import json
import subprocess
import sys
from pathlib import Path

from tests.template.rendering import COMPUTE, ROOT, TEMPLATE


def test_cfn_lint_finds_nothing_but_the_mistake_put_there(tmp_path: Path) -> None:
    """A third template, with a mistake, shows that it looks; one run, as most of its time is its start."""
    broken = tmp_path / "broken.yaml"
    broken.write_text(COMPUTE.read_text().replace("MinvCpus", "MinCpus"))
    cfn_lint = Path(sys.executable).with_name("cfn-lint")
    run = subprocess.run(
        [cfn_lint, "--format", "json", TEMPLATE, COMPUTE, broken], cwd=ROOT, capture_output=True, check=False
    )
    complaints = [(Path(found["Filename"]), found["Message"]) for found in json.loads(run.stdout)]
    assert [found for found in complaints if found[0] != broken] == []
    assert any("MinCpus" in message for _, message in complaints)
