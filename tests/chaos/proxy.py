"""Starts microburst with our changes: `proxy.py SEED OPTION…`, in the environment that has it (`.venvs/chaos`)."""

import logging
import random
import sys
from collections.abc import Mapping
from typing import Any

from microburst import forward
from microburst.cli import main
from microburst.core import pipeline

_BY_QUERY: Mapping[tuple[str, str], str] = {
    ("GET", "attributes"): "GetObjectAttributes",
    ("GET", "uploadId"): "ListParts",
    ("GET", "versions"): "ListObjectVersions",
    ("POST", "delete"): "DeleteObjects",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}
_detect = pipeline.detect


def detect(headers: Any, method: str, path: str, query: Mapping[str, str], body: bytes | None) -> Any:  # noqa: ANN401 - microburst's own
    """Detects operations like microburst, but tells apart S3 calls that differ only in their query."""
    context = _detect(headers, method, path, query, body)
    if context.service == "s3":
        named = (name for (verb, mark), name in _BY_QUERY.items() if verb == method and mark in query)
        context.operation = next(named, context.operation)
    return context


if __name__ == "__main__":
    random.seed(int(sys.argv.pop(1)))  # microburst uses the global random generator
    logging.disable(logging.INFO)  # it would log every one of many thousand calls
    # microburst drops Content-Length from answers, so HTTP itself would detect a cut one. AWS sends Content-Length, and
    # HTTP does not detect a cut answer.
    forward.HOP_BY_HOP -= {"content-length"}
    pipeline.detect = detect
    sys.exit(main())
