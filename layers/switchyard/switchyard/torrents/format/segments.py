"""How a huge object is cut for several invocations, and which of its pieces are hashed already. Pure.

A **chunk** is what one invocation has hashed of a segment: all of it, or as much as there was time for. Chunks may
overlap, since a segment may be delivered twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from switchyard.torrents.format.layout import Extent, Format, Layout, Way
from switchyard.torrents.format.metainfo import piece_length_for

MAX_SEGMENTS = 10_000
"""Their names are kept in one item, which holds 400 KB."""

COPIED_PIECE = 2**23
"""The least piece length where S3 computes the hashes: a request a piece."""

_WORKING_MEMORY = 64 * 2**20
_COPIES_OF_DIGESTS = 4


# ---- cutting ---------------------------------------------------------------------------------------------------------


def layout_for(size: int, form: Format, way: Way, max_piece_length: int) -> Layout:
    """How an object is cut into pieces that have to be hashed first."""
    least = COPIED_PIECE if way is Way.COPY else 2**20
    return Layout(size, piece_length_for(size, max_piece_length, least), form)


def segment_pieces(piece_length: int, *, megabytes_per_second: int, seconds: float) -> int:
    """How many pieces one invocation that lasts `seconds` can surely hash: in a third of its time, at least one."""
    return max(1, int(megabytes_per_second * 10**6 * seconds / 3) // piece_length)


def cut(extents: Iterable[Extent], pieces: int) -> list[Extent]:
    """The same pieces, at most so many of them together."""
    return [
        Extent(first, min(pieces, extent.end - first))
        for extent in extents
        for first in range(extent.first, extent.end, pieces)
    ]


# ---- chunks ----------------------------------------------------------------------------------------------------------


def chunk_name(layout: Layout, extent: Extent) -> str:
    """What a chunk is called. One of another layout is another chunk: how torrents are made may change midway."""
    return f"{_prefix(layout)}{extent.first}+{extent.count}"


def chunks_of(layout: Layout, names: Iterable[str]) -> list[Extent]:
    """The chunks of this layout, out of the names of all."""
    prefix = _prefix(layout)
    counts = (name.removeprefix(prefix).split("+") for name in names if name.startswith(prefix))
    return [Extent(int(first), int(count)) for first, count in counts]


def _prefix(layout: Layout) -> str:
    return f"{layout.format}-{layout.piece_length}/"


def gaps(whole: Extent, done: Iterable[Extent]) -> list[Extent]:
    """The pieces of `whole` that are in none of the others."""
    missing, next_piece = [], whole.first
    for extent in sorted(done):
        if extent.first > next_piece:
            missing.append(Extent(next_piece, min(extent.first, whole.end) - next_piece))
        next_piece = max(next_piece, extent.end)
        if next_piece >= whole.end:
            return missing
    return [*missing, Extent(next_piece, whole.end - next_piece)]


def cover(whole: Extent, done: Iterable[Extent]) -> list[tuple[Extent, Extent]]:
    """As few chunks as make up `whole`, which has no gaps, in order: each with those of its pieces that are taken."""
    chosen, next_piece, remaining = [], whole.first, sorted(done)
    while next_piece < whole.end:
        chunk = max((each for each in remaining if each.first <= next_piece), key=lambda each: each.end)
        chosen.append((chunk, Extent(next_piece, chunk.end - next_piece)))
        next_piece = chunk.end
        remaining = [each for each in remaining if each.end > next_piece]
    return chosen


# ---- foretelling -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes to make the torrent of an object that has to be read, or copied: bytes, and minutes.

    `memory` is beyond the interpreter's own: while hashing, or in the invocation that puts all together.
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
    """The plan for an object of `size` bytes, with `concurrency` invocations of `seconds` at once.

    It takes `megabytes_per_second` at its word: whole rounds of segments, one segment an invocation.
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
