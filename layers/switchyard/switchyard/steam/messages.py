"""Import messages: their shapes, and the job each asks for. Pure; docs/messages.md describes every shape.

The API, the reconciler and the function all derive an import's job id here, so that one account of a user never has two
jobs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from switchyard.errors import InvalidMessage, PermanentError
from switchyard.function_jobs.jobs import FunctionJob
from switchyard.function_jobs.work import Parsed
from switchyard.messages.envelope import Envelope, Rejected, identifier, optional_text, out_of_failure
from switchyard.messages.kinds import STEAM_IMPORT
from switchyard.messages.s3 import out_of_sns
from switchyard.names import stable_hash
from switchyard.protocol.jobs import Source, Status, TargetSpec, WorkRequest
from switchyard.steam.accounts import Account, account

TARGET = TargetSpec(STEAM_IMPORT.target, queue="", definition="import_steam_library")
"""import_steam_library does the work itself: no slots, no locks, nothing to dispatch to."""

MAX_CONFIRMATION = 32
"""Characters of `confirmRemovals`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request to import an account's library for a user.

    `confirm_removals` is the `removalsToken` of an earlier import, whose held removals are to be made.
    """

    user_id: str
    account: Account
    confirm_removals: str | None = None

    @property
    def job_id(self) -> str:
        """The id of the job for this account of this user. An account's two names have jobs of their own."""
        return f"steam-{stable_hash(self.user_id, str(self.account))}"

    @property
    def input(self) -> dict[str, str]:
        """The fields of the message that asks for this import."""
        confirmed = {"confirmRemovals": self.confirm_removals} if self.confirm_removals else {}
        return {"userId": self.user_id, "steamId": str(self.account), **confirmed}

    @property
    def body(self) -> str:
        """The message body that asks for this import."""
        return json.dumps(self.input)

    def request(self, *, message_id: str, sent_at: datetime) -> WorkRequest:
        """The request that the job stores. `message_id` is that of the message that asked."""
        return WorkRequest(
            job_id=self.job_id,
            kind=STEAM_IMPORT.name,
            lane=STEAM_IMPORT.lane,
            target=TARGET,
            source=Source("", "", version=str(self.account), message_id=message_id),
            sent_at=sent_at,
            user_id=self.user_id,
            input=self.input,
        )


def body_of(request: WorkRequest) -> str:
    """The message body that asks for a stored request's import."""
    return json.dumps(request.input)


def is_new_request(found: FunctionJob, sent_at: datetime) -> bool:
    """Whether a message sent then asks for more than an ended import did, so that another one begins.

    An import that began after the message was sent has read the library later than the sender asked for. So ten equal
    messages are one import. A cancel also ends what was asked for before it.
    """
    answered_from = found.ended_at if found.status is Status.CANCELLED else found.started_at
    return answered_from is None or sent_at > answered_from


def read(message: Mapping[str, Any], envelope: Envelope, body: str = "", /) -> Parsed[Wanted]:
    """Reads a decoded message in any of the accepted shapes. Never raises for what it holds."""
    try:
        told, envelope = out_of_failure(message, envelope)
        return Parsed(envelope.message_id, work=[wanted(_unwrapped(told))])
    except PermanentError as error:
        return Parsed(envelope.message_id, rejected=[Rejected(error, body)])


def wanted(message: Mapping[str, Any]) -> Wanted:
    """Reads a decoded message without its wrapping.

    Raises:
        InvalidMessage, InvalidSteamId: a field is missing or invalid.
    """
    user_id = identifier(message, "userId") or identifier(message, "user_id")
    if user_id is None:
        raise InvalidMessage("userId is missing")
    confirmed = message.get("confirmRemovals")
    if confirmed is not None and not optional_text(confirmed, MAX_CONFIRMATION):
        raise InvalidMessage(f"confirmRemovals must be printable text of at most {MAX_CONFIRMATION} characters")
    return Wanted(user_id, _account(message), confirmed)


def _unwrapped(message: Mapping[str, Any]) -> Mapping[str, Any]:
    message = out_of_sns(message)
    match message:
        case {"detail-type": str(), "detail": dict(detail)}:  # an event on an EventBridge bus
            return detail
    return message


_NAMES = ("steamId", "steamId64", "steam_id64", "steam_id", "vanityName", "profileUrl")


def _account(message: Mapping[str, Any]) -> Account:
    given = [(name, message[name]) for name in _NAMES if message.get(name) not in (None, "")]
    if not given:
        raise InvalidMessage("steamId is missing; steamId64, vanityName or profileUrl do as well")
    # JSON's numbers lose digits of a Steam id in JavaScript, so `account` refuses them.
    found = {account(f"id/{value}" if name == "vanityName" else value) for name, value in given}
    if len(found) > 1:
        raise InvalidMessage(f"{' and '.join(name for name, _ in given)} name different accounts")
    return found.pop()
