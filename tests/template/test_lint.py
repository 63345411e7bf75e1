"""cfn-lint accepts the templates, and other linters can parse them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.template.rendering import COMPUTE, ROOT, TEMPLATE, WATCH

REGIONS: Final = (
    "us-east-1",
    "us-west-1",
    "eu-central-1",
    "ap-northeast-1",
    "sa-east-1",
    "cn-north-1",
    "us-gov-west-1",
)
"""Five Regions, with few and with many zones, old and far, and one of each other partition."""
REGIONAL: Final = "AWS::AppRunner::Service"
"""A type that some of these Regions lack."""


def test_cfn_lint_finds_nothing_but_the_mistake_put_there(tmp_path: Path) -> None:
    """In every Region. A fourth template has mistakes, to show that cfn-lint looks. One run: its start takes long."""
    broken = tmp_path / "broken.yaml"
    broken.write_text(
        "Resources: { Queue: { Type: AWS::SQS::Queue, Properties: { QueueNam: x } }, "
        f"App: {{ Type: {REGIONAL}, Properties: {{ SourceConfiguration: {{}} }} }} }}"
    )
    cfn_lint = Path(sys.executable).with_name("cfn-lint")
    run = subprocess.run(
        [cfn_lint, "--format", "json", "--regions", *REGIONS, "--", TEMPLATE, COMPUTE, WATCH, broken],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    complaints = [(Path(found["Filename"]), found["Message"]) for found in json.loads(run.stdout)]
    assert [found for found in complaints if found[0] != broken] == []
    assert any("QueueNam" in message for _, message in complaints)
    for region in ("cn-north-1", "us-gov-west-1"):
        assert any(REGIONAL in message and region in message for _, message in complaints), region


@pytest.mark.parametrize("path", [TEMPLATE, COMPUTE, WATCH], ids=lambda path: path.name)
def test_no_key_overrides_a_merged_one(path: Path) -> None:
    """Such a template can't be parsed by checkov, which then checks nothing, and exits with 0 all the same."""
    root = yaml.compose(path.read_text())
    assert list(_repeated(root)) == []


def test_a_key_that_overrides_a_merged_one_is_found() -> None:
    assert list(_repeated(yaml.compose("{a: &x {b: 1}, c: {<<: [*x], b: 2}}"))) == ["b"]


def _repeated(node: yaml.Node | None) -> Iterator[str]:
    """Keys that a mapping has twice, once the mappings that it merges are put in."""
    match node:
        case yaml.MappingNode():
            keys = _keys(node)
            yield from {key for key in keys if keys.count(key) > 1}
            for _, child in node.value:
                yield from _repeated(child)
        case yaml.SequenceNode():
            for child in node.value:
                yield from _repeated(child)


def _keys(node: yaml.Node) -> list[str]:
    if isinstance(node, yaml.SequenceNode):
        return [key for child in node.value for key in _keys(child)]
    return [key for name, child in node.value for key in (_keys(child) if name.value == "<<" else [str(name.value)])]
