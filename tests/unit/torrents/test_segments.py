"""Segments: no piece is lost or hashed twice without need, and chunks may arrive in any order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.torrents.format import segments
from switchyard.torrents.format.layout import Extent, Format, Layout, Way

TERABYTE = 10**12
PIECES = 40

extents = st.tuples(st.integers(0, PIECES - 1), st.integers(0, PIECES - 1)).map(
    lambda ends: Extent(min(ends), abs(ends[0] - ends[1]) + 1)
)
WHOLE = Extent(0, PIECES)


def pieces(*some: Extent) -> list[int]:
    return [index for extent in some for index in range(extent.first, extent.end)]


@given(extents, st.lists(extents))
def test_gaps_are_what_no_chunk_has(whole: Extent, done: list[Extent]) -> None:
    assert pieces(*segments.gaps(whole, done)) == sorted(set(pieces(whole)) - set(pieces(*done)))


@given(st.lists(extents))
def test_a_cover_is_every_piece_once_in_order(done: list[Extent]) -> None:
    done += segments.gaps(WHOLE, done)
    cover = segments.cover(WHOLE, done)
    assert pieces(*(part for _, part in cover)) == pieces(WHOLE)
    assert all(set(pieces(part)) <= set(pieces(chunk)) for chunk, part in cover)
    assert {chunk for chunk, _ in cover} <= set(done)


@given(st.lists(extents), st.integers(1, PIECES))
def test_cutting_loses_nothing(some: list[Extent], most: int) -> None:
    cut = segments.cut(some, most)
    assert pieces(*cut) == pieces(*some)
    assert all(1 <= extent.count <= most for extent in cut)


LAYOUT = Layout(PIECES * 2**20, 2**20, Format.V1)


@given(st.sets(extents))
def test_a_chunk_is_known_by_its_name(some: set[Extent]) -> None:
    names = {segments.chunk_name(LAYOUT, extent) for extent in some}
    assert set(segments.chunks_of(LAYOUT, names)) == some


@pytest.mark.parametrize("other", [Layout(LAYOUT.size, 2**21, Format.V1), Layout(LAYOUT.size, 2**20, Format.HYBRID)])
def test_a_chunk_of_another_layout_is_another_chunk(other: Layout) -> None:
    assert segments.chunks_of(LAYOUT, [segments.chunk_name(other, Extent(0, 1))]) == []


def test_a_segment_is_what_is_hashed_in_a_third_of_the_time() -> None:
    assert segments.segment_pieces(2**20, megabytes_per_second=75, seconds=900) == 75 * 10**6 * 300 // 2**20


def test_a_segment_is_a_piece_at_least() -> None:
    assert segments.segment_pieces(2**26, megabytes_per_second=1, seconds=30) == 1


def test_a_copied_piece_is_worth_its_request() -> None:
    assert segments.layout_for(1, Format.V1, Way.COPY, 2**26).piece_length == 2**23


@pytest.mark.parametrize(
    ("size", "piece_length", "count", "rounds"),
    [
        (1, 2**20, 1, 1),
        (22_400_000_000, 2**24, 1, 1),
        (23_000_000_000, 2**24, 2, 1),
        (5 * TERABYTE, 2**26, 223, 23),
        (5 * 2**40, 2**26, 245, 25),
        (50 * TERABYTE, 2**26, 2225, 223),
    ],
)
def test_the_plan_for_a_size(size: int, piece_length: int, count: int, rounds: int) -> None:
    plan = segments.plan(size)
    expected = rounds * min(size, plan.segment_bytes) / 75e6 / 60
    assert (plan.layout.piece_length, plan.segments) == (piece_length, count)
    assert plan.minutes == pytest.approx(expected)


def test_five_terabytes_take_two_hours_by_ten_functions() -> None:
    plan = segments.plan(5 * TERABYTE)
    assert (round(plan.minutes), plan.layout.pieces, plan.chunk_bytes) == (115, 74506, 6700)


@given(st.integers(1, 50 * TERABYTE), st.sampled_from(Format), st.integers(1, 100))
def test_no_plan_takes_more_memory_than_a_function_has(size: int, form: Format, concurrency: int) -> None:
    assert segments.plan(size, form=form, concurrency=concurrency).memory <= 256 * 2**20


def test_who_reads_slowly_reaches_the_limit_of_segments_first() -> None:
    assert segments.plan(5 * TERABYTE, megabytes_per_second=1).segments > segments.MAX_SEGMENTS
