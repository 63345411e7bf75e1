"""The index on Pinecone, by its HTTP API: queries of vectors alone.

A dense index knows no words, so `Question.words` doesn't count. What was written is found some seconds later.
https://docs.pinecone.io/reference/api/2025-10/data-plane
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import batched
from typing import Any, Final

from switchyard.errors import Unavailable
from switchyard.outside.sites import Answer, Patience, Site, is_passing
from switchyard.search.ports import MAX_CHUNKS, Entry, Match, Question

_VERSION: Final = "2025-10"
_A_PUT = 40
"""Vectors of one upsert. Pinecone allows 2 MB: forty with the largest metadata are below."""
_SECONDS = 8.0
_MOST_BYTES = 8 << 20
_REJECTED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class PineconeIndex:
    """One namespace of an index of Pinecone. The index has the model's dimension, and cosine as its metric.

    Args:
        url: The index's address: https, or http on this machine.
        namespace: Keeps the deployments that share an index apart.
        key: Reads the API key.
        reject: Called when Pinecone rejects the key. It is read once more then: it may have been rotated.
        attempts: How often to send a request that is throttled or fails.

    Raises:
        ValueError: The address is anything else.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        key: Callable[[], str],
        *,
        reject: Callable[[], None] = lambda: None,
        attempts: int = 2,
    ) -> None:
        self._site = Site(url, seconds=_SECONDS, most_bytes=_MOST_BYTES)
        self._namespace = namespace
        self._key = key
        self._reject = reject
        self._patience = Patience(attempts, first=0.4, longest=3.0)

    def prepare(self) -> None:
        """Nothing to do."""

    def put(self, owner: str, job_id: str, entries: Sequence[Entry]) -> None:
        """Puts the entries, then removes those of an earlier analysis that had more."""
        if len(entries) > MAX_CHUNKS:
            raise ValueError(f"more than {MAX_CHUNKS} chunks")
        vectors = [
            {"id": name, "values": [float(each) for each in entry.vector], "metadata": dict(entry.metadata)}
            for name, entry in zip(_names(owner, job_id), entries, strict=False)
        ]
        for some in batched(vectors, _A_PUT, strict=False):
            self._ask("/vectors/upsert", {"vectors": list(some)})
        self._erase(owner, job_id, len(entries))

    def erase(self, owner: str, job_id: str) -> None:
        """Removes every entry that the job can have. Ids without an entry are no error."""
        self._erase(owner, job_id, 0)

    def find(self, question: Question) -> list[Match]:
        """One query."""
        asked: dict[str, Any] = {
            "vector": [float(each) for each in question.vector],
            "topK": question.limit,
            "includeMetadata": True,
        }
        if condition := question.condition():
            asked["filter"] = condition
        found = self._ask("/query", asked).get("matches")
        return [
            Match(each.get("metadata") or {}, float(each["score"]))
            for each in (found if isinstance(found, list) else ())
            if isinstance(each, dict) and isinstance(each.get("score"), int | float)
        ]

    def _erase(self, owner: str, job_id: str, first: int) -> None:
        # A thousand ids are the most of one request, and of one job.
        if names := list(_names(owner, job_id))[first:]:
            self._ask("/vectors/delete", {"ids": names}, missing={})

    def _ask(
        self, path: str, body: Mapping[str, Any], *, missing: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """The response to a request, which may be sent several times. `missing` is the one if there's no namespace.

        Raises:
            Unavailable: Pinecone failed, throttled or refused it. The text holds nothing that it said.
        """
        text = json.dumps({**body, "namespace": self._namespace}, allow_nan=False, ensure_ascii=False).encode()
        answer = self._patience.send(lambda: self._send(path, text), again=_is_passing)
        if answer is not None:
            if answer.status == HTTPStatus.OK and (found := _object(answer.body)) is not None:
                return found
            if answer.status == HTTPStatus.NOT_FOUND and missing is not None:
                return missing
        raise Unavailable(f"Pinecone answered {path} with {answer.status if answer else 'nothing'}")

    def _send(self, path: str, text: bytes) -> Answer:
        headers = {"Api-Key": self._key(), "Content-Type": "application/json", "X-Pinecone-API-Version": _VERSION}
        answer = self._site.post(path, text, headers)
        if answer.status in _REJECTED:
            self._reject()
        return answer


def _is_passing(answer: Answer) -> bool:
    """Whether to send a request again: also with a key that is read anew, and if the response is cut or garbled."""
    garbled = answer.status == HTTPStatus.OK and _object(answer.body) is None
    return garbled or answer.status in _REJECTED or is_passing(answer)


def _names(owner: str, job_id: str) -> Iterator[str]:
    """The ids of all chunks that a job can have: plain ASCII, whatever its name."""
    job = hashlib.sha256(f"{owner}/{job_id}".encode()).hexdigest()
    return (f"{job}#{number:04}" for number in range(MAX_CHUNKS))


def _object(content: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
