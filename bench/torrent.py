"""Hashing an object by reading it: how fast, and in how much memory. And the calls it takes where nothing is read.

Beside `hashlib` alone, and beside the usual way: download to disk, then make the torrent there. All read one object
from one server on loopback, and must find the same hashes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import site
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import boto3
from botocore.config import Config
from rich.table import Table

from bench.environment import Layer
from bench.measure import Probe, interleaved
from bench.ranges import BUCKET, KEY, serving
from bench.report import at_least, table, verdict
from bench.torrent_subjects import CONNECTIONS, TRANSMISSION
from switchyard.torrents.hashing import describe, part_digests
from tests.fakes import object_store

_MIB = 2**20
_SIZE = 512 * _MIB
_BLOCK = 16 * _MIB
_DEVELOPMENT = Path(site.getsitepackages()[0])
_OF_HASH, _OF_USUAL, _MEMORY = 0.7, 3, 64
"""What is wanted: of the speed of `hashlib`, of that of the usual way, and MiB at most."""
_PARTS, _MOST_CALLS = 10_000, 12


@dataclass(frozen=True)
class _Subject:
    """A row of the table, and the row of `hashlib` that it is held against."""

    name: str
    subject: str
    form: str = "v1"
    mib: int = 1


_FLOOR = _Subject("hashlib over memory: SHA-1", "floor")
_HYBRID_FLOOR = _Subject("hashlib over memory: SHA-1, and SHA-256 of leaves", "floor", "hybrid")
_MAKER = "transmission-create" if shutil.which(TRANSMISSION) else "libtorrent, as there is no transmission-create"
_USUAL = _Subject(f"usual way: download_file, then {_MAKER}", "usual")
_OURS = (
    *(_Subject(f"ours, v1, pieces of {mib} MiB", "stream", "v1", mib) for mib in (1, 16, 64)),
    *(_Subject(f"ours, hybrid, pieces of {mib} MiB", "stream", "hybrid", mib) for mib in (1, 64)),
)


def run(layer: Layer, rounds: int) -> list[Table]:
    """Everyone in turn, each in a process of its own."""
    return [_reading(layer, rounds), _asking()]


def _reading(layer: Layer, rounds: int) -> Table:
    memory: Counter[_Subject] = Counter()
    hashes: dict[int, str] = {}

    def speed(subject: _Subject, probe: Probe) -> float:
        answer = probe.sample()
        if hashes.setdefault(subject.mib, answer["pieces"]) != answer["pieces"]:
            raise RuntimeError(f"{subject.name}: found other hashes than the others")
        memory[subject] = max(memory[subject], answer["memory"])
        return _SIZE / float(answer["seconds"]) / 1e6

    with ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchyard-torrent-"))) / "film.bin"
        _fill(file)
        shared = {"url": stack.enter_context(serving(file)), "file": os.fspath(file), "size": _SIZE}
        measures = {}
        for subject in (_FLOOR, _HYBRID_FLOOR, _USUAL, *_OURS):
            options = {**shared, "piece_length": subject.mib * _MIB, "form": subject.form}
            probe = Probe(subject.subject, layer, options, module="bench.torrent_subjects", also=_DEVELOPMENT)
            measures[subject] = partial(speed, subject, stack.enter_context(probe))
        found = interleaved(measures, rounds)
    shown = table(
        f"Hashing an object of {_SIZE // _MIB} MiB, read from a server on loopback by {CONNECTIONS} connections",
        *("", "MB/s: median, lowest-highest", "÷ hashlib", "target", "÷ usual way", "target", "MiB", "budget"),
        caption="÷ hashlib: of the same format. MiB: the most memory in any round, above Python's with boto3 and a "
        "client; the usual way's is its download's alone.",
    )
    for subject, samples in found.items():
        of_hash = samples.over(found[_HYBRID_FLOOR if subject.form == "hybrid" else _FLOOR])
        of_usual, mebibytes = samples.over(found[_USUAL]), memory[subject] / _MIB
        judged = ("", "", "")
        if subject in _OURS:
            fast, faster = (round(ratio.median, 2) for ratio in (of_hash, of_usual))
            judged = (at_least(fast, _OF_HASH), at_least(faster, _OF_USUAL), verdict(mebibytes, _MEMORY, " MiB"))
        told = "" if subject.subject == "floor" else f"{mebibytes:.0f}"
        cells = (of_hash.show(), judged[0], of_usual.show(), judged[1], told, judged[2])
        shown.add_row(subject.name, samples.show(0), *cells, end_section=subject is _USUAL)
    return shown


def _fill(file: Path) -> None:
    """Real bytes: a hole would be read as a page that stays in the cache."""
    with file.open("wb") as filled:
        for _ in range(_SIZE // _BLOCK):
            filled.write(os.urandom(_BLOCK))


def _asking() -> Table:
    """A count is a count: one round will do."""
    part = 64 * _MIB
    with object_store.serving() as store:
        client = boto3.client(
            "s3",
            endpoint_url=store.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - nobody looks at it
            config=Config(proxies={}),
        )
        store.create_bucket(BUCKET)
        store.make(
            BUCKET,
            KEY,
            _PARTS * part,
            lambda start, stop: bytes(stop - start),
            digest=lambda start, _: hashlib.sha1(str(start).encode(), usedforsecurity=False).digest(),
            parts=[part] * _PARTS,
            sha1=True,
        )
        found = part_digests(client, describe(client, BUCKET, KEY), maximum=part)
    if found is None or len(found[1]) != _PARTS * 20:
        raise RuntimeError("the parts' checksums were not taken")
    shown = table("Hashes of an object that has part checksums", "", "AWS calls", "which", "budget")
    calls = store.calls.total()
    shown.add_row(
        f"{_PARTS:,} parts of {part // _MIB} MiB", f"{calls}", ", ".join(store.calls), verdict(calls, _MOST_CALLS)
    )
    return shown
