"""The index on Pinecone, by its HTTP API: queries of vectors alone.

A dense index knows no words, so `Question.words` doesn't count. What was written is found some seconds later.
https://docs.pinecone.io/reference/api/2025-10/data-plane
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import batched
from typing import Any, Final

from switchyard.errors import Unavailable
from switchyard.outside.sites import NoAnswer, Site, retry_after
from switchyard.search.ports import MAX_CHUNKS, Entry, Match, Question

_VERSION: Final = "2025-10"
_A_PUT = 40
"""Vectors of one upsert. Pinecone allows 2 MB: forty with the largest metadata are below."""
_SECONDS = 8.0
_MOST_BYTES = 8 << 20
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 3.0
_OK, _UNAUTHORIZED, _FORBIDDEN, _MISSING, _THROTTLED, _FAILED = 200, 401, 403, 404, 429, 500
_NO_ANSWER = 0


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
        self._attempts = attempts

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
        status = _NO_ANSWER
        for attempt in range(1, self._attempts + 1):
            status, answer, asked_to_wait = self._send(path, text)
            if status == _OK and answer is not None:
                return answer
            if status == _MISSING and missing is not None:
                return missing
            if status in (_UNAUTHORIZED, _FORBIDDEN):
                self._reject()
            elif status not in (_OK, _NO_ANSWER, _THROTTLED) and status < _FAILED:
                break  # the request itself is wrong
            if attempt < self._attempts:
                wait = asked_to_wait or _FIRST_WAIT * 2**attempt * random.uniform(0.5, 1)  # noqa: S311 - no secret
                time.sleep(min(wait, _LONGEST_WAIT))
        raise Unavailable(f"Pinecone answered {path} with {status or 'nothing'}")

    def _send(self, path: str, text: bytes) -> tuple[int, Mapping[str, Any] | None, float]:
        """One attempt: status, content (None if it is no JSON object), and the seconds that Pinecone asks to wait."""
        headers = {"Api-Key": self._key(), "Content-Type": "application/json", "X-Pinecone-API-Version": _VERSION}
        try:
            answer = self._site.post(path, text, headers)
        except NoAnswer:
            return _NO_ANSWER, None, 0
        return answer.status, _object(answer.body), retry_after(answer.retry_after, datetime.now(UTC)) or 0


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
