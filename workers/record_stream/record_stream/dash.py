"""DASH (ISO/IEC 23009-1) by Streamlink, from manifests that say explicitly what it would get wrong.

Streamlink (8.6.3) takes the first period, loses the last segment of a duration that isn't a multiple of it and all
that a `startNumber` shifts, ignores `r="-1"`, attributes that a template inherits, and UTCTiming, and asks for live
segments before they are complete. So `explicit` rewrites a manifest first: each representation gets one template with
one timeline, which lists exactly the segments there are. Streamlink reads, addresses and fetches them.
"""

import logging
import math
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from fractions import Fraction
from typing import Any, Final, Literal, override
from urllib.parse import urljoin

from lxml import etree
from requests import Response
from streamlink.exceptions import PluginError, StreamError
from streamlink.session import Streamlink
from streamlink.stream.dash import manifest
from streamlink.stream.dash.dash import DASHStream, DASHStreamReader, DASHStreamWorker, DASHStreamWriter
from streamlink.stream.dash.manifest import EPOCH_START, MPD, MPDParsers, MPDParsingError, Period, Representation
from streamlink.stream.dash.segment import DASHSegment

from record_stream.egress import PAGE_BYTES, Encrypted, Session, Unusable, cause, refused, status_of
from record_stream.segments import ATTEMPTS, MOST, Reader, Worker, Writer
from record_stream.takes import Takes
from switchyard.urls import UrlNotAllowed

log = logging.getLogger(__name__)
manifest.is_insecure_scheme = lambda *_schemes: False  # the egress decides about schemes

type Kind = Literal["video", "audio"]
KINDS: Final[tuple[Kind, ...]] = ("video", "audio")

_WINDOW = 60
"""Seconds of a live stream whose segments are listed at each load."""
_TEMPLATE = ("timescale", "duration", "startNumber", "media", "initialization", "presentationTimeOffset")
_TOO_MANY = "the DASH manifest lists too many segments"
_REFUSALS = 3
"""As for HLS."""


def explicit(body: bytes, now: datetime, *, was_live: bool = False) -> etree._Element:
    """Parse a manifest, and make explicit what is implied.

    Args:
        body: the manifest.
        now: the time by the stream's clock.
        was_live: whether the stream was live before: it has ended if its manifest is static now.

    Raises:
        Unusable: it is invalid or too large.
    """
    if len(body) > PAGE_BYTES:
        raise Unusable("the DASH manifest is too large")
    try:
        root = _parse(body)
        for element in root.iter(etree.Element):
            element.tag = etree.QName(element).localname
        _rewrite(root, now, was_live=was_live)
    except Unusable:
        raise
    except (etree.LxmlError, KeyError, ValueError, TypeError, ArithmeticError) as error:
        raise Unusable("the DASH manifest is damaged") from error
    return root


def _parse(body: bytes) -> etree._Element:
    # Entities stay as they are: an XML bomb stays small, and no file or address is read.
    root = etree.fromstring(body, etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True))
    if sum(1 for _ in root.iter()) > MOST:
        raise Unusable(_TOO_MANY)
    return root


def _rewrite(root: etree._Element, now: datetime, *, was_live: bool) -> None:
    live = root.get("type") == "dynamic"
    begun = MPDParsers.parse_datetime(root.get("availabilityStartTime", "1970-01-01T00:00:00Z"))
    delay = _seconds(root, "suggestedPresentationDelay")
    if delay is None:
        delay = max(MPD.DEFAULT_MINBUFFERTIME, _seconds(root, "minBufferTime") or 0)
    numbered = False
    for period, start, duration in _periods(root):
        present = (now - begun).total_seconds() - start if live else None
        for adaptation in period.findall("AdaptationSet"):
            for number, representation in enumerate(adaptation.findall("Representation")):
                _complete(adaptation, representation, number)
                numbered |= _list((period, adaptation, representation), duration, present, delay)
        for level in (period, *period.findall("AdaptationSet")):
            for template in level.findall("SegmentTemplate"):
                level.remove(template)
    root.set("profiles", root.get("profiles", ""))
    root.set("minBufferTime", root.get("minBufferTime", "PT1S"))
    # The newest of numbered segments is the one that a player presents now; of listed ones, the delay says which.
    root.set("suggestedPresentationDelay", f"PT{0.001 if numbered else max(delay, 0.001):f}S")
    for name in ("availabilityStartTime", "publishTime", "availabilityEndTime"):
        root.attrib.pop(name, None)  # whatever is listed is there
    root.set("ended", "" if live else "yes")
    root.set("type", "dynamic" if live or was_live else "static")


def _periods(root: etree._Element) -> Iterator[tuple[etree._Element, float, float | None]]:
    """Yield each period, with its start and, if known, its duration, in seconds. Sets its id and its duration."""
    for empty in root.findall("Period"):
        if empty.find("AdaptationSet/Representation") is None:  # in another document, or not known yet
            root.remove(empty)
    periods, start = root.findall("Period"), 0.0
    for period, after in zip(periods, [*periods[1:], None], strict=True):
        given, duration = _seconds(period, "start"), _seconds(period, "duration")
        start = start if given is None else given
        end = _seconds(root, "mediaPresentationDuration") if after is None else _seconds(after, "start")
        if duration is None and end is not None:
            duration = max(end - start, 0)
        period.set("id", period.get("id") or f"at {start:f}")
        if duration is not None:
            period.set("duration", f"PT{duration:f}S")
        yield period, start, duration
        start += duration or 0


def _complete(adaptation: etree._Element, representation: etree._Element, number: int) -> None:
    """Set what Streamlink requires."""
    kind = adaptation.get("contentType", "unknown")
    representation.set("mimeType", representation.get("mimeType") or adaptation.get("mimeType") or f"{kind}/mp4")
    representation.set("bandwidth", representation.get("bandwidth") or "0")
    representation.set("id", representation.get("id") or f"#{number}")


def _list(
    levels: tuple[etree._Element, etree._Element, etree._Element],
    duration: float | None,
    present: float | None,
    delay: float,
) -> bool:
    """Give a representation the one template that all of its levels make, with a timeline.

    Args:
        levels: the period, the adaptation set and the representation.
        duration: the period's, in seconds; None if it isn't known yet.
        present: seconds since the period began, if it is live.
        delay: seconds by which players are behind a live stream.

    Returns:
        Whether the segments are numbered, and not listed.
    """
    templates = [found for level in levels for found in level.findall("SegmentTemplate")]
    if not templates:
        return False
    given = {name: each.attrib[name] for each in templates for name in _TEMPLATE if name in each.attrib}
    timelines = [found for each in templates for found in each.findall("SegmentTimeline")]
    scale, offset = int(given.get("timescale", "1")), int(given.pop("presentationTimeOffset", "0"))
    length = int(given.pop("duration", "0"))
    if timelines:
        end = present if present is not None else duration
        entries = _entries(timelines[-1], None if end is None else offset + end * scale, live=present is not None)
    else:
        first, count = _numbered(length / scale, duration, present, delay)
        given["startNumber"] = str(int(given.get("startNumber", "1")) + first)
        entries = [(first * length, length, count)] if count > 0 else []
    if sum(count for _, _, count in entries) > MOST:
        raise Unusable(_TOO_MANY)
    for name in given.keys() & {"media", "initialization"}:  # Streamlink makes format strings of them
        given[name] = given[name].replace("{", "%7B").replace("}", "%7D")
    for template in levels[-1].findall("SegmentTemplate"):
        levels[-1].remove(template)
    timeline = etree.SubElement(etree.SubElement(levels[-1], "SegmentTemplate", given), "SegmentTimeline")
    for time, each, count in entries:
        etree.SubElement(timeline, "S", {"t": str(time), "d": str(each), "r": str(count - 1)})
    return not timelines


def _numbered(length: float, duration: float | None, present: float | None, delay: float) -> tuple[int, int]:
    """The index of the first segment to list, and how many to list. Lengths are in seconds."""
    last = None if duration is None else math.ceil(duration / length - 1e-6) - 1
    if present is None:
        if last is None:
            raise Unusable("the DASH manifest doesn't say how long the stream is")
        return 0, last + 1
    newest = math.floor((present - max(delay, length)) / length)
    newest = newest if last is None else min(newest, last)
    first = max(0, newest - math.ceil(_WINDOW / length))
    return first, newest - first + 1


def _entries(timeline: etree._Element, end: float | None, *, live: bool) -> list[tuple[int, int, int]]:
    """A timeline's entries: time, length, number of segments. `end` is the time up to which `r="-1"` repeats."""
    found, time = list[tuple[int, int, int]](), 0
    entries = timeline.findall("S")
    for entry, after in zip(entries, [*entries[1:], None], strict=True):
        time, length, repeat = int(entry.get("t", time)), int(entry.attrib["d"]), int(entry.get("r", "0"))
        if repeat < 0:
            until = end if after is None or "t" not in after.attrib else int(after.attrib["t"])
            if until is None:
                raise Unusable("the DASH manifest doesn't say how long the stream is")
            repeat = (math.floor if live and after is None else math.ceil)((until - time) / length) - 1
        if repeat >= 0:
            found.append((time, length, repeat + 1))
            time += length * (repeat + 1)
    return found


def _seconds(element: etree._Element, name: str) -> float | None:
    text = element.get(name)
    return None if text is None else MPDParsers.duration(EPOCH_START)(text).total_seconds()


def clock(root: etree._Element, session: Session, url: str) -> timedelta:
    """How much the stream's clock is ahead of this machine's, by the first usable UTCTiming.

    Raises:
        UrlNotAllowed: it is at a forbidden URL.
    """
    for element in root.iter("{*}UTCTiming"):
        scheme, value = element.get("schemeIdUri", ""), element.get("value", "").strip()
        try:
            if ":direct:" in scheme:
                return _until(MPDParsers.parse_datetime(value))
            place = urljoin(url, (value.split() or [""])[0])
            if ":http-head:" in scheme:
                return _until(parsedate_to_datetime(session.head(place).headers["Date"]))
            if ":http-xsdate:" in scheme or ":http-iso:" in scheme:
                return _until(MPDParsers.parse_datetime(session.get(place).text.strip()))
        except (PluginError, KeyError, ValueError, TypeError) as error:
            if isinstance(reason := cause(error), UrlNotAllowed):
                raise reason from error
            log.warning("can't use the stream's clock: %s", type(reason).__name__)
    return timedelta()


def _until(moment: datetime) -> timedelta:
    return moment - datetime.now(UTC)


class Manifest:
    """A DASH manifest and where it comes from.

    Args:
        client: fetches.
        url: its URL.
        body: the manifest.

    Raises:
        Unusable: it is invalid, or nothing in it can be recorded.
    """

    def __init__(self, client: Streamlink, url: str, body: bytes) -> None:
        self.client = client
        self.url = url
        self._ahead = timedelta()
        if b"UTCTiming" in body:
            with suppress(etree.LxmlError):  # `explicit` says that it is damaged
                self._ahead = clock(_parse(body), client.http, url)
        self.mpd = self._parsed(body)
        self.live = self.mpd.type == "dynamic"
        self.periods = self.mpd.periods[-1:] if self.live else programme(self.mpd)
        self.kinds = [kind for kind in KINDS if any(best(period, kind) for period in self.periods)]
        if not self.kinds:
            raise Unusable("the DASH manifest has neither video nor audio")

    def single(self, kind: Kind) -> str | None:
        """The URL of the kind's only file, which may be large; None if there are segments."""
        found = [best(period, kind) for period in self.periods]
        match found:
            case [Representation() as only] if not self.live and not _is_segmented(only):
                return str(only.base_url)
        return None

    def begin(self, kind: Kind, stop: threading.Event) -> Takes:
        """Begin to fetch the best stream of a kind."""
        representation = next(found for each in self.periods if (found := best(each, kind)))
        reader = _Reader(stop, DASHStream(self.client, self.mpd), representation, EPOCH_START)
        reader.kind, reader.manifest = kind, self
        reader.takes.missing.periods = 0 if self.live else len(self.mpd.periods) - len(self.periods)
        return reader.begin()

    def reload(self, timelines: Mapping[Any, int]) -> MPD:
        """The manifest as it is now.

        Raises:
            StreamError, Unusable: it can't be had at the moment.
        """
        response = self.client.http.get(self.mpd.url, exception=StreamError, retries=ATTEMPTS)
        return self._parsed(response.content, timelines, was_live=self.live)

    def _parsed(self, body: bytes, timelines: Mapping[Any, int] | None = None, *, was_live: bool = False) -> MPD:
        return parsed(explicit(body, datetime.now(UTC) + self._ahead, was_live=was_live), self.url, timelines)


def parsed(root: etree._Element, url: str, timelines: Mapping[Any, int] | None = None) -> MPD:
    """Streamlink's view of an explicit manifest.

    Raises:
        Unusable: it is invalid.
    """
    try:
        return MPD(root, base_url=url, url=url, timelines=timelines or {})
    except (MPDParsingError, AttributeError, ValueError, TypeError, ArithmeticError) as error:
        raise Unusable("the DASH manifest is damaged") from error


def programme(mpd: MPD) -> list[Period]:
    """The periods that are the programme, and not advertisements.

    They are of the same asset as the longest one, or at least half as long.
    """
    longest = max(mpd.periods, key=lambda each: each.duration)
    asset = _asset(longest)
    return [
        each
        for each in mpd.periods
        if each is longest or (_asset(each) == asset if asset else each.duration * 2 > longest.duration)
    ]


def best(period: Period, kind: Kind) -> Representation | None:
    """The period's representation of this kind with the highest bandwidth.

    Raises:
        Encrypted: it is protected.
    """
    found = [each for adaptation in period.adaptationSets for each in adaptation.representations]
    found = [each for each in found if each.mimeType.startswith(f"{kind}/")]
    if not found:
        return None
    made = max(found, key=lambda each: each.bandwidth)
    if made.contentProtections or made.parent.contentProtections:
        raise Encrypted
    made.bandwidth = Fraction(made.attrib["bandwidth"]) / 1000  # a float loses the last digit
    return made


def _asset(period: Period) -> dict[str, str] | None:
    return dict(period.assetIdentifier.attrib) if period.assetIdentifier is not None else None


def _is_segmented(representation: Representation) -> bool:
    levels = (representation, representation.parent, representation.period)
    return any(each.segmentTemplate or each.segmentList for each in levels)


class _Writer(Writer, DASHStreamWriter):  # type: ignore[misc]
    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self._init: DASHSegment | None = None
        self._begins = True

    @override
    def fetch(self, segment: DASHSegment) -> Response | None:
        if segment.init:
            self._init, self._begins = segment, True
            return None
        if self._begins and self._init is not None:
            if (init := self._had(self._init, counts=False)) is None:
                self.takes.missing.add(1, segment.duration)
                return None
            self.takes.put(init.content, begins=True)
            self._begins = False
        return self._had(segment)

    def _had(self, segment: DASHSegment, *, counts: bool = True) -> Response | None:
        headers = {}
        if segment.byterange:
            first, length = segment.byterange
            headers["Range"] = f"bytes={first}-{first + length - 1 if length else ''}"
        return self.had(
            segment,
            lambda: self.session.http.get(
                segment.uri, headers=headers, timeout=self.timeout, retries=self.retries, exception=StreamError
            ),
            counts=counts,
        )

    @override
    def write(self, segment: DASHSegment, result: Response, *_data: Any) -> None:
        self.takes.put(result.content, segment.duration, begins=self._begins)
        self._begins = False


class _Worker(Worker, DASHStreamWorker):  # type: ignore[misc]
    mpd: Any

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self._refusals = 0
        self._ends: dict[Any, float] = {}  # of the newest segments, in seconds

    @override
    def iter_segments(self) -> Generator[DASHSegment, bool]:
        whole: Manifest = self.reader.manifest
        periods, begun, ended = whole.periods, dict[str | None, Any](), not whole.live
        while True:
            for period in periods:
                ident = begun.get(period.id)
                representation = self.mpd.get_representation(ident) if ident else None
                representation = representation or best(period, self.reader.kind)
                if representation is None:
                    continue
                if begun and ident is None:  # a live stream's later period counts from its beginning
                    self.mpd.timelines[representation.ident] = -2
                yield from self._new(representation, first=ident is None)
                begun[period.id] = representation.ident
            if ended or not self.wait(min(max(self.mpd.minimumUpdatePeriod.total_seconds() or 2.0, 0.5), 5.0)):
                return
            if not self._reload(whole):
                return
            ended = bool(self.mpd.attrib.get("ended"))
            known = [index for index, each in enumerate(self.mpd.periods) if each.id in begun]
            periods = self.mpd.periods[min(known, default=0) :]

    def _new(self, representation: Representation, *, first: bool) -> Generator[DASHSegment, bool]:
        """The segments that weren't listed before. What the window has left behind is missing."""
        scale = representation.segmentTemplate.timescale if representation.segmentTemplate else 1
        ident = representation.ident
        for segment in representation.segments(sequence=-1 if first else self.sequence, init=first):
            at = self.mpd.timelines.get(ident, -1) / scale
            if not segment.init and at >= 0:  # a live timeline
                if (gap := at - self._ends.get(ident, at)) > segment.duration / 2:
                    self.reader.takes.missing.add(round(gap / segment.duration), gap)
                self._ends[ident] = at + segment.duration
            yield segment

    def _reload(self, whole: Manifest) -> bool:
        """Load the manifest again. Whether to go on."""
        try:
            self.mpd = whole.reload(self.mpd.timelines)
        except Encrypted:
            raise
        except (StreamError, Unusable) as error:
            log.warning("can't reload the manifest: %s", type(cause(error)).__name__)
            self._refusals = self._refusals + 1 if refused(status_of(error)) else 0
            self.reader.takes.removed = self._refusals >= _REFUSALS
        else:
            self._refusals = 0
        return not self.reader.takes.removed

    @override
    def check_sequence_gap(self, segment: DASHSegment) -> None:
        """Nothing: numbers needn't be continuous; `_new` looks at times."""


class _Reader(Reader, DASHStreamReader):  # type: ignore[misc]
    __worker__ = _Worker
    __writer__ = _Writer
    kind: Kind
    manifest: Manifest
