"""Answers `POST /search`: the moments of videos in which something is said or shown.

A user's search is limited to that user's chunks by a filter made here, and each hit is held against it once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from switchyard.api.http import Problem, Request, Response, invalid, moment
from switchyard.api.signing import presigned_url
from switchyard.keys import is_upload, owner_of, result_folders
from switchyard.names import legal_name, owned_name
from switchyard.search.chunks import owner_name
from switchyard.search.hits import Hit, read_hit, telling_words
from switchyard.search.ports import Question

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from switchyard.language.answers import Answered, Answers
    from switchyard.search.ports import Index

_ANSWER_SECONDS = 20.0
"""How long an answer may take. API Gateway waits for 29 seconds."""
_ENOUGH_SECONDS = 25.0
"""Seconds after which a response must be there, whatever the search itself took."""

type Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]


@dataclass(slots=True, eq=False)
class Search:
    """The handler of the route.

    Attributes:
        index: None if the deployment has none.
        embed: Turns texts into vectors.
        s3: Returns the client that signs, made only when needed.
        answers: Writes answers; None without a model that does.
    """

    index: Index | None
    embed: Embed
    s3: Callable[[], S3Client]
    bucket: str
    upload_prefix: str
    link_lifetime: timedelta
    answers: Answers | None = None

    def search(self, request: Request) -> Response:
        """`POST /search`. Users find only their own videos; a key or a role finds everybody's.

        Raises:
            Problem: 400 for an invalid body, 403 for another user's videos, 501 without an index, or for an answer.
        """
        began = time.monotonic()
        asked = request.json("SearchRequest")
        if request.user_id is not None and asked.get("userId") not in (None, request.user_id):
            raise Problem(403, "FORBIDDEN", "You can only search your own videos.")
        if self.index is None:
            raise Problem(501, "NOT_CONFIGURED", "This deployment has no search.")
        if asked["answer"] and self.answers is None:
            raise Problem(501, "NOT_CONFIGURED", "This deployment has no model that writes answers.")
        query = " ".join(asked["query"].split())
        if not query:
            raise invalid("query must have a word")
        user = request.user_id or asked.get("userId")
        owner = None if user is None else owner_name(user)
        (vector,) = self.embed([query])
        matches = self.index.find(
            Question(
                vector=vector,
                words=telling_words(query),
                limit=asked["limit"],
                owner=owner,
                jobs=_jobs(request, asked.get("jobId")),
                kind=asked.get("kind"),
                since=_time("from", asked.get("from")),
                until=_time("to", asked.get("to")),
                speaker=asked.get("speaker"),
            )
        )
        found = [
            (hit, match.score)
            for match in matches
            if (hit := read_hit(match, query)) is not None and (owner is None or owner_name(hit.owner) == owner)
        ]
        shown: dict[str, Any] = {"hits": [self._shown(hit, score) for hit, score in found]}
        if asked["answer"] and self.answers is not None:
            left = min(_ANSWER_SECONDS, _ENOUGH_SECONDS - (time.monotonic() - began))
            shown |= _answer(self.answers.answer(query, [hit for hit, _ in found], left))
        return Response(200, shown)

    def _shown(self, hit: Hit, score: float) -> dict[str, Any]:
        links = {"frame": self._frame(hit), "video": self._video(hit)}
        shown = {
            "jobId": hit.job_id,
            "userId": hit.owner,
            "kind": hit.kind,
            "start": hit.start,
            "end": hit.end,
            "at": hit.at,
            "text": hit.text,
            "marks": [list(mark) for mark in hit.marks],
            "onScreen": hit.screen or None,
            "speaker": hit.speaker,
            "speakers": hit.speakers or None,
            "score": round(score, 6),
            "links": {name: link for name, link in links.items() if link} or None,
        }
        return {name: value for name, value in shown.items() if value is not None}

    def _frame(self, hit: Hit) -> str:
        return self._link(hit.frame) if _is_result(hit, hit.frame) else ""

    def _video(self, hit: Hit) -> str:
        is_own = is_upload(self.upload_prefix, hit.video) and owner_of(self.upload_prefix, hit.video) == hit.owner
        return f"{self._link(hit.video)}#t={hit.at:g}" if is_own or _is_result(hit, hit.video) else ""

    def _link(self, key: str) -> str:
        return presigned_url(self.s3(), "GET", self.bucket, key, self.link_lifetime)


def _answer(answered: Answered) -> dict[str, Any]:
    if not answered.sentences:
        return {"noAnswer": answered.reason}
    sentences = [{"text": each.text, "hits": list(each.cites)} for each in answered.sentences]
    return {"answer": {"text": " ".join(each.text for each in answered.sentences), "sentences": sentences}}


def _jobs(request: Request, name: str | None) -> tuple[str, ...]:
    """The ids under which a job may be stored, as for `GET /jobs/{jobId}`."""
    if name is None:
        return ()
    return (legal_name(name),) if request.user_id is None else (legal_name(name), owned_name(request.user_id, name))


def _time(name: str, text: str | None) -> float | None:
    """A date or a date and time as seconds since the epoch."""
    return None if text is None else moment(name, text).timestamp()


def _is_result(hit: Hit, key: str) -> bool:
    """Whether a key is that of a file of the hit's job. Workers write it."""
    folders = result_folders(hit.job_id, hit.owner)
    return key.startswith(tuple(folders)) and {"", ".", ".."}.isdisjoint(key.split("/"))
