"""CPU of one `POST /search`, of a cold start of its function, and a query of the local stand-in for S3 Vectors.

The index's answer comes from a local endpoint: fifty matches as a video of talks has them.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
from rich.table import Table

from bench.environment import RUNTIME, Layer
from bench.init import FLOOR, STARTS, milliseconds
from bench.measure import Effort, Probe, interleaved, resident
from bench.report import table, verdict
from local.vectors.table import Table as Vectors
from switchyard.search.chunks import NOT_FILTERABLE, SCREEN, TEXT
from tests.fakes.endpoint import Reply, serving

_WARM, _COLD, _QUERY = 60.0, STARTS["search_media"].budget, 100.0
"""Budgets: milliseconds of CPU, multiple of boto3's start, milliseconds of CPU."""
_CHUNKS, _FEW = 100_000, 1_000
_WORDS, _VOCABULARY = 75, 20_000
_DIMENSION = 384
_OURS, _EMBEDDING, _CALL = "POST /search", "floor: embedding the question", "floor: the bare call"
_START, _BOTO3 = "cold start", "floor: import boto3, make the client"


def run(layer: Layer, effort: Effort) -> list[Table]:
    """Measures the function, then the stand-in."""
    return [_function(layer, effort), _standin(effort)]


def _function(layer: Layer, effort: Effort) -> Table:
    with ExitStack() as stack:
        endpoint = stack.enter_context(serving(Reply(body={"vectors": _matches(), "distanceMetric": "cosine"})))
        measures = {
            name: partial(
                _warm,
                stack.enter_context(
                    Probe(
                        subject,
                        layer,
                        {"url": endpoint.url},
                        module="bench.search_subjects",
                        function="search_media",
                        also=layer.embedding,
                    )
                ),
                effort.of(20, 1),
            )
            for name, subject in ((_OURS, "ours"), (_EMBEDDING, "embedding"), (_CALL, "call"))
        }
        code = f"import app; {STARTS['search_media'].code}"
        measures[_START] = partial(milliseconds, code, layer.path("search_media"), "search_media")
        measures[_BOTO3] = partial(milliseconds, FLOOR.format(("s3vectors",)), [RUNTIME])
        found = interleaved(measures, effort)
    shown = table("POST /search", *("", "CPU, ms: median, lowest-highest", "÷ floor", "budget"))
    floors = {_OURS: _CALL, _START: _BOTO3}
    for name, samples in found.items():
        ratio = samples.over(found[floors[name]]) if name in floors else None
        budget = ""
        if name == _OURS:
            budget = verdict(round(samples.median, 1), _WARM, " ms")
        elif name == _START and ratio:
            budget = verdict(round(ratio.median, 2), _COLD)
        shown.add_row(name, samples.show(1), ratio.show() if ratio else "", budget)
    return shown


def _warm(probe: Probe, invocations: int) -> float:
    return float(probe.sample(invocations=invocations)["cpu"]) * 1000 / invocations


def _matches() -> list[dict[str, Any]]:
    text = " ".join(f"word{number}" for number in range(_WORDS))
    metadata = {
        "owner": "user:u",
        "job": "j",
        "kind": "video-analysis",
        "date": 1.0,
        "start": 0.0,
        "end": 30.0,
        "speakers": ["SPEAKER_01"],
        "text": text,
        "times": " ".join(map(str, range(_WORDS))),
        "turns": ["0 SPEAKER_01"],
        "frame": "results/j/scene-00001.jpg",
        "video": "uploads/talk.mp4",
    }
    scores = {"bm25Scores": [{"metadataKey": "text", "score": 1.0}], "fused": 0.1, "vectorDistance": 0.5}
    return [{"key": f"u/j/{number}", "distance": 0.5, "scores": scores, "metadata": metadata} for number in range(50)]


def _standin(effort: Effort) -> Table:
    """Queries an index of videos in this process, without its HTTP and its file."""
    chunks = effort.of(_CHUNKS, _FEW)
    before = resident("VmRSS")
    vectors, words = _filled(chunks)
    grown = resident("VmRSS") - before
    random = np.random.default_rng(2)
    asked = random.standard_normal(_DIMENSION, np.float32)
    whole = random.standard_normal((chunks, _DIMENSION), np.float32)
    mine = {"$and": [{"owner": {"$eq": "user:7"}}, {"kind": {"$eq": "video-analysis"}}]}
    usual, rare = " ".join(words[20:200:40]), " ".join(words[500:5000:1000])
    measures = {
        "a user's videos, rare words": partial(vectors.query, 50, asked, {TEXT: rare, SCREEN: rare}, mine),
        "all videos, frequent words": partial(vectors.query, 50, asked, {TEXT: usual, SCREEN: usual}, None),
        "a user's videos, vectors only": partial(vectors.query, 50, asked, {}, mine),
        "floor: the product of the matrix and the question": lambda: whole @ asked,
    }
    found = interleaved({name: partial(_milliseconds, each) for name, each in measures.items()}, effort)
    *ours, floor = found
    shown = table(
        f"The stand-in for S3 Vectors, {chunks:,} chunks",
        *("a query for", "CPU, ms: median, lowest-highest", "÷ floor", "budget"),
        caption=f"The index takes {grown / 1e6:,.0f} MB of memory.",
    )
    for name in ours:
        samples = found[name]
        budget = verdict(round(samples.median, 1), _QUERY, " ms")
        shown.add_row(name, samples.show(1), samples.over(found[floor]).show(), budget)
    shown.add_row(floor, found[floor].show(1), "", "")
    return shown


def _filled(chunks: int) -> tuple[Vectors, list[str]]:
    """Makes an index of texts whose words are as frequent as Zipf says; the words, most frequent first."""
    random = np.random.default_rng(1)
    words = [f"w{number}" for number in range(_VOCABULARY)]
    share = 1 / np.arange(1, _VOCABULARY + 1)
    drawn = random.choice(_VOCABULARY, (chunks, _WORDS), p=share / share.sum())
    vectors = Vectors(_DIMENSION, "cosine", NOT_FILTERABLE, (TEXT, SCREEN))
    for number, said in enumerate(drawn):
        metadata = {
            "owner": f"user:{number // 1000}",
            "job": f"j{number // 100}",
            "kind": "video-analysis",
            "date": float(number),
            "start": 0.0,
            "end": 30.0,
            "speakers": ["SPEAKER_01"],
            TEXT: " ".join(words[each] for each in said),
            SCREEN: words[said[0]],
        }
        vectors.put(f"k{number}", random.standard_normal(_DIMENSION, np.float32), metadata)
    return vectors, words


def _milliseconds(query: Any) -> float:  # noqa: ANN401 - any callable
    begun = time.process_time()
    query()
    return (time.process_time() - begun) * 1000
