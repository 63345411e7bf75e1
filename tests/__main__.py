"""Runs both test tiers in parallel, because the deployed one mostly waits. Behind `make test`.

    python -m tests [--all] [arguments for both pytests]

Without `--all` (`make test ALL=1`, as in CI), the suites in `SLOW` are left out.

The deployed tier's output is held back until the fast tier has ended, so that the two don't mix.
The last line counts both.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / ".local" / "tests"
# Docker tests are no tier of their own: without an engine it would run no test.
DEPLOYED = ("tests/integration", "tests/docker")
PROCESSES = str(round(1.5 * len(os.sched_getaffinity(0))))
"""Of the fast tier: a third of the time, its tests wait for processes that they started."""
SLOW = (
    # Crashes at every step, and processes that are killed and restarted.
    "tests/contract/test_compute_standin.py",
    "tests/contract/test_ecs_standin.py",
    "tests/integration/test_capacity.py",
    "tests/integration/test_crashes.py",
    "tests/integration/test_no_room.py",
    "tests/unit/function_jobs/test_crashes.py",
    "tests/unit/torrents/test_crashes.py",
    # The workers on real media and speech, and what they find.
    "tests/integration/test_search.py",
    "tests/integration/test_torrents.py",
    "tests/integration/test_transcription.py",
    "tests/unit/workers",
    # A browser.
    "tests/integration/test_console.py",
    "tests/integration/test_console_page.py",
    # What `make audit` checks with mistakes planted for it, thousands of requests, a thousand of everything.
    "tests/audit/test_rules.py",
    "tests/integration/test_api_contract.py",
    "tests/integration/test_first_run.py",
    "tests/integration/test_imports.py",
    "tests/integration/test_redrive.py",
    "tests/unit/steam/test_figures.py",
)
"""More than half of the time. Paths, not marks: what is left out isn't even collected."""
TIERS = {
    # Whole files in the order of collection, which tests/integration/conftest.py decides.
    "deployed": ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", *DEPLOYED),
    # Each process gets half of the files, then steals from the other: few modules are set up in both.
    "fast": (
        *("-n", PROCESSES, "--dist", "worksteal", "-m", "not heavy", "tests"),
        *("-p", "no:schemathesis"),  # its plugin takes seconds to load, and no test of this tier needs it
        *(f"--ignore={folder}" for folder in DEPLOYED),
    ),
}


def main(arguments: list[str]) -> int:
    """Runs the tiers. Returns 0 if every selected test passed and there was at least one."""
    whole = "--all" in arguments
    arguments = [each for each in arguments if each != "--all"] + [f"--ignore={path}" for path in SLOW if not whole]
    REPORTS.mkdir(parents=True, exist_ok=True)
    log = REPORTS / "deployed.log"
    with log.open("w") as output:
        deployed = subprocess.Popen(_pytest("deployed", arguments), cwd=ROOT, stdout=output, stderr=output)
    try:
        # As nice as can be: the deployed tier has time limits and would fail if the fast tier took its CPU.
        fast = subprocess.run(["nice", "-n", "19", *_pytest("fast", arguments)], cwd=ROOT, check=False)
    finally:
        deployed.wait()  # after Ctrl-C too: the tier got the signal as well, and ends its systems
        print(log.read_text(), end="")
    count = Counter(outcome for tier in TIERS for outcome in _outcomes(_report(tier)))
    if not whole:
        print("The slow suites were left out; CI runs them, and so does: make test ALL=1")
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    # `-k` may select tests in one tier only.
    well = {fast.returncode, deployed.returncode} <= {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    return 0 if well and count.total() else 1


def _report(tier: str) -> Path:
    return REPORTS / f"{tier}.xml"


def _pytest(tier: str, arguments: list[str]) -> list[str]:
    """Returns the command that runs a tier. Removes the tier's old report, so that only this run's is counted."""
    report = _report(tier)
    report.unlink(missing_ok=True)
    return [sys.executable, "-m", "pytest", *TIERS[tier], f"--junit-xml={report}", *arguments]


def _outcomes(report: Path) -> list[str]:
    """Reads each test's outcome from a JUnit report; empty if there is no report."""
    if not report.exists():
        return []
    outcomes = []
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest has just written it
        found = {child.tag for child in case}
        outcomes.append("failed" if found & {"failure", "error"} else "skipped" if "skipped" in found else "passed")
    return outcomes


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
