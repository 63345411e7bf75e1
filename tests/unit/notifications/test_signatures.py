"""Signatures of Standard Webhooks: the vectors of the public package against ours, and ours against the package."""

import base64
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from switchyard.notifications.signatures import derived_secret, signature, signed_headers

MASTER: Final = "m" * 64
TEXTS: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def test_the_vector_of_the_specification_is_ours_too() -> None:
    """From the tests of the package's reference implementations."""
    signed = signature(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}', "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(TEXTS, st.from_regex(r"evt_[0-9a-f]{32}", fullmatch=True), st.binary(min_size=24, max_size=64))
def test_ours_and_the_package_s_signature_are_the_same(body: str, message_id: str, key: bytes) -> None:
    secret = f"whsec_{base64.b64encode(key).decode()}"
    now = datetime.now(UTC)
    assert signature(message_id, int(now.timestamp()), body, secret) == Webhook(secret).sign(message_id, now, body)


def test_a_receiver_with_either_secret_verifies_while_both_sign() -> None:
    now = int(datetime.now(UTC).timestamp())
    old, new, other = (derived_secret(MASTER, "wh_1", number) for number in (1, 2, 3))
    headers = signed_headers("evt_1", now, '{"a": 1}', [new, old])
    for secret in (old, new):
        assert Webhook(secret).verify('{"a": 1}', headers) == {"a": 1}
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify('{"a": 1}', headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify('{"a": 2}', headers)


def test_no_two_webhooks_or_generations_share_a_secret() -> None:
    made = {
        derived_secret(master, f"wh_{number}", generation)
        for master in (MASTER, "n" * 64)
        for number in range(20)
        for generation in range(1, 20)
    }
    assert len(made) == 2 * 20 * 19
    assert {len(base64.b64decode(secret.removeprefix("whsec_"))) for secret in made} == {32}
