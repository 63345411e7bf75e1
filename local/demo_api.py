"""The demo of the HTTP API: photographs in, detections out; a live stream recorded, and stopped halfway.

Everything goes the way that a client would take: presigned URLs, curl, polling with ETags. What is promised is checked.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console
from rich.table import Table

from local import api
from local.demo import DemoError
from local.environment import ROOT, VENVS
from local.live import live_stream
from local.media import PHOTOS, clip, photo
from local.stack import LocalStack

type _Json = dict[str, Any]

_PATIENCE: Final = 90.0
"""Seconds that a job may take on a busy machine."""
_RECORD_SECONDS: Final = 6.0
"""How much of the stream is recorded before it is stopped."""
_EVERY: Final = 0.3
"""Seconds between two polls."""
_TERMINAL: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
_TYPES: Final = {".jpg": "image/jpeg", ".png": "image/png"}


def play(stack: LocalStack, console: Console) -> None:
    """The whole scenario against a running stack.

    Raises:
        DemoError: If anything isn't as promised.
    """
    if shutil.which("curl") is None:
        raise DemoError("the demo uploads with curl, and there is none on this machine")
    with api.client(stack) as http:
        photographs(http, stack, console)
        live_recording(http, stack, console)


def photographs(http: httpx.Client, stack: LocalStack, console: Console) -> None:
    """Photographs are uploaded by presigned URLs, submitted as one job, and come back with what is on them."""
    console.rule("Photographs", align="left")
    urls = []
    for name in PHOTOS:
        file = photo(name)
        upload = _ask(
            http,
            "POST",
            "/uploads/presign",
            {
                "filename": file.name,
                "contentType": _TYPES[file.suffix],
                "size": file.stat().st_size,
                "kind": "image",
            },
        )
        _curl(file, upload)
        urls.append(f"s3://{upload['bucket']}/{upload['key']}")
        console.print(f"uploaded {file.name} ({file.stat().st_size / 1000:.0f} kB) to {upload['key']}", markup=False)
    accepted = _ask(http, "POST", "/process", {"imageUrls": urls, "userId": "demo", "metadata": {"from": "demo"}})
    console.print(f"POST /process: {accepted['status']}, job {accepted['jobId']}", markup=False)
    job = _follow(http, accepted["jobId"], console, until=_TERMINAL)
    if job["status"] != "COMPLETED":
        raise DemoError(f"the images ended as {job['status']}: {job.get('error')}")
    _show_detections(job, console)
    for file in _fetch(job, stack.folder / "results" / job["jobId"]):
        console.print(f"  {_shown(file)}  [dim]{file.stat().st_size / 1000:.1f} kB[/dim]")


def live_recording(http: httpx.Client, stack: LocalStack, console: Console) -> None:
    """A live stream is recorded until the job is cancelled, and what was recorded until then can be played."""
    console.print()
    console.rule("A live stream", align="left")
    with live_stream(clip("bigbuckbunny.mp4")) as url:
        console.print(f"a live HLS stream is served at {url}", markup=False)
        accepted = _ask(http, "POST", "/jobs", {"url": url, "filename": "live.ts", "userId": "demo"})
        console.print(f"POST /jobs: {accepted['status']}, job {accepted['jobId']}", markup=False)
        _follow(http, accepted["jobId"], console, until={"RUNNING"})
        time.sleep(_RECORD_SECONDS)
        answer = _ask(http, "DELETE", f"/jobs/{accepted['jobId']}")
        console.print(f"DELETE /jobs/{accepted['jobId']}: {json.dumps(answer)}", markup=False)
        job = _follow(http, accepted["jobId"], console, until=_TERMINAL)
    if job["status"] != "CANCELLED":
        raise DemoError(f"the cancelled recording ended as {job['status']}: {job.get('error')}")
    files = _fetch(job, stack.folder / "results" / job["jobId"])
    if not files:
        raise DemoError("the cancelled recording has left nothing")
    for file in files:
        seconds, frames = _played(file)
        console.print(f"  {_shown(file)}  {file.stat().st_size / 1000:.0f} kB: {frames} frames, {seconds:.1f} s")
        if not frames:
            raise DemoError(f"{file.name} can't be played")


# ---- the pieces ----------------------------------------------------------------------------------------------


def _ask(http: httpx.Client, method: str, path: str, body: object = None) -> _Json:
    answer = http.request(method, path, json=body)
    if answer.is_error:
        raise DemoError(f"{method} {path}: {answer.status_code} {answer.text}")
    found: _Json = answer.json()
    return found


def _curl(file: Path, upload: _Json) -> None:
    headers = [word for name, value in upload["headers"].items() for word in ("--header", f"{name}: {value}")]
    command = ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "--request", upload["method"], *headers]
    done = subprocess.run([*command, "--upload-file", file, upload["url"]], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"curl could not upload {file.name}: {done.stderr.strip()}")


def _follow(http: httpx.Client, job_id: str, console: Console, *, until: frozenset[str] | set[str]) -> _Json:
    """Poll a job, with its ETag, until it has one of these statuses or has ended."""
    deadline = time.monotonic() + _PATIENCE
    began, status, tag, polls, unchanged = time.monotonic(), "", "", 0, 0
    while True:
        answer = http.get(f"/jobs/{job_id}", headers={"If-None-Match": tag} if tag else {})
        polls += 1
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            unchanged += 1
        elif answer.is_error:
            raise DemoError(f"GET /jobs/{job_id}: {answer.status_code} {answer.text}")
        else:
            job: _Json = answer.json()
            tag = answer.headers["etag"]
            if job["status"] != status:
                status = job["status"]
                console.print(f"{time.monotonic() - began:8.2f} s  {status}", markup=False)
            if status in until or status in _TERMINAL:
                console.print(f"[dim]{polls} polls, {unchanged} of them answered 304[/dim]")
                return job
        if time.monotonic() > deadline:
            raise DemoError(f"job {job_id} is still {status} after {_PATIENCE:.0f} s; `python -m local logs` shows why")
        time.sleep(_EVERY)


def _show_detections(job: _Json, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("image", "found", "confidence", "box"):
        table.add_column(column, header_style="dim")
    for image in job["detections"]:
        name = image["imageUrl"].rpartition("/")[2][len("6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506-") :]
        for found in image["detections"] or [{"label": "nothing", "confidence": "", "bbox": ""}]:
            table.add_row(name, found["label"], str(found["confidence"]), str(found["bbox"]))
    console.print(table)
    if len(job["detections"]) != len(PHOTOS):
        raise DemoError(f"{len(PHOTOS)} images were submitted, {len(job['detections'])} came back")
    if not any(image["detectionCount"] for image in job["detections"]):
        raise DemoError("nothing was found on any photograph, although there is a face on one")


def _fetch(job: Mapping[str, Any], folder: Path) -> list[Path]:
    """Download a job's result files by its presigned links."""
    fetched = []
    for name, url in job.get("links", {}).items():
        path = folder / Path(name).name
        path.parent.mkdir(parents=True, exist_ok=True)
        with httpx.stream("GET", url, trust_env=False) as answer, path.open("wb") as file:
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                file.write(piece)
        fetched.append(path)
    return fetched


_PLAY: Final = """
import av, sys
with av.open(sys.argv[1]) as media:
    frames = [frame.time for frame in media.decode(video=0)]
print(len(frames), frames[-1] - frames[0] if frames else 0)
"""


def _played(file: Path) -> tuple[float, int]:
    """Decode a recording as a player would: its seconds and frames."""
    python = VENVS / "record_stream" / "bin" / "python"
    done = subprocess.run([python, "-c", _PLAY, file], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"{file.name} can't be played: {done.stderr.strip().splitlines()[-1]}")
    frames, seconds = done.stdout.split()
    return float(seconds), int(frames)


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
