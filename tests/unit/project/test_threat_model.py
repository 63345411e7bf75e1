"""docs/threat-model.md: each threat names an existing test, or says that there is no protection."""

import ast
import re
from functools import cache
from pathlib import Path

from tests.cases import cases

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "threat-model.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split(" |")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| Threat |")
]
TESTS = sorted({named for row in ROWS for named in re.findall(r"`(tests/[^`]+)`", row[-1])})


@cache
def _tests_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@cases("named", TESTS)
def test_every_test_that_is_named_exists(named: str) -> None:
    file, _, name = named.partition("::")
    assert name.startswith("test_")
    assert name in _tests_of(file)


@cases("row", ROWS, ids=[row[0][:60] for row in ROWS])
def test_every_threat_has_a_test_or_is_said_not_to_be_mitigated(row: list[str]) -> None:
    _, mitigation, *tests = row
    assert mitigation
    assert any("::" in test for test in tests) or "**not mitigated**" in mitigation
