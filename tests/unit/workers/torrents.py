"""Torrents for the tests of the worker that seeds them."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import libtorrent

from switchyard.torrents.format import bencode
from switchyard.torrents.format.layout import Format, Layout, ObjectVersion
from switchyard.torrents.format.metainfo import Sharing, make
from tests.unit.workers.attempts import BUCKET

PIECE = 2**16
KEY = "uploads/my file+ü #1 100%.bin"
BODY = hashlib.shake_128(b"body").digest(20 * PIECE + 1)
OTHER = hashlib.shake_128(b"other").digest(len(BODY))
"""Not `BODY`, and just as long."""


def torrent_of(body: bytes, sharing: Sharing | None = None) -> bytes:
    """As the function makes it."""
    thing = ObjectVersion(BUCKET, KEY, len(body), "etag", None, datetime(2026, 11, 22, tzinfo=UTC))
    digests = b"".join(hashlib.sha1(body[at : at + PIECE]).digest() for at in range(0, len(body), PIECE))  # noqa: S324
    return make(thing, Layout(len(body), PIECE, Format.V1), digests, sharing or Sharing()).data


def hybrid_of(body: bytes) -> bytes:
    """As libtorrent makes it, for clients of both versions."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / Path(KEY).name
        path.write_bytes(body)
        creation = libtorrent.create_torrent([libtorrent.create_file_entry(path.name, len(body))], PIECE)
        creation.set_creator("Switchyard")
        libtorrent.set_piece_hashes(creation, folder)
        return bytes(libtorrent.bencode(creation.generate()))


def changed(torrent: bytes, **changes: bencode.Bencodable | None) -> bytes:
    """A torrent with other values at its top; None is without one."""
    values = bencode.decode(torrent)
    assert isinstance(values, dict)
    given = {name.replace("_", " ").encode(): value for name, value in changes.items()}
    return bencode.encode({name: value for name, value in (values | given).items() if value is not None})
