"""Runs every parser of outside input on its corpus and on variations of it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.cases import cases
from tests.fuzz.harness import CORPUS, LONGEST, ROOT, Harness, counting
from tests.fuzz.harnesses import HARNESSES
from tests.fuzz.mutation import mutated

HERE = [harness for harness in HARNESSES.values() if harness.venv == "dev"]
ELSEWHERE = [harness for harness in HARNESSES.values() if harness.venv != "dev"]
QUICK = 40
"""Variations per parser in `make test`; the thorough profile has its own number."""


@pytest.fixture(scope="module", autouse=True)
def _counted() -> Iterator[None]:
    with counting():
        yield


def by_name(harnesses: list[Harness]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("harness", harnesses, ids=lambda harness: harness.name)


@cases(
    ("harness", "path"),
    [(harness, path) for harness in HERE for path in harness.seeds],
    ids=lambda case: f"{case[0].name}/{case[1].name}",
)
def test_a_file_of_the_corpus_is_no_finding(harness: Harness, path: Path) -> None:
    harness.run(path.read_bytes())


@by_name(HERE)
def test_a_variation_of_the_corpus_is_no_finding(harness: Harness) -> None:
    seeds = [path.read_bytes() for path in harness.seeds]

    @settings(max_examples=QUICK if settings().max_examples <= 200 else settings().max_examples)
    @given(st.sampled_from(seeds), st.randoms(use_true_random=False))
    def vary(seed: bytes, random: Random) -> None:
        harness.run(mutated(seed, seeds, harness.words, random))

    vary()


@by_name(HERE)
def test_bytes_that_mean_nothing_are_no_finding(harness: Harness) -> None:
    @settings(max_examples=QUICK if settings().max_examples <= 200 else settings().max_examples)
    @given(st.binary(max_size=200))
    @example(b"")
    def give(data: bytes) -> None:
        harness.run(data)

    give()


@by_name(ELSEWHERE)
def test_a_parser_of_a_worker_has_no_finding_in_its_own_environment(harness: Harness) -> None:
    """Runs its corpus and some variations, made without hypothesis, which workers don't have."""
    python = os.fspath(ROOT / ".venvs" / harness.venv / "bin" / "python")
    command = [python, "-m", "tests.fuzz.vary", harness.name, "--count", "10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def test_every_parser_has_a_corpus_and_nothing_else_has() -> None:
    assert {path.name for path in CORPUS.iterdir() if path.is_dir()} == set(HARNESSES)


def test_the_corpus_is_small() -> None:
    sizes = [path.stat().st_size for harness in HARNESSES.values() for path in harness.seeds]
    assert max(sizes) <= LONGEST
    assert sum(sizes) <= 200_000
