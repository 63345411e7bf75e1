"""Answers a question from the hits of a search."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from switchyard import observability
from switchyard.errors import Unavailable
from switchyard.language.citing import Cited, cited, line_of, parsed, passages
from switchyard.language.models import Model, ModelFailed, Prompt, prompt
from switchyard.observability import logger

if TYPE_CHECKING:
    from switchyard.search.hits import Hit

_MAX_HITS = 10
_MAX_TEXT = 1500  # characters of a hit, twice what is said in it usually
_MAX_SCREEN = 300
_MAX_SENTENCES = 5
_TOKENS = 600


@dataclass(frozen=True, slots=True)
class Answered:
    """The sentences of an answer, which cite hits from 1 on. If there are none, `reason` says why.

    Attributes:
        sentences: each with at least one citation.
        reason: `NO_HITS`; `NOT_FOUND`: the hits don't answer the question, as the model says; `NOT_CITED`: nothing that
            the model wrote holds; or a code of `ModelFailed`.
    """

    sentences: Sequence[Cited] = ()
    reason: str = ""


@dataclass(eq=False)
class Answers:
    """Writes answers by a model."""

    model: Model
    prompt: Prompt = field(default_factory=lambda: prompt("answer", _TOKENS))

    def answer(self, question: str, hits: Sequence[Hit], seconds: float) -> Answered:
        """Answers a question from the first hits. It never raises: whoever asked gets the hits in any case.

        Args:
            question: The question.
            hits: Best first.
            seconds: How long it may take.
        """
        if not hits:
            return Answered(reason="NO_HITS")
        texts = {number: _fields(hit) for number, hit in enumerate(hits[:_MAX_HITS], start=1)}
        asked = passages({0: {"text": question}})
        data = f"<question>\n{asked}\n</question>\n<passages>\n{passages(texts)}\n</passages>"
        written = self._written(data, seconds)
        if isinstance(written, ModelFailed):
            logger.warning("no answer", reason=written.code, problem=str(written))
            return Answered(reason=written.code)
        found = parsed(written)
        told = None if found is None else found.get("sentences")
        if not isinstance(told, list):
            return Answered(reason="UNUSABLE")
        if not told:
            return Answered(reason="NOT_FOUND")
        sources = {number: f"{each['text']} {each.get('onScreen', '')}" for number, each in texts.items()}
        sentences = cited(told, sources, _MAX_SENTENCES)
        return Answered(sentences) if sentences else Answered(reason="NOT_CITED")

    def _written(self, data: str, seconds: float) -> str | ModelFailed:
        """What the model writes, in a thread: looking up a name or a secret may take longer than there is time."""
        held: SimpleQueue[str | ModelFailed] = SimpleQueue()

        def ask() -> None:
            try:
                held.put(self.model.ask(self.prompt, data, seconds=seconds))
            except ModelFailed as failed:
                held.put(failed)
            except Unavailable as failed:
                held.put(ModelFailed("UNAVAILABLE", f"the model's key can't be read: {failed}"))
            except Exception:  # noqa: BLE001 - the hits must be told in any case
                logger.exception("asking the model crashed")
                held.put(ModelFailed("UNAVAILABLE", "asking crashed"))

        threading.Thread(target=observability.carrying_trace(ask), daemon=True).start()
        try:
            return held.get(timeout=max(0.0, seconds))
        except Empty:
            return ModelFailed("UNAVAILABLE", "there was no answer in time")


def _fields(hit: Hit) -> dict[str, Any]:
    fields = {
        "speaker": hit.speaker,
        "text": line_of(hit.text, _MAX_TEXT),
        "onScreen": line_of(hit.screen, _MAX_SCREEN),
    }
    return {name: value for name, value in fields.items() if value or name == "text"}
