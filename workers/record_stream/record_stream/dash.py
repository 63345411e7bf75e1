"""Parses DASH manifests (ISO/IEC 23009-1), as far as recording needs them.

It uses one period: the last of a live stream, else the longest. In that period it uses the representation with the
highest bandwidth.
"""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

from record_stream.segments import MOST, BadPlaylist, Part, Playlist, Segment, address, window
from switchyard.urls import MAX_URL_LENGTH

type Kind = Literal["video", "audio"]

_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_TOO_MANY = "the DASH manifest lists too many segments"
_VARIABLE = re.compile(r"\$(RepresentationID|Number|Time|Bandwidth)?(?:%0(\d{1,2})d)?\$")


def parse(text: bytes, url: str, now: datetime) -> Mapping[Kind, Playlist]:
    """Parse the manifest from `url`. Returns the playlists of the best video and the best audio, as far as present.

    Raises:
        BadPlaylist: the manifest is invalid, encrypted or too large.
    """
    try:
        root = ET.fromstring(text)  # noqa: S314 - expat limits entity expansion, `web` the size
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        return _read(root, url, now)
    except (ET.ParseError, KeyError, ValueError, AttributeError, ArithmeticError) as error:
        raise BadPlaylist("the DASH manifest is damaged") from error


def _read(root: ET.Element, url: str, now: datetime) -> Mapping[Kind, Playlist]:
    live = root.get("type") == "dynamic"
    periods = root.findall("Period")
    if not periods:
        raise BadPlaylist("the DASH manifest has no period")
    total = _seconds(root.get("mediaPresentationDuration")) or 0
    period = periods[-1] if live else max(periods, key=lambda each: _seconds(each.get("duration")) or total)
    base = _base(period, _base(root, url))
    begun = datetime.fromisoformat(root.get("availabilityStartTime", "1970-01-01T00:00:00Z"))
    begun = begun if begun.tzinfo else begun.replace(tzinfo=UTC)
    # How much of the period is available now, in seconds.
    extent = _seconds(period.get("duration")) or total
    if live:
        extent = (now - begun).total_seconds() - (_seconds(period.get("start")) or 0)
    found: dict[Kind, Playlist] = {}
    refresh = min(max(_seconds(root.get("minimumUpdatePeriod")) or 2.0, 0.2), 5.0)
    for kind in ("video", "audio"):
        best = max(_candidates(period, kind), key=lambda each: int(each[1].get("bandwidth", "0")), default=None)
        if best is not None:
            adaptation, representation = best
            if adaptation.find("ContentProtection") is not None or representation.find("ContentProtection") is not None:
                raise BadPlaylist("the stream is protected")
            place = _base(representation, _base(adaptation, base))
            segments = tuple(_segments(period, adaptation, representation, place, extent, live=live))
            found[kind] = Playlist(segments, ended=not live, refresh=refresh)
    if not found:
        raise BadPlaylist("the DASH manifest has neither video nor audio")
    return found


def _candidates(period: ET.Element, kind: Kind) -> Iterator[tuple[ET.Element, ET.Element]]:
    for adaptation in period.findall("AdaptationSet"):
        for representation in adaptation.findall("Representation"):
            types = [
                each.get(name, "") for each in (adaptation, representation) for name in ("contentType", "mimeType")
            ]
            if any(each.partition("/")[0] == kind for each in types):
                yield adaptation, representation


def _segments(
    period: ET.Element, adaptation: ET.Element, representation: ET.Element, base: str, extent: float, *, live: bool
) -> Iterator[Segment]:
    levels = (representation, adaptation, period)
    templates = [found for level in levels if (found := level.find("SegmentTemplate")) is not None]
    if templates:
        yield from _by_template(templates, representation, base, extent, live=live)
        return
    for level in levels:
        if (listed := level.find("SegmentList")) is not None:
            init = _part(listed.find("Initialization"), "sourceURL", "range", base)
            elements = listed.findall("SegmentURL")
            if len(elements) > MOST:
                raise BadPlaylist(_TOO_MANY)
            for number, element in enumerate(elements):
                yield Segment(number, _part(element, "media", "mediaRange", base) or Part(base), init)
            return
    yield Segment(0, Part(base))


def _by_template(
    templates: list[ET.Element], representation: ET.Element, base: str, extent: float, *, live: bool
) -> Iterator[Segment]:
    given: dict[str, str] = {}
    for template in reversed(templates):
        given |= template.attrib
    timeline = next((found for each in templates if (found := each.find("SegmentTimeline")) is not None), None)
    scale = int(given.get("timescale", "1"))
    first = int(given.get("startNumber", "1"))

    def part(pattern: str, number: int, time: int) -> Part:
        if len(pattern) > MAX_URL_LENGTH or len(representation.get("id", "")) > MAX_URL_LENGTH:
            raise BadPlaylist("the DASH manifest has a template that is too long")
        values = {
            "RepresentationID": representation.get("id", ""), "Bandwidth": representation.get("bandwidth", ""),
            "Number": str(number), "Time": str(time),
        }  # fmt: skip

        def value(match: re.Match[str]) -> str:
            return values[match[1]].zfill(int(match[2] or 0)) if match[1] else "$"

        return Part(address(base, _VARIABLE.sub(value, pattern)))

    init = part(given["initialization"], first, 0) if "initialization" in given else None
    if timeline is not None:
        for index, time in enumerate(_times(timeline, extent * scale)):
            # A segment keeps its time when older entries are dropped; numbers may restart.
            yield Segment(time, part(given["media"], first + index, time), init)
        return
    length = int(given["duration"])
    count = (math.floor if live else math.ceil)(extent * scale / length)  # of a live stream only complete segments
    for index in range(max(0, count - MOST), count):
        yield Segment(index, part(given["media"], first + index, index * length), init)


def _times(timeline: ET.Element, extent: float) -> Iterator[int]:
    time, listed = 0, 0
    entries = timeline.findall("S")
    for entry, following in zip(entries, [*entries[1:], None], strict=True):
        time, length, repeat = int(entry.get("t", time)), int(entry.attrib["d"]), int(entry.get("r", "0"))
        if repeat < 0:  # up to the next entry, or the end
            until = int(following.get("t", "0")) if following is not None else extent
            repeat = math.ceil((until - time) / length) - 1
        for _ in range(repeat + 1):
            listed += 1
            if listed > MOST:
                raise BadPlaylist(_TOO_MANY)
            yield time
            time += length


def _part(element: ET.Element | None, place: str, extent: str, base: str) -> Part | None:
    if element is None:
        return None
    url = address(base, element.get(place, ""))
    if extent not in element.attrib:
        return Part(url)
    first, _, last = element.attrib[extent].partition("-")
    return window(url, int(first), int(last))


def _base(element: ET.Element, url: str) -> str:
    found = element.findtext("BaseURL")
    return address(url, found.strip()) if found else url


def _seconds(duration: str | None) -> float | None:
    match = _DURATION.fullmatch(duration or "")
    if not duration or not match:
        return None
    days, hours, minutes, seconds = (float(each or 0) for each in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
