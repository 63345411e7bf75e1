"""MiniStack with six bugs and three delays fixed, and with Lambda's filter of log lines.

`local.emulator` runs this instead of `-m ministack`.

- GetObject with a range and a versionId: MiniStack returns the whole object.
- IAM has no actions for SQS's batch calls: sqs:SendMessage allows SendMessageBatch too. MiniStack refuses it.
- GetLogEvents: IAM asks for the log stream (AWS service authorization reference). MiniStack asks for the log group.
- A message delivered again while a function still handles it: MiniStack deletes the message when the first delivery is
  done, so that its queue looks empty while the other is being handled. Here only the last delivery deletes it.
- Partial failures of a stream's batch: MiniStack takes them for a success, and the records are lost. Here the first
  that failed comes again, with all after it.
- The end of a function's log: MiniStack takes 5 ms of silence for the end, and on a busy machine shows the rest with
  the process's next invocation, or never. Here the function's process marks the end of each invocation's log.
- Cold starts: MiniStack unpacks the layer's thousand files for every process of a function. Here once, and processes
  get links to them.
- Streams: MiniStack's only poller waits for the function that a stream invokes, and so do all queues. Here streams have
  a poller of their own.
- Redeliveries: MiniStack looks once a second for messages that are visible again. Here ten times.
"""
# ruff: noqa: SLF001 - MiniStack has no public hooks for this

import contextlib
import hashlib
import json
import queue
import tempfile
import threading
import time
import zipfile
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from log_filter import kept  # type: ignore[import-not-found]  # lies beside this file, on its path
from ministack.app import main  # type: ignore[import-not-found]  # is in the emulator's environment alone
from ministack.core import iam_actions, lambda_runtime  # type: ignore[import-not-found]
from ministack.services import lambda_svc, s3  # type: ignore[import-not-found]

END_OF_LOG = "\x04end of this invocation's log"
PATIENCE = 5.0
"""Seconds to wait for the mark. Only a killed process whose children hold its pipe open takes that long."""

_unpacking = threading.Lock()
_get_object = s3._get_object
_run_sqs_batch = lambda_svc._run_sqs_batch
_polling = threading.Event()
_execute_function = lambda_svc._execute_function
_poll_dynamodb_streams = lambda_svc._poll_dynamodb_streams
_extract_iam_action = iam_actions.extract_iam_action
_extract_resource_arn = iam_actions.extract_resource_arn


def _ranged(bucket: str, key: str, headers: dict[str, str], query: dict[str, Any] | None = None) -> tuple[Any, ...]:
    status, told, body = _get_object(bucket, key, headers, query)
    found = s3._parse_range(headers["range"], len(body)) if status == HTTPStatus.OK and "range" in headers else None
    if found is None:
        return status, told, body
    first, last = found
    told = {name: value for name, value in told.items() if not name.lower().startswith("x-amz-checksum-")}
    told |= {"Content-Length": str(last - first + 1), "Content-Range": f"bytes {first}-{last}/{len(body)}"}
    return HTTPStatus.PARTIAL_CONTENT.value, told, body[first : last + 1]


def _as_iam_names_it(*request: Any) -> str | None:  # noqa: ANN401 - the parts of any request
    action: str | None = _extract_iam_action(*request)
    return action.removesuffix("Batch") if action and action.startswith("sqs:") else action


def _stream_of_log(service: str, method: str, path: str, headers: dict[str, str], body: bytes, *more: Any) -> str:  # noqa: ANN401 - the rest of any request
    arn: str = _extract_resource_arn(service, method, path, headers, body, *more)
    if service != "logs" or not headers.get("x-amz-target", "").endswith(".GetLogEvents"):
        return arn
    return f"{arn}:log-stream:{json.loads(body).get('logStreamName', '')}"


def _with_own_receipts(
    esm: dict[str, Any], function: dict[str, Any], event: dict[str, Any], batch: list[dict[str, Any]], *queue: str
) -> None:
    _run_sqs_batch(esm, function, event, [dict(message) for message in batch], *queue)


def _stopping_at_failures(function: dict[str, Any], event: dict[str, Any], *more: Any, **options: Any) -> Any:  # noqa: ANN401
    """Invokes a function with a stream's records, again with those left until none failed."""
    result = _execute_function(function, event, *more, **options)
    records = event.get("Records") or []
    failed = _first_failure(result, records)
    if failed is None:
        return result
    time.sleep(0.2)
    return _stopping_at_failures(function, {**event, "Records": records[failed:]}, *more, **options)


def _first_failure(result: dict[str, Any], records: list[dict[str, Any]]) -> int | None:
    body = result.get("body")
    answer = json.loads(body) if isinstance(body, str | bytes) and body else body
    names = (
        {each["itemIdentifier"] for each in answer.get("batchItemFailures", [])} if isinstance(answer, dict) else set()
    )
    numbers = [each.get("dynamodb", {}).get("SequenceNumber") for each in records]
    return min((numbers.index(name) for name in names if name in numbers), default=None)


def _beside_the_queues() -> bool:
    """Polls streams on a thread of their own, which the first call starts. Returns that the caller found nothing."""
    if not _polling.is_set():
        _polling.set()
        threading.Thread(target=_poll_streams_for_ever, name="streams", daemon=True).start()
    return False


def _poll_streams_for_ever() -> None:
    while True:
        found = False
        with contextlib.suppress(Exception):  # as MiniStack's own loop
            found = _poll_dynamodb_streams()
        if not found:
            time.sleep(0.1)


def _saying_where_logs_end(script: str) -> str:
    # The script flushes responses in two places: when the process is ready (which logs nothing), and after invocations.
    before, answered, after = script.rpartition("        _real_stdout.flush()\n")
    if not answered:
        raise RuntimeError("the patch for MiniStack's Python worker doesn't fit this version of MiniStack")
    return f'{before}        sys.stderr.write({END_OF_LOG!r} + "\\n"); sys.stderr.flush()\n{answered}{after}'


def _whole_log(worker: Any, **_waits: float) -> str:  # noqa: ANN401 - one of MiniStack's
    lines: list[str] = []
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        was_open = worker._stderr_thread.is_alive()
        try:
            line = worker._stderr_queue.get(timeout=0.02)
        except queue.Empty:
            if not was_open:
                break
            continue
        text, ended, _ = line.partition(END_OF_LOG)
        lines.append(text)
        if ended:
            break
    log: str = kept("\n".join(lines), worker.config.get("LoggingConfig") or {})
    return log


class _UnpackedOnce(zipfile.ZipFile):
    """A function's code or a layer, unpacked once per content. Nothing may write to it, as on Lambda."""

    def namelist(self) -> list[str]:
        return []  # asked for only to check that paths stay inside the folder, which zipfile ensures

    def extractall(self, path: Any = None, *_: Any) -> None:  # noqa: ANN401 - as zipfile's
        with Path(str(self.filename)).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        unpacked = Path(tempfile.gettempdir()) / "unpacked" / digest
        with _unpacking:
            if not unpacked.exists():
                whole = unpacked.with_suffix(".new")
                super().extractall(whole, super().namelist())
                whole.rename(unpacked)
        Path(path).rmdir()
        Path(path).symlink_to(unpacked)


lambda_runtime.zipfile = SimpleNamespace(**{**vars(zipfile), "ZipFile": _UnpackedOnce})
_wait = lambda_svc._esm_wake.wait
lambda_svc._esm_wake.wait = lambda timeout: _wait(min(timeout, 0.1))
s3._get_object = _ranged
iam_actions.extract_iam_action = _as_iam_names_it
iam_actions.extract_resource_arn = _stream_of_log
lambda_svc._execute_function = _stopping_at_failures
lambda_svc._poll_dynamodb_streams = _beside_the_queues
lambda_svc._run_sqs_batch = _with_own_receipts
lambda_runtime._PYTHON_WORKER_SCRIPT = _saying_where_logs_end(lambda_runtime._PYTHON_WORKER_SCRIPT)
lambda_runtime.Worker._drain_stderr_bounded = _whole_log

if __name__ == "__main__":
    main()
