"""Sends what workers write to CloudWatch Logs on the emulator, as the `awslogs` driver does: one stream an attempt.

The offset up to which a log was sent is kept beside it, so that a restarted stand-in goes on there. A crash between the
call and the note of it sends some lines twice; one after the worker's end loses the last lines.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.compute import supervisor
from local.compute.events import ONE_TRY, ROOT

LOG = logging.getLogger(__name__)
PASS_SECONDS = 0.25
CHUNK_BYTES = 256 * 1024
"""Of a log, a call: with 26 bytes a line, less than the 1 MiB that PutLogEvents takes."""
MAX_LINES = 10_000
SENT = "log.sent"


@dataclass(frozen=True)
class Stream:
    """The log of an attempt, and the stream that it goes to."""

    log: Path
    group: str
    name: str


class Awslogs:
    """The driver. Streams are created with their first line."""

    def __init__(self, emulator: str, region: str) -> None:
        self._client = boto3.client("logs", endpoint_url=emulator, region_name=region, config=ONE_TRY, **ROOT)
        self._open: dict[Path, Stream] = {}
        self._ended: set[Path] = set()

    def open(self, stream: Stream) -> None:
        """Begin to send a log."""
        self._open[stream.log] = stream

    def close(self, log: Path) -> None:
        """Send what is left of a log, and forget it."""
        self._ended.add(log)

    async def run(self) -> None:
        """Send all logs until cancelled."""
        while True:
            for stream in [*self._open.values()]:
                ended = stream.log in self._ended
                try:
                    done = await asyncio.to_thread(self._send, stream, ended=ended)
                except (BotoCoreError, ClientError) as error:
                    LOG.warning("lines of %s not sent: %s", stream.name, error)
                    continue
                if done and ended:
                    self._open.pop(stream.log, None)
                    self._ended.discard(stream.log)
            await asyncio.sleep(PASS_SECONDS)

    def _send(self, stream: Stream, *, ended: bool) -> bool:
        """Send the next lines; True if there are no more for now."""
        note = stream.log.with_name(SENT)
        offset = int(note.read_text()) if note.exists() else 0
        try:
            with stream.log.open("rb") as file:
                file.seek(offset)
                chunk = file.read(CHUNK_BYTES)
        except FileNotFoundError:  # its run was forgotten
            return True
        if not ended and len(chunk) < CHUNK_BYTES:
            chunk = chunk[: chunk.rfind(b"\n") + 1]  # the rest of the line is still to come
        lines = chunk.splitlines(keepends=True)[:MAX_LINES]
        if not lines:
            return True
        now, sent = supervisor.now(), sum(map(len, lines))
        texts = [line.decode(errors="replace").rstrip("\r\n") for line in lines]
        # CloudWatch takes no empty line.
        if events := [{"timestamp": now, "message": text} for text in texts if text]:
            if offset == 0:
                self._create(stream)
            self._client.put_log_events(logGroupName=stream.group, logStreamName=stream.name, logEvents=events)
        note.write_text(str(offset + sent))
        return False

    def _create(self, stream: Stream) -> None:
        with contextlib.suppress(self._client.exceptions.ResourceAlreadyExistsException):
            self._client.create_log_group(logGroupName=stream.group)
        with contextlib.suppress(self._client.exceptions.ResourceAlreadyExistsException):
            self._client.create_log_stream(logGroupName=stream.group, logStreamName=stream.name)
