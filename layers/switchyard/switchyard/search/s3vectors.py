"""The index on Amazon S3 Vectors: hybrid queries of vectors and words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from switchyard.errors import Unavailable
from switchyard.search.chunks import SCREEN, TEXT
from switchyard.search.ports import MAX_CHUNKS, Entry, Match, Question, key_of

if TYPE_CHECKING:
    type Client = Any
    """boto3's client of S3 Vectors, whose stubs are not installed."""

_A_PUT = 100
"""Vectors of one PutVectors. AWS allows 500 and 20 MiB: a hundred with the largest metadata are below both."""
_A_DELETE = 500
_SEARCHED = (TEXT, SCREEN)
_CANDIDATES = 50
"""How many matches of a hybrid query are ranked anew."""
_WORDS = 0.1
"""What the best match of words is worth, as cosine similarity. It decides between close moments, and finds a name that
the model doesn't know. The service's own fusion ranks words as high as meaning and finds less: bench/retrieval.py."""


class S3VectorsIndex:
    """One index of S3 Vectors, by its ARN. The index's name has the model and the dimension of its vectors.

    Args:
        client: Needs retries: throttles are only retried by the client.
        arn: The ARN of the index.
    """

    def __init__(self, client: Client, arn: str) -> None:
        self._client = client
        self._arn = arn

    def prepare(self) -> None:
        """Turns on full-text search, which CloudFormation can't: once for an index, by whoever comes first."""
        with _translated():
            index = self._client.get_index(indexArn=self._arn)["index"]
            if index.get("indexMode") == "CLASSIC":  # made before September 2026
                self._client.update_index_mode(indexArn=self._arn, indexMode="ENHANCED")
            configured = index.get("metadataConfiguration", {}).get("textSearchConfigurations", [])
            missing = [
                {"metadataKey": key} for key in sorted({*_SEARCHED} - {each["metadataKey"] for each in configured})
            ]
            if not missing:
                return
            try:
                self._client.update_metadata_configuration(
                    indexArn=self._arn, add={"textSearchConfigurations": missing}
                )
            except ClientError as error:
                if _code(error) != "ConflictException":  # somebody else was faster
                    raise

    def put(self, owner: str, job_id: str, entries: Sequence[Entry]) -> None:
        """Puts the entries, then removes those of an earlier analysis that had more."""
        if len(entries) > MAX_CHUNKS:
            raise ValueError(f"more than {MAX_CHUNKS} chunks")
        vectors = [
            {
                "key": key_of(owner, job_id, number),
                "data": {"float32": [float(each) for each in entry.vector]},
                "metadata": dict(entry.metadata),
            }
            for number, entry in enumerate(entries)
        ]
        with _translated():
            for some in batched(vectors, _A_PUT, strict=False):
                self._client.put_vectors(indexArn=self._arn, vectors=list(some))
            self._erase(owner, job_id, len(entries))

    def erase(self, owner: str, job_id: str) -> None:
        """Removes every entry that the job can have. Keys without an entry are no error."""
        with _translated():
            self._erase(owner, job_id, 0)

    def find(self, question: Question) -> list[Match]:
        """One query. It has no full-text part as long as the index isn't prepared for it."""
        asked: dict[str, Any] = {
            "indexArn": self._arn,
            "topK": max(question.limit, _CANDIDATES) if question.words else question.limit,
            "queryVector": {"float32": [float(each) for each in question.vector]},
            "returnMetadata": True,
            "returnDistance": True,
        }
        if condition := question.condition():
            asked["filter"] = condition
        texts = [{"text": question.words, "metadataKey": key} for key in _SEARCHED]
        hybrid: dict[str, Any] = {"queryTexts": texts, "returnScores": True} if question.words else {}
        with _translated():
            try:
                answer = self._client.query_vectors(**asked, **hybrid)
            except ClientError as error:
                if not hybrid or _code(error) != "ValidationException":
                    raise
                answer = self._client.query_vectors(**asked)
        return _ranked(answer["vectors"])[: question.limit]

    def _erase(self, owner: str, job_id: str, first: int) -> None:
        keys = (key_of(owner, job_id, number) for number in range(first, MAX_CHUNKS))
        for some in batched(keys, _A_DELETE, strict=False):
            self._client.delete_vectors(indexArn=self._arn, keys=list(some))


def _ranked(found: Sequence[dict[str, Any]]) -> list[Match]:
    """Ranks by the similarity of vectors, and by words with the weight `_WORDS`."""
    words = [sum(each["score"] for each in one.get("scores", {}).get("bm25Scores", ())) for one in found]
    most = max(words, default=0) or 1
    matches = [
        Match(one.get("metadata", {}), 1 - one.get("distance", 1) + _WORDS * score / most)
        for one, score in zip(found, words, strict=True)
    ]
    return sorted(matches, key=lambda match: -match.score)


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


@contextmanager
def _translated() -> Iterator[None]:
    # As `clients.translated`, which workers don't have.
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error
