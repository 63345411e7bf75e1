"""What a reader of pictures returns, as text: doubtful and repeated lines are dropped, and nothing in it is markup."""

import unicodedata
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from analyze_video.markup import clock, plain

SURE = 0.75
"""The reader's confidence from which a line counts. Patterns that it takes for letters are mostly below."""
_ALIKE = 0.85  # of two lines; below, they say different things
_FEWEST = 2  # letters and digits of a line: a single one is mostly a pattern
_LINES = 60  # a picture, which is a page of a book
_CHARACTERS = 200  # a line
_SHOWN = 40  # texts in summary.md


def lines(found: Iterable[tuple[str, float]]) -> list[str]:
    """The lines that count, from top to bottom.

    Args:
        found: of each line its text and the reader's confidence, 0 to 1.
    """
    cleaned = [_clean(text) for text, confidence in found if confidence >= SURE]
    return [line for line in cleaned if sum(map(str.isalnum, line)) >= _FEWEST][:_LINES]


def unseen(found: Sequence[str], before: Sequence[str]) -> list[str]:
    """The lines that the picture before didn't show. A line that was read slightly differently is the same one."""
    known = [line.casefold() for line in before]
    return [line for line in found if not get_close_matches(line.casefold(), known, 1, _ALIKE)]


def section(texts: Sequence[tuple[float, str]]) -> str:
    """The section of `text` in summary.md: what is shown, and when."""
    parts = ["## Text on screen"]
    if len(texts) > _SHOWN:
        parts.append(f"The first {_SHOWN} of {len(texts):,} texts; summary.json has all.")
    parts += [f"**{clock(time)}** {plain(text.replace('\n', ' / '))}" for time, text in texts[:_SHOWN]]
    return "\n\n".join(parts)


def _clean(text: str) -> str:
    """The text in one line, without control characters. NFKC: the reader likes full-width punctuation."""
    normal = unicodedata.normalize("NFKC", text)
    return " ".join("".join(each if each.isprintable() else " " for each in normal).split())[:_CHARACTERS]
