"""GET /users/{userId}/games: who sees which games, and what a request may ask for."""

from typing import Any, Final

from switchyard.api.http import Api, ApiAuth
from switchyard.steam.listing import Shelf
from switchyard.steam.table import BadToken, GamePage, Order
from tests.cases import cases
from tests.rest import Answer, ask

ROUTE: Final = "GET /users/{userId}/games"


class Shelved:
    """A library without games that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def games(self, *asked: object) -> GamePage:
        self.asked.append(asked)
        if "bad" in asked:
            raise BadToken
        return GamePage([], "next")


def listed(user_id: str = "user-42", *, auth: ApiAuth = "api-key", **more: Any) -> tuple[Answer, list[Any]]:  # noqa: ANN401 - as `event`
    library: Any = Shelved()
    answer = ask(Api({ROUTE: Shelf(library).games}, auth=auth), ROUTE, path={"userId": user_id}, **more)
    return answer, library.asked


def test_a_list_is_by_name_and_of_25_games() -> None:
    answer, asked = listed()
    assert (answer.status, answer.body) == (200, {"games": [], "nextToken": "next"})
    assert asked == [("user-42", Order.NAME, 25, None, None)]


def test_a_request_says_order_size_account_and_page() -> None:
    query = {"sort": "lastPlayed", "limit": "100", "steamId": "76561197960287930", "nextToken": "token"}
    assert listed(query=query)[1] == [("user-42", Order.LAST_PLAYED, 100, "token", "76561197960287930")]


def test_a_user_s_id_may_be_any_text() -> None:
    assert listed("user%2F42%20%C3%BC")[1][0][0] == "user/42 ü"


def test_a_user_lists_only_their_own_games() -> None:
    assert listed("user-7", user="user-7", auth="cognito")[0].status == 200
    answer, asked = listed("user-42", user="user-7", auth="cognito")
    assert (answer.status, answer.body["error"], asked) == (403, "FORBIDDEN", [])


@cases(
    "query",
    [
        {"sorted": "name"},
        {"sort": "age"},
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "1e1"},
        {"steamId": "7"},
        {"nextToken": "bad"},
    ],
    ids=str,
)
def test_what_can_t_be_listed_is_refused(query: dict[str, str]) -> None:
    answer, _ = listed(query=query)
    assert (answer.status, answer.body["error"]) == (400, "INVALID_REQUEST")


@cases("user_id", ["", "%00", "%FF", "x" * 257])
def test_what_is_no_user_s_id_is_refused(user_id: str) -> None:
    assert listed(user_id)[0].status == 400
