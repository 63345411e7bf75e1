"""Mutates inputs for hypothesis, atheris and the workers' environments.

It cuts, doubles and swaps bytes and inserts words. It also changes single values of JSON, so that the result is still
JSON and gets past the first line of a parser.
"""

import json
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from tests.fuzz.harness import LONGEST, text

_NUMBERS: Final = (0, 1, -1, 0.5, 65_536, 2**31, 2**53, 2**63, -(2**63), 10**40, 1e308, float("inf"), float("nan"))
_TEXTS: Final = ("", " ", "\0", "null", "true", "..", "../../a", "a/", "é", "\u202e", "\ud800", "٣", "x" * 300, "1e9")
_VALUES: Final[tuple[Any, ...]] = (None, True, False, [], {}, [[]], [None], {"": None}, {"name": 1}, *_NUMBERS, *_TEXTS)
_MOST_STEPS: Final = 4


def mutated(data: bytes, others: Sequence[bytes], words: Sequence[str], random: Random, most: int = LONGEST) -> bytes:
    """Returns a mutation of `data` of at most `most` bytes, with parts of `others` and of `words`."""
    for _ in range(random.randint(1, _MOST_STEPS)):
        changed = _changed_json(data, words, random) if random.random() < 0.5 else None
        data = _changed_bytes(data, others, words, random) if changed is None else changed
    return data[:most]


def _changed_bytes(data: bytes, others: Sequence[bytes], words: Sequence[str], random: Random) -> bytes:
    first, last = sorted((random.randint(0, len(data)), random.randint(0, len(data))))
    match random.randrange(6):
        case 0:
            return data[:first] + data[last:]
        case 1:
            return data[:last] + data[first:last] * random.choice((1, 1, 2, 9)) + data[last:]
        case 2:
            return data[:first] + random.randbytes(random.randint(1, 4)) + data[first + 1 :]
        case 3 if words:
            return data[:first] + _encoded(random.choice(words)) + data[random.choice((first, last)) :]
        case 4 if others:
            other = random.choice(others)
            begin, end = sorted((random.randint(0, len(other)), random.randint(0, len(other))))
            return data[:first] + other[begin:end] + data[last:]
        case _:
            return data[:first] + _encoded(str(random.choice(_TEXTS + _NUMBERS))) + data[last:]


def _changed_json(data: bytes, words: Sequence[str], random: Random) -> bytes | None:
    """Changes one value in a JSON text; None if it is no JSON object or array."""
    try:
        value = json.loads(text(data))
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict | list):
        return None
    holder, place = _somewhere(value, random)
    choices = (*_VALUES, *words)
    match random.randrange(6):
        case 0 if place is not None:
            del holder[place]
        case 1 if isinstance(holder, dict):
            holder[random.choice(words) if words else "name"] = random.choice(choices)
        case 2 if isinstance(holder, list):
            holder.insert(random.randint(0, len(holder)), random.choice(choices))
        case 3 if place is not None:
            holder[place] = [holder[place]] if random.random() < 0.5 else {str(place): holder[place]}
        case 4 if place is not None and isinstance(holder[place], str):
            # JSON inside a string, like a message wrapped by SNS, is also changed as JSON.
            inner = _changed_json(holder[place].encode(errors="replace"), words, random)
            holder[place] = inner.decode() if inner else _changed_text(holder[place], words, random)
        case _ if place is not None:
            holder[place] = random.choice(choices)
    try:
        return json.dumps(value).encode()
    except (ValueError, RecursionError):
        return None


def _changed_text(old: str, words: Sequence[str], random: Random) -> str:
    first, last = sorted((random.randint(0, len(old)), random.randint(0, len(old))))
    return old[:first] + random.choice((*_TEXTS, *words)) + old[last:]


def _somewhere(value: Any, random: Random) -> tuple[Any, Any]:  # noqa: ANN401 - any JSON value
    """Picks `value` or an object or array in it, and a place in that; None if it is empty."""
    while True:
        places = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not places:
            return value, None
        place = random.choice(places)
        if not isinstance(value[place], dict | list) or random.random() < 0.3:
            return value, place
        value = value[place]


def _encoded(word: str) -> bytes:
    return word.encode("utf-8", "surrogatepass")
