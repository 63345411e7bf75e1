"""Bencoding (BEP 3), the encoding of .torrent files. Pure.

Decoding is strict, because each value has exactly one valid encoding: `encode(decode(data)) == data`.
"""

import re
from collections.abc import Mapping, Sequence

type Bencodable = int | bytes | str | Sequence[Bencodable] | Mapping[bytes, Bencodable] | Mapping[str, Bencodable]
"""What can be encoded; text becomes UTF-8."""
type Bencoded = int | bytes | list[Bencoded] | dict[bytes, Bencoded]
"""What is decoded."""

_INTEGER = re.compile(rb"i(0|-?[1-9][0-9]*)e")
_LENGTH = re.compile(rb"(0|[1-9][0-9]*):")
_MAX_DEPTH = 100
"""Levels of nested lists and dictionaries; libtorrent has the same limit."""


class BencodeError(ValueError):
    """Data that is not bencoded, or not in the canonical form. The message says what is wrong, and at which byte."""


def encode(value: Bencodable) -> bytes:
    """Encodes `value`, with keys sorted by their bytes."""
    match value:
        case int():
            return b"i%de" % value
        case str():
            return encode(value.encode())
        case bytes():
            return b"%d:%b" % (len(value), value)
        case Mapping():
            items = sorted((key.encode() if isinstance(key, str) else key, each) for key, each in value.items())
            return b"d%be" % b"".join(encode(key) + encode(each) for key, each in items)
        case _:
            return b"l%be" % b"".join(map(encode, value))


def decode(data: bytes) -> Bencoded:
    """Decodes `data`, which must be one value and nothing else.

    Raises:
        BencodeError: it is not bencoded, not canonical, or nested too deeply.
    """
    value, end = _read(data, 0, 0)
    if end != len(data):
        raise BencodeError(f"data after the end at {end}")
    return value


def _read(data: bytes, at: int, depth: int) -> tuple[Bencoded, int]:
    """The value that begins at `at`, and the position after it."""
    match data[at : at + 1]:
        case b"i":
            return _number(_INTEGER, data, at)
        case b"l" | b"d" if depth == _MAX_DEPTH:
            raise BencodeError(f"nested too deeply at {at}")
        case b"l":
            return _list(data, at + 1, depth + 1)
        case b"d":
            return _dictionary(data, at + 1, depth + 1)
        case _:
            return _string(data, at)


def _number(form: re.Pattern[bytes], data: bytes, at: int) -> tuple[int, int]:
    found = form.match(data, at)
    if not found:
        raise BencodeError(f"no value, or a number not in canonical form, at {at}")
    try:
        return int(found[1]), found.end()
    except ValueError:  # more digits than Python reads
        raise BencodeError(f"the number is too long at {at}") from None


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    length, start = _number(_LENGTH, data, at)
    if length > len(data) - start:
        raise BencodeError(f"the string is cut off at {at}")
    return data[start : start + length], start + length


def _list(data: bytes, at: int, depth: int) -> tuple[list[Bencoded], int]:
    values = []
    while data[at : at + 1] != b"e":
        value, at = _read(data, at, depth)
        values.append(value)
    return values, at + 1


def _dictionary(data: bytes, at: int, depth: int) -> tuple[dict[bytes, Bencoded], int]:
    values: dict[bytes, Bencoded] = {}
    last = None
    while data[at : at + 1] != b"e":
        key, after = _string(data, at)
        if last is not None and key <= last:
            raise BencodeError(f"the key is repeated or out of order at {at}")
        values[key], at = _read(data, after, depth)
        last = key
    return values, at + 1
