"""The port of the index, with what goes in and comes out. Pure.

`s3vectors`, `pinecone` and `none` implement it; `tests/contract/test_search_index.py` runs one suite on them.

Every method may raise `Unavailable` if the service failed or throttled the call after the client's own retries. A write
that raises it may have taken effect in part. Every write may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

type Value = str | float | list[str]
type Metadata = Mapping[str, Value]

MAX_CHUNKS: Final = 1000
"""Chunks of one job. With a maximum, all keys that a job can ever have are known, and erasing needs no list."""
MAX_FOUND: Final = 100
"""Hits of one query (S3 Vectors' topK)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A chunk as the index holds it: its vector, and its metadata by `chunks.NAMES`."""

    vector: Sequence[float]
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Question:
    """A query.

    Attributes:
        vector: The question as a vector of the same model as the entries'.
        words: The question's words for the full-text part, up to 1,024 characters; empty for none.
        limit: How many hits, at most 100.
        owner: Only chunks of this owner, as `chunks.owner_name` gives it. None for everybody's.
        jobs: Only chunks of one of these jobs; empty for all.
        kind: Only chunks of jobs of this kind.
        since, until: Only chunks of jobs accepted in this time, both included, in seconds since the epoch.
        speaker: Only chunks in which this speaker speaks.
    """

    vector: Sequence[float]
    words: str = ""
    limit: int = 10
    owner: str | None = None
    jobs: tuple[str, ...] = ()
    kind: str | None = None
    since: float | None = None
    until: float | None = None
    speaker: str | None = None

    def condition(self) -> dict[str, Any]:
        """What a match must fulfil, as both S3 Vectors and Pinecone take it; empty for nothing.

        It is built from typed values. Nothing that a caller sends is parsed as a condition, so a question can't widen
        the search beyond its owner.
        """
        conditions: list[dict[str, Any]] = []
        if self.owner is not None:
            conditions.append({"owner": {"$eq": self.owner}})
        if self.jobs:
            conditions.append({"job": {"$in": list(self.jobs)}})
        if self.kind is not None:
            conditions.append({"kind": {"$eq": self.kind}})
        if self.speaker is not None:
            conditions.append({"speakers": {"$in": [self.speaker]}})
        if self.since is not None:
            conditions.append({"date": {"$gte": self.since}})
        if self.until is not None:
            conditions.append({"date": {"$lte": self.until}})
        return {"$and": conditions} if len(conditions) > 1 else conditions[0] if conditions else {}


@dataclass(frozen=True, slots=True)
class Match:
    """A chunk that a query found. Scores of one query can be compared: higher is better."""

    metadata: Metadata
    score: float


class Index(Protocol):
    """The index of all videos of a deployment."""

    def prepare(self) -> None:
        """Makes the index ready for entries. Called before the first `put` of a job."""

    def put(self, owner: str, job_id: str, entries: Sequence[Entry]) -> None:
        """Replaces all entries of a job by these.

        Until it returns, queries may find old and new entries of the job.

        Raises:
            ValueError: there are more than MAX_CHUNKS.
        """

    def erase(self, owner: str, job_id: str) -> None:
        """Removes all entries of a job."""

    def find(self, question: Question) -> list[Match]:
        """The entries closest to a question, best first."""


def key_of(owner: str, job_id: str, number: int) -> str:
    """The key of a job's chunk. No two owners' jobs share a key, and equal work has equal keys."""
    return f"{owner}/{job_id}/{number:04}"
