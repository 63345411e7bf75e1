"""Runs one harness under atheris in its own process, because libFuzzer never returns. Further arguments go to it."""

import sys
from random import Random

import atheris

from tests.fuzz.harness import counting, reach_workers
from tests.fuzz.harnesses import HARNESSES
from tests.fuzz.mutation import mutated

INSTRUMENTED = [
    "switchyard",
    "functions",
    "tools",
    "analyze_video",
    "detect_objects",
    "record_stream",
    "seed_torrent",
    "yt_dlp.extractor.generic",
]
"""The packages whose branches guide the search."""


def main() -> None:
    """Fuzzes until the time is over or there is a finding."""
    name, *arguments = sys.argv[1:]
    harness = HARNESSES[name]
    reach_workers()
    with atheris.instrument_imports(include=INSTRUMENTED):
        harness.run(b"")  # imports what it needs
    seeds = [path.read_bytes() for path in harness.seeds]

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)  # noqa: S311 - libFuzzer's own seed
        if random.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return mutated(data, seeds, harness.words, random, most)

    atheris.Setup([name, *arguments], harness.run, custom_mutator=mutate)
    with counting():
        atheris.Fuzz()


if __name__ == "__main__":
    main()
