"""All harnesses by name. A parser's modules are imported with its first input."""

from collections.abc import Mapping
from typing import Final

from tests.fuzz.harness import Harness

_SHAPES: Final = (
    "Records", "eventSource", "aws:s3", "eventName", "ObjectCreated:Put", "s3", "bucket", "name", "object", "key",
    "eTag", "versionId", "sequencer", "eventTime", "Type", "Notification", "Message", "detail-type", "Object Created",
    "detail", "source", "aws.s3", "version-id", "media", "uploads/a.mp4", "s3:TestEvent", "Event", "version",
    "requestPayload", "requestContext", "requestId", "null",
)  # fmt: skip
_URLS: Final = (
    "http://", "https://", "s3://", "media", ".s3.us-east-1.amazonaws.com", "live.example.com", "rebound.example.com",
    "127.0.0.1", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "169.254.169.254", "%2e", "%00", "@",
    "\\", "#", "?", ":443", ":0", "。", "１", "\u00ad", "xn--", "%25eth0", "..", "93.184.215.14",
)  # fmt: skip
_API: Final = (
    "imageUrls", "userId", "metadata", "url", "filename", "jobId", "key", "bucket", "again", "contentType", "size",
    "method", "checksum", "uploadId", "parts", "partNumber", "checksumSha1", "etag", "content_type", "file_name",
    "video/mp4", "s3://media/a.jpg", "\\u0000", "\\ud800", "1e999", "NaN",
)  # fmt: skip
_VIDEO: Final = ("eventType", "video-uploaded", "video", "id", "video_s3_key", "video_s3_bucket", "video_id", "job_id")
_TASK: Final = ("kind", "stream-recording", "torrentKey", "torrents/a.torrent", "announced", "http://10.0.0.1/")
_TORRENT: Final = (
    "segment", "fence", "pieceLength", "format", "hybrid", "way", "stream", "first", "count", "modified", "etag",
    "recordings/a/b.ts", "recordings/a/pieces-1/00001.ts", "torrents/", "2026-11-22T12:00:00Z", "again",
)  # fmt: skip
_IMPORT: Final = (
    "user_id", "steamId", "steam_id64", "vanityName", "profileUrl", "confirmRemovals", "76561197960287930", "id/ada",
    "https://steamcommunity.com/id/", "https://steamcommunity.com/profiles/", "detail-type", "detail", "Notification",
)  # fmt: skip
_RUNS: Final = (
    "Batch Job State Change", "ECS Task State Change", "jobId", "taskArn", "status", "lastStatus", "container",
    "environment", "overrides", "containerOverrides", "containers", "exitCode", "reason", "statusReason", "attempts",
    "createdAt", "stopCode", "stoppedReason", "FAILED", "RUNNABLE", "PROVISIONING", "STOPPED", "JOB_ID", "FENCE", "1",
    "value", "name", "9" * 15,
)  # fmt: skip
_GATEWAY: Final = (
    "/jobs", "/jobs/{jobId}", "/process", "/torrents", "/uploads/presign", "/uploads/multipart", "/openapi.json",
    "/imports/steam", "/users/{userId}/games", "imports", "steamId", "76561197960287930", "sort", "playtime",
    "isBase64Encoded", "/uploads/multipart/parts", "/uploads/multipart/complete", "GET", "POST", "DELETE", "OPTIONS",
    "idempotency-key", "if-none-match", "content-type", "status", "kind", "limit", "nextToken", "user", "ada",
)  # fmt: skip
_HLS: Final = (
    "#EXTM3U", "#EXT-X-STREAM-INF:", "BANDWIDTH=", "AUDIO=", "#EXT-X-MEDIA:TYPE=AUDIO", "GROUP-ID=", "URI=",
    "#EXT-X-MEDIA-SEQUENCE:", "#EXT-X-TARGETDURATION:", "#EXT-X-ENDLIST", "#EXT-X-MAP:", "#EXT-X-KEY:METHOD=AES-128",
    "#EXT-X-BYTERANGE:", "#EXTINF:1,",
    "#EXT-X-DISCONTINUITY", "BYTERANGE=", "IV=0x", "@", "-1", "\n", "http://127.0.0.1/", "//[", "..",
)  # fmt: skip
_DASH: Final = (
    "<MPD", "type='dynamic'", "<Period", "duration='PT5S'", "<AdaptationSet", "mimeType='video/mp4'", "<Representation",
    "<SegmentTemplate", "media='$Number%05d$'", "timescale='1'", "<SegmentTimeline>", "<S d='1' r='-1'/>", "<BaseURL>",
    "<SegmentList>", "<SegmentURL", "mediaRange='5-1'", "initialization=", "startNumber=", "availabilityStartTime=",
    "PT99999999999999H", "</", "/>", "0", "-1", "$Time$",
)  # fmt: skip
_HTTP: Final = (
    "HTTP/1.1 200 OK\r\n", "HTTP/1.1 302 Found\r\n", "HTTP/1.1 206 \r\n", "Location: ", "http://[", "//127.0.0.1/",
    "Content-Type: ", "application/dash+xml", "text/html", "Content-Length: ", "Transfer-Encoding: chunked\r\n",
    "Content-Range: bytes 0-1/", "\r\n\r\n", "\n=====\n", "#EXTM3U\n", "rtmp://", "http://live.example.com:99999/",
)  # fmt: skip
_PAGE: Final = (
    "<html>", "<video src=", "<source src=", "og:video", '<script type="application/ld+json">', "contentUrl",
    "<iframe src=", "https://live.example.com/a.m3u8", "application/x-mpegURL", "jwplayer(", "sources: [", "</script>",
    "<meta http-equiv=refresh content='0;url=", "\n=====\n", "<rss><channel><item>", "#EXTM3U\n", "<MPD",
)  # fmt: skip
_BENCODE: Final = ("d", "l", "e", "i0e", "i-0e", "i01e", "1:a", "0:", "99999999999:", "4:info", "6:pieces", "6:length")
_MADE: Final = ("10:created by", "10:Switchyard", "12:piece length", "4:name", "5:files", "4:path", "9:file tree")

_SPOKEN: Final = (
    "results", "items", "pronunciation", "punctuation", "start_time", "end_time", "alternatives", "content",
    "confidence", "speaker_label", "spk_0", "language_code", "en-US", "segments", "words", "word", "text", "start",
    "end", "language", "english", "-->", "<v ", "\\n\\n", "\\u2028", "\\ud800", "NaN", "1e999", "&lt;",
)  # fmt: skip

HARNESSES: Final[Mapping[str, Harness]] = {
    each.name: each
    for each in (
        Harness("video", "messages", (*_SHAPES, *_VIDEO)),
        Harness("task", "messages", (*_API, *_TASK, *_URLS)),
        Harness("torrent", "messages", (*_SHAPES, *_TORRENT)),
        Harness("library_import", "messages", (*_SHAPES, *_IMPORT)),
        Harness("state_change", "messages", _RUNS),
        Harness("letter", "messages", (*_SHAPES, *_TASK, *_RUNS, *_URLS)),
        Harness("public_url", "addresses", _URLS),
        Harness("bucket_url", "addresses", _URLS),
        Harness("name", "environments", ("..", "/", "aws:", ".mp4", "\u0301", "ﬁ", "%2f")),
        Harness(
            "function_environment",
            "environments",
            (
                "\nVIDEO_ID_PATTERN=(?P<video_id>",
                "\nTRACKERS=",
                "\nALLOWED_NETWORKS=",
                "\nMAX_PIECE_SIZE=",
                "{9,}",
                "1",
            ),
        ),
        Harness("worker_environment", "environments", ("\nJOB_ID=", "\nFENCE=", "\nSEED_RATIO=", "0", "9" * 15, ".0")),
        Harness("body", "api", _API),
        Harness("headers", "api", ("idempotency-key: ", "if-none-match: ", "content-type: ", "W/", '"0123"', "*", ",")),
        Harness("token", "api", ("W1s", "==", "-", "_", "WyI", "null")),
        Harness("gateway", "api", (*_GATEWAY, *_API)),
        Harness("row", "api", ("result", "files", "prefix", "results/job-1/", "torrentKey", "request", *_API)),
        Harness("upload_key", "api", ("uploads/", "2026/11/22/", "6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506-", "..", "/")),
        Harness("bencode", "torrents", _BENCODE),
        Harness("metainfo", "torrents", ("\n", "..", "/", "\\", "\u202e", ".mp4", "x" * 250, "%", "?", "#")),
        Harness("checksums", "torrents", ("size", "parts", "count", "composite", "Size", "ChecksumSHA1", "AAAA", "=")),
        Harness("seeded_torrent", "torrents", (*_BENCODE, *_MADE)),
        Harness("seeding_input", "torrents", ("torrentKey", "torrents/", ".torrent")),
        Harness("hls", "streams", _HLS),
        Harness("dash", "streams", _DASH),
        Harness("server", "streams", (*_HTTP, *_HLS, *_DASH), work=200_000),
        Harness("page", "streams", _PAGE, venv="record_stream"),
        Harness("transcribe_document", "speech", _SPOKEN),
        Harness("service_answer", "speech", _SPOKEN),
        Harness("image", "media", ("\xff\xd8", "IHDR", "IDAT", "RIFF", "WEBP", "Exif"), venv="detect_objects"),
        Harness("movie", "media", ("ftyp", "moov", "mdat", "trak", "\x1a\x45\xdf\xa3"), venv="analyze_video"),
    )
}
