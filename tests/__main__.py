"""`make test`: both tiers side by side, as the deployed one waits more than it works.

    python -m tests [arguments for both pytests]

What the deployed tier prints is kept until the fast one has ended, so that the two don't mix.
The last line counts both.
"""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / ".local" / "tests"
# Those in Docker are not a tier of their own: without an engine it would be one that ran no test.
DEPLOYED = ("tests/integration", "tests/docker")
TIERS = {
    # File by file in the order of collection, which tests/integration/conftest.py decides.
    "deployed": ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", *DEPLOYED),
    # Each process takes half of the files, then from what the other has left: few modules are set up in both.
    "fast": (
        *("-n", "auto", "--dist", "worksteal", "-m", "not heavy", "tests"),
        *(f"--ignore={folder}" for folder in DEPLOYED),
    ),
}


def main(arguments: list[str]) -> int:
    """Run them; 0 if every test that was asked for has passed, and there was one."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    log = REPORTS / "deployed.log"
    with log.open("w") as output:
        deployed = subprocess.Popen(_pytest("deployed", arguments), cwd=ROOT, stdout=output, stderr=output)
    try:
        # Nice: what waits for a deployed system waits for seconds, and gives up at some time.
        fast = subprocess.run(["nice", *_pytest("fast", arguments)], cwd=ROOT, check=False)
    finally:
        deployed.wait()  # after Ctrl-C too, which has reached it as well: it ends its systems
        print(log.read_text(), end="")
    count = Counter(outcome for tier in TIERS for outcome in _outcomes(_report(tier)))
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    # What `-k` picks may be in one tier alone.
    well = {fast.returncode, deployed.returncode} <= {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    return 0 if well and count.total() else 1


def _report(tier: str) -> Path:
    return REPORTS / f"{tier}.xml"


def _pytest(tier: str, arguments: list[str]) -> list[str]:
    """The command that runs a tier. Its last report is removed, so that none is counted that isn't of this run."""
    report = _report(tier)
    report.unlink(missing_ok=True)
    return [sys.executable, "-m", "pytest", *TIERS[tier], f"--junit-xml={report}", *arguments]


def _outcomes(report: Path) -> list[str]:
    """What became of each test, by a report in JUnit's form; nothing where there is none."""
    if not report.exists():
        return []
    outcomes = []
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest has just written it
        found = {child.tag for child in case}
        outcomes.append("failed" if found & {"failure", "error"} else "skipped" if "skipped" in found else "passed")
    return outcomes


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
