"""Signs webhooks as Standard Webhooks 1.0.0 says, and makes their secrets. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence

_PREFIX = "whsec_"


def derived_secret(master: str, webhook_id: str, generation: int) -> str:
    """A webhook's secret: 32 bytes that only the holder of `master` can compute (docs/adr/0029)."""
    key = hmac.digest(master.encode(), f"{webhook_id}:{generation}".encode(), hashlib.sha256)
    return _PREFIX + base64.b64encode(key).decode()


def signed_headers(message_id: str, timestamp: int, body: str, secrets: Sequence[str]) -> dict[str, str]:
    """The headers that prove who sent `body`, with a signature for each secret. `timestamp` is in epoch seconds."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(message_id, timestamp, body, secret) for secret in secrets),
    }


def signature(message_id: str, timestamp: int, body: str, secret: str) -> str:
    """One signature, with the version of its algorithm."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = hmac.digest(key, f"{message_id}.{timestamp}.{body}".encode(), hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"
