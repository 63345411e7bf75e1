"""Text on screen as data: whatever the reader returns, it is one clean line, said once, and no markup."""

import re

from hypothesis import given
from hypothesis import strategies as st

from analyze_video import on_screen

FOUND = st.lists(st.tuples(st.text(max_size=300), st.floats(0, 1)), max_size=80)
LINES = st.lists(st.text("abcdefgh XYZ.", min_size=1, max_size=20), max_size=8)


@given(FOUND)
def test_lines_are_clean_and_certain(found: list[tuple[str, float]]) -> None:
    lines = on_screen.lines(found)
    assert len(lines) <= min(60, sum(confidence >= on_screen.SURE for _, confidence in found))
    for line in lines:
        assert line.isprintable()
        assert line == line.strip()
        assert len(line) <= 200
        assert sum(map(str.isalnum, line)) >= 2


@given(LINES, LINES)
def test_only_what_the_picture_before_did_not_show_is_new(now: list[str], before: list[str]) -> None:
    fresh = on_screen.unseen(now, before)
    assert on_screen.unseen(now, now) == []
    assert on_screen.unseen(now, []) == now
    assert not set(fresh) & set(before)
    assert [line for line in now if line in fresh] == fresh


def test_a_line_read_differently_is_not_new() -> None:
    before = ["Quarterly results: 12.5%", "www.example.org"]
    now = ["Quarterly results : 12.5%", "WWW.EXAMPLE.ORG", "Quarterly results: the outlook"]
    assert on_screen.unseen(now, before) == ["Quarterly results: the outlook"]


def test_full_width_and_control_characters_become_ordinary_ones() -> None:
    found = [("Ｐｒｉｃｅ：\u202e１２", 0.9), ("a\tb\x00\nc", 0.9), ("鑫", 0.99), ("8", 0.9), ("guess", 0.74)]
    assert on_screen.lines(found) == ["Price: 12", "a b c"]


@given(st.lists(st.tuples(st.floats(0, 1e5), st.text(min_size=1)), min_size=1, max_size=60))
def test_no_text_is_markup_in_the_summary(texts: list[tuple[float, str]]) -> None:
    section = on_screen.section(texts)
    paragraphs = section.split("\n\n")
    assert paragraphs[0] == "## Text on screen"
    shown = paragraphs[1:] if len(texts) <= 40 else paragraphs[2:]
    assert len(shown) == min(len(texts), 40), "a text began a paragraph of its own"
    for paragraph in shown:
        said = re.fullmatch(r"\*\*[0-9:.]+\*\* (.*)", paragraph, re.DOTALL)
        assert said
        assert not set(said[1]) & set("\\`*_[]<>|$\n")
