"""The demo of the HTTP API: detects objects in photographs, told by a webhook, and records and cancels a live stream.

In between it does the photographs' job again, and cancels several jobs at once.

It does what a client would: presigned URLs, curl, polling with ETags. It checks every result.
"""

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console
from rich.table import Table
from standardwebhooks import Webhook, WebhookVerificationError

from local import api
from local.demos.live import live_stream
from local.demos.media import PHOTOS, clip, photo
from local.demos.videos import DemoError
from local.environment import VENVS, shown
from local.stack import LocalStack
from switchyard.protocol.jobs import TERMINAL

type _Json = dict[str, Any]

_PATIENCE: Final = 60.0
"""Seconds until some of the stream must have been stored, or the webhook told."""
_MANY: Final = 5
_TYPES: Final = {".jpg": "image/jpeg", ".png": "image/png"}


def play(stack: LocalStack, console: Console) -> None:
    """Run the demo on a running stack.

    Raises:
        DemoError: If a check fails.
    """
    if shutil.which("curl") is None:
        raise DemoError("the demo uploads with curl: install it first")
    with api.client(stack) as http:
        with webhook(http, console) as heard:
            job = photographs(http, stack, console, heard)
        again(http, job, console)
        live_recording(http, stack, console)


@contextlib.contextmanager
def webhook(http: httpx.Client, console: Console) -> Iterator[Callable[[], list[_Json]]]:
    """Register a receiver on this machine, and yield what returns the events that it has verified."""
    secret, heard = "", list[_Json]()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                heard.append(Webhook(secret).verify(body, dict(self.headers)))
            except WebhookVerificationError:
                self.send_response(HTTPStatus.UNAUTHORIZED)
            else:
                self.send_response(HTTPStatus.NO_CONTENT)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = api.ask(http, "POST", "/webhooks", {"url": f"http://127.0.0.1:{server.server_port}/hook"})
        secret = made["secret"]
        console.print(f"POST /webhooks: {made['webhookId']}, to be told at {made['url']}", markup=False)
        try:
            yield lambda: list(heard)
        finally:
            http.delete(f"/webhooks/{made['webhookId']}").raise_for_status()
            server.shutdown()


def photographs(http: httpx.Client, stack: LocalStack, console: Console, heard: Callable[[], list[_Json]]) -> _Json:
    """Upload photographs by presigned URLs, submit them as one job, show detections and webhook, and return the job."""
    console.rule("Photographs", align="left")
    urls = []
    for name in PHOTOS:
        file = photo(name)
        upload = api.ask(
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
    accepted = api.ask(http, "POST", "/process", {"imageUrls": urls, "userId": "demo", "metadata": {"from": "demo"}})
    console.print(f"POST /process: {accepted['status']}, job {accepted['jobId']}", markup=False)
    job = api.follow(http, accepted["jobId"], console, until=TERMINAL)
    if job["status"] != "COMPLETED":
        raise DemoError(f"the images ended as {job['status']}: {job.get('error')}")
    _show_detections(job, console)
    _show_webhook(job, heard, console)
    for file in api.fetch(job, stack.folder / "results" / job["jobId"]):
        console.print(f"  {shown(file)}  [dim]{file.stat().st_size / 1000:.1f} kB[/dim]")
    _show_log(http, job["jobId"], console)
    return job


def again(http: httpx.Client, job: _Json, console: Console) -> None:
    """Rerun a job, then submit jobs for later, all in one request, and cancel them in another."""
    console.print()
    console.rule("Once more, and many at once", align="left")
    rerun = api.ask(http, "POST", f"/jobs/{job['jobId']}/rerun")
    console.print(f"POST /jobs/{job['jobId']}/rerun: {rerun['status']}, job {rerun['jobId']}", markup=False)
    done = api.follow(http, rerun["jobId"], console, until=TERMINAL)
    if done["status"] != "COMPLETED" or done["detections"] != job["detections"]:
        raise DemoError(f"the rerun ended as {done['status']}, or found something else: {done.get('error')}")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
    urls = [image["imageUrl"] for image in job["detections"]]
    body = {"imageUrls": urls, "userId": "demo", "startAfter": tomorrow}
    submissions = [{"action": "submit", "path": "/process", "body": body}] * _MANY
    submitted = api.ask(http, "POST", "/jobs/bulk", {"requests": submissions})["responses"]
    cancels = [{"action": "cancel", "jobId": each["body"]["jobId"]} for each in submitted]
    cancelled = api.ask(http, "POST", "/jobs/bulk", {"requests": cancels})["responses"]
    statuses = [each["body"]["status"] for each in cancelled]
    console.print(f"POST /jobs/bulk: {len(submitted)} jobs for {tomorrow} submitted, then: {statuses}", markup=False)
    if statuses != ["CANCELLED"] * _MANY:
        raise DemoError("not all of them were cancelled")


def live_recording(http: httpx.Client, stack: LocalStack, console: Console) -> None:
    """Record a live stream, cancel the job, and check that the recording up to then can be played."""
    console.print()
    console.rule("A live stream", align="left")
    with live_stream(clip("bigbuckbunny.mp4")) as url:
        console.print(f"a live HLS stream is served at {url}", markup=False)
        accepted = api.ask(http, "POST", "/jobs", {"url": url, "filename": "live.ts", "userId": "demo"})
        console.print(f"POST /jobs: {accepted['status']}, job {accepted['jobId']}", markup=False)
        api.follow(http, accepted["jobId"], console, until={"RUNNING"})
        _recorded_some(http, accepted["jobId"])
        answer = api.ask(http, "DELETE", f"/jobs/{accepted['jobId']}")
        console.print(f"DELETE /jobs/{accepted['jobId']}: {json.dumps(answer)}", markup=False)
        job = api.follow(http, accepted["jobId"], console, until=TERMINAL)
    if job["status"] != "CANCELLED":
        raise DemoError(f"the cancelled recording ended as {job['status']}: {job.get('error')}")
    files = api.fetch(job, stack.folder / "results" / job["jobId"])
    if not files:
        raise DemoError("the cancelled recording has no files")
    for file in files:
        seconds, frames = _played(file)
        console.print(f"  {shown(file)}  {file.stat().st_size / 1000:.0f} kB: {frames} frames, {seconds:.1f} s")
        if not frames:
            raise DemoError(f"{file.name} can't be played")


def _recorded_some(http: httpx.Client, job_id: str) -> None:
    """Wait until the worker has stored some of the stream: how long it takes to start depends on the machine."""
    end = time.monotonic() + _PATIENCE
    while not (api.ask(http, "GET", f"/jobs/{job_id}").get("progress") or {}).get("bytes"):
        if time.monotonic() > end:
            raise DemoError(f"nothing was recorded within {_PATIENCE:g} s")
        time.sleep(0.5)


# ---- helpers -------------------------------------------------------------------------------------------------


def _curl(file: Path, upload: _Json) -> None:
    headers = [word for name, value in upload["headers"].items() for word in ("--header", f"{name}: {value}")]
    command = ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "--request", upload["method"], *headers]
    done = subprocess.run([*command, "--upload-file", file, upload["url"]], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"curl could not upload {file.name}: {done.stderr.strip()}")


def _show_webhook(job: _Json, heard: Callable[[], list[_Json]], console: Console) -> None:
    """Wait until the receiver has heard of the job's end, and show what it was told."""
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up:
        for event in heard():
            if event["type"] == "job.completed" and event["data"]["jobId"] == job["jobId"]:
                console.print(f"webhook, verified: {json.dumps(event)}", markup=False)
                return
        time.sleep(0.1)
    raise DemoError("the webhook was not told of the job's end")


def _show_log(http: httpx.Client, job_id: str, console: Console) -> None:
    """Show what the job's worker wrote, once CloudWatch Logs has it."""
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up:
        if lines := api.ask(http, "GET", f"/jobs/{job_id}/logs")["lines"]:
            console.print(f"GET /jobs/{job_id}/logs:")
            for line in lines:
                console.print(f"  {line['time']}  {line['message'][:100]}", markup=False, style="dim")
            return
        time.sleep(0.5)
    raise DemoError(f"the worker's log did not arrive within {_PATIENCE:g} s")


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
        raise DemoError(f"{len(PHOTOS)} images were submitted, but {len(job['detections'])} came back")
    if not any(image["detectionCount"] for image in job["detections"]):
        raise DemoError("nothing was detected, although one photograph shows a face")


_PLAY: Final = """
import av, sys
with av.open(sys.argv[1]) as media:
    frames = [frame.time for frame in media.decode(video=0)]
print(len(frames), frames[-1] - frames[0] if frames else 0)
"""


def _played(file: Path) -> tuple[float, int]:
    """Decode a recording as a player would; its seconds and its number of frames."""
    python = VENVS / "record_stream" / "bin" / "python"
    done = subprocess.run([python, "-c", _PLAY, file], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"{file.name} can't be played: {done.stderr.strip().splitlines()[-1]}")
    frames, seconds = done.stdout.split()
    return float(seconds), int(frames)
