"""An index of videos in the stand-in for S3 Vectors, in this process: no socket, and no signature."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore import xform_name

from local.compute.config import Config
from local.stack import VECTOR_INDEX
from local.vectors.service import Vectors
from local.vectors.store import Store
from switchyard.search.s3vectors import S3VectorsIndex

_BUCKET = "bench"


class Direct:
    """A client whose calls are the stand-in's operations."""

    def __init__(self, service: Vectors) -> None:
        self._operations = {xform_name(name): name for name in service.operations}
        self._service = service

    def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
        """Returns the operation of this name."""
        operation = self._operations[name]
        return lambda **request: self._service.call(operation, request)


@contextmanager
def an_index() -> Iterator[tuple[S3VectorsIndex, Direct, str]]:
    """Makes an empty index, ready for entries, with its client and its ARN."""
    with tempfile.TemporaryDirectory(prefix="switchyard-vectors-") as folder:
        store = Store(Path(folder) / "vectors.sqlite")
        client = Direct(Vectors(Config("us-east-1", "123456789012", {}, {}, {}, {}), store))
        client.create_vector_bucket(vectorBucketName=_BUCKET)
        arn = client.create_index(vectorBucketName=_BUCKET, **VECTOR_INDEX)["indexArn"]
        index = S3VectorsIndex(client, arn)
        index.prepare()
        try:
            yield index, client, arn
        finally:
            store.close()
