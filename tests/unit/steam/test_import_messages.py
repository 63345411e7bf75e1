"""What messages ask to be imported, and which job that is."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from switchyard.function_jobs.jobs import FunctionJob
from switchyard.function_jobs.work import parse
from switchyard.messages.envelope import Envelope
from switchyard.messages.kinds import STEAM_IMPORT
from switchyard.protocol.jobs import Status, WorkRequest
from switchyard.steam.accounts import Account, account
from switchyard.steam.messages import Wanted, body_of, is_new_request, read
from tests.cases import cases
from tests.strategies import anything

ID: Final = "76561197960287930"
NOW: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENVELOPE: Final = Envelope("m", NOW)


def asked(message: object) -> Wanted:
    [wanted] = parse(read, json.dumps(message), ENVELOPE).work
    return wanted


@cases("field", ["steamId", "steamId64", "steam_id64", "steam_id", "profileUrl"])
def test_an_account_has_many_names(field: str) -> None:
    assert asked({"userId": "u", field: ID}).account == Account(steam_id=ID)


def test_what_senders_may_add_changes_nothing() -> None:
    plain = asked({"userId": "u", "steamId": ID})
    assert asked({"userId": "u", "steamId": ID, "requestedAt": "2026-11-22T18:00:00Z", "priority": 5}) == plain


def test_digits_are_a_vanity_name_only_where_it_is_called_one() -> None:
    assert asked({"userId": "u", "vanityName": "12345"}).account == Account(vanity="12345")
    [rejected] = parse(read, json.dumps({"userId": "u", "steamId": "12345"}), ENVELOPE).rejected
    assert rejected.error.code == "INVALID_STEAM_ID"


def test_one_account_by_several_fields_is_one_account() -> None:
    both = {"userId": "u", "steamId": ID, "profileUrl": f"https://steamcommunity.com/profiles/{ID}"}
    assert asked(both).account == Account(steam_id=ID)


def test_the_job_is_the_user_s_for_this_account() -> None:
    wanted = asked({"userId": "u", "steamId": ID})
    others = [asked({"userId": "v", "steamId": ID}), asked({"userId": "u", "vanityName": "name"})]
    assert wanted.job_id not in {each.job_id for each in others}
    assert asked({"user_id": "u", "steam_id64": ID}).job_id == wanted.job_id


def test_a_stored_request_is_asked_for_again_by_the_same_message() -> None:
    wanted = Wanted("u", account("id/Name"), "token")
    request = wanted.request(message_id="m", sent_at=NOW)
    assert asked(json.loads(body_of(WorkRequest.from_json(request.to_json())))) == wanted
    assert (request.kind, request.job_id, request.user_id) == (STEAM_IMPORT.name, wanted.job_id, "u")


@given(anything)
def test_no_message_raises(message: Any) -> None:  # noqa: ANN401 - any JSON value
    parsed = parse(read, json.dumps(message), ENVELOPE)
    assert len(parsed.work) + len(parsed.rejected) == 1


@given(st.text())
def test_no_text_raises(body: str) -> None:
    parse(read, body, ENVELOPE)


@given(st.text(), st.text())
def test_no_text_in_a_field_raises_or_is_quoted_in_the_reason(user_id: str, name: str) -> None:
    for rejected in parse(read, json.dumps({"userId": user_id, "steamId": name}), ENVELOPE).rejected:
        assert len(name) < 3 or name not in str(rejected.error) or name in "the Steam account must be text: a 17-digit"


# ---- when an ended import is begun again ----------------------------------------------------------------------------

ENDED: Final = FunctionJob(
    id="steam-1",
    kind=STEAM_IMPORT.name,
    status=Status.COMPLETED,
    fence=1,
    attempts=1,
    begun_by="m",
    modified=None,
    alive_at=NOW,
    cancel_requested=False,
    chunks=frozenset(),
    user_id="u",
    request=None,
    error=None,
    result={},
    started_at=NOW,
    ended_at=NOW + timedelta(minutes=1),
)
BEFORE, MEANWHILE, AFTER = (NOW + timedelta(seconds=seconds) for seconds in (-1, 30, 90))


@cases(
    ("status", "sent_at", "is_new"),
    [
        (Status.COMPLETED, BEFORE, False),
        (Status.COMPLETED, MEANWHILE, True),
        (Status.COMPLETED, AFTER, True),
        (Status.FAILED, BEFORE, False),
        (Status.FAILED, AFTER, True),
        (Status.CANCELLED, BEFORE, False),
        (Status.CANCELLED, MEANWHILE, False),
        (Status.CANCELLED, AFTER, True),
    ],
)
def test_a_message_asks_for_what_it_could_not_know_to_be_done(
    status: Status, sent_at: datetime, *, is_new: bool
) -> None:
    assert is_new_request(replace(ENDED, status=status), sent_at) is is_new


def test_an_import_that_never_began_answers_nothing() -> None:
    assert is_new_request(replace(ENDED, started_at=None), BEFORE)
