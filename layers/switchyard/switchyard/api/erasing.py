"""Erases what an ended job left: its chunks in the index, its results, its torrent and, if wanted, its upload.

One call does a bounded amount of work. What it leaves, the next call finds, since only what exists is listed. The
record loses its result last, so it shows a result until everything is erased.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from switchyard.api.http import Problem
from switchyard.errors import Contended, Unavailable
from switchyard.keys import PIECES, RECORDINGS, is_upload, owner_of, recording_owner, result_folders
from switchyard.messages.kinds import TORRENT
from switchyard.observability import logger
from switchyard.search.chunks import owner_name

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

    from switchyard.api.http import Request
    from switchyard.protocol.jobs import Job
    from switchyard.search.ports import Index
    from switchyard.tables.records import Records

_PAGES = 10
"""How many pages of versions one call erases: S3 lists and deletes at most 1,000 at once, within a request's 29 s."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with everything in it or, with `is_object`, the object of this key."""

    prefix: str
    is_object: bool = False

    def has(self, key: str) -> bool:
        """Whether a listed key is in this place. A folder named like an owner has that owner's recordings in it."""
        return key == self.prefix if self.is_object else _owner(key) == _owner(f"{self.prefix}file")


@dataclass(slots=True, eq=False)
class Eraser:
    """Erases objects in one bucket. `s3` returns the client, made only when needed."""

    records: Records
    s3: Callable[[], S3Client]
    bucket: str
    upload_prefix: str
    torrent_prefix: str
    index: Index | None = None

    def places(self, request: Request, job: Job, *, with_upload: bool) -> list[Place]:
        """Where the data of a job lies, as far as the caller may erase it.

        Raises:
            Problem: 403 if the upload is wanted, and the job's object is not an upload that the caller may erase.
        """
        source, owner = job.request.source, job.request.user_id
        # A folder without an owner may hold the files of an earlier job of that id, which was somebody else's.
        shared = {f"{RECORDINGS}{job.id}/"} if request.user_id is not None else set()
        folders = [folder for folder in result_folders(job.id, owner) if folder not in shared]
        pieces = [f"{PIECES}{folder}" for folder in folders if folder.startswith(RECORDINGS)]
        found = [Place(folder) for folder in (*folders, *pieces)]
        if job.request.kind == TORRENT.name and source.bucket == self.bucket:
            found.append(Place(f"{self.torrent_prefix}{source.key}.torrent", is_object=True))
        if not with_upload:
            return found
        is_ours = source.bucket == self.bucket and is_upload(self.upload_prefix, source.key)
        if not is_ours or request.user_id not in (None, owner_of(self.upload_prefix, source.key)):
            raise Problem(403, "FORBIDDEN", "The job's object is not an upload that you may erase.")
        return [*found, Place(source.key, is_object=True)]

    def erase(self, job: Job, places: list[Place]) -> bool:
        """Erases all versions in these places of an ended job. False if some may remain: call it again.

        Raises:
            Contended: the job changed meanwhile.
            Unavailable: S3 did not delete some of the objects, or the index some of the chunks.
        """
        # First, so that nothing is found whose files are gone.
        if self.index is not None:
            self.index.erase(owner_name(job.request.user_id), job.id)
        pages = self._versions(places)
        for page in islice(pages, _PAGES):
            self._delete(job, page)
        if next(pages, None) is not None:
            return False
        if not self.records.forget_result(job):
            raise Contended(f"job {job.id} changed while its data was being erased")
        return True

    def _versions(self, places: list[Place]) -> Iterator[list[ObjectIdentifierTypeDef]]:
        """Yields the versions and delete markers in these places, by page. Each page must be deleted before the next.

        A page may be empty.
        """
        for place in places:
            after: dict[str, Any] = {}
            is_last = False
            while not is_last:
                page = self.s3().list_object_versions(Bucket=self.bucket, Prefix=place.prefix, **after)
                listed = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
                found = [each for each in listed if place.has(each["Key"])]
                yield [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
                is_last = not page["IsTruncated"]
                # After a deleted version, a listing might not continue: list the same place again.
                if not found and not is_last:
                    after = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}

    def _delete(self, job: Job, versions: list[ObjectIdentifierTypeDef]) -> None:
        if not versions:
            return
        answer = self.s3().delete_objects(Bucket=self.bucket, Delete={"Objects": versions, "Quiet": True})
        errors = answer.get("Errors", [])
        logger.info("erased", job_id=job.id, versions=len(versions) - len(errors))
        if errors:
            code = errors[0].get("Code", "")
            logger.warning("not erased", job_id=job.id, versions=len(errors), error_type=code)
            raise Unavailable(f"S3 did not delete {len(errors)} versions: {code}")


def _owner(key: str) -> str | None:
    return recording_owner(RECORDINGS, key.removeprefix(PIECES))
