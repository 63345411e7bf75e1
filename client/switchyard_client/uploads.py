"""Uploads of any size: small files in one request, others in parts that go in parallel and survive a killed process.

The journal says for every file how far its upload is, so that the same call after a kill goes on where it stopped, and
a video never becomes two jobs:

```
nothing ── presigned ──────────── PUT ──────────────────────────► done     up to 16 MiB
        └─ begun ── parts, listed by S3 ── completing ── complete ──► done
```

A part is read once, and its SHA-1 is of the bytes that are sent: S3 refuses what was damaged on the way. Parts that had
arrived before a kill are compared with the file by their SHA-1.
"""

import asyncio
import base64
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import httpx

from switchyard_client.api import Api
from switchyard_client.errors import ApiError, ConnectionLostError, NotFoundError, UploadError
from switchyard_client.retries import BUSY, LOST, Retries, seconds_of

T = TypeVar("T")

TYPES: Final[Mapping[str, str]] = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".avi": "video/x-msvideo",
    ".mkv": "video/x-matroska",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
"""The content types that the API takes, by the ending of a file's name."""
SINGLE: Final = 16 * 2**20
"""Files up to this size (bytes) are sent in one request."""
PIECE: Final = 2**18
"""Bytes between two reports of progress."""
TRIES: Final = 4
"""How often one part or file gets a new URL, because the old one has expired or S3 has refused it."""
_AGAIN: Final = BUSY | LOST | {500, 408}
_ANNOUNCED_AFTER: Final = (0.0, 2.0, 5.0)
"""When to ask for the job of a video that may have arrived (seconds)."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An uploaded file.

    Attributes:
        file: Its path.
        bucket: The bucket.
        key: The object's key.
        size: Bytes.
        job_id: The job that it becomes; None if it becomes none, as an image.
        resumed: Whether an earlier, interrupted upload was finished.
    """

    file: str
    bucket: str
    key: str
    size: int
    job_id: str | None
    resumed: bool = False

    @property
    def url(self) -> str:
        """The object, as `process_images` wants it."""
        return f"s3://{self.bucket}/{self.key}"


class StorageRefusedError(UploadError):
    """S3 said no: the URL has expired, or what was sent isn't what was signed.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int, text: str) -> None:
        code = text.partition("<Code>")[2].partition("</Code>")[0]
        super().__init__(f"S3 answered {status}{f' {code}' if code else ''}")
        self.status = status


class Journal:
    """Remembers uploads until they are done, in one SQLite file that processes may share.

    Presigned URLs in it are worth one upload each, for minutes; the file is readable by its owner only.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        self._database = sqlite3.connect(file, timeout=30, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute("CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, at REAL, state TEXT)")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def get(self, upload: str) -> dict[str, Any]:
        """What was last put; empty if nothing."""
        found = self._database.execute("SELECT state FROM uploads WHERE id = ?", (upload,)).fetchone()
        state: dict[str, Any] = json.loads(found[0]) if found else {}
        return state

    def put(self, upload: str, state: Mapping[str, Any]) -> None:
        """Remember how far an upload is."""
        self._database.execute(
            "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?)", (upload, time.time(), json.dumps(state))
        )

    def forget(self, uploads: Iterable[str]) -> None:
        """Forget uploads, so that the same files become new objects next time."""
        self._database.executemany("DELETE FROM uploads WHERE id = ?", [(each,) for each in uploads])

    def forget_older(self, seconds: float) -> None:
        """Forget what S3 has forgotten, too."""
        self._database.execute("DELETE FROM uploads WHERE at < ?", (time.time() - seconds,))


class Storage:
    """S3 by presigned URLs, with retries."""

    def __init__(self, http: httpx.AsyncClient, retries: Retries) -> None:
        self._http = http
        self._retries = retries

    async def put(self, url: str, headers: Mapping[str, str], content: bytes, sent: Callable[[int], None]) -> str:
        """Send bytes, and say how many of them have gone; the object's or part's ETag.

        Raises:
            StorageRefusedError: S3 said no. 412 means that the object is there already.
            ConnectionLostError: It said nothing, or "later", also after retries.
        """

        async def pieces() -> AsyncIterator[bytes]:
            view = memoryview(content)
            for start in range(0, len(view), PIECE):
                sent(start)
                yield bytes(view[start : start + PIECE])
            sent(len(view))

        async def once() -> httpx.Response:
            given = {**headers, "Content-Length": str(len(content))}
            return await self._http.put(url, headers=given, content=pieces())

        response = await self._patiently(once)
        return str(response.headers.get("etag", ""))

    async def download(self, url: str, path: Path) -> None:
        """Fetch a file. It appears under its name once it is whole. A connection that is cut continues where it was.

        Raises:
            StorageRefusedError, ConnectionLostError: As `put`.
        """
        partial = path.with_name(f".{path.name}.part")
        partial.unlink(missing_ok=True)

        async def once() -> httpx.Response:
            done = partial.stat().st_size if partial.exists() else 0
            headers = {"Range": f"bytes={done}-"} if done else {}
            async with self._http.stream("GET", url, headers=headers) as response:
                if response.is_error:
                    await response.aread()
                    return response
                with partial.open("ab" if response.status_code == httpx.codes.PARTIAL_CONTENT else "wb") as file:
                    async for piece in response.aiter_bytes():
                        file.write(piece)
                return response

        try:
            await self._patiently(once)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    async def _patiently(self, once: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        tried = 0
        while True:
            tried += 1
            try:
                response = await once()
            except httpx.TransportError as error:
                if (pause := self._retries.pause(tried)) is None:
                    raise ConnectionLostError(f"the connection to S3 was lost ({type(error).__name__})") from error
            else:
                if response.is_success:
                    return response
                wait = seconds_of(response.headers.get("retry-after"))
                if response.status_code not in _AGAIN or (pause := self._retries.pause(tried, wait)) is None:
                    raise StorageRefusedError(response.status_code, response.text[:1000])
            await asyncio.sleep(pause)


class Upload:
    """One file's upload; call it. Arguments are those of `Switchyard.upload`."""

    def __init__(  # noqa: PLR0913, PLR0917 - as `Switchyard.upload`
        self,
        api: Api,
        storage: Storage,
        file: Path,
        kind: Literal["video", "image"] | None,
        content_type: str | None,
        parallel: int,
        progress: Progress | None,
        journal: Journal | None,
    ) -> None:
        self._api, self._storage, self._file, self._kind = api, storage, file, kind
        self._parallel, self._progress, self._journal = parallel, progress, journal
        self._type = content_type or type_of(file)
        self._before = self._stat()
        self._size = self._before.st_size
        self.id = upload_id(str(getattr(api, "url", "")), file, self._before)
        self._sent: dict[int, int] = {}

    async def __call__(self) -> Uploaded:  # noqa: D102 - as `Switchyard.upload`
        if not self._size:
            raise UploadError(f"{self._file} is empty")
        known = self._journal.get(self.id) if self._journal else {}
        if "done" in known:
            return Uploaded(**{**known["done"], "resumed": True})
        done = await (self._whole(known) if self._size <= SINGLE and "begun" not in known else self._parts(known))
        self._note({"done": asdict(done)})
        return done

    # ---- in one request ----------------------------------------------------------------------------------------------

    async def _whole(self, known: dict[str, Any]) -> Uploaded:
        content = await asyncio.to_thread(self._file.read_bytes)
        presigned, resumed = known.get("presigned"), "presigned" in known
        for _ in range(TRIES):
            if presigned is None:
                presigned = dict(
                    await self._api.presign_upload(self._file.name, self._type, size=len(content), kind=self._kind)
                )
                self._note({"presigned": presigned})
            done = Uploaded(
                str(self._file), presigned["bucket"], presigned["key"], len(content), presigned.get("jobId"), resumed
            )
            try:
                await self._storage.put(presigned["url"], presigned["headers"], content, self._counter(0))
            except StorageRefusedError as error:
                if error.status == httpx.codes.PRECONDITION_FAILED:
                    return done  # it arrived, and the response was lost
                if error.status != httpx.codes.FORBIDDEN:
                    raise
                # The URL has expired. A try before may have arrived nevertheless.
                if await self._has_arrived(done.job_id):
                    return done
                presigned = None
            else:
                return done
        raise UploadError(f"S3 refuses {self._file} again and again: check this machine's clock")

    async def _has_arrived(self, job_id: str | None) -> bool:
        for pause in _ANNOUNCED_AFTER if job_id else ():
            await asyncio.sleep(pause)
            try:
                await self._api.get_job(str(job_id))
            except NotFoundError:
                continue
            return True
        return False

    # ---- in parts ----------------------------------------------------------------------------------------------------

    async def _parts(self, known: dict[str, Any]) -> Uploaded:
        begun, resumed = known.get("begun"), "begun" in known
        parts: dict[int, dict[str, Any]] = {}
        if begun:
            try:
                if "completing" in known:
                    return await self._complete(begun, known["completing"], resumed=True)
                parts = await self._arrived(begun)
            except ApiError as error:
                if error.code not in {"UPLOAD_NOT_FOUND", "UPLOAD_EXISTS", "INVALID_PART", "PARTS_MISSING"}:
                    raise
                if await self._has_arrived(begun.get("jobId")):
                    return self._done(begun, resumed=True)
                begun, resumed = None, False
        if not begun:
            begun = dict(
                await self._api.create_multipart_upload(
                    self._file.name, self._type, self._size, kind=self._kind, checksum="SHA1"
                )
            )
            self._note({"begun": begun})
        missing = [number for number in range(1, begun["partCount"] + 1) if number not in parts]

        async def send(number: int) -> None:
            parts[number] = await self._part(begun, number)

        await together(send, missing, self._parallel)
        if self._changed():
            await self._api.abort_multipart_upload(begun["key"], begun["uploadId"])
            if self._journal:
                self._journal.forget([self.id])
            raise UploadError(f"{self._file} changed while it was sent: upload it again once it is at rest")
        completing = [parts[number] for number in sorted(parts)]
        self._note({"begun": begun, "completing": completing})
        return await self._complete(begun, completing, resumed=resumed)

    async def _complete(self, begun: Mapping[str, Any], parts: list[dict[str, Any]], *, resumed: bool) -> Uploaded:
        await self._api.complete_multipart_upload(begun["key"], begun["uploadId"], self._size, parts)
        return self._done(begun, resumed=resumed)

    def _done(self, begun: Mapping[str, Any], *, resumed: bool) -> Uploaded:
        return Uploaded(str(self._file), begun["bucket"], begun["key"], self._size, begun.get("jobId"), resumed)

    async def _arrived(self, begun: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
        """The parts that S3 has, and that are the file's."""
        listed: list[Mapping[str, Any]] = []
        token: str | None = None
        while True:
            page = await self._api.list_multipart_parts(begun["key"], begun["uploadId"], next_token=token)
            listed += page["parts"]
            if not (token := page.get("nextToken")):
                break
        found: dict[int, dict[str, Any]] = {}

        async def compare(part: Mapping[str, Any]) -> None:
            content = await self._read(begun, part["partNumber"])
            checksum = await asyncio.to_thread(sha1, content)
            if part["size"] == len(content) and part.get("checksumSha1") == checksum:
                found[part["partNumber"]] = _named(part["partNumber"], part["etag"], checksum)
                self._counter(part["partNumber"])(len(content))

        await together(compare, listed, self._parallel)
        return found

    async def _part(self, begun: Mapping[str, Any], number: int) -> dict[str, Any]:
        content = await self._read(begun, number)
        checksum = await asyncio.to_thread(sha1, content)
        wanted = {"partNumber": number, "size": len(content), "checksumSha1": checksum}
        refused: StorageRefusedError | None = None
        for _ in range(TRIES):
            [signed] = (await self._api.presign_parts(begun["key"], begun["uploadId"], [wanted]))["parts"]
            try:
                etag = await self._storage.put(signed["url"], signed["headers"], content, self._counter(number))
            except StorageRefusedError as error:
                # 403: the URL has expired. 400: the bytes were damaged on the way.
                if error.status not in {httpx.codes.FORBIDDEN, httpx.codes.BAD_REQUEST}:
                    raise
                refused = error
            else:
                return _named(number, etag, checksum)
        raise UploadError(f"part {number} of {self._file} was refused {TRIES} times: {refused}")

    async def _read(self, begun: Mapping[str, Any], number: int) -> bytes:
        size: int = begun["partSize"]

        def read() -> bytes:
            with self._file.open("rb") as file:
                file.seek((number - 1) * size)
                return file.read(size)

        return await asyncio.to_thread(read)

    # ---- both --------------------------------------------------------------------------------------------------------

    def _stat(self) -> os.stat_result:
        try:
            return self._file.stat()
        except OSError as error:
            raise UploadError(f"{self._file} can't be read: {error.strerror}") from error

    def _changed(self) -> bool:
        now = self._stat()
        return (now.st_size, now.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns)

    def _note(self, state: Mapping[str, Any]) -> None:
        if self._journal:
            self._journal.put(self.id, state)

    def _counter(self, number: int) -> Callable[[int], None]:
        def count(sent: int) -> None:
            self._sent[number] = sent
            if self._progress:
                self._progress(sum(self._sent.values()), self._size)

        return count


def upload_id(url: str, file: Path, stat: os.stat_result) -> str:
    """The journal's name for the upload of this file, as it is now, to this deployment."""
    return hashlib.sha256(f"{url}\n{file.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}".encode()).hexdigest()


def type_of(file: Path) -> str:
    """The content type of a file, from the ending of its name.

    Raises:
        UploadError: It is no kind of file that the API takes.
    """
    try:
        return TYPES[file.suffix.lower()]
    except KeyError:
        raise UploadError(f"{file} is neither a video nor a picture by its name: {' '.join(TYPES)}") from None


def sha1(content: bytes) -> str:
    """The checksum that S3 compares: SHA-1 in base64."""
    return base64.b64encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode()


async def together(function: Callable[[T], Awaitable[None]], items: Iterable[T], parallel: int) -> None:
    """Call a function for each item, so many at once. The first error ends the others, and is raised as it is.

    Items are taken one by one, so that there may be many of them.
    """
    left = iter(items)

    async def work() -> None:
        for item in left:
            await function(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, parallel)):
                group.create_task(work())
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


def _named(number: int, etag: str, checksum: str) -> dict[str, Any]:
    return {"partNumber": number, "etag": etag, "checksumSha1": checksum}
