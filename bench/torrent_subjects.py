"""Subjects that hash an object's pieces, each in its own process.

`python -m bench.torrent_subjects stream '{"url": …}'` answers each line on stdin, `{}`, with one on stdout: `wall` and
`cpu` seconds for the whole object; `pieces`, a hash of the pieces' SHA-1s to compare; and `memory`, the most bytes it
held beyond those with boto3 and a client.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3

from bench.measure import forget_peak, resident
from bench.ranges import BUCKET, ETAG, KEY

TRANSMISSION = "transmission-create"
CONNECTIONS = 8
"""HASH_CONNECTIONS as deployed."""
_SHA1 = 20
_LEAF = 16 * 2**10


@dataclass(frozen=True)
class Task:
    """The task of all subjects. `file` is the server's object."""

    file: str
    size: int
    piece_length: int
    form: str = "v1"


@dataclass(frozen=True)
class Subject:
    """`pieces` returns the SHA-1s of the pieces. `base` is the memory in bytes held before hashing."""

    pieces: Callable[[], bytes]
    base: int


def stream(task: Task) -> Subject:
    """Ours, with the function's own client."""
    from switchyard import clients  # noqa: PLC0415 - the other subjects' processes have no layer

    client = clients.s3_bulk()
    base = resident("VmRSS")
    from switchyard.torrents.format.layout import Format, Layout, ObjectVersion  # noqa: PLC0415
    from switchyard.torrents.hashing import Stream  # noqa: PLC0415 - its memory counts

    thing = ObjectVersion(BUCKET, KEY, task.size, ETAG, None, datetime.fromtimestamp(0, UTC))
    layout = Layout(task.size, task.piece_length, Format(task.form))
    way, record = Stream(client, CONNECTIONS), layout.format.digest_size

    def pieces() -> bytes:
        found = way.digests(thing, layout, layout.whole, out_of_time=lambda: False, progress=lambda _: None)
        return b"".join(found[at : at + _SHA1] for at in range(0, len(found), record))

    return Subject(pieces, base)


def floor(task: Task) -> Subject:
    """`hashlib` over bytes already in memory, in one thread; for a hybrid also the leaves, but no tree."""
    data = memoryview(Path(task.file).read_bytes())

    def pieces() -> bytes:
        if task.form == "hybrid":
            for at in range(0, task.size, _LEAF):
                hashlib.sha256(data[at : at + _LEAF]).digest()
        cut = (data[at : at + task.piece_length] for at in range(0, task.size, task.piece_length))
        return b"".join(hashlib.sha1(piece, usedforsecurity=False).digest() for piece in cut)

    return Subject(pieces, resident("VmRSS"))


def usual(task: Task) -> Subject:
    """The usual way: download the object to disk, then make a torrent of the file."""
    client = boto3.client("s3")
    base = resident("VmRSS")
    create = _by_transmission if shutil.which(TRANSMISSION) else _by_libtorrent

    def pieces() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.bin"
            client.download_file(BUCKET, KEY, os.fspath(path))
            made = create(path, task)
            found = re.search(rb"6:pieces(\d+):", made)
            assert found  # noqa: S101 - in every torrent
            return made[found.end() :][: int(found[1])]

    return Subject(pieces, base)


def _by_transmission(path: Path, task: Task) -> bytes:
    made = path.with_suffix(".torrent")
    command = (TRANSMISSION, "--piecesize", f"{task.piece_length // 1024}", "--outfile", os.fspath(made))
    subprocess.run([*command, os.fspath(path)], check=True, stdout=subprocess.DEVNULL)
    return made.read_bytes()


def _by_libtorrent(path: Path, task: Task) -> bytes:
    import libtorrent  # noqa: PLC0415 - only without Transmission

    files = [libtorrent.create_file_entry(path.name, task.size)]
    creator = libtorrent.create_torrent(files, task.piece_length, libtorrent.create_torrent.v1_only)
    libtorrent.set_piece_hashes(creator, os.fspath(path.parent))
    return libtorrent.bencode(creator.generate())


SUBJECTS: Mapping[str, Callable[[Task], Subject]] = {"stream": stream, "floor": floor, "usual": usual}


def main(name: str, settings: str) -> None:
    """Answers until stdin ends."""
    options = json.loads(settings)
    os.environ["AWS_ENDPOINT_URL"] = options.pop("url")
    subject = SUBJECTS[name](Task(**options))
    for _ in sys.stdin:
        print(json.dumps(_sample(subject)), flush=True)


def _sample(subject: Subject) -> dict[str, Any]:
    forget_peak()
    wall, cpu = time.perf_counter(), _cpu()
    pieces = subject.pieces()
    return {
        "wall": time.perf_counter() - wall,
        "cpu": _cpu() - cpu,
        "pieces": hashlib.sha256(pieces).hexdigest(),
        "memory": resident("VmHWM") - subject.base,
    }


def _cpu() -> float:
    """Returns CPU seconds of this process and of its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main(*sys.argv[1:])
