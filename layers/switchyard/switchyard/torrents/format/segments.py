"""Splits a large object for several invocations, and tracks which pieces are hashed. Pure.

A **chunk** is the part of a segment that one invocation has hashed: all of it, or as much as time allowed. Chunks may
overlap, because a segment may be delivered twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from switchyard.torrents.format.layout import Extent, Format, Layout, Way
from switchyard.torrents.format.metainfo import piece_length_for

MAX_SEGMENTS = 10_000
"""Limited by the chunks' names, which are kept in one item of at most 400 KB."""

COPIED_PIECE = 2**23
"""The minimum piece length if S3 computes the hashes, which takes a request per piece."""

_WORKING_MEMORY = 64 * 2**20
_COPIES_OF_DIGESTS = 4


# ---- cutting ---------------------------------------------------------------------------------------------------------


def layout_for(size: int, form: Format, way: Way, max_piece_length: int) -> Layout:
    """The layout of an object whose piece hashes are not known yet."""
    least = COPIED_PIECE if way is Way.COPY else 2**20
    return Layout(size, piece_length_for(size, max_piece_length, least), form)


def segment_pieces(piece_length: int, *, megabytes_per_second: int, seconds: float) -> int:
    """How many pieces an invocation of `seconds` can safely hash: those of a third of its time, at least one."""
    return max(1, int(megabytes_per_second * 10**6 * seconds / 3) // piece_length)


def cut(extents: Iterable[Extent], pieces: int) -> list[Extent]:
    """Splits extents into extents of at most `pieces` pieces."""
    return [
        Extent(first, min(pieces, extent.end - first))
        for extent in extents
        for first in range(extent.first, extent.end, pieces)
    ]


# ---- chunks ----------------------------------------------------------------------------------------------------------


def chunk_name(layout: Layout, extent: Extent) -> str:
    """A chunk's name. It contains the layout, because the settings may change while a job runs."""
    return f"{_prefix(layout)}{extent.first}+{extent.count}"


def chunks_of(layout: Layout, names: Iterable[str]) -> list[Extent]:
    """The chunks of this layout among all names."""
    prefix = _prefix(layout)
    counts = (name.removeprefix(prefix).split("+") for name in names if name.startswith(prefix))
    return [Extent(int(first), int(count)) for first, count in counts]


def _prefix(layout: Layout) -> str:
    return f"{layout.format}-{layout.piece_length}/"


def gaps(whole: Extent, done: Iterable[Extent]) -> list[Extent]:
    """The pieces of `whole` that are not in `done`."""
    missing, next_piece = [], whole.first
    for extent in sorted(done):
        if extent.first > next_piece:
            missing.append(Extent(next_piece, min(extent.first, whole.end) - next_piece))
        next_piece = max(next_piece, extent.end)
        if next_piece >= whole.end:
            return missing
    return [*missing, Extent(next_piece, whole.end - next_piece)]


def cover(whole: Extent, done: Iterable[Extent]) -> list[tuple[Extent, Extent]]:
    """The fewest chunks that cover `whole`, in order, each with the pieces to take from it. There must be no gaps."""
    chosen, next_piece, remaining = [], whole.first, sorted(done)
    while next_piece < whole.end:
        chunk = max((each for each in remaining if each.first <= next_piece), key=lambda each: each.end)
        chosen.append((chunk, Extent(next_piece, chunk.end - next_piece)))
        next_piece = chunk.end
        remaining = [each for each in remaining if each.end > next_piece]
    return chosen


# ---- estimating ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """An estimate of the work to make the torrent of an object that must be read or copied: bytes and minutes.

    `memory` is in bytes, beyond the interpreter's own: while hashing, or while assembling the torrent.
    """

    layout: Layout
    segment_pieces: int
    segments: int
    chunk_bytes: int
    minutes: float
    memory: int

    @property
    def segment_bytes(self) -> int:
        """The bytes of a whole segment."""
        return self.segment_pieces * self.layout.piece_length


def plan(
    size: int,
    *,
    form: Format = Format.V1,
    way: Way = Way.STREAM,
    max_piece_length: int = 2**26,
    megabytes_per_second: int = 75,
    seconds: float = 900,
    concurrency: int = 10,
) -> Plan:
    """The estimate for an object of `size` bytes, with `concurrency` invocations of `seconds` at once.

    It assumes exactly `megabytes_per_second`, and rounds of segments with one segment per invocation.
    """
    layout = layout_for(size, form, way, max_piece_length)
    pieces = segment_pieces(layout.piece_length, megabytes_per_second=megabytes_per_second, seconds=seconds)
    segments = len(cut([layout.whole], pieces))
    rounds = -(-segments // concurrency)
    longest = min(size, pieces * layout.piece_length)
    return Plan(
        layout=layout,
        segment_pieces=pieces,
        segments=segments,
        chunk_bytes=min(pieces, layout.pieces) * form.digest_size,
        minutes=rounds * longest / (megabytes_per_second * 10**6) / 60,
        memory=max(_WORKING_MEMORY, _COPIES_OF_DIGESTS * layout.pieces * form.digest_size),
    )
