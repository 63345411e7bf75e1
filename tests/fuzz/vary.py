"""Runs a worker parser's harness in the worker's environment: `python -m tests.fuzz.vary image --count 100000`."""

import argparse
import sys
from itertools import chain
from random import Random

from tests.fuzz.harness import counting, reach_workers
from tests.fuzz.harnesses import HARNESSES
from tests.fuzz.mutation import mutated


def main() -> None:
    """Runs the parser on its corpus and on variations, the same ones for the same seed. A finding is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=HARNESSES)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    harness = HARNESSES[given.target]
    reach_workers()
    from switchyard_worker import refuse_programs  # noqa: PLC0415 - importable since the line above

    refuse_programs()
    seeds = [path.read_bytes() for path in harness.seeds]
    random = Random(given.seed)  # noqa: S311 - repeatable, not a secret
    variations = (mutated(random.choice(seeds), seeds, harness.words, random) for _ in range(given.count))
    with counting():
        for data in chain(seeds, variations):
            try:
                harness.run(data)
            except Exception:
                sys.stderr.write(f"{given.target}: {data!r}\n")
                raise


if __name__ == "__main__":
    main()
