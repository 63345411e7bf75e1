"""The demo of torrents: records a stream, waits for its torrent, and downloads it with two BitTorrent clients.

A mirror of the bucket serves the bytes as a CDN would, and later the worker that seeds. The demo checks that each
client has downloaded exactly the recording's bytes.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console

from local import api
from local.demos.live import live_stream
from local.demos.media import clip
from local.demos.mirror import mirror
from local.demos.torrent_clients import by_aria2, by_libtorrent
from local.demos.videos import DemoError
from local.stack import LocalStack
from local.view import print_rows
from switchyard.protocol.jobs import TERMINAL

_SHARED: Final = "recordings/"
_SEGMENTS: Final = 30
"""The stream's length in segments of a second."""
_PACE: Final = 0.1
"""Seconds between new segments: faster than they play."""

type _Json = dict[str, Any]


def play(stack: LocalStack, console: Console) -> None:
    """Run the demo on a running stack.

    Raises:
        DemoError: If a check fails.
    """
    with _shared(stack, console), api.client(stack) as http, tempfile.TemporaryDirectory() as folder:
        key = _recording(http, console)
        job = _torrent(http, key, console)
        [torrent] = api.fetch(job, Path(folder))
        kept = stack.folder / "results" / job["jobId"]
        kept.mkdir(parents=True, exist_ok=True)
        shutil.copy(torrent, kept)
        _show(job, kept / torrent.name, console)
        _download(stack, key, torrent, console)
        _seed(http, job, console)


@contextmanager
def _shared(stack: LocalStack, console: Console) -> Iterator[None]:
    """Serve a mirror of the bucket, and deploy it as the torrents' web seed and with seeding on, during the block."""
    before = {name: stack.parameters.get(name, "") for name in ("WebSeedBaseUrls", "TransmissionTaskDefinition")}
    with mirror(stack.client("s3"), stack.resource("MediaBucket"), _SHARED) as address:
        console.print(f"a mirror serves the bucket's {_SHARED} at {address} (WebSeedBaseUrls)", markup=False)
        stack.redeploy(WebSeedBaseUrls=address, TransmissionTaskDefinition="seed-torrent")
        try:
            yield
        finally:
            stack.redeploy(**before)


def _recording(http: httpx.Client, console: Console) -> str:
    """Record a stream to its end; the recording's key."""
    console.rule("A recording", align="left")
    with live_stream(clip("bigbuckbunny.mp4"), pace=_PACE, window=_SEGMENTS, length=_SEGMENTS) as url:
        accepted = api.ask(http, "POST", "/jobs", {"url": url, "filename": "Big Buck Bunny.ts", "userId": "demo"})
        console.print(f"POST /jobs: {accepted['status']}, job {accepted['jobId']}", markup=False)
        job = api.follow(http, accepted["jobId"], console, until=TERMINAL)
    if job["status"] != "COMPLETED":
        raise DemoError(f"the recording ended as {job['status']}: {job.get('error')}")
    [name] = job["links"]
    return f"{_SHARED}{job['jobId']}/{name}"


def _torrent(http: httpx.Client, key: str, console: Console) -> _Json:
    """Follow the torrent's job to its end. S3's event has started it already: the request only returns its id."""
    console.print()
    console.rule("Its torrent", align="left")
    asked = api.ask(http, "POST", "/torrents", {"key": key})
    console.print(f"POST /torrents: {asked['status']}, job {asked['jobId']}", markup=False)
    job = api.follow(http, asked["jobId"], console, until=TERMINAL)
    if job["status"] != "COMPLETED":
        raise DemoError(f"the torrent ended as {job['status']}: {job.get('error')}")
    return job


def _show(job: Mapping[str, Any], torrent: Path, console: Console) -> None:
    result = job["result"]
    rows = [
        ("infohash", result["infohash"]),
        ("magnet", result["magnet"]),
        ("pieces", f"{result['pieces']} of {result['pieceLength']:,} bytes, {result['size']:,} in all"),
        ("hashes by", result["way"]),
        ("torrent", str(torrent)),
    ]
    print_rows(console, rows)


def _download(stack: LocalStack, key: str, torrent: Path, console: Console) -> None:
    """Download with both clients from the web seed alone: there are no peers."""
    console.print()
    console.rule("Downloaded from the web seed alone", align="left")
    found = stack.client("s3").get_object(Bucket=stack.resource("MediaBucket"), Key=key)
    recorded = hashlib.sha256(found["Body"].read()).hexdigest()
    for name, download in (("aria2c", by_aria2), ("libtorrent", by_libtorrent)):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            got = download(torrent, Path(folder))
            if hashlib.sha256(got.read_bytes()).hexdigest() != recorded:
                raise DemoError(f"the file that {name} downloaded differs from the recording")
            size = got.stat().st_size
        console.print(f"{name}: {size:,} bytes in {time.monotonic() - began:.1f} s, SHA-256 equal: {recorded[:16]}…")


def _seed(http: httpx.Client, job: Mapping[str, Any], console: Console) -> None:
    """Wait for the torrent's seeding task and cancel it, since it would seed for a day."""
    console.print()
    console.rule("Seeded by a task", align="left")
    seeding = job["result"]["seeding"]
    console.print(f"seeding job {seeding}", markup=False)
    api.follow(http, seeding, console, until={"RUNNING"})
    api.ask(http, "DELETE", f"/jobs/{seeding}")
    ended = api.follow(http, seeding, console, until=TERMINAL)
    if ended["status"] != "CANCELLED":
        raise DemoError(f"the seeding ended as {ended['status']}: {ended.get('error')}")
