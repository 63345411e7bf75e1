"""The hashes of a piece, compared with the BEPs' plain definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.torrents.format.layout import LEAF, Format, Layout
from switchyard.torrents.format.trees import piece_hash
from tests.unit.torrents import reference

CONTENT = bytes(range(251)) * 2000


def digests(data: bytes, layout: Layout, portion: int) -> bytes:
    """Returns digests computed from portions of one size, which need not align with leaves or pieces."""
    records = b""
    for start in range(0, len(data), layout.piece_length):
        piece = piece_hash(layout)
        stop = min(start + layout.piece_length, len(data))
        for at in range(start, stop, portion):
            piece.update(memoryview(data)[at : min(at + portion, stop)])
        records += piece.digest()
    return records


@given(
    st.sampled_from(Format),
    st.sampled_from([LEAF, 2 * LEAF, 8 * LEAF]),
    st.integers(0, 20),
    st.integers(-1, 1),
    st.integers(1000, 5 * LEAF),
)
def test_a_piece_has_the_hashes_of_its_bytes(form: Format, length: int, leaves: int, more: int, portion: int) -> None:
    data = CONTENT[: max(1, leaves * LEAF + more)]
    layout = Layout(len(data), length, form)
    assert digests(data, layout, portion) == reference.digests(data, layout)


@pytest.mark.parametrize("form", Format)
def test_a_record_has_the_size_that_its_format_says(form: Format) -> None:
    piece = piece_hash(Layout(1, LEAF, form))
    piece.update(b"x")
    assert len(piece.digest()) == form.digest_size
