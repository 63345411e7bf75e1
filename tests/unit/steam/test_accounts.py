"""Names of Steam accounts: what is read, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.errors import InvalidSteamId
from switchyard.steam.accounts import Account, account
from tests.cases import cases
from tests.strategies import anything

ID = "76561197960287930"
FIRST, LAST = 76561197960265729, 76561202255233023


@cases(
    "text",
    [
        ID,
        f" {ID} ",
        f"https://steamcommunity.com/profiles/{ID}",
        f"http://www.steamcommunity.com/profiles/{ID}/",
        f"steamcommunity.com/profiles/{ID}",
        f"profiles/{ID}",
    ],
)
def test_ids(text: str) -> None:
    assert account(text) == Account(steam_id=ID)


@cases(
    ("text", "vanity"),
    [
        ("GabeLoganNewell", "gabelogannewell"),
        ("https://steamcommunity.com/id/gabe-n_1/", "gabe-n_1"),
        ("HTTPS://SteamCommunity.com/ID/Gabe", "gabe"),
        ("id/1337", "1337"),
        (f"id/{ID}", ID),
    ],
)
def test_vanity_names(text: str, vanity: str) -> None:
    assert account(text) == Account(vanity=vanity)


@cases(
    "value",
    [
        *(
            "",
            " ",
            "a",
            "x" * 33,
            "a b",
            "gabe/..",
            "id/",
            "id/gabe/games",
            "profiles/gabe",
            "é",
            None,
            True,
        ),
        *(int(ID), [ID], "1337", "7656119796028793", "765611979602879300", "٧٦٥٦١١٩٧٩٦٠٢٨٧٩٣٠"),
        *(str(FIRST - 1), str(LAST + 1), "103582791429521412", f"https://steamcommunity.com/profiles/{FIRST - 1}"),
        *(f"https://evil.example/profiles/{ID}", "https://steamcommunity.com.evil.example/id/gabe", "https://x"),
        *("https://user@steamcommunity.com/id/gabe", f"https://steamcommunity.com/profiles/{ID}?key=x", "x" * 201),
    ],
)
def test_everything_else_is_refused(value: object) -> None:
    with pytest.raises(InvalidSteamId) as refused:
        account(value)
    assert refused.value.code == "INVALID_STEAM_ID"


@given(st.integers(FIRST, LAST))
def test_every_individual_account_has_an_id(number: int) -> None:
    assert account(str(number)).steam_id == str(number)


@given(
    st.text(anything) | st.from_regex(r"(https://steamcommunity\.com/)?(id|profiles)/[A-Za-z0-9_-]*/?", fullmatch=True)
)
def test_a_read_name_reads_again_and_is_safe_in_a_query(text: str) -> None:
    try:
        found = account(text)
    except InvalidSteamId:
        return
    assert account(str(found)) == found
    assert (found.steam_id or found.vanity or "").replace("-", "").replace("_", "").isalnum()
