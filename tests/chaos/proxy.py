"""Starts microburst as it is needed here: `proxy.py SEED OPTION…`, by the environment that has it (`.venvs/chaos`)."""

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
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}
_detect = pipeline.detect


def detect(headers: Any, method: str, path: str, query: Mapping[str, str], body: bytes | None) -> Any:  # noqa: ANN401 - microburst's own
    """As microburst's, which takes S3's calls that differ in their query alone for one another."""
    context = _detect(headers, method, path, query, body)
    if context.service == "s3":
        named = (name for (verb, mark), name in _BY_QUERY.items() if verb == method and mark in query)
        context.operation = next(named, context.operation)
    return context


if __name__ == "__main__":
    random.seed(int(sys.argv.pop(1)))  # its dice have no seed of their own
    logging.disable(logging.INFO)  # it would log each of many thousand calls
    # It drops the length of what it passes on: then an answer that it cuts off is noticed by HTTP itself, as one of
    # AWS, which says its length, is not.
    forward.HOP_BY_HOP -= {"content-length"}
    pipeline.detect = detect
    sys.exit(main())
