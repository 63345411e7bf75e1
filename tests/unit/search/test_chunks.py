"""Chunks: every word once, in order, in chunks of a bounded size."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from switchyard.search.chunks import NOT_FILTERABLE, Origin, chunks_of, metadata_of
from switchyard.search.hits import read_hit, telling_words
from switchyard.search.ports import MAX_CHUNKS, Match

ORIGIN = Origin("u-1", "job-1", "video-analysis", 1.5e9, "uploads/u-1/2026/11/30/x.mp4")


def said(start: float, *texts: str, speaker: str | None = None, pause: float = 0.5) -> dict[str, Any]:
    """A segment whose words begin every half second."""
    words = [
        {"start": start + number * pause, "end": start + number * pause + 0.4, "text": text}
        for number, text in enumerate(texts)
    ]
    return {"start": start, "end": words[-1]["end"], "speaker": speaker, "text": " ".join(texts), "words": words}


def test_a_chunk_ends_where_a_segment_ends() -> None:
    chunks = chunks_of([said(0, *["a"] * 40), said(21, *["b"] * 30), said(40, "c")])
    assert [(chunk.start, chunk.text[0]) for chunk in chunks] == [(0, "a"), (21, "b")]
    assert chunks[1].text.endswith("b c")


def test_a_long_segment_is_cut_between_words() -> None:
    chunks = chunks_of([said(0, *map(str, range(200)))])
    assert [chunk.end - chunk.start <= 30 for chunk in chunks] == [True] * 4
    assert " ".join(chunk.text for chunk in chunks) == " ".join(map(str, range(200)))


def test_words_without_times_are_spread_over_their_segment() -> None:
    (chunk,) = chunks_of([{"start": 10, "end": 20, "text": "one two three four"}])
    assert [word.start for word in chunk.words] == [10, 12.5, 15, 17.5]


def test_text_on_screen_is_in_the_chunk_in_which_it_is_seen() -> None:
    spoken = [said(0, *["a"] * 50), said(60, "b")]
    chunks = chunks_of(spoken, [(5, "Agenda"), (9, "Agenda"), (10, "Costs"), (61, "End"), (300, "Credits")])
    assert [(chunk.start, chunk.text[:1], chunk.screen) for chunk in chunks] == [
        (0, "a", "Agenda\nCosts"),
        (60, "b", "End"),
        (300, "", "Credits"),
    ]


def test_a_long_video_gets_longer_chunks() -> None:
    chunks = chunks_of(said(30 * hour, *["word"] * 4, pause=9) for hour in range(3000))
    assert MAX_CHUNKS / 4 < len(chunks) <= MAX_CHUNKS
    assert sum(len(chunk.words) for chunk in chunks) == 12_000


def test_nothing_makes_no_chunks() -> None:
    assert chunks_of([], []) == []
    assert chunks_of([{"start": 0, "end": 1, "text": "  "}], [(1, " ")]) == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 100), st.floats(0, 100), st.text(max_size=300), st.sampled_from([None, "S1", "名" * 99])
        ),
        max_size=8,
    ),
    st.lists(st.tuples(st.floats(0, 200), st.text(max_size=50)), max_size=5),
)
def test_every_word_is_in_one_chunk_within_the_limits(
    given_segments: list[tuple[float, float, str, str | None]], screen: list[tuple[float, str]]
) -> None:
    start, segments = 0.0, []
    for pause, length, text, speaker in given_segments:
        start += pause
        segments.append({"start": start, "end": start + length, "text": text, "speaker": speaker})
        start += length
    chunks = chunks_of(segments, screen)
    assert [word.text for chunk in chunks for word in chunk.words] == [
        word[:100] for segment in segments for word in str(segment["text"]).split()
    ]
    for chunk in chunks:
        metadata = metadata_of(chunk, ORIGIN, "results/job-1/frame.jpg")
        assert len(json.dumps(metadata, ensure_ascii=False).encode()) < 40_960
        kept = {name: value for name, value in metadata.items() if name not in NOT_FILTERABLE}
        assert len(json.dumps(kept, ensure_ascii=False).encode()) < 2048
        hit = read_hit(Match(metadata, 1), "question")
        assert hit is not None
        assert (hit.text, hit.screen, hit.owner) == (chunk.text, chunk.screen, "u-1")


def test_the_largest_metadata_is_within_the_limits() -> None:
    words = [{"start": n / 10, "end": n / 10, "text": "名" * 100, "speaker": None} for n in range(150)]
    segments = [
        {"start": n / 10, "end": n / 10, "speaker": f"{n}" + "名" * 99, "words": [word]} for n, word in enumerate(words)
    ]
    for chunk in chunks_of(segments, [(0, "名" * 9000)]):
        metadata = metadata_of(chunk, ORIGIN, "f" * 1024)
        assert len(json.dumps(metadata, ensure_ascii=False).encode()) < 40_960
        kept = {name: value for name, value in metadata.items() if name not in NOT_FILTERABLE}
        assert len(json.dumps(kept, ensure_ascii=False).encode()) < 2048


def test_a_hit_tells_the_second_and_the_speaker_of_the_match() -> None:
    segments = [said(100, "We", "start.", speaker="ANNA"), said(104, "The", "releases", "slip!", speaker="BEN")]
    (chunk,) = chunks_of(segments)
    hit = read_hit(Match(metadata_of(chunk, ORIGIN), 0.5), "when is the release?")
    assert hit is not None
    assert (hit.at, hit.speaker, hit.speakers) == (104.5, "BEN", ["ANNA", "BEN"])
    assert [hit.text[begin:end] for begin, end in hit.marks] == ["releases"]
    assert read_hit(Match({**metadata_of(chunk, ORIGIN), "end": "x"}, 0.5), "") is None
    assert read_hit(Match({}, 0.5), "") is None


def test_common_words_are_not_looked_for() -> None:
    assert telling_words("When do we postpone the release, the RELEASE?") == "postpone release RELEASE"
    assert telling_words("who is it?") == ""
    assert len(telling_words("word" * 1000)) == 1024
