"""The stage `index`: makes what is said and shown findable, by chunks with vectors in the search index.

Chunks, vectors and the index are the code of `POST /search`: `switchyard.search` and `switchyard_embedding`.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import batched

from analyze_video.settings import IndexSettings
from analyze_video.stage import Found, Progress, Skipped, StageFailed, Video
from switchyard.errors import Unavailable
from switchyard.search.chunks import Chunk, Origin, chunks_of, metadata_of, owner_name
from switchyard.search.pinecone import PineconeIndex
from switchyard.search.ports import Entry, Index
from switchyard.search.s3vectors import S3VectorsIndex
from switchyard_worker import AWS_ERRORS, client

log = logging.getLogger(__name__)

_ATTEMPTS = 6  # half a minute of waiting at most: a job has the time
_BATCH = 16  # chunks between two reports: about a second


def run(video: Video, progress: Progress) -> Found:
    """Replace the job's chunks in the index by those of this analysis.

    Raises:
        Skipped: there is no index, no text or no model.
        StageFailed: the index failed or refused a call.
    """
    settings = video.settings.index
    if settings.kind_of_index == "none":
        raise Skipped("there is no search index")
    job_id, owner = video.job.environment.job_id, owner_name(settings.owner)
    segments = video.transcript.content()["segments"] if video.transcript else []
    chunks = chunks_of(segments, video.on_screen)
    entries = _entries(video, chunks, progress) if chunks else []
    progress(1.0, "writing to the search index")
    video.job.confirm()  # the index has no fence of its own
    with _reported():
        index = _index(settings)
        if entries:
            index.prepare()
        index.put(owner, job_id, entries)  # without any, those of an earlier analysis go: the upload may be another
    if not entries:
        raise Skipped("there is no text")
    return Found({"index": {"chunks": len(entries)}})


def _index(settings: IndexSettings) -> Index:
    if settings.kind_of_index == "s3vectors":
        return S3VectorsIndex(client("s3vectors"), settings.arn)
    return PineconeIndex(f"https://{settings.host}", settings.namespace, lambda: settings.key, attempts=_ATTEMPTS)


def _entries(video: Video, chunks: Sequence[Chunk], progress: Progress) -> list[Entry]:
    folder = video.model("minilm")
    # It loads numpy and the tokenizer: only here.
    from switchyard_embedding.embedder import Embedder  # noqa: PLC0415

    embedder, origin = Embedder(folder), _origin(video)
    entries: list[Entry] = []
    for some in batched(chunks, _BATCH, strict=False):
        progress(len(entries) / len(chunks), f"{len(entries)} of {len(chunks)} chunks")
        vectors = embedder.embed([chunk.content for chunk in some]).tolist()
        for chunk, vector in zip(some, vectors, strict=True):
            entries.append(Entry(vector, metadata_of(chunk, origin, _frame(video, chunk))))
    return entries


def _origin(video: Video) -> Origin:
    given, settings = video.job.environment, video.settings.index
    return Origin(
        owner=settings.owner,
        job_id=given.job_id,
        kind=settings.kind,
        date=datetime.fromisoformat(video.job.created_at).timestamp(),
        # The search signs links to the results' bucket alone.
        video=given.key if given.bucket == given.results_bucket else "",
    )


def _frame(video: Video, chunk: Chunk) -> str:
    """The object key of the key frame closest to the middle of the chunk; empty if there is none."""
    middle = (chunk.start + chunk.end) / 2
    frames = [
        (abs(scene.key_frame_at - middle), scene.key_frame)
        for scene in (video.analysis.scenes if video.analysis else ())
        if scene.key_frame is not None and scene.key_frame_at is not None
    ]
    return video.job.key(min(frames)[1]) if frames else ""


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except (Unavailable, *AWS_ERRORS) as error:
        log.warning("the search index failed: %s", error)
        raise StageFailed("INDEX_UNAVAILABLE", "the search index failed or refused the chunks") from error
