"""Asks whether anything that is pinned has a known vulnerability: pip-audit, over every file of pins, by OSV.

Only the names and versions of public packages are sent. Where nobody answers, as on a machine that reaches nothing but
a package index, it says so and fails only if told to (--required): silence is no good news, so a release that is known
to be vulnerable is asked for first.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PINS = (*sorted((ROOT / "requirements").glob("*.txt")), ROOT / "layers" / "switchyard" / "requirements.txt")
OSV = "https://api.osv.dev/v1/query"
KNOWN_TO_BE_BAD = "jinja2==2.4.1"

ACCEPTED: Mapping[str, str] = {}
"""Advisories that don't concern this project, by their ids: why not."""


def main() -> int:
    """Print every advisory; 1 if there is one, or if nobody could be asked and `--required` was given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--required", action="store_true", help="fail if nobody answers")
    parser.add_argument("--osv-url", default=OSV)
    parser.add_argument("pins", nargs="*", type=Path, default=PINS)
    given = parser.parse_args()
    if not _advisories(given.osv_url, ["--no-deps"], _known_to_be_bad()):
        sys.stderr.write("advisories: NOBODY ANSWERED, so pins were NOT looked up; where OSV answers, they are\n")
        return 1 if given.required else 0
    found: set[str] = set()
    for pins in given.pins:  # each by itself: two may pin the same package, and differently
        told = _advisories(given.osv_url, ["--require-hashes"], pins)
        if told is None:
            sys.stderr.write(f"advisories: {pins.name} could not be looked up, though there was an answer before\n")
            return 1
        found |= told
    sys.stderr.writelines(f"{each}\n" for each in sorted(found))
    return 1 if found else 0


def _known_to_be_bad() -> Path:
    path = Path(tempfile.mkdtemp(prefix="advisories-")) / "pins.txt"
    path.write_text(f"{KNOWN_TO_BE_BAD}\n")
    return path


def _advisories(osv_url: str, options: Sequence[str], pins: Path) -> set[str] | None:
    """What is known of the pins; None if it could not be asked for."""
    with tempfile.TemporaryDirectory(prefix="advisories-") as cache:
        command = [
            str(Path(sys.executable).with_name("pip-audit")),
            "--vulnerability-service",
            "osv",
            "--osv-url",
            osv_url,
        ]
        command += ["--disable-pip", "--strict", "--format", "json", "--progress-spinner", "off", "--cache-dir", cache]
        command += [*options, *(f"--ignore-vuln={each}" for each in ACCEPTED), f"--requirement={pins}"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed
    try:
        packages: list[dict[str, Any]] = json.loads(run.stdout)["dependencies"]
    except ValueError:
        return None
    return {
        f"{package['name']} {package['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'none'}"
        for package in packages
        for found in package.get("vulns", ())
    }


if __name__ == "__main__":
    sys.exit(main())
