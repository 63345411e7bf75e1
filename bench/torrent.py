"""Speed and memory of hashing an object by reading it, and the calls it takes when nothing has to be read.

Compared with `hashlib` alone and with the usual way: download to disk, then make the torrent there. All read the same
object from one server on loopback and must compute the same hashes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import site
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from rich.table import Table

from bench.environment import Layer
from bench.measure import Effort, Probe, Samples, interleaved
from bench.ranges import BUCKET, KEY, serving
from bench.report import at_least, table, verdict
from bench.torrent_subjects import CONNECTIONS, TRANSMISSION
from switchyard.torrents.format.segments import plan
from switchyard.torrents.hashing import describe, part_digests
from tests.fakes import object_store

_MIB = 2**20
_SIZE, _SMALL = 512 * _MIB, 64 * _MIB
_BLOCK = 16 * _MIB
_DEVELOPMENT = Path(site.getsitepackages()[0])
_OF_HASH, _OF_USUAL, _MEMORY = 0.7, 3, 64
"""Targets: share of `hashlib`'s speed, multiple of the usual way's speed, and the most MiB."""
_PARTS, _MOST_CALLS = 10_000, 12
_HUGE = (10**10, 10**11, 10**12, 5 * 10**12, 5 * 10**13)
_AT_ONCE = (1, 10, 100)


@dataclass(frozen=True)
class _Subject:
    """A row: the subject and its task, with pieces of `mib` MiB."""

    name: str
    subject: str
    form: str = "v1"
    mib: int = 1

    @property
    def floor(self) -> _Subject:
        """Returns the row that hashes at least as much and does nothing else."""
        return _HYBRID_FLOOR if self.form == "hybrid" else _FLOOR


_FLOOR = _Subject("hashlib: SHA-1", "floor")
_HYBRID_FLOOR = _Subject("hashlib: SHA-1 and SHA-256", "floor", "hybrid")
_USUAL = _Subject("usual way", "usual")
_MAKER = TRANSMISSION if shutil.which(TRANSMISSION) else f"libtorrent, as there is no {TRANSMISSION} here,"
_OURS = (
    *(_Subject(f"ours, v1, {mib} MiB", "stream", "v1", mib) for mib in (1, 16, 64)),
    *(_Subject(f"ours, hybrid, {mib} MiB", "stream", "hybrid", mib) for mib in (1, 64)),
)


def run(layer: Layer, effort: Effort) -> list[Table]:
    """Measures every subject in its own process, in turns; then counts the calls and plans huge objects."""
    return [*_reading(layer, effort, effort.of(_SIZE, _SMALL)), _asking(), _planned()]


def _reading(layer: Layer, effort: Effort, size: int) -> tuple[Table, Table]:
    answers: dict[_Subject, list[dict[str, Any]]] = defaultdict(list)

    def speed(subject: _Subject, probe: Probe) -> float:
        answer = probe.sample()
        answers[subject].append(answer)
        return size / float(answer["wall"]) / 1e6

    with ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchyard-torrent-"))) / "film.bin"
        _fill(file, size)
        shared = {"url": stack.enter_context(serving(file)), "file": os.fspath(file), "size": size}
        measures = {}
        for subject in (_FLOOR, _HYBRID_FLOOR, _USUAL, *_OURS):
            options = {**shared, "piece_length": subject.mib * _MIB, "form": subject.form}
            probe = Probe(subject.subject, layer, options, module="bench.torrent_subjects", also=_DEVELOPMENT)
            measures[subject] = partial(speed, subject, stack.enter_context(probe))
        found = interleaved(measures, effort)
    hashes = {(subject.mib, answer["pieces"]) for subject in answers for answer in answers[subject]}
    if len(hashes) != len({subject.mib for subject in answers}):
        raise RuntimeError("the subjects' hashes differ")
    return _speed(found, size), _cost({subject: answers[subject][-effort.rounds :] for subject in found}, size)


def _speed(found: Mapping[_Subject, Samples], size: int) -> Table:
    shown = table(
        f"Hashing an object of {size // _MIB} MiB, read from a server on loopback by {CONNECTIONS} connections",
        *("", "MB/s: median, lowest-highest", "÷ hashlib", "target", "÷ usual way", "target"),
        caption=f"hashlib: over memory, by one thread. Usual way: download_file to disk, then {_MAKER} for v1.",
    )
    for subject, samples in found.items():
        of_hash = samples.over(found[subject.floor])
        of_usual = samples.over(found[_USUAL])
        fast = at_least(round(of_hash.median, 2), _OF_HASH) if subject in _OURS else ""
        faster = at_least(round(of_usual.median, 2), _OF_USUAL) if subject in _OURS and subject.form == "v1" else ""
        cells = (samples.show(0), of_hash.show(), fast, of_usual.show(), faster)
        shown.add_row(subject.name, *cells, end_section=subject is _USUAL)
    return shown


def _cost(answers: Mapping[_Subject, list[dict[str, Any]]], size: int) -> Table:
    shown = table(
        "What that takes",
        *("", "CPU, ms per 100 MB: median, lowest-highest", "÷ hashlib", "most MiB of memory", "budget"),
        caption="CPU: without the server's. Memory: beyond Python's with boto3 and a client, in any round; for the "
        "usual way, its download's.",
    )
    spent = {
        subject: Samples(tuple(answer["cpu"] * 1000 / (size / 1e8) for answer in each))
        for subject, each in answers.items()
    }
    for subject, cpu in spent.items():
        of_hash = cpu.over(spent[subject.floor])
        memory = max(answer["memory"] for answer in answers[subject]) / _MIB
        told = "" if subject.subject == "floor" else f"{memory:.0f}"  # it holds the whole object in memory
        budget = verdict(memory, _MEMORY, " MiB") if subject in _OURS else ""
        shown.add_row(subject.name, cpu.show(0), of_hash.show(), told, budget, end_section=subject is _USUAL)
    return shown


def _fill(file: Path, size: int) -> None:
    """Writes real bytes: a sparse file would be read from one cached page."""
    with file.open("wb") as filled:
        for _ in range(size // _BLOCK):
            filled.write(os.urandom(_BLOCK))


def _asking() -> Table:
    """Counts the calls once: counts don't vary."""
    part = 64 * _MIB
    with object_store.serving() as store:
        client = boto3.client(
            "s3",
            endpoint_url=store.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - never checked
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
        raise RuntimeError("the parts' checksums were not used")
    shown = table("Hashes of an object that has part checksums", "", "AWS calls", "which", "budget")
    calls = store.calls.total()
    shown.add_row(
        f"{_PARTS:,} parts of {part // _MIB} MiB", f"{calls}", ", ".join(store.calls), verdict(calls, _MOST_CALLS)
    )
    return shown


def _planned() -> Table:
    """Computes the function's own plan for huge objects; nothing is measured."""
    shown = table(
        "The plan for huge objects that are read: an invocation lasts 15 minutes and reads 75 MB/s",
        *("object", "pieces", "segments", "of", "MiB of memory", *(f"minutes, {many} at once" for many in _AT_ONCE)),
    )
    for size in _HUGE:
        plans = [plan(size, concurrency=many) for many in _AT_ONCE]
        layout = plans[0].layout
        shown.add_row(
            f"{size / 1e12:g} TB" if size >= 10**12 else f"{size / 1e9:g} GB",
            f"{layout.pieces:,} of {layout.piece_length // _MIB} MiB",
            f"{plans[0].segments:,}",
            f"{min(size, plans[0].segment_bytes) / 1e9:.1f} GB",
            f"{plans[0].memory / _MIB:.0f}",
            *(f"{each.minutes:,.0f}" for each in plans),
        )
    return shown
