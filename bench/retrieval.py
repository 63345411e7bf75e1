"""Whether twenty questions over ten talks find the right moment, beside each half of the search alone.

The talks and the questions are in `bench/talks/`. They were written and committed before any question was asked; the
terms were added after that, to choose how much words count. Each talk becomes chunks as a video's transcript does: 150
words a minute, half a second between two people. The right moment is the chunk in which the answer is said.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.environment import ROOT, Layer
from bench.measure import Effort
from bench.report import at_least, table
from bench.videos import Direct, an_index
from switchyard.search.chunks import Origin, chunks_of, metadata_of
from switchyard.search.hits import telling_words
from switchyard.search.ports import Entry, Match, Question
from switchyard.search.s3vectors import S3VectorsIndex
from switchyard_embedding.embedder import Embedder

_TALKS = ROOT / "bench" / "talks"
_A_WORD, _A_PAUSE = 0.4, 0.5
_FIRST, _FIVE = 0.8, 0.95
_OWNER = "user:bench"
_OURS = "ours"

type Way = Callable[[str], Sequence[Match]]


@dataclass(frozen=True)
class Asked:
    """A question, the talk that answers it, and words of the answer."""

    ask: str
    talk: str
    answer: str


@dataclass(frozen=True)
class Talk:
    """A talk as a transcript has it."""

    name: str
    segments: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, path: Path) -> Talk:
        """Reads a file with `SPEAKER: what is said` in each line."""
        now, segments = 0.0, []
        for line in path.read_text().splitlines():
            speaker, _, text = line.partition(": ")
            end = now + _A_WORD * len(text.split())
            segments.append({"start": now, "end": end, "speaker": speaker, "text": text})
            now = end + _A_PAUSE
        return cls(path.stem, tuple(segments))

    def second(self, answer: str) -> float:
        """Returns when the middle of these words is said.

        Raises:
            ValueError: nobody says them.
        """
        for segment in self.segments:
            before, found, _ = segment["text"].partition(answer)
            if found:
                return float(segment["start"] + _A_WORD * (len(before.split()) + len(answer.split()) / 2))
        raise ValueError(f"nobody says {answer!r} in {self.name}")


def asked(kind: str) -> list[Asked]:
    """Returns what is asked of a kind: `question` or `term`."""
    return [Asked(**each) for each in tomllib.loads((_TALKS / "questions.toml").read_text())[kind]]


def run(layer: Layer, effort: Effort) -> list[Table]:
    """Asks each question in three ways. Once: the answers don't vary."""
    talks = {path.stem: Talk.read(path) for path in sorted(_TALKS.glob("*.txt"))}
    kinds = {kind: asked(kind)[: effort.of(None, 2)] for kind in ("question", "term")}
    embedder = Embedder(layer.embedding / "switchyard_embedding" / "model")
    with an_index() as (index, client, arn):
        chunks = sum(_put(index, talk, embedder) for talk in talks.values())
        ways = _ways(index, client, arn, embedder)
        return [
            _shown(
                f"{len(given)} {kind}s over {len(talks)} talks in {chunks} chunks: the right moment is",
                given,
                {name: [_rank(way(each.ask), each, talks[each.talk]) for each in given] for name, way in ways.items()},
                chunks,
            )
            for kind, given in kinds.items()
        ]


def _shown(title: str, given: Sequence[Asked], ranks: Mapping[str, Sequence[float]], chunks: int) -> Table:
    shown = table(
        title,
        *("", "first", "target", "among five", "target", "mean reciprocal rank"),
        caption=_missed(given, ranks[_OURS]),
    )
    for name, found in ranks.items():
        first, five = (sum(rank <= best for rank in found) / len(found) for best in (1, 5))
        shown.add_row(
            name,
            f"{first:.0%}",
            at_least(100 * first, 100 * _FIRST, " %") if name == _OURS else "",
            f"{five:.0%}",
            at_least(100 * five, 100 * _FIVE, " %") if name == _OURS else "",
            f"{sum(1 / rank for rank in found) / len(found):.2f}",
        )
    shown.add_row("floor: luck", f"{1 / chunks:.0%}", "", f"{5 / chunks:.0%}", "", "")
    return shown


def _put(index: S3VectorsIndex, talk: Talk, embedder: Embedder) -> int:
    chunks = chunks_of(talk.segments)
    vectors = embedder.embed([chunk.content for chunk in chunks]).tolist()
    origin = Origin("bench", talk.name, "video-analysis", 0.0, "")
    entries = [Entry(vector, metadata_of(each, origin)) for vector, each in zip(vectors, chunks, strict=True)]
    index.put(_OWNER, talk.name, entries)
    return len(chunks)


def _ways(index: S3VectorsIndex, client: Direct, arn: str, embedder: Embedder) -> dict[str, Way]:
    def vector(question: str) -> list[float]:
        (found,) = embedder.embed([question]).tolist()
        return list(found)

    def by_words(question: str) -> list[Match]:
        texts = [{"text": telling_words(question), "metadataKey": "text"}]
        found = client.query_vectors(indexArn=arn, topK=20, queryTexts=texts, returnMetadata=True)["vectors"]
        return [Match(each["metadata"], 0.0) for each in found]

    def fused(question: str) -> list[Match]:
        texts = [{"text": telling_words(question), "metadataKey": "text"}]
        both = {"queryVector": {"float32": vector(question)}, "queryTexts": texts}
        found = client.query_vectors(indexArn=arn, topK=20, returnMetadata=True, **both)["vectors"]
        return [Match(each["metadata"], 0.0) for each in found]

    return {
        _OURS: lambda text: index.find(Question(vector(text), telling_words(text), limit=20, owner=_OWNER)),
        "vectors only": lambda text: index.find(Question(vector(text), limit=20, owner=_OWNER)),
        "words only (BM25)": by_words,
        "both as the index fuses them": fused,
    }


def _rank(found: Sequence[Match], wanted: Asked, talk: Talk) -> float:
    """Returns the place of the right moment; infinite if it isn't found."""
    second = talk.second(wanted.answer)
    starts = [chunk.start for chunk in chunks_of(talk.segments)]
    right = round(starts[bisect_right(starts, second) - 1], 2)
    places = (
        place
        for place, match in enumerate(found, 1)
        if (match.metadata["job"], match.metadata["start"]) == (wanted.talk, right)
    )
    return next(places, float("inf"))


def _missed(given: Sequence[Asked], ranks: Sequence[float]) -> str:
    told = [f"{each.ask} ({rank:g})" for each, rank in zip(given, ranks, strict=True) if rank > 1]
    return f"Not first (its place): {'; '.join(told)}" if told else ""
