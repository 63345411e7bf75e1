"""Hashes one piece incrementally: its SHA-1, and the root of its SHA-256 tree. Pure.

BEP 3 defines the first, BEP 52 the second, a Merkle tree of 16 KiB leaves that hybrid torrents need too.
"""

import hashlib
from collections.abc import Buffer, Sequence
from functools import partial
from typing import Protocol

from switchyard.torrents.format.layout import LEAF, SHA256_SIZE, Format, Layout

NOTHING = bytes(SHA256_SIZE)
"""The hash of a missing leaf."""

_sha1 = partial(hashlib.sha1, usedforsecurity=False)  # BEP 3 has no other


class PieceHash(Protocol):
    """Hashes the bytes of a piece in order into its digest record (see `Format.digest_size`)."""

    def update(self, data: Buffer, /) -> None:
        """Adds the next bytes, without keeping a reference."""

    def digest(self) -> bytes:
        """The digest record of the bytes so far."""


def piece_hash(layout: Layout) -> PieceHash:
    """A hasher for a piece of this object."""
    return _sha1() if layout.format is Format.V1 else _HybridHash(_height(layout))


def root(layer: Sequence[bytes], height: int, filler: bytes = NOTHING) -> bytes:
    """The root of a tree of that height over a layer's first nodes; the layer's other nodes are `filler`."""
    for _ in range(height):
        if len(layer) % 2:
            layer = [*layer, filler]
        layer = [hashlib.sha256(left + right).digest() for left, right in zip(layer[::2], layer[1::2], strict=True)]
        filler = hashlib.sha256(filler * 2).digest()
    return layer[0]


def _height(layout: Layout) -> int:
    """The height of a piece's tree: for a whole piece's leaves, or for an object of one piece only for its own."""
    leaves = -(-min(layout.size, layout.piece_length) // LEAF)
    return (leaves - 1).bit_length()


class _HybridHash:
    """Hashes a piece for both protocol versions at once."""

    def __init__(self, height: int) -> None:
        self._height = height
        self._whole = _sha1()
        self._leaves: list[bytes] = []
        self._leaf = hashlib.sha256()
        self._room = LEAF

    def update(self, data: Buffer, /) -> None:
        self._whole.update(data)
        rest = memoryview(data)
        while rest:
            taken, rest = rest[: self._room], rest[self._room :]
            self._leaf.update(taken)
            self._room -= len(taken)
            if not self._room:
                self._leaves.append(self._leaf.digest())
                self._leaf, self._room = hashlib.sha256(), LEAF

    def digest(self) -> bytes:
        begun = [self._leaf.digest()] if self._room < LEAF else []
        return self._whole.digest() + root([*self._leaves, *begun], self._height)
