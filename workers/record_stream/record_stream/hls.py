"""Parses HLS playlists (RFC 8216), as far as recording needs them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from record_stream.segments import MOST, BadPlaylist, Key, Part, Playlist, Segment, address, window

MARK = b"#EXTM3U"
# The lookbehind and the possessive `++` prevent backtracking: a long line without `=` would take days.
_ATTRIBUTE = re.compile(r'(?<![A-Z0-9-])([A-Z0-9-]++)=("[^"]*"|[^,]*)')


@dataclass(frozen=True, slots=True)
class Master:
    """The URLs of the best variant's playlist and of its separate audio, if any."""

    best: str
    audio: str | None


def parse(text: str, url: str) -> Master | Playlist:
    """Parse the playlist from `url`.

    Raises:
        BadPlaylist: the playlist is invalid, or protected by DRM.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or not lines[0].startswith(MARK.decode()):
        raise BadPlaylist("this is not an HLS playlist")
    if sum(not line.startswith("#") for line in lines) > MOST:
        raise BadPlaylist("the HLS playlist lists too many segments")
    try:
        if any(line.startswith("#EXT-X-STREAM-INF:") for line in lines):
            return _master(lines, url)
        return _media(lines, url)
    except (ValueError, KeyError, ArithmeticError) as error:
        raise BadPlaylist("the HLS playlist is damaged") from error


def _master(lines: list[str], url: str) -> Master:
    sounds: dict[str, str] = {}
    variants: list[tuple[bool, int, str, str]] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        given = _attributes(line)
        if line.startswith("#EXT-X-MEDIA:") and given.get("TYPE") == "AUDIO" and "URI" in given:
            if given.get("DEFAULT") == "YES":
                sounds[given["GROUP-ID"]] = given["URI"]
            else:
                sounds.setdefault(given["GROUP-ID"], given["URI"])
        elif line.startswith("#EXT-X-STREAM-INF:") and not following.startswith("#"):
            variants.append(("RESOLUTION" in given, int(given["BANDWIDTH"]), following, given.get("AUDIO", "")))
    *_, best, group = max(variants)
    return Master(address(url, best), address(url, sounds[group]) if group in sounds else None)


def _media(lines: list[str], url: str) -> Playlist:
    number, target, ended, from_start = 0, 2, False, False
    init: Part | None = None
    key: tuple[str, str | None] | None = None
    wanted: tuple[int, int | None] | None = None
    behind = 0
    segments: list[Segment] = []
    for line in lines:
        tag, _, value = line.partition(":")
        match tag:
            case "#EXT-X-MEDIA-SEQUENCE" if not segments:  # a later one could make numbers go back
                number = int(value)
            case "#EXT-X-TARGETDURATION":
                target = int(float(value))
            case "#EXT-X-ENDLIST":
                ended = True
            case "#EXT-X-PLAYLIST-TYPE":
                from_start = value == "EVENT"
            case "#EXT-X-MAP":
                given = _attributes(value)
                size, start = _byte_range(given["BYTERANGE"]) if "BYTERANGE" in given else (None, None)
                init = _part(address(url, given["URI"]), size, start or 0)
            case "#EXT-X-KEY":
                key = _key(_attributes(value), url)
            case "#EXT-X-BYTERANGE":
                wanted = _byte_range(value)
            case _ if not line.startswith("#"):
                size, start = wanted or (None, None)
                start = behind if start is None else start
                part = _part(address(url, line), size, start)
                behind, wanted = start + (size or 0), None
                segments.append(Segment(number, part, init, _key_of(key, number)))
                number += 1
    return Playlist(tuple(segments), ended, min(max(target / 2, 0.2), 5.0), from_start)


def _attributes(text: str) -> Mapping[str, str]:
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(text)}


def _byte_range(text: str) -> tuple[int, int | None]:
    size, _, start = text.partition("@")
    return int(size), int(start) if start else None


def _part(url: str, size: int | None, start: int) -> Part:
    return Part(url) if size is None else window(url, start, start + size - 1)


def _key(given: Mapping[str, str], url: str) -> tuple[str, str | None] | None:
    """The URL of the following segments' key, and their IV if given."""
    match given.get("METHOD"):
        case "NONE":
            return None
        case "AES-128" if given.get("KEYFORMAT", "identity") == "identity":
            return address(url, given["URI"]), given.get("IV")
        case _:
            raise BadPlaylist("the stream is protected")


def _key_of(key: tuple[str, str | None] | None, number: int) -> Key | None:
    if key is None:
        return None
    url, iv = key
    return Key(url, int(iv, 16).to_bytes(16) if iv else number.to_bytes(16))
