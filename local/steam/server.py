"""HTTP: Steam's Web API under /steam/, IGDB under /igdb/, Twitch's tokens at /token, and our own under /_standin/.

GET    /_standin/health
PUT    /_standin/players/<steamId>    an account: {"personaName", "vanity", "private", "public", "games", "shared"}
DELETE /_standin/players/<steamId>
POST   /_standin/moods                a list of failures (`moods`); GET shows them, DELETE clears them
GET    /_standin/calls                [{"time", "operation", "status"}]; DELETE clears them
PUT    /_standin/keys                 {"steam", "clientId", "clientSecret"}: what is accepted
PUT    /_standin/limits               {"callsPerDay", "callsPerSecond"}
DELETE /_standin/tokens               IGDB's tokens expire
"""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from local.steam.moods import Mood, Moods
from local.steam.players import Player
from local.steam.services import Reply, Services

HOST = "127.0.0.1"
_PAGE = "<html><head><title>Steam</title></head><body>The service is down for maintenance.</body></html>"
_STATUSES = {
    "throttle": HTTPStatus.TOO_MANY_REQUESTS,
    "forbidden": HTTPStatus.FORBIDDEN,
    "unauthorized": HTTPStatus.UNAUTHORIZED,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "html": HTTPStatus.OK,
}
_WRONG = {"response": {"success": "yes", "steamid": 7, "players": {"a": 1}, "game_count": "many", "games": [1, None]}}


class StandIn:
    """The server, in threads of this process. A `with` block starts and stops it."""

    def __init__(self, port: int = 0) -> None:
        self.services = Services()
        self.moods = Moods()
        self.calls: list[dict[str, Any]] = []
        self._server = _Server((HOST, port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{HOST}:{self._server.server_port}"

    def start(self) -> Self:
        """Answer requests."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Answer no more requests."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def operations(self) -> list[str]:
        """Return the operations called so far, in order."""
        return [call["operation"] for call in self.calls]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], standin: StandIn) -> None:
        super().__init__(address, _Handler)
        self.standin = standin

    def handle_error(self, *_: object) -> None:
        """Say nothing of callers that hang up."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Log nothing: request lines contain keys."""

    def do_GET(self) -> None:
        """Answer a GET request."""
        self._answer()

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the library's names

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        path = urlsplit(self.path)
        if path.path.startswith("/_standin/"):
            self._control(path.path.removeprefix("/_standin/"), body)
            return
        query = dict(parse_qsl(path.query))
        parts = [part for part in path.path.split("/") if part]
        # Steam's paths are /steam/<interface>/<operation>/<version>/.
        operation = parts[2] if parts[0] == "steam" and len(parts) > 2 else parts[-1]
        call = {"time": time.time(), "operation": operation, "status": 0}  # 0 until it is answered
        self.server.standin.calls.append(call)
        mood = self.server.standin.moods.take(operation, query.get("steamid") or query.get("steamids"))
        if mood and mood.mode == "slow":
            time.sleep(mood.seconds)
        reply = self._in_mood(mood) or self._reply(parts, operation, query, body)
        call["status"] = int(reply.status)
        self._send(reply, mood.mode if mood else "")

    def _reply(self, parts: list[str], operation: str, query: Mapping[str, str], body: bytes) -> Reply:
        services = self.server.standin.services
        match self.command, parts:
            case "GET", ["steam", *_]:
                return services.steam(operation, query)
            case "POST", ["token"]:
                return services.token(dict(parse_qsl(body.decode())))
            case "POST", ["igdb", "external_games"]:
                return services.external_games(dict(self.headers.items()), body.decode())
        return Reply(HTTPStatus.NOT_FOUND, {"message": "not found"})

    def _in_mood(self, mood: Mood | None) -> Reply | None:
        if mood is None:
            return None
        if mood.mode == "redirect":
            return Reply(HTTPStatus.FOUND, _PAGE, {"Location": f"{self.server.standin.url}/elsewhere"})
        if mood.mode in {"empty", "wrong"}:
            return Reply(HTTPStatus.OK, {"response": {}} if mood.mode == "empty" else _WRONG)
        if mood.mode in _STATUSES:
            return Reply(_STATUSES[mood.mode], _PAGE, {"Retry-After": mood.retryAfter} if mood.retryAfter else {})
        return None

    def _send(self, reply: Reply, mode: str) -> None:
        kind, content = reply.content
        if mode == "reset":
            # An RST instead of a FIN: close with unsent data discarded.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if mode == "cut":
            content = content[: len(content) // 2]
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if mode == "truncated":
            self.close_connection = True
            content = content[: len(content) // 2]
        self.wfile.write(content)

    # ---- our own ----------------------------------------------------------------------------------------------------

    def _control(self, path: str, body: bytes) -> None:
        try:
            answer = self._controlled(path, json.loads(body) if body else None)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._send(Reply(HTTPStatus.BAD_REQUEST, {"message": f"{type(error).__name__}: {error}"}), "")
            return
        self._send(Reply(HTTPStatus.OK, answer), "")

    def _controlled(self, path: str, document: Any) -> Any:  # noqa: ANN401 - any JSON value
        standin = self.server.standin
        services, moods = standin.services, standin.moods
        name, _, steam_id = path.partition("/")
        controls: dict[tuple[str, str], Callable[[], Any]] = {
            ("GET", "health"): lambda: None,
            ("PUT", "players"): lambda: services.players.update({steam_id: Player.of(steam_id, document)}),
            ("DELETE", "players"): lambda: services.players.pop(steam_id),
            ("GET", "moods"): moods.report,
            ("POST", "moods"): lambda: moods.add(document),
            ("DELETE", "moods"): moods.clear,
            ("GET", "calls"): standin.calls.copy,
            ("DELETE", "calls"): standin.calls.clear,
            ("PUT", "keys"): lambda: services.keys.update(document),
            ("PUT", "limits"): lambda: services.limits.update(document),
            ("DELETE", "tokens"): services.expire_tokens,
        }
        answer = controls[self.command, name]()
        return answer if isinstance(answer, list) else {}
