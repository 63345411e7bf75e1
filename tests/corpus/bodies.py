"""Hostile request bodies. Each is refused as INVALID_REQUEST, URL_NOT_ALLOWED or TOO_LARGE.

Bodies that look like an image request are one, so that only one thing is wrong with them.
"""

import base64
import json
from typing import Any, Final

IMAGES: Final[dict[str, Any]] = {"imageUrls": ["s3://media/uploads/a.jpg"], "userId": "user-42"}
RECORDING: Final[dict[str, Any]] = {"url": "https://live.example.com/a.m3u8"}


def _with_metadata(text: str) -> str:
    """Returns the request with metadata that json.dumps would not write."""
    return json.dumps(IMAGES)[:-1] + f', "metadata": {{"a": {text}}}}}'


HOSTILE: Final[dict[str, str | None]] = {
    "nothing": None,
    "empty": "",
    "a blank": " ",
    "null": "null",
    "true": "true",
    "a number": "42",
    "text": '"imageUrls"',
    "an empty array": "[]",
    "an array of requests": json.dumps([IMAGES]),
    "an empty object": "{}",
    "truncated": json.dumps(IMAGES)[:-5],
    "two requests": json.dumps(IMAGES) * 2,
    "rubbish behind": json.dumps(IMAGES) + "x",
    "a byte-order mark": "\ufeff" + json.dumps(IMAGES),
    "single quotes": str(IMAGES),
    "a form": "imageUrls=s3%3A%2F%2Fmedia%2Fa.jpg&userId=user-42",
    "XML": "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>",
    "base64 that isn't said to be": base64.b64encode(json.dumps(IMAGES).encode()).decode(),
    "NUL": "\x00",
    "a raw control character": json.dumps(IMAGES)[:-2] + '\x01"}',
    "a megabyte": json.dumps(IMAGES | {"metadata": {"a": "x" * 2**20}}),
    "a megabyte of blanks": json.dumps(IMAGES) + " " * 2**20,
    "a megabyte of zeros": _with_metadata("[" + "0," * 2**19 + "0]"),
    "100,000 arrays in one another": "[" * 100_000 + "]" * 100_000,
    "100,000 arrays that never end": "[" * 100_000,
    "10,000 objects in one another": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "metadata nested too deep": _with_metadata("[" * 100 + "]" * 100),
    "metadata over 32 KiB": json.dumps(IMAGES | {"metadata": {"a": "x" * 32 * 1024}}),
    "the same name twice": json.dumps(IMAGES)[:-1] + ', "userId": "user-43"}',
    "the same name twice, deep inside": _with_metadata('{"b": 1, "b": 2}'),
    "the same name twice, once escaped": json.dumps(IMAGES)[:-1] + ', "user\\u0049d": "user-43"}',
    "NaN": _with_metadata("NaN"),
    "infinity": _with_metadata("-Infinity"),
    "a number beyond a float": _with_metadata("1e999"),
    "10,000 digits": _with_metadata("9" * 10_000),
    "half of a surrogate pair": _with_metadata('"\\ud800"'),
    "the other half": _with_metadata('"\\udc00\\ud800"'),
    "half of a surrogate pair as a name": _with_metadata('{"\\udfff": 1}'),
    "metadata that is a list": json.dumps(IMAGES | {"metadata": [1]}),
    "metadata that is text": json.dumps(IMAGES | {"metadata": "x"}),
    "an unknown field": json.dumps(IMAGES | {"isAdmin": True}),
    "a field of the protocol": json.dumps(IMAGES | {"fence": 7, "version": "v0", "announced": False}),
    "Python's own": json.dumps(IMAGES | {"__class__": "x"}),
}
"""Bodies that every route refuses."""

BAD_IMAGES: Final[dict[str, dict[str, Any]]] = {
    "no URLs": {"userId": "user-42"},
    "no user": {"imageUrls": ["s3://media/a.jpg"]},
    "an empty list": IMAGES | {"imageUrls": []},
    "1,001 URLs": IMAGES | {"imageUrls": ["s3://media/a.jpg"] * 1001},
    "a URL that is null": IMAGES | {"imageUrls": [None]},
    "a URL that is a number": IMAGES | {"imageUrls": [1]},
    "a URL that is a list": IMAGES | {"imageUrls": [["s3://media/a.jpg"]]},
    "URLs that are an object": IMAGES | {"imageUrls": {"0": "s3://media/a.jpg"}},
    "URLs that are text": IMAGES | {"imageUrls": "s3://media/a.jpg"},
    "a URL of 2,049 characters": IMAGES | {"imageUrls": ["s3://media/".ljust(2049, "a")]},
    "an empty URL": IMAGES | {"imageUrls": [""]},
    "another bucket": IMAGES | {"imageUrls": ["s3://other/a.jpg"]},
    "another bucket, the second": IMAGES | {"imageUrls": ["s3://media/a.jpg", "s3://other/a.jpg"]},
    "a bucket that begins like ours": IMAGES | {"imageUrls": ["s3://media-private/a.jpg"]},
    "our bucket as a folder": IMAGES | {"imageUrls": ["https://s3.us-east-1.amazonaws.com/media/a.jpg"]},
    "our bucket on another host": IMAGES | {"imageUrls": ["https://media.s3.amazonaws.com.evil.test/a.jpg"]},
    "our bucket as user": IMAGES | {"imageUrls": ["https://media.s3.amazonaws.com@evil.test/a.jpg"]},
    "plain HTTP": IMAGES | {"imageUrls": ["http://media.s3.amazonaws.com/a.jpg"]},
    "a presigned URL": IMAGES | {"imageUrls": ["https://media.s3.amazonaws.com/a.jpg?X-Amz-Signature=abc"]},
    "no key": IMAGES | {"imageUrls": ["s3://media"]},
    "an empty key": IMAGES | {"imageUrls": ["s3://media/"]},
    "a key of 1,025 bytes": IMAGES | {"imageUrls": ["s3://media/" + "é" * 512 + "a"]},
    "a key that isn't UTF-8": IMAGES | {"imageUrls": ["https://media.s3.amazonaws.com/%ff.jpg"]},
    "a local file": IMAGES | {"imageUrls": ["file:///etc/passwd"]},
    "metadata of the instance": IMAGES | {"imageUrls": ["http://169.254.169.254/latest/meta-data/"]},
    "an empty user": IMAGES | {"userId": ""},
    "a user that is a number": IMAGES | {"userId": 42},
    "a user that is null": IMAGES | {"userId": None},
    "a user with a newline": IMAGES | {"userId": "a\nb"},
    "a user of 257 characters": IMAGES | {"userId": "x" * 257},
}
"""Bodies that `POST /process` refuses."""

BAD_RECORDINGS: Final[dict[str, dict[str, Any]]] = {
    "no URL": {"filename": "a.mp4"},
    "a URL that is null": RECORDING | {"url": None},
    "a URL that is a list": RECORDING | {"url": ["https://live.example.com/"]},
    "a job id with a slash": RECORDING | {"jobId": "../a"},
    "an empty job id": RECORDING | {"jobId": ""},
    "a job id that begins with a hyphen": RECORDING | {"jobId": "-a"},
    "a job id of 129 characters": RECORDING | {"jobId": "a" * 129},
    "a job id beyond ASCII": RECORDING | {"jobId": "é"},
    "a job id with a newline behind": RECORDING | {"jobId": "a\n"},
    "an empty file name": RECORDING | {"filename": ""},
    "a file name of 256 characters": RECORDING | {"filename": "x" * 256},
    "a file name that is a number": RECORDING | {"filename": 1},
}
"""Bodies that `POST /jobs` refuses."""

TORRENT: Final[dict[str, Any]] = {"key": "recordings/evening-1/evening.mp4"}

BAD_TORRENTS: Final[dict[str, dict[str, Any]]] = {
    "no key": {"bucket": "media"},
    "a key that is null": {"key": None},
    "a key that is a number": {"key": 7},
    "a key that is a list": {"key": ["recordings/a"]},
    "an empty key": {"key": ""},
    "a key of 1,025 bytes": {"key": "recordings/" + "é" * 507},
    "a key of 1,025 characters": {"key": "recordings/".ljust(1025, "a")},
    "a key with NUL": {"key": "recordings/a\0.mp4"},
    "a key with half of a surrogate pair": {"key": "recordings/\ud800"},
    "a step up": {"key": "recordings/mine/../other/secret.mp4"},
    "a step up at the end": {"key": "recordings/mine/.."},
    "no step": {"key": "recordings/./a.mp4"},
    "a folder marker": {"key": "recordings/a/"},
    "the prefix itself": {"key": "recordings/"},
    "a torrent": {"key": "recordings/a.mp4.torrent"},
    "a torrent in capitals": {"key": "recordings/a.mp4.TORRENT"},
    "a piece of a recording": {"key": "recordings/evening-1/pieces-0/00001.mkv"},
    "hashes of parts": {"key": "recordings/scratch/torrent-1/0+4"},
    "another bucket": TORRENT | {"bucket": "other"},
    "a bucket that begins like ours": TORRENT | {"bucket": "media-private"},
    "an empty bucket": TORRENT | {"bucket": ""},
    "a bucket that is null": TORRENT | {"bucket": None},
    "again in words": TORRENT | {"again": "true"},
    "again as a number": TORRENT | {"again": 1},
    "a user": TORRENT | {"userId": "user-42"},
    "a version": TORRENT | {"version": "v1"},
    "a segment": {"segment": {"jobId": "torrent-1", "fence": 1}},
}
"""Bodies that `POST /torrents` refuses, with hashes of parts under `recordings/scratch/`."""
