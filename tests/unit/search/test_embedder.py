"""The embedding model: the vectors of the original, whatever else is in the batch."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchyard_embedding import DIMENSION
from tests.unit.search.models import Embedder, embedder_of_tests, shrink

QUESTION = "when is the release postponed?"
ANSWERS = (
    "The committee decided to move the launch of the new version to May.",
    "Flour, water, yeast and salt: let the dough rise for an hour.",
    "The dog ran after the ball and fell into the pond.",
)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return embedder_of_tests()


def test_a_question_is_closest_to_its_answer(embedder: Embedder) -> None:
    question, *answers = embedder.embed([QUESTION, *ANSWERS])
    likeness = np.array(answers) @ question
    assert likeness.argmax() == 0
    assert likeness[0] > 0.3 > likeness[1:].max()


def test_vectors_are_those_that_the_model_card_gives(embedder: Embedder) -> None:
    """Held against sentence-transformers: the cosines in the documentation of all-MiniLM-L6-v2.

    https://sbert.net/docs/quickstart.html
    """
    sentences = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    vectors = embedder.embed(sentences)
    expected = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    assert np.allclose(vectors @ vectors.T, expected, atol=1e-3)


def test_every_vector_has_length_one(embedder: Embedder) -> None:
    vectors = embedder.embed(["", "…", "word " * 2000, "日本語のテキスト", "\x00\u202e"])
    assert vectors.shape == (5, DIMENSION)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=60), min_size=1, max_size=20))
def test_a_text_has_the_same_vector_alone_and_among_others(embedder: Embedder, texts: list[str]) -> None:
    together = embedder.embed([*texts, QUESTION])[-1]
    assert np.allclose(together, embedder.embed([QUESTION])[0], atol=1e-5)


def test_no_texts_make_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, DIMENSION)


def test_a_shrunk_model_has_half_the_bytes_of_what_is_used(tmp_path: Path) -> None:
    values = [0.5, -1.25, 3.0, 1e-3]
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "ids": {"dtype": "I64", "shape": [1], "data_offsets": [16, 24]},
        "pooler.dense.weight": {"dtype": "F32", "shape": [1], "data_offsets": [24, 28]},
    }
    text = json.dumps(header).encode()
    data = struct.pack("<4f", *values) + bytes(8) + bytes(4)
    source = tmp_path / "from"
    source.mkdir()
    (source / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (source / "tokenizer.json").write_text("{}")
    shrink(source, tmp_path / "to")
    raw = (tmp_path / "to" / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    assert json.loads(raw[8 : 8 + length]) == {"a": {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}}
    assert struct.unpack("<4e", raw[8 + length :]) == pytest.approx(values, rel=1e-3)
