"""Answers `GET /users/{userId}/games`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from switchyard.api.http import Problem, Request, Response, invalid
from switchyard.messages.envelope import is_identifier
from switchyard.steam.table import BadToken, Library, Order

_PAGE = 25
_KNOWN = frozenset({"sort", "limit", "steamId", "nextToken"})
_LIMIT = re.compile(r"[1-9][0-9]?|100")
_STEAM_ID = re.compile(r"[0-9]{17}")


@dataclass(slots=True, eq=False)
class Shelf:
    """Lists users' games."""

    library: Library

    def games(self, request: Request) -> Response:
        """`GET /users/{userId}/games`. Users see only their own."""
        user_id = _user_id(request)
        order, limit = request.query.get("sort", Order.NAME), request.query.get("limit", str(_PAGE))
        steam_id = request.query.get("steamId")
        if not request.query.keys() <= _KNOWN:
            raise invalid(f"the query must have no parameters other than {', '.join(sorted(_KNOWN))}")
        if order not in Order:
            raise invalid(f"sort must be one of {', '.join(Order)}")
        if not _LIMIT.fullmatch(limit):
            raise invalid("limit must be 1 to 100")
        if steam_id is not None and not _STEAM_ID.fullmatch(steam_id):
            raise invalid("steamId must be 17 digits")
        try:
            page = self.library.games(user_id, Order(order), int(limit), request.query.get("nextToken"), steam_id)
        except BadToken:
            raise invalid("nextToken must come from the previous page of a request with the same parameters") from None
        return Response(200, {"games": page.games} | ({"nextToken": page.next_token} if page.next_token else {}))


def _user_id(request: Request) -> str:
    """The user whose games are asked for.

    Raises:
        Problem: 400, or 403 if a user asks for another user's.
    """
    try:
        # API Gateway's REST APIs pass path parameters as sent, percent-encoded.
        user_id = unquote(request.path.get("userId", ""), errors="strict")
    except UnicodeDecodeError:
        user_id = ""
    if not is_identifier(user_id):
        raise invalid("userId must be 1 to 256 printable characters")
    if request.user_id not in (None, user_id):
        raise Problem(403, "FORBIDDEN", "You can only list your own games.")
    return user_id
