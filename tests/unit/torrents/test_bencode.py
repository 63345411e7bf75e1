"""Bencoding: the encoder, and the strict decoder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.torrents.format.bencode import Bencodable, Bencoded, BencodeError, decode, encode
from tests.cases import cases

VALUES: st.SearchStrategy[Bencoded] = st.recursive(
    st.integers() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=8), inner, max_size=4),
    max_leaves=20,
)
ALMOST = st.text("ilde-:0123456789x", max_size=30).map(str.encode)
"""More often than not nearly bencoding."""


@cases(
    ("value", "encoding"),
    [
        (0, b"i0e"),
        (-42, b"i-42e"),
        (2**64, b"i18446744073709551616e"),
        (b"", b"0:"),
        ("ü", b"2:\xc3\xbc"),
        ([], b"le"),
        (("spam", 1), b"l4:spami1ee"),
        ({}, b"de"),
        ({"b": 1, "a": 2}, b"d1:ai2e1:bi1ee"),
    ],
)
def test_a_value_has_one_encoding(value: Bencodable, encoding: bytes) -> None:
    assert encode(value) == encoding


def test_keys_are_in_the_order_of_their_bytes() -> None:
    # As text U+FF5E comes after U+1F600's first surrogate in UTF-16, and "Z" before "a".
    assert encode({"\U0001f600": 1, "\uff5e": 2, "a": 3, "Z": 4}) == (
        b"d1:Zi4e1:ai3e3:\xef\xbd\x9ei2e4:\xf0\x9f\x98\x80i1ee"
    )


@given(VALUES)
def test_what_is_written_is_read_again(value: Bencoded) -> None:
    assert decode(encode(value)) == value


@cases(
    ("data", "reason"),
    [
        (b"", "no value"),
        (b"x", "no value"),
        (b"e", "no value"),
        (b"i1e ", "data after the end at 3"),
        (b"i1ei2e", "data after the end at 3"),
        (b"ie", "not in canonical form, at 0"),
        (b"i1", "not in canonical form"),
        (b"i-e", "not in canonical form"),
        (b"i-0e", "not in canonical form"),
        (b"i01e", "not in canonical form"),
        (b"i+1e", "not in canonical form"),
        (b"i 1e", "not in canonical form"),
        (b"i1_0e", "not in canonical form"),
        ("i١e".encode(), "not in canonical form"),
        (b"i" + b"1" * 5000 + b"e", "too long at 0"),
        (b"01:a", "not in canonical form"),
        (b"-1:", "not in canonical form"),
        (b"2:a", "cut off at 0"),
        (b"1" * 5000 + b":", "too long at 0"),
        (b"l", "no value"),
        (b"li1e", "no value, or a number not in canonical form, at 4"),
        (b"d", "no value"),
        (b"d1:a", "no value"),
        (b"d1:ae", "no value"),
        (b"di1ei2ee", "no value"),
        (b"d1:bi1e1:ai2ee", "out of order at 7"),
        (b"d1:ai1e1:ai2ee", "repeated or out of order at 7"),
    ],
)
def test_any_other_form_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BencodeError, match=reason):
        decode(data)


@cases("opening", [b"l", b"d0:"])
def test_depth_has_a_limit(opening: bytes) -> None:
    decode(opening * 99 + b"le" + b"e" * 99)
    with pytest.raises(BencodeError, match="too deeply"):
        decode(opening * 100 + b"le" + b"e" * 100)


def test_depth_can_not_use_up_the_stack() -> None:
    with pytest.raises(BencodeError, match="too deeply"):
        decode(b"l" * 1_000_000)


@given(st.binary(max_size=30) | ALMOST)
def test_whatever_is_read_has_that_very_encoding(data: bytes) -> None:
    try:
        value = decode(data)
    except BencodeError:
        return
    assert encode(value) == data
