"""What the stand-in keeps over restarts: buckets, indexes and vectors, in one SQLite file."""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local.vectors.table import Metadata, Table

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, made REAL NOT NULL, about TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS indexes (
    id INTEGER PRIMARY KEY, bucket TEXT NOT NULL REFERENCES buckets, name TEXT NOT NULL, made REAL NOT NULL,
    about TEXT NOT NULL, UNIQUE (bucket, name)
);
CREATE TABLE IF NOT EXISTS vectors (
    place INTEGER PRIMARY KEY AUTOINCREMENT, of INTEGER NOT NULL, key TEXT NOT NULL, data BLOB NOT NULL,
    metadata TEXT, UNIQUE (of, key)
);
"""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A vector bucket: when it was made (epoch seconds), and its other members as the API has them."""

    name: str
    made: float
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Index:
    """An index: when it was made (epoch seconds), and its other members as the API has them."""

    id: int
    bucket: str
    name: str
    made: float
    about: Mapping[str, Any]

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return int(self.about["dimension"])

    @property
    def hidden(self) -> list[str]:
        """Metadata keys that filters can't name."""
        found: list[str] = self.about.get("metadataConfiguration", {}).get("nonFilterableMetadataKeys", [])
        return found

    @property
    def texts(self) -> list[str]:
        """Metadata keys that can be searched as text."""
        configured = self.about.get("metadataConfiguration", {}).get("textSearchConfigurations", [])
        return [each["metadataKey"] for each in configured]


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector and its metadata, if it has any."""

    key: str
    data: NDArray[np.float32]
    metadata: Metadata | None


class Store:
    """The file at `path`. Each method is one transaction."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._tables: dict[int, Table] = {}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # ---- buckets and indexes -----------------------------------------------------------------------------------

    def bucket(self, name: str) -> Bucket | None:
        """A bucket, if there is one of this name."""
        return next(self._buckets("WHERE name = ?", name), None)

    def buckets(self) -> list[Bucket]:
        """All buckets, by name."""
        return list(self._buckets("ORDER BY name"))

    def add_bucket(self, name: str, about: Mapping[str, Any]) -> None:
        """Add a bucket, of a name that none has."""
        self._db.execute("INSERT INTO buckets VALUES (?, ?, ?)", (name, time.time(), json.dumps(about)))

    def change_bucket(self, name: str, about: Mapping[str, Any]) -> None:
        """Set a bucket's members."""
        self._db.execute("UPDATE buckets SET about = ? WHERE name = ?", (json.dumps(about), name))

    def remove_bucket(self, name: str) -> None:
        """Remove an empty bucket."""
        self._db.execute("DELETE FROM buckets WHERE name = ?", (name,))

    def index(self, bucket: str, name: str) -> Index | None:
        """An index, if there is one of this name."""
        return next(self._indexes("WHERE bucket = ? AND name = ?", bucket, name), None)

    def indexes(self, bucket: str) -> list[Index]:
        """The indexes of a bucket, by name."""
        return list(self._indexes("WHERE bucket = ? ORDER BY name", bucket))

    def add_index(self, bucket: str, name: str, about: Mapping[str, Any]) -> None:
        """Add an index, of a name that none in the bucket has."""
        self._db.execute(
            "INSERT INTO indexes (bucket, name, made, about) VALUES (?, ?, ?, ?)",
            (bucket, name, time.time(), json.dumps(about)),
        )

    def change_index(self, index: Index, about: Mapping[str, Any]) -> None:
        """Set an index's members."""
        self._db.execute("UPDATE indexes SET about = ? WHERE id = ?", (json.dumps(about), index.id))
        self._tables.pop(index.id, None)

    def remove_index(self, index: Index) -> None:
        """Remove an index with its vectors."""
        with self._transaction():
            self._db.execute("DELETE FROM vectors WHERE of = ?", (index.id,))
            self._db.execute("DELETE FROM indexes WHERE id = ?", (index.id,))
        self._tables.pop(index.id, None)

    # ---- vectors -----------------------------------------------------------------------------------------------

    def put(self, index: Index, vectors: Sequence[Vector]) -> None:
        """Add vectors, or replace those of the same keys: all or none."""
        rows = [(index.id, each.key, each.data.tobytes(), _text(each.metadata)) for each in vectors]
        with self._transaction():
            self._db.executemany(
                "INSERT INTO vectors (of, key, data, metadata) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (of, key) DO UPDATE SET data = excluded.data, metadata = excluded.metadata",
                rows,
            )
        if table := self._tables.get(index.id):
            for each in vectors:
                table.put(each.key, each.data, each.metadata or {})

    def remove(self, index: Index, keys: Iterable[str]) -> None:
        """Remove the vectors of these keys, if there are any."""
        keys = list(keys)
        with self._transaction():
            self._db.executemany("DELETE FROM vectors WHERE of = ? AND key = ?", [(index.id, key) for key in keys])
        if table := self._tables.get(index.id):
            for key in keys:
                table.remove(key)

    def get(self, index: Index, keys: Sequence[str]) -> list[Vector]:
        """The vectors of these keys, in any order."""
        marks = ",".join("?" * len(keys))
        rows = self._db.execute(
            f"SELECT key, data, metadata FROM vectors WHERE of = ? AND key IN ({marks})",  # noqa: S608 - only marks
            (index.id, *keys),
        )
        return [_vector(*row) for row in rows]

    def page(
        self, index: Index, after: int, count: int, segments: int = 1, segment: int = 0
    ) -> list[tuple[int, Vector]]:
        """The next vectors of an index behind a place, with their places."""
        rows = self._db.execute(
            "SELECT place, key, data, metadata FROM vectors WHERE of = ? AND place > ? AND place % ? = ? "
            "ORDER BY place LIMIT ?",
            (index.id, after, segments, segment, count),
        )
        return [(place, _vector(*row)) for place, *row in rows]

    def table(self, index: Index) -> Table:
        """The index in memory. Read from the file at the first use."""
        if index.id not in self._tables:
            table = Table(index.dimension, index.about["distanceMetric"], index.hidden, index.texts)
            for row in self._db.execute("SELECT key, data, metadata FROM vectors WHERE of = ?", (index.id,)):
                each = _vector(*row)
                table.put(each.key, each.data, each.metadata or {})
            self._tables[index.id] = table
        return self._tables[index.id]

    def _buckets(self, where: str, *values: object) -> Iterator[Bucket]:
        for name, made, about in self._db.execute(f"SELECT name, made, about FROM buckets {where}", values):  # noqa: S608 - ours
            yield Bucket(name, made, json.loads(about))

    def _indexes(self, where: str, *values: object) -> Iterator[Index]:
        found = self._db.execute(f"SELECT id, bucket, name, made, about FROM indexes {where}", values)  # noqa: S608 - ours
        for number, bucket, name, made, about in found:
            yield Index(number, bucket, name, made, json.loads(about))

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)


@dataclass(frozen=True, slots=True)
class _Transaction:
    db: sqlite3.Connection

    def __enter__(self) -> None:
        self.db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self.db.execute("COMMIT" if kind is None else "ROLLBACK")


def _text(metadata: Metadata | None) -> str | None:
    return None if metadata is None else json.dumps(metadata)


def _vector(key: str, data: bytes, metadata: str | None) -> Vector:
    return Vector(key, np.frombuffer(data, "<f4"), None if metadata is None else json.loads(metadata))
