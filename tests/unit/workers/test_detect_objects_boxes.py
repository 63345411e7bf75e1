"""The arithmetic of boxes: letterboxing and back, clipping, and non-maximum suppression."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from detect_objects.boxes import Box, Detection, Letterbox, clipped, overlap, scaled, suppressed

sizes = st.tuples(st.integers(1, 20_000), st.integers(1, 20_000))
frames = st.tuples(st.integers(1, 1280), st.integers(1, 1280))
edges = st.floats(-100, 1000)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Draws boxes of at least one pixel in each direction."""
    x, y = draw(edges), draw(edges)
    return x, y, x + draw(st.floats(1, 300)), y + draw(st.floats(1, 300))


detections = st.builds(Detection, st.sampled_from(["car", "cat"]), st.floats(0, 1), boxes())


# ---- letterboxes


@given(sizes, frames)
def test_a_picture_fills_its_frame_one_way_and_is_in_the_middle_the_other(
    picture: tuple[int, int], frame: tuple[int, int]
) -> None:
    fitted = Letterbox.fitted(picture, frame)
    margins = frame[0] - fitted.size[0], frame[1] - fitted.size[1]
    assert min(margins) == 0
    assert (fitted.left, fitted.top) == (margins[0] // 2, margins[1] // 2)


@given(sizes, frames)
def test_a_picture_keeps_its_shape_to_within_a_pixel(picture: tuple[int, int], frame: tuple[int, int]) -> None:
    width, height = Letterbox.fitted(picture, frame).size
    scale = min(frame[0] / picture[0], frame[1] / picture[1])
    assert abs(width - picture[0] * scale) <= 1
    assert abs(height - picture[1] * scale) <= 1


def framed(fitted: Letterbox, box: Box) -> Box:
    """Converts the picture's coordinates to the frame's: the inverse of `unframed`."""
    x1, y1, x2, y2 = scaled(box, fitted.size[0] / fitted.picture[0], fitted.size[1] / fitted.picture[1])
    return x1 + fitted.left, y1 + fitted.top, x2 + fitted.left, y2 + fitted.top


@given(sizes, frames)
def test_the_whole_picture_is_where_it_was_put(picture: tuple[int, int], frame: tuple[int, int]) -> None:
    fitted = Letterbox.fitted(picture, frame)
    found = framed(fitted, (0, 0, *picture))
    expected = (fitted.left, fitted.top, fitted.left + fitted.size[0], fitted.top + fitted.size[1])
    assert all(abs(one - other) < 1e-6 for one, other in zip(found, expected, strict=True))


@given(sizes, frames, boxes())
def test_a_box_comes_back_from_the_frame_as_it_went_in(
    picture: tuple[int, int], frame: tuple[int, int], box: Box
) -> None:
    fitted = Letterbox.fitted(picture, frame)
    back = fitted.unframed(framed(fitted, box))
    assert all(abs(one - other) < 1e-6 * max(picture) for one, other in zip(back, box, strict=True))


def test_a_wide_picture_in_a_square_frame() -> None:
    assert Letterbox.fitted((1280, 720), (640, 640)) == Letterbox((1280, 720), (640, 360), 0, 140)


# ---- clipping


@given(boxes(), sizes)
def test_what_is_left_of_a_box_is_on_the_picture_and_not_empty(box: Box, picture: tuple[int, int]) -> None:
    left = clipped(box, *picture)
    if left is not None:
        x1, y1, x2, y2 = left
        assert 0 <= x1 < x2 <= picture[0]
        assert 0 <= y1 < y2 <= picture[1]
        assert all(type(edge) is int for edge in left)


def test_a_box_beside_the_picture_is_nothing() -> None:
    assert clipped((-20.0, 5.0, -0.6, 15.0), 100, 100) is None
    assert clipped((100.0, 5.0, 120.0, 15.0), 100, 100) is None


# ---- what overlaps


@given(boxes(), boxes())
def test_overlap_is_a_share_and_the_same_both_ways(one: Box, other: Box) -> None:
    assert 0 <= overlap(one, other) <= 1 + 1e-9
    assert overlap(one, other) == overlap(other, one)


def test_overlap_of_known_boxes() -> None:
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (0, 5, 10, 15)) == 50 / 150
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0


@given(st.lists(detections, max_size=12), st.floats(0, 1))
def test_no_two_of_a_label_overlap_more_than_is_allowed(found: list[Detection], limit: float) -> None:
    kept = suppressed(found, limit, 100)
    for index, one in enumerate(kept):
        for other in kept[:index]:
            assert one.label != other.label or overlap(one.box, other.box) <= limit


@given(st.lists(detections, max_size=12), st.floats(0, 1))
def test_what_is_left_out_overlaps_one_that_is_kept_and_is_no_less_sure(found: list[Detection], limit: float) -> None:
    kept = suppressed(found, limit, 100)
    for one in found:
        assert one in kept or any(
            one.label == other.label and overlap(one.box, other.box) > limit and other.confidence >= one.confidence
            for other in kept
        )


@given(st.lists(detections, max_size=12), st.floats(0, 1), st.randoms())
def test_the_order_of_what_was_found_does_not_matter(found: list[Detection], limit: float, random: Random) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)
    assert suppressed(shuffled, limit, 5) == suppressed(found, limit, 5)


@given(st.lists(detections, max_size=12), st.integers(0, 10))
def test_only_the_surest_are_kept(found: list[Detection], most: int) -> None:
    kept = suppressed(found, 2, most)
    assert [one.confidence for one in kept] == sorted((one.confidence for one in found), reverse=True)[:most]
