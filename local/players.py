"""Starts the stand-in for Steam and IGDB (`local.steam`), and makes the secrets with which functions call it."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from local.environment import ROOT, bare
from local.processes import Process, start

HEALTH: Final = "/_standin/health"

_SECRETS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "SteamApiKeySecretArn": ("switchyard-local-steam", {"key": "steam-key"}),
    "IgdbSecretArn": ("switchyard-local-igdb", {"clientId": "client", "clientSecret": "secret"}),
}
"""By the template's parameter: the secret's name, and what the stand-in accepts."""


def start_steam(*, port: int, log: Path) -> Process:
    """Start the stand-in; it answers at `HEALTH` soon after.

    Args:
        port: Its port on 127.0.0.1.
        log: The file its output is appended to.
    """
    return start([sys.executable, "-m", "local.steam", "--port", str(port)], env=bare(), cwd=ROOT, log=log)


def make_secrets(client: Any) -> dict[str, str]:  # noqa: ANN401 - as `LocalStack.client`
    """Make the secrets in the emulator; their ARNs, by the template's parameters."""
    return {
        parameter: client.create_secret(Name=name, SecretString=json.dumps(fields))["ARN"]
        for parameter, (name, fields) in _SECRETS.items()
    }


class Players:
    """The stand-in's accounts and moods, as demos and tests set them. `local.steam.server` describes them."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=30)

    def put(self, steam_id: str, **account: object) -> None:
        """Set an account: `personaName`, `vanity`, `private`, and `games`, a list or a number of games to make up."""
        self._ask("PUT", f"players/{steam_id}", account)

    def mood(self, operation: str, mode: str, **more: object) -> None:
        """Let calls of an operation (`*`: all) fail, by one of the modes of `local.steam.moods`."""
        self._ask("POST", "moods", [{"operation": operation, "mode": mode, **more}])

    def calm(self) -> None:
        """Answer all calls again."""
        self._ask("DELETE", "moods")

    def calls(self) -> list[str]:
        """The operations called so far, in order."""
        return [each["operation"] for each in self._ask("GET", "calls").json()]

    def forget_calls(self) -> None:
        """Begin to count anew."""
        self._ask("DELETE", "calls")

    def _ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        return self._http.request(method, f"/_standin/{path}", json=body).raise_for_status()
