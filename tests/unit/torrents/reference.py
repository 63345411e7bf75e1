"""Computes a piece's digests straight from BEP 3 and BEP 52: from the whole piece at once, recursively."""

import hashlib

from switchyard.torrents.format.layout import LEAF, Format, Layout


def digests(data: bytes, layout: Layout) -> bytes:
    """Returns the digest records of `data`, piece by piece."""
    return b"".join(
        _record(data[at : at + layout.piece_length], layout) for at in range(0, layout.size, layout.piece_length)
    )


def _record(piece: bytes, layout: Layout) -> bytes:
    sha1 = hashlib.sha1(piece, usedforsecurity=False).digest()
    if layout.format is Format.V1:
        return sha1
    leaves = [hashlib.sha256(piece[at : at + LEAF]).digest() for at in range(0, len(piece), LEAF)]
    wanted = layout.piece_length // LEAF if layout.pieces > 1 else 1 << (len(leaves) - 1).bit_length()
    return sha1 + _root(leaves + [bytes(32)] * (wanted - len(leaves)))


def _root(hashes: list[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    middle = len(hashes) // 2
    return hashlib.sha256(_root(hashes[:middle]) + _root(hashes[middle:])).digest()
