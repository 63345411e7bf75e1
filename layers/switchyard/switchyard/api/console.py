"""Serves the console: the page, its stylesheet and its modules.

The files of one deployment lie under a path of their own, `/console/<version>/`, and are cached for a year. Only the
page itself, `/console/index.html`, is asked for again. So a deployment never mixes modules of two versions.
"""

import hashlib
import html
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

from switchyard.api.http import Problem, Request, Response

PAGE: Final = "index.html"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
}


class Console:
    """The handlers of the console's routes.

    Attributes:
        version: A digest of the files and what the page is told: part of the path of all files but the page.
        policy: The Content-Security-Policy of every response.

    Args:
        folder: The console's files.
        told: What the page learns about its deployment. Everybody can read it.
        media: The origin of the bucket's signed links, such as `https://bucket.s3.eu-central-1.amazonaws.com`.
        more: Other origins that the page may call.
    """

    def __init__(self, folder: Path, told: Mapping[str, str], media: str, more: Iterable[str] = ()) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): path.read_text()
            for path in sorted(folder.rglob("*"))
            if path.suffix in _TYPES
        }
        self._told = json.dumps(told)
        self.policy = "; ".join(
            (
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                f"img-src 'self' {media}",
                f"media-src {media} blob:",
                " ".join(("connect-src 'self'", media, *more)),
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
                "require-trusted-types-for 'script'",
                "trusted-types 'none'",
            )
        )

    @cached_property
    def version(self) -> str:
        """See above."""
        whole = hashlib.sha256(json.dumps([self._files, self._told]).encode())
        return whole.hexdigest()[:16]

    def enter(self, request: Request) -> Response:
        """`GET /console`: leads to the page, whether or not the address ended in a slash."""
        there = PAGE if request.url_path.endswith("/") else f"console/{PAGE}"
        return Response(302, None, {"Location": there})

    def file(self, request: Request) -> Response:
        """`GET /console/{file+}`.

        Raises:
            Problem: 404 for a file that isn't there, such as one of another version.
        """
        name = request.path.get("file", "")
        if name == PAGE:
            tag = f'"{self.version}"'
            caching = {"ETag": tag, "Cache-Control": "no-cache"}
            return Response(304, None, caching) if request.has(tag) else self._response(PAGE, self._page, caching)
        version, _, name = name.partition("/")
        if version != self.version or name not in self._files:
            raise Problem(404, "NOT_FOUND", "There is no such file.")
        return self._response(name, self._files[name], {"Cache-Control": "public, max-age=31536000, immutable"})

    @cached_property
    def _page(self) -> str:
        page = self._files[PAGE].replace("{{version}}", self.version)
        return page.replace("{{told}}", html.escape(self._told))

    def _response(self, name: str, text: str, caching: Mapping[str, str]) -> Response:
        kind = {"Content-Type": _TYPES[Path(name).suffix], "Content-Security-Policy": self.policy}
        return Response(200, text, {**_HEADERS, **kind, **caching})


def absent(_: Request) -> Response:
    """Answers where `Console` is `false`.

    Raises:
        Problem: 404, always.
    """
    raise Problem(404, "NOT_FOUND", "This deployment has no console.")
