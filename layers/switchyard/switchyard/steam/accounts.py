"""Reads what names a Steam account: a 64-bit id, a vanity name, or the URL of a profile. Pure.

A 64-bit id of an individual account has 17 digits: universe 1, type 1 and instance 1 in the upper half, the account's
own number in the lower (Valve developer wiki, "SteamID"). Groups, servers and anonymous users have other upper halves.
"""

import re
from dataclasses import dataclass

from switchyard.errors import InvalidSteamId

_FIRST = 0x0110_0001_0000_0001
_LAST = 0x0110_0001_FFFF_FFFF
_MAX_LENGTH = 200
_ID = re.compile(r"[0-9]{17}")
_DIGITS = re.compile(r"[0-9]+")
_VANITY = re.compile(r"[A-Za-z0-9_-]{2,32}")
_PROFILE = re.compile(
    r"(?:(?:https?://)?(?:www\.)?steamcommunity\.com/)?(?P<form>id|profiles)/(?P<name>[^/]*)/?", re.IGNORECASE
)
_ALLOWED = (
    "must be text: a 17-digit Steam id of a player, a vanity name, or a profile's URL "
    "such as https://steamcommunity.com/id/name"
)


@dataclass(frozen=True, slots=True)
class Account:
    """A Steam account, by one of its two names: `steam_id` has 17 digits, `vanity` is in lower case.

    As a string it is `76561197960287930` or `id/name`, which `account` reads again.
    """

    steam_id: str | None = None
    vanity: str | None = None

    def __str__(self) -> str:
        return self.steam_id or f"id/{self.vanity}"


def account(value: object) -> Account:
    """Reads an account's name.

    Numbers are refused: JavaScript rounds JSON numbers of 17 digits, and the result is another player's id. So are bare
    digits that are no id: they are a mistyped id rather than a vanity name, which `id/123` still is.

    Raises:
        InvalidSteamId: it is anything else.
    """
    if not isinstance(value, str) or len(value) > _MAX_LENGTH:
        raise InvalidSteamId(f"the Steam account {_ALLOWED}")
    given = value.strip()
    named = _PROFILE.fullmatch(given)
    if named is not None and named["form"].lower() == "id":
        return _by_vanity(named["name"])
    if named is not None or _DIGITS.fullmatch(given):
        return Account(steam_id=steam_id(named["name"] if named else given))
    return _by_vanity(given)


def steam_id(text: object) -> str:
    """Checks a 17-digit id of an individual account.

    Raises:
        InvalidSteamId: it is anything else.
    """
    if not isinstance(text, str) or not _ID.fullmatch(text) or not _FIRST <= int(text) <= _LAST:
        raise InvalidSteamId(f"the Steam account {_ALLOWED}")
    return text


def _by_vanity(name: str) -> Account:
    if not _VANITY.fullmatch(name):
        raise InvalidSteamId(f"the Steam account {_ALLOWED}")
    return Account(vanity=name.lower())  # Steam ignores case
