"""Makes torrents: in one invocation, or for a large object segment by segment in as many as it takes.

    describe ──▶ begin ──▶ hash ────────────────────────────────▶ publish ──▶ request seeding ──▶ complete
                       └──▶ send segments … hash, record a chunk ──▶ the last one assembles the chunks ──┘

Every step can be repeated. After a crash, the next delivery of the message, another message for the same object, or one
from the reconciler continues. docs/architecture.md has the details.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from botocore.exceptions import ClientError

from switchyard import observability
from switchyard.errors import CannotShare, ObjectChanged, ObjectGone, RetryableError
from switchyard.function_jobs.jobs import FunctionJob, FunctionRun, Stopped, after_any_end, after_failure
from switchyard.function_jobs.work import Parsed, TimeLeft
from switchyard.messages.envelope import Envelope
from switchyard.names import MAX_KEY_BYTES
from switchyard.observability import Metric, logger
from switchyard.protocol.jobs import JobError
from switchyard.torrents.format import segments
from switchyard.torrents.format.layout import Extent, Format, Layout, ObjectVersion, Way
from switchyard.torrents.format.metainfo import Sharing, make
from switchyard.torrents.hashing import Copy, NoChecksum, Stream, describe, part_digests
from switchyard.torrents.messages import Segment, TorrentWork, Wanted, job_id, request
from switchyard.torrents.outbox import TorrentOutbox
from switchyard.torrents.publishing import is_absent, publish
from switchyard.torrents.table import TorrentJobs, hashing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BEAT_SECONDS = 2.0


class TooSlow(RetryableError):
    """No piece could be hashed in the time left."""

    code = "TOO_SLOW"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How torrents are made, from the function's settings."""

    form: Format
    sharing: Sharing
    max_piece_length: int
    by_copy: bool
    connections: int
    megabytes_per_second: int


@dataclass(slots=True)
class _Pulse:
    """Writes a job's heartbeats while any thread hashes pieces. Stopped ends the work if the run must not continue."""

    jobs: TorrentJobs
    run: FunctionRun
    total: int | None
    """Bytes of the object, if this invocation hashes all of it."""
    _done: int = 0
    _beaten_at: float = field(default_factory=monotonic)
    _lock: Lock = field(default_factory=Lock)

    def progress(self, done: int) -> None:
        with self._lock:
            self._done += done
            if monotonic() - self._beaten_at < _BEAT_SECONDS:
                return
            self._beaten_at = monotonic()
            percent = None if self.total is None else min(99, self._done * 100 // self.total)
            self.jobs.beat(self.run, None if percent is None else hashing(percent))

    def count(self) -> None:
        """Emits the metric of hashed bytes, whether or not the hashing succeeded."""
        observability.size(Metric.BYTES_HASHED, self._done)


@dataclass(slots=True, eq=False)
class Creator:
    """Makes torrents of one bucket's objects: the worker of the torrents' intake."""

    plural: ClassVar[str] = "torrents"
    jobs: TorrentJobs
    work: TorrentWork
    s3: S3Client
    outbox: TorrentOutbox
    recipe: Recipe

    # ---- a message --------------------------------------------------------------------------------------------------

    def read(self, message: Mapping[str, Any], envelope: Envelope, body: str = "", /) -> Parsed[Wanted | Segment]:
        """Reads a decoded message."""
        return self.work.read(message, envelope, body)

    def handle(self, work: Wanted | Segment, envelope: Envelope, time: TimeLeft) -> str:
        """Makes a torrent or hashes a segment. Returns the id of the job; raises what `make` raises."""
        return self.hash_segment(work, time) if isinstance(work, Segment) else self.make(work, envelope, time)

    def answer(self, job: FunctionJob | None) -> dict[str, Any]:
        """What a direct invocation is told of a job."""
        if job is None:
            return {"ignored": "not the current version of the object"}
        return {name: job.result[name] for name in ("infohash", "magnet", "torrentKey") if name in job.result}

    # ---- a request --------------------------------------------------------------------------------------------------

    def make(self, wanted: Wanted, asked: Envelope, time: TimeLeft) -> str:
        """Makes an object's torrent, or sends its segments. Returns the id of the job, which has the outcome.

        Raises:
            ObjectGone: the object doesn't exist, and `wanted` has no version that would determine a job.
            JobIdTaken, ForeignRow: the row under the job's id is not this torrent's.
            RetryableError, ClientError, BotoCoreError: a retry may succeed.
        """
        version = wanted.version
        try:
            description = describe(self.s3, wanted.bucket, wanted.key)
        except ObjectGone as error:
            if version is None:
                raise
            return self._void(wanted, version, error)
        thing = description.thing
        if version is not None and version != thing.version:
            return self._void(wanted, version, ObjectChanged("the object has been replaced"))
        begun = self.jobs.begin(
            request(thing, message_id=asked.message_id, sent_at=asked.sent_at, user_id=self.work.owner(thing.key)),
            again=after_any_end if wanted.again else after_failure,
            modified=thing.modified,
        )
        if isinstance(begun, FunctionJob):
            logger.info("nothing to do", job_id=begun.id, fence=begun.fence, job_status=begun.status)
            return begun.id
        logger.info("begun", job_id=begun.job_id, fence=begun.fence, key=thing.key, size=thing.size)
        with self.jobs.ending(begun, dead_letter=False):
            self._demand_shareable(thing)
            known = None
            if self.recipe.form is Format.V1:
                known = part_digests(self.s3, description, self.recipe.max_piece_length)
            if known is None:
                self._hash_whole(begun, thing, time)
            else:
                piece_length, digests = known
                layout = Layout(thing.size, piece_length, Format.V1)
                self._finish(begun, thing, layout, Way.PART_CHECKSUMS, digests)
        return begun.job_id

    def _void(self, wanted: Wanted, version: str, error: ObjectGone | ObjectChanged) -> str:
        """Ends the job, if any, of a version that is no longer current. The current one has its own message."""
        name = job_id(wanted.bucket, wanted.key, version)
        ended = self.jobs.void(name, JobError(error.code, str(error)))
        logger.info("not the current version", job_id=name, error_type=error.code, ended=ended)
        return name

    def _demand_shareable(self, thing: ObjectVersion) -> None:
        if thing.size == 0:
            raise CannotShare("EMPTY_OBJECT", "the object is empty: a torrent has at least one byte")
        size = len(self.work.torrent_key(thing.key).encode())
        if size > MAX_KEY_BYTES:
            raise CannotShare("KEY_TOO_LONG", f"the torrent's key would have {size} bytes; S3 allows {MAX_KEY_BYTES}")

    def _hash_whole(self, run: FunctionRun, thing: ObjectVersion, time: TimeLeft) -> None:
        """Hashes an object, or sends segments if one invocation can't be expected to finish."""
        recipe = self.recipe
        copied = recipe.by_copy and recipe.form is Format.V1 and recipe.max_piece_length >= segments.COPIED_PIECE
        way = Way.COPY if copied else Way.STREAM
        layout = segments.layout_for(thing.size, recipe.form, way, recipe.max_piece_length)
        pieces = segments.segment_pieces(
            layout.piece_length, megabytes_per_second=recipe.megabytes_per_second, seconds=time.total
        )
        missing = segments.cut(segments.gaps(layout.whole, segments.chunks_of(layout, run.chunks)), pieces)
        if len(missing) > segments.MAX_SEGMENTS:
            raise CannotShare("TOO_LARGE", f"{len(missing)} segments; {segments.MAX_SEGMENTS} are allowed")
        if len(missing) > 1:
            self._send(Segment(run.job_id, run.fence, thing, layout, way, layout.whole), missing)
        else:
            extent = missing[0] if missing else layout.whole
            self._hash(run, Segment(run.job_id, run.fence, thing, layout, way, extent), time)

    def _send(self, segment: Segment, extents: list[Extent]) -> None:
        """Sends ranges of pieces to other invocations."""
        logger.info("segments sent", job_id=segment.job_id, fence=segment.fence, segments=len(extents))
        self.outbox.send([replace(segment, extent=extent).body for extent in extents])

    # ---- a segment --------------------------------------------------------------------------------------------------

    def hash_segment(self, segment: Segment, time: TimeLeft) -> str:
        """Hashes a segment, and makes the torrent if it was the last. Returns the id of the job.

        Raises:
            RetryableError, ClientError, BotoCoreError: a retry may succeed.
        """
        try:
            run = self.jobs.join(segment.job_id, segment.fence)
        except Stopped as stopped:
            logger.info("nothing to do", job_id=segment.job_id, fence=segment.fence, reason=str(stopped))
            return segment.job_id
        with self.jobs.ending(run, dead_letter=False):
            self._hash(run, segment, time)
        return segment.job_id

    def _hash(self, run: FunctionRun, segment: Segment, time: TimeLeft) -> None:
        """Hashes a segment's missing pieces, and makes the torrent if no others are missing."""
        thing, layout, way = segment.thing, segment.layout, segment.way
        done = segments.chunks_of(layout, run.chunks)
        todo = segments.gaps(segment.extent, done)
        if todo:
            way, digests = self._digests(run, segment, todo[0], time)
            hashed = Extent(todo[0].first, len(digests) // layout.format.digest_size)
            if hashed == layout.whole:
                self._finish(run, thing, layout, way, digests)
                return
            if not hashed.count:
                raise TooSlow(f"no piece of {layout.piece_length} bytes could be hashed in the time left")
            done = self._note(run, segment, hashed, digests)
            rest = segments.gaps(segment.extent, done)
            if rest:
                self._send(segment, rest)
                return
        missing = segments.gaps(layout.whole, done)
        if missing:
            self.jobs.advance(run, 100 - -(-100 * sum(each.count for each in missing) // layout.pieces))
        else:
            self._assemble(run, segment, way, done)

    def _digests(self, run: FunctionRun, segment: Segment, extent: Extent, time: TimeLeft) -> tuple[Way, bytes]:
        whole = extent == segment.layout.whole
        pulse = _Pulse(self.jobs, run, segment.thing.size if whole else None)
        stream = Stream(self.s3, self.recipe.connections)
        try:
            if segment.way is Way.COPY:
                copy = Copy(self.s3, self.recipe.connections, self._scratch(run))
                try:
                    return Way.COPY, copy.digests(
                        segment.thing, segment.layout, extent, out_of_time=time.is_short, progress=pulse.progress
                    )
                except NoChecksum as error:
                    logger.warning("S3 computes no checksums, reading", job_id=run.job_id, reason=str(error))
            return Way.STREAM, stream.digests(
                segment.thing, segment.layout, extent, out_of_time=time.is_short, progress=pulse.progress
            )
        finally:
            pulse.count()

    def _scratch(self, run: FunctionRun) -> str:
        return f"{self.work.scratch_prefix}{run.job_id}/"

    # ---- chunks -----------------------------------------------------------------------------------------------------

    def _note(self, run: FunctionRun, segment: Segment, hashed: Extent, digests: bytes) -> list[Extent]:
        """Stores a chunk in S3, then records it in the job. Returns all chunks, whoever hashed them."""
        name = segments.chunk_name(segment.layout, hashed)
        self.s3.put_object(Bucket=segment.thing.bucket, Key=self._scratch(run) + name, Body=digests)
        chunks = self.jobs.add_chunk(run, name)
        logger.info("chunk hashed", job_id=run.job_id, fence=run.fence, chunk=name)
        return segments.chunks_of(segment.layout, chunks)

    def _assemble(self, run: FunctionRun, segment: Segment, way: Way, done: list[Extent]) -> None:
        """Makes the torrent from the chunks. If two invocations both come last, they make the same torrent."""
        layout = segment.layout
        cover = segments.cover(layout.whole, done)
        with ThreadPoolExecutor(self.recipe.connections) as pool:
            read = observability.carrying_trace(lambda chunk: self._chunk(run, segment, chunk))
            chunks = list(pool.map(read, [chunk for chunk, _ in cover]))
        lost = [chunk for (chunk, _), digests in zip(cover, chunks, strict=True) if digests is None]
        if lost:
            self._hash_lost(run, segment, done, lost)
            return
        size = layout.format.digest_size
        digests = b"".join(
            (digests or b"")[(part.first - chunk.first) * size :]
            for (chunk, part), digests in zip(cover, chunks, strict=True)
        )
        self._finish(run, segment.thing, layout, way, digests)

    def _chunk(self, run: FunctionRun, segment: Segment, chunk: Extent) -> bytes | None:
        """A chunk's digests; None if they are gone, since a lifecycle rule deletes old chunks."""
        key = self._scratch(run) + segments.chunk_name(segment.layout, chunk)
        try:
            digests = self.s3.get_object(Bucket=segment.thing.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if is_absent(error):
                return None
            raise
        return digests if len(digests) == chunk.count * segment.layout.format.digest_size else None

    def _hash_lost(self, run: FunctionRun, segment: Segment, done: list[Extent], lost: list[Extent]) -> None:
        """Sends lost chunks to be hashed again, and only then removes them: a crash in between repeats both steps."""
        layout = segment.layout
        logger.warning("chunks are gone", job_id=run.job_id, fence=run.fence, chunks=len(lost))
        self._send(segment, segments.gaps(layout.whole, set(done) - set(lost)))
        self.jobs.lose_chunks(run, [segments.chunk_name(layout, chunk) for chunk in lost])

    # ---- the end ----------------------------------------------------------------------------------------------------

    def _finish(self, run: FunctionRun, thing: ObjectVersion, layout: Layout, way: Way, digests: bytes) -> None:
        torrent, key = make(thing, layout, digests, self.recipe.sharing), self.work.torrent_key(thing.key)
        self.jobs.beat(run)  # the last chance to notice a cancel
        publish(self.s3, thing, torrent, key)
        result = {
            "infohash": torrent.infohash,
            "infohashV2": torrent.infohash_v2,
            "magnet": torrent.magnet,
            "torrentKey": key,
            "size": thing.size,
            "pieceLength": layout.piece_length,
            "pieces": layout.pieces,
            "way": way,
            "seeding": self.outbox.seed(run, torrent, key),
        }
        if self.jobs.complete(run, {name: value for name, value in result.items() if value is not None}):
            logger.info("torrent made", job_id=run.job_id, fence=run.fence, infohash=torrent.infohash, way=way)
            observability.count(Metric.TORRENTS)
