"""A stand-in for an index of Pinecone: its data plane over HTTP, with the documented limits and errors.

Upsert, delete and query of https://docs.pinecone.io/reference/api; limits by "Pinecone Database limits": 2 MB and 1,000
vectors an upsert, 1,000 ids a deletion, 512 characters an id, 40 KB of metadata, `topK` 10,000. A namespace exists from
its first upsert on.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import numpy as np

from local.serving import served
from local.vectors.filters import FilterError
from local.vectors.table import Table

KEY = "pcsk_of_tests"
DIMENSION = 4

type Fault = Literal["throttle", "error500", "reset_after_effect", "garbage", "endless"]


class Refused(Exception):
    """An error of Pinecone: HTTP status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Pinecone:
    """The index. `faults` are taken one a request, for requests to the path."""

    url: str = ""
    key: str = KEY
    spaces: dict[str, dict[str, tuple[Any, dict[str, Any]]]] = field(default_factory=dict)
    faults: defaultdict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def answer(self, path: str, body: dict[str, Any], size: int) -> dict[str, Any]:
        """Answers a request.

        Raises:
            Refused: as Pinecone would.
        """
        space = body.get("namespace", "")
        match path:
            case "/vectors/upsert":
                return self._upsert(space, body["vectors"], size)
            case "/vectors/delete":
                if space not in self.spaces:
                    raise Refused(404, "Namespace not found")
                if not 1 <= len(body["ids"]) <= 1000:
                    raise Refused(400, "Too many IDs")
                for name in body["ids"]:
                    self.spaces[space].pop(name, None)
                return {}
            case "/query":
                return {"matches": self._query(space, body), "namespace": space, "usage": {"readUnits": 5}}
        raise Refused(404, "Not found")

    def _upsert(self, space: str, vectors: list[dict[str, Any]], size: int) -> dict[str, Any]:
        if size > 2 * 1024 * 1024 or not 1 <= len(vectors) <= 1000:
            raise Refused(400, "The request exceeds the maximum")
        for each in vectors:
            if not 1 <= len(each["id"]) <= 512 or not each["id"].isascii():
                raise Refused(400, "Invalid ID")
            if len(each["values"]) != DIMENSION:
                raise Refused(400, "Vector dimension does not match the dimension of the index")
            if len(json.dumps(each["metadata"], ensure_ascii=False).encode()) > 40 * 1024:
                raise Refused(400, "Metadata size exceeds the limit")
            for value in each["metadata"].values():
                items = value if isinstance(value, list) else [value]
                kinds = (str,) if isinstance(value, list) else (str, int, float, bool)
                if not all(isinstance(item, kinds) for item in items):
                    raise Refused(400, "Metadata must be a string, number, boolean or list of strings")
        known = self.spaces.setdefault(space, {})
        known |= {each["id"]: (each["values"], each["metadata"]) for each in vectors}
        return {"upsertedCount": len(vectors)}

    def _query(self, space: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        if not 1 <= body["topK"] <= 10_000 or len(body["vector"]) != DIMENSION:
            raise Refused(400, "Invalid query")
        table = Table(DIMENSION, "cosine", (), ())
        known = self.spaces.get(space, {})
        for name, (values, metadata) in known.items():
            table.put(name, np.asarray(values, np.float32), metadata)
        try:
            found = table.query(body["topK"], np.asarray(body["vector"], np.float32), {}, body.get("filter"))
        except FilterError as error:
            raise Refused(400, str(error)) from error
        return [
            {"id": each.key, "score": 1 - (each.distance or 0), "values": []}
            | ({"metadata": known[each.key][1]} if body.get("includeMetadata") else {})
            for each in found
        ]


_FAULTS: dict[Fault, tuple[int, bytes]] = {
    "throttle": (429, b'{"code": 8, "message": "Too many requests", "details": []}'),
    "error500": (500, b'{"code": 13, "message": "Internal", "details": []}'),
    "garbage": (200, b"<html>" + b"[" * 100_000),
    "endless": (200, b" " * (9 << 20)),
}


@contextmanager
def serving() -> Iterator[Pinecone]:
    """Runs an empty index on a free port while the block runs."""
    index = Pinecone()
    with served(_handler(index), _Server) as index.url:
        yield index


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class
        """Ignores connections that a test has cut."""


def _handler(index: Pinecone) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                index.asked.append((self.path, json.loads(text)))
                fault = index.faults[self.path].pop(0) if index.faults[self.path] else None
                status, body = self._answer(text, fault)
            if fault == "reset_after_effect":
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if status == 429:
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(body)

        def _answer(self, text: bytes, fault: Fault | None) -> tuple[int, bytes]:
            if self.headers.get("Api-Key") != index.key:
                return 401, b"Unauthorized"
            if "X-Pinecone-API-Version" not in self.headers:
                return 400, b""
            if fault in _FAULTS:
                return _FAULTS[fault]
            try:
                return 200, json.dumps(index.answer(self.path, json.loads(text), len(text))).encode()
            except Refused as refused:
                told: dict[str, object] = {
                    "code": 5 if refused.status == 404 else 3,
                    "message": str(refused),
                    "details": [],
                }
                return refused.status, json.dumps(told).encode()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    return Handler
