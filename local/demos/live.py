"""Serves a live stream on 127.0.0.1, made from a real clip, for the demos and the tests.

    with live_stream(clip("bigbuckbunny.mp4")) as url:
        ...  # record url

The worker's FFmpeg cuts the clip once into segments of a second, kept under .local/media/cut/. A server then reveals
one after the other in a loop, as an encoder does. The playlist depends on the clock alone.
"""

import math
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from local.demos.media import MEDIA
from local.environment import VENVS
from local.serving import served

_PYTHON = VENVS / "record_stream" / "bin" / "python"
_SEGMENTER = Path(__file__).with_name("segmenter.py")

_TYPES = {".m3u8": "application/vnd.apple.mpegurl", ".ts": "video/mp2t"}


def cut(clip: Path, kind: str) -> Path:
    """The folder with the clip cut into one of segmenter.py's kinds. The clip is cut on first use."""
    folder = MEDIA / "cut" / f"{clip.stem}-{kind}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Cut in a temporary folder and then renamed, because two test runs may cut at the same time.
        with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
            made = Path(beside) / "made"
            subprocess.run([_PYTHON, _SEGMENTER, clip, made, kind], check=True)
            try:
                made.rename(folder)
            except OSError:
                if not folder.exists():
                    raise
    return folder


@contextmanager
def live_stream(clip: Path, *, pace: float = 1.0, window: int = 5, length: int | None = None) -> Iterator[str]:
    """Serve the clip as a live HLS stream, in a loop, during the block; the playlist's URL.

    Args:
        clip: the clip.
        pace: seconds between new segments. A segment plays for 1 s; a smaller pace makes tests faster.
        window: segments in the playlist.
        length: segments in all; None for an endless stream.
    """
    folder = cut(clip, "hls")
    names = sorted(path.name for path in folder.glob("*.ts"))[:-1]  # the last is shorter
    begun = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/").partition("?")[0]
            if name in names:
                body = (folder / name).read_bytes()
            elif name == "live.m3u8":
                revealed = window + math.floor((time.monotonic() - begun) / pace)
                body = playlist(names, revealed, window, length).encode()
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", _TYPES[Path(name).suffix])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with served(Handler) as address:
        yield f"{address}/live.m3u8"


def playlist(names: Sequence[str], revealed: int, window: int, length: int | None) -> str:
    """The playlist of the last `window` of the revealed segments, as an encoder writes it (RFC 8216)."""
    ended = length is not None and revealed >= length
    revealed = revealed if length is None else min(revealed, length)
    first = max(0, revealed - window)
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    for number in range(first, revealed):
        if number and number % len(names) == 0:
            lines.append("#EXT-X-DISCONTINUITY")  # the clip starts again, and so do its timestamps
        lines += ["#EXTINF:1.0,", names[number % len(names)]]
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""])
