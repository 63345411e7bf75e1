"""Fuzzes parsers in sequence: `python -m tests.fuzz bencode --seconds 60`, or all of them without a name.

Findings are written to `.local/fuzz/<target>/` with their traceback, and the exit code is 1. Add each finding to the
corpus under a descriptive name, then fix the parser.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec

from tests.fuzz.harness import CORPUS, LONGEST, ROOT, Harness
from tests.fuzz.harnesses import HARNESSES

_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "POWERTOOLS_SERVICE_NAME": "fuzz",
    "POWERTOOLS_TRACE_DISABLED": "true",
    "POWERTOOLS_LOG_LEVEL": "CRITICAL",
}
_HANGS = 60
"""Seconds after which one input counts as a hang: a last resort for time spent in the interpreter's own code."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A target's run: the number of inputs, and their code coverage in libFuzzer's units."""

    inputs: int
    coverage: int
    features: int
    kept: int
    finding: str


def main() -> int:
    """Prints a line per target. Returns 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(HARNESSES))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    given = parser.parse_args()
    unknown = sorted(set(given.targets) - set(HARNESSES))
    if unknown:
        parser.error(f"no target is called {unknown[0]}; there are {', '.join(HARNESSES)}")
    harnesses = [HARNESSES[name] for name in given.targets or HARNESSES]
    if find_spec("atheris") is None:
        print("atheris has no wheel for this machine: using hypothesis' thorough profile instead, without coverage")
        return _without_atheris(harnesses)
    print(f"{'target':<22}{'inputs':>12}{'a second':>10}{'coverage':>10}{'features':>10}{'kept':>7}  finding")
    found = False
    for harness in harnesses:
        begun = time.monotonic()
        outcome = _fuzzed(harness, given.seconds)
        rate = outcome.inputs / (time.monotonic() - begun)
        print(
            f"{harness.name:<22}{outcome.inputs:>12,}{rate:>10,.0f}{outcome.coverage:>10,}{outcome.features:>10,}"
            f"{outcome.kept:>7,}  {outcome.finding or 'none'}",
            flush=True,
        )
        found |= bool(outcome.finding)
    return 1 if found else 0


def _fuzzed(harness: Harness, seconds: int) -> Outcome:
    folder = ROOT / ".local" / "fuzz" / harness.name
    kept = folder / "kept"
    kept.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={_HANGS}", "-rss_limit_mb=2048"]
    places = [f"-artifact_prefix={folder}/", "-print_final_stats=1", str(kept), str(CORPUS / harness.name)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.engine", harness.name, *limits, *places],
        cwd=ROOT,
        env=os.environ | _ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    (folder / "log").write_text(done.stdout)
    reached = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", done.stdout) or [("0", "0", "0")]
    coverage, features, inputs_kept = map(int, reached[-1])
    inputs = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stdout)
    finding = ""
    if done.returncode != 0:
        written = re.search(r"Test unit written to (\S+)", done.stdout)
        finding = written[1] if written else f"see {folder / 'log'}"
    return Outcome(int(inputs[1]) if inputs else 0, coverage, features, inputs_kept, finding)


def _without_atheris(harnesses: list[Harness]) -> int:
    python = os.fspath(ROOT / ".venvs" / "dev" / "bin" / "python")
    names = " or ".join(f"[{harness.name}]" for harness in harnesses)
    command = [python, "-m", "pytest", "tests/fuzz/test_fuzz.py", "--hypothesis-profile=thorough", "-k", names]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
