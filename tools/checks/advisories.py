"""Checks all pinned packages for known vulnerabilities, with pip-audit and OSV.

Only names and versions of public packages are sent. A release that is known to be vulnerable is looked up first, since
an empty result alone doesn't prove that OSV answered. If OSV can't be reached, the check says so, and fails only with
--required.
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
PINS = (*sorted((ROOT / "requirements").glob("*.txt")), *sorted((ROOT / "layers").glob("*/requirements.txt")))
OSV = "https://api.osv.dev/v1/query"
KNOWN_TO_BE_BAD = "jinja2==2.4.1"

ACCEPTED: Mapping[str, str] = {}
"""Ids of advisories that don't affect this project, each with the reason."""


def main() -> int:
    """Print every advisory; 1 if there is one, or if OSV can't be reached and `--required` is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--required", action="store_true", help="fail if OSV can't be reached")
    parser.add_argument("--osv-url", default=OSV)
    parser.add_argument("pins", nargs="*", type=Path, default=PINS)
    given = parser.parse_args()
    if not _advisories(given.osv_url, ["--no-deps"], _known_to_be_bad()):
        sys.stderr.write("advisories: OSV CAN'T BE REACHED, so the pins were NOT checked\n")
        return 1 if given.required else 0
    found: set[str] = set()
    for pins in given.pins:  # one by one, because two files may pin different versions of a package
        told = _advisories(given.osv_url, ["--require-hashes"], pins)
        if told is None:
            sys.stderr.write(f"advisories: {pins.name} could not be checked, although OSV answered before\n")
            return 1
        found |= told
    sys.stderr.writelines(f"{each}\n" for each in sorted(found))
    return 1 if found else 0


def _known_to_be_bad() -> Path:
    path = Path(tempfile.mkdtemp(prefix="advisories-")) / "pins.txt"
    path.write_text(f"{KNOWN_TO_BE_BAD}\n")
    return path


def _advisories(osv_url: str, options: Sequence[str], pins: Path) -> set[str] | None:
    """The advisories for a file of pins; None if OSV can't be reached."""
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
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'none'}"
        for package in packages
        for found in package.get("vulns", ())
    }


if __name__ == "__main__":
    sys.exit(main())
