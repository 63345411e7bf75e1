"""The job: downloads an object from S3 to the disk, then uploads it to peers until a limit is reached."""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from seed_torrent.settings import Settings
from seed_torrent.source import Source, Torrent, keys, torrent
from seed_torrent.swarm import State, Swarm, WrongBytes
from switchyard_worker import AWS_ERRORS, PermanentFailure, Stopped, TryAgain, WorkerJob

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

RENEW_SECONDS = 300.0
"""How long a presigned URL is used. It expires with its credentials, which may last only ten minutes more."""
RETRY_SECONDS = 2.0
"""Seconds until the next attempt after a problem with S3."""
SPARE_BYTES = 64 * 2**20
"""Disk space left free for others."""


def main(job: WorkerJob) -> Mapping[str, Any]:
    """Seed the torrent in the job's input."""
    settings = Settings.from_env(os.environ)
    torrent_key, key = keys(job.input, settings.torrent_prefix)
    shared = torrent(job.s3, job.environment.bucket, torrent_key)
    source = Source(_signing(), job.environment.bucket, key, shared)
    with tempfile.TemporaryDirectory(prefix="seed-") as folder:
        _demand_room(folder, shared.size)
        with Swarm(shared, folder, settings, local=source.is_local) as swarm:
            seeding = _Seeding(job, settings, swarm, shared)
            seeding.fetch(source)
            return seeding.run()


class _Seeding:
    def __init__(self, job: WorkerJob, settings: Settings, swarm: Swarm, shared: Torrent) -> None:
        self._job = job
        self._settings = settings
        self._swarm = swarm
        self._infohash = shared.infohash
        self._size = shared.size

    def fetch(self, source: Source) -> None:
        """Download the whole object, verified by the torrent's hashes.

        Raises:
            PermanentFailure: the object was replaced or deleted.
            TryAgain: the download stalled.
        """
        most, heard, look_at, trouble = 0, time.monotonic(), 0.0, ""
        while not (state := self._swarm.state()).complete:
            now = time.monotonic()
            if state.had > most:
                most, heard = state.had, now
            elif now - heard > self._settings.stall_seconds:
                why = trouble or "S3 sends nothing"
                raise TryAgain("STALLED", f"the download made no progress for {self._settings.stall_seconds} s: {why}")
            if now >= look_at:
                try:
                    self._swarm.fetch_from(source.url())
                    look_at = now + RENEW_SECONDS
                except AWS_ERRORS as error:
                    trouble, look_at = str(error), now + RETRY_SECONDS
                    log.warning("can't get a URL from S3: %s", error)
            message = f"fetched {state.had / self._size:.0%} of {self._size / 1e6:.1f} MB"
            self._job.progress(0, message, **self._facts(state))
            try:
                for trouble in self._swarm.troubles():
                    log.warning("can't download the object: %s", trouble)
                    look_at = min(look_at, now + RETRY_SECONDS)
            except WrongBytes:
                source.url()  # raises the better error if the object was replaced
                raise
        self._swarm.fetch_from("")

    def run(self) -> Mapping[str, Any]:
        """Upload to peers until a limit is reached. Returns the outcome."""
        begun = time.monotonic()
        while True:
            state, seconds = self._swarm.state(), time.monotonic() - begun
            facts = self._facts(state)
            share, limit = self._settings.reached(seconds, state.uploaded / self._size)
            outcome = {
                "infohash": self._infohash,
                "uploaded": state.uploaded,
                "ratio": facts["ratio"],
                "seconds": round(seconds, 3),
            }
            if share >= 1:
                return {**outcome, "ended": limit}
            try:
                self._job.progress(100 * share, f"seeding: ratio {facts['ratio']:.2f}, {state.peers} peers", **facts)
            except Stopped:
                self._job.keep({**outcome, "ended": "stopped"})
                raise
            self._swarm.troubles()

    def _facts(self, state: State) -> dict[str, float]:
        ratio = round(state.uploaded / self._size, 3)
        return {"uploaded": state.uploaded, "ratio": ratio, "peers": state.peers, "port": self._swarm.port}


def _demand_room(folder: str, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free - SPARE_BYTES:
        raise PermanentFailure("NO_SPACE", f"the object has {size:,} bytes, but the disk has only {free:,} free")


def _signing() -> "S3Client":
    """A client whose presigned URLs every bucket accepts: Signature Version 4, in the bucket's own Region."""
    return boto3.client(
        "s3",
        region_name=os.environ.get("AWS_REGION"),
        config=Config(
            signature_version="s3v4",
            s3={"us_east_1_regional_endpoint": "regional"},
            connect_timeout=3,
            read_timeout=10,
            retries={"mode": "standard", "total_max_attempts": 5},
        ),
    )
