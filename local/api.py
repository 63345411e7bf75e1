"""A client of the deployed HTTP API: its address and key, requests, following a job, fetching its files."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console

from local.stack import LocalStack
from switchyard.protocol.jobs import TERMINAL

STAGE: Final = "v1"

_PATIENCE: Final = 90.0
"""Seconds to wait for a job's status on a busy machine."""
_EVERY: Final = 0.3
"""Seconds between two polls."""

type _Json = dict[str, Any]


class ApiError(Exception):
    """The API returned an error, or a job took too long."""


def address(stack: LocalStack) -> str:
    """The API's base URL."""
    return f"{stack.emulator.url}/_aws/execute-api/{stack.resource('Api')}/{STAGE}"


def key(stack: LocalStack) -> str:
    """The value of the API key that the template creates."""
    found = stack.client("apigateway").get_api_key(apiKey=stack.resource("ApiKey"), includeValue=True)
    return str(found["value"])


def client(stack: LocalStack) -> httpx.Client:
    """An HTTP client with the API's base URL and key."""
    # trust_env off: the user's proxy can't reach this machine's loopback address.
    return httpx.Client(base_url=address(stack), headers={"x-api-key": key(stack)}, trust_env=False, timeout=30)


def ask(http: httpx.Client, method: str, path: str, body: object = None) -> _Json:
    """Send a request; the response's body.

    Raises:
        ApiError: The response is an error.
    """
    answer = http.request(method, path, json=body)
    if answer.is_error:
        raise ApiError(f"{method} {path}: {answer.status_code} {answer.text}")
    found: _Json = answer.json()
    return found


def follow(
    http: httpx.Client,
    job_id: str,
    console: Console,
    *,
    until: frozenset[str] | set[str],
    seconds: float = _PATIENCE,
) -> _Json:
    """Poll a job, with ETags, until it has one of these statuses or has ended. An upload's job may not exist yet.

    Raises:
        ApiError: The response is an error, or the status didn't come in time.
    """
    deadline = time.monotonic() + seconds
    began, status, tag, polls, unchanged = time.monotonic(), "", "", 0, 0
    while True:
        answer = http.get(f"/jobs/{job_id}", headers={"If-None-Match": tag} if tag else {})
        polls += 1
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            unchanged += 1
        elif answer.status_code == httpx.codes.NOT_FOUND and not status:
            pass  # S3 hasn't announced the upload yet
        elif answer.is_error:
            raise ApiError(f"GET /jobs/{job_id}: {answer.status_code} {answer.text}")
        else:
            job: _Json = answer.json()
            tag = answer.headers["etag"]
            if job["status"] != status:
                status = job["status"]
                console.print(f"{time.monotonic() - began:8.2f} s  {status}", markup=False)
            if status in until or status in TERMINAL:
                console.print(f"[dim]{polls} polls, {unchanged} of them answered 304[/dim]")
                return job
        if time.monotonic() > deadline:
            raise ApiError(f"job {job_id} is still {status} after {seconds:.0f} s")
        time.sleep(_EVERY)


def fetch(job: Mapping[str, Any], folder: Path) -> list[Path]:
    """Download a job's result files by their presigned links; their paths in `folder`."""
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
