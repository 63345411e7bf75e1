"""Checks that pins satisfy their requirements, and that no registry and no path of one machine was committed.

The project names no registry, so that it installs from the one that pip is configured to use.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LAYERS_PINS = {
    "layer": ROOT / "layers" / "switchyard" / "requirements.txt",
    "embedding": ROOT / "layers" / "embedding" / "requirements.txt",
}

# Written so that the pattern doesn't match this file.
REGISTRIES = re.compile(
    r"py[p]i\.org|python[h]osted|registry\.[n]pmjs|deb\.[d]ebian|--(extra-)?index[-]url|--find[-]links"
)
HOMES = ("/home/", "/root/", "/Users/", "/work/")
MACHINE = re.compile(rf"(?<![\w.}}*~-])(?:{'|'.join(HOMES)})\w")


def main() -> int:
    """Print every finding; 1 if there is one."""
    findings = [*_pins(), *_committed()]
    sys.stderr.writelines(f"{finding}\n" for finding in findings)
    return 1 if findings else 0


def _pins() -> list[str]:
    findings = []
    for asked in sorted((ROOT / "requirements").glob("*.in")):
        pins = LAYERS_PINS.get(asked.stem, asked.with_suffix(".txt"))
        pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", pins.read_text(), re.MULTILINE))
        for wanted in _asked(asked):
            version = pinned.get(canonicalize_name(wanted.name))
            if version is None or version not in wanted.specifier:
                names = f"{asked.relative_to(ROOT)}: {pins.relative_to(ROOT)} doesn't pin {wanted}"
                findings.append(f"{names}; run `make lock`")
    return findings


def _asked(path: Path) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def _committed() -> list[str]:
    command = ("git", "ls-files", "-z")
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603 - fixed
    findings = []
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue  # deleted, but not committed yet
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            for what, found in (("a registry", REGISTRIES.search(line)), ("a path of one machine", _machine(line))):
                if found:
                    findings.append(f"{name}:{number}: names {what}: {found.group()}")
    return findings


def _machine(line: str) -> re.Match[str] | None:
    return MACHINE.search(line) or re.search(re.escape(os.fspath(ROOT)) + r"\b", line)


if __name__ == "__main__":
    sys.exit(main())
