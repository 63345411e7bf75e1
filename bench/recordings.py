"""Real recordings with published references, for the benches of speech and speakers.

Debian's packages of Asterisk's core sounds hold some 22 minutes a language: prompts of telephone systems, read by
professional speakers, with a text file that has the words of each. pocketsphinx-testdata has five sentences of "Sense
and Sensibility" (LibriVox). apt downloads the packages, a SHA-256 pins each, and nothing is installed.

The references are these files, as they are, slips of the pen included. Which prompts count follows from `PROMPTS`, not
from what was recognised. Words are compared as it is usual for Whisper: both texts go through its English normaliser
(lower case, no punctuation, numbers as digits, contractions written out), and a word is wrong if it is substituted,
deleted or inserted.
"""

import gzip
import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from bench.environment import ROOT

FOLDER: Final = ROOT / ".local" / "recordings"
_DEBIAN: Final = {
    "asterisk-core-sounds-en": "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
    "asterisk-core-sounds-en-g722": "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806",
    "asterisk-core-sounds-fr": "04c82c78c570c43a7136cbc5e2488d0c470b775468dff9fbce4a131b18cf1056",
    "asterisk-core-sounds-fr-g722": "7add61d5e42279ecff1bbdf842a5a946ac3644fac9a0fe44384731aa7270c8e0",
    "asterisk-core-sounds-it": "3884d9457e12f21caa018c18f0d587df5d53ebea14b673d8453a134c5941ab3b",
    "asterisk-core-sounds-it-g722": "46b4cf7afc508a5fcfc051b7ea233251c0d195dd4ef83cc4b7facb4c6429b016",
    "pocketsphinx-testdata": "eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0",
}
SPEAKERS: Final = {"en": "en_US_f_Allison", "fr": "fr_CA_f_June", "it": "it_IT_m_Carlo"}
"""Who reads the prompts of each language: the folder of the recordings."""
PROMPTS: Final = re.compile(r"(?P<name>[\w/-]+): (?P<text>[^\[\]()*#]+)")
"""Lines of a text file that count: without stage directions and without signs that are read in several ways."""
_LEAST_WORDS = 12


class RecordingsError(click.ClickException):
    """The recordings can't be had here; the message says why."""


@dataclass(frozen=True)
class Recording:
    """A file with sound, and what is said in it, as it was published."""

    path: Path
    text: str


def prompts(language: str) -> list[Recording]:
    """The prompts of a language with at least twelve words, in the order of their names. Each text counts once.

    Raises:
        RecordingsError: they can't be downloaded.
    """
    package = f"asterisk-core-sounds-{language}"
    texts = _unpacked(package) / "usr" / "share" / "doc" / package / f"core-sounds-{language}.txt.gz"
    sounds = _unpacked(f"{package}-g722") / "usr" / "share" / "asterisk" / "sounds" / SPEAKERS[language]
    found: dict[str, Recording] = {}
    for line in sorted(gzip.decompress(texts.read_bytes()).decode().splitlines()):
        told = PROMPTS.fullmatch(line.strip())
        path = sounds / f"{told['name']}.g722" if told else sounds
        if told and len(told["text"].split()) >= _LEAST_WORDS and path.is_file():
            found.setdefault(told["text"].casefold().strip(" ."), Recording(path, told["text"]))
    return list(found.values())


def readings() -> list[Recording]:
    """Five sentences from a novel, read by a volunteer.

    Raises:
        RecordingsError: they can't be downloaded.
    """
    folder = _unpacked("pocketsphinx-testdata") / "usr" / "share" / "pocketsphinx" / "test" / "data" / "librivox"
    lines = (folder / "transcription").read_text().splitlines()
    told = (re.fullmatch(r"<s> (.+) </s> \((.+)\)", line.strip()) for line in lines if line.strip())
    return [Recording(folder / f"{each[2]}.wav", each[1]) for each in told if each]


def _unpacked(package: str) -> Path:
    """The folder with a package's files, downloaded on first use."""
    place = FOLDER / package
    if place.is_dir():
        return place
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise RecordingsError("the recordings are in Debian's packages, and this machine has no apt-get")
    partial = FOLDER / f".{package}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    done = subprocess.run(
        ["apt-get", "download", "--quiet", package], cwd=partial, capture_output=True, text=True, check=False
    )
    archive = next(partial.glob("*.deb"), None)
    if archive is None:
        raise RecordingsError(
            f"apt-get can't download {package}: {(done.stderr.strip() or 'nothing').splitlines()[-1]}"
        )
    if hashlib.sha256(archive.read_bytes()).hexdigest() != _DEBIAN[package]:
        raise RecordingsError(f"the package {package} isn't the one whose references were fixed")
    subprocess.run(["dpkg-deb", "--extract", archive.name, "."], cwd=partial, check=True)
    archive.unlink()
    partial.rename(place)
    return place
