"""Whether the caller may: asked of the emulator, which holds the users, roles and policies.

The caller's signed request goes to the emulator's own Batch endpoint as it came; the emulator checks signature and
policies before anything else, and only that verdict counts. Two things it doesn't do for Batch are added here:

- It checks every Batch action against the resource `*`, so that a statement limited to a queue never allows. A refusal
  is therefore checked again by SimulatePrincipalPolicy, against each resource that the call is about.
- A call may need a second action (SubmitJob with tags needs TagResource). The same request is sent once more with an
  `X-Amz-Target` header, which the emulator reads before the path, and no signature covers.
"""

import asyncio
import http.client
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.compute.batch import Grant
from local.compute.config import Config
from local.compute.errors import EmulatorUnreachableError
from local.compute.events import ONE_TRY, ROOT

TIMEOUT_SECONDS = 10
SERVICE_ERRORS = frozenset({"ClientException", "InvalidAction"})
"""What the emulator's own Batch answers where it can't do something: by then the caller has passed."""
CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 .*Credential=[^,]+/batch/aws4_request")
ASSUMED_ROLE = re.compile(r"^arn:aws:sts::(\d+):assumed-role/([^/]+)/")


@dataclass(frozen=True)
class SignedRequest:
    """A request as it came over the wire."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True)
class Refusal:
    """The emulator's refusal, to be passed on."""

    status: int
    error_type: str
    body: bytes


class Gatekeeper:
    """Asks the emulator at `url`."""

    def __init__(self, url: str, config: Config) -> None:
        self._address = urlsplit(url).netloc
        self._iam: Any = boto3.client("iam", endpoint_url=url, region_name=config.region, config=ONE_TRY, **ROOT)

    async def check(self, request: SignedRequest, grants: list[Grant]) -> Refusal | None:
        """None if the caller holds every grant.

        Raises:
            EmulatorUnreachableError: nobody can tell.
        """
        try:
            return await asyncio.to_thread(self._check, request, grants)
        except (OSError, http.client.HTTPException, BotoCoreError, ClientError) as error:
            raise EmulatorUnreachableError(f"the emulator can't say who may do this: {error}") from error

    def _check(self, request: SignedRequest, grants: list[Grant]) -> Refusal | None:
        for position, grant in enumerate(grants):
            refusal = self._forward(request, {} if position == 0 else {"X-Amz-Target": f"AWSBatch.{grant.action}"})
            if refusal and not self._allowed(refusal, grant):
                return refusal
        return None

    def _forward(self, request: SignedRequest, extra: dict[str, str]) -> Refusal | None:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_SECONDS)
        try:
            # The signature covers the Host header: the caller's stays.
            connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            headers = [(name, value) for name, value in request.headers if name.lower() != "x-amz-target"]
            for name, value in [*headers, *extra.items()]:
                connection.putheader(name, value)
            connection.endheaders(request.body)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        error_type = answer.headers.get("x-amzn-errortype") or _type(body)
        if answer.status < 300 or error_type in SERVICE_ERRORS:
            return None
        return Refusal(answer.status, error_type, body)

    def _allowed(self, refusal: Refusal, grant: Grant) -> bool:
        """Whether the refused caller's policies allow the action on each of the resources themselves."""
        found = re.search(rb"User: (\S+) is not authorized", refusal.body)
        if not found or not grant.resources:
            # Not a matter of policies: a bad signature, an unknown key.
            return False
        # A session's policies are its role's.
        principal = ASSUMED_ROLE.sub(r"arn:aws:iam::\1:role/\2#", found[1].decode()).partition("#")[0]
        return all(
            self._iam.simulate_principal_policy(
                PolicySourceArn=principal, ActionNames=[f"batch:{grant.action}"], ResourceArns=[resource]
            )["EvaluationResults"][0]["EvalDecision"]
            == "allowed"
            for resource in grant.resources
        )


def signed_for_batch(headers: Iterable[tuple[str, str]]) -> bool:
    """Whether a request claims to be signed for AWS Batch.

    Asked for even where nobody checks the signature: a web page in the developer's browser can reach this port, but
    can't send this header, and so can't start commands.
    """
    return any(name.lower() == "authorization" and CREDENTIAL.match(value) for name, value in headers)


def _type(body: bytes) -> str:
    """The error's name in a JSON body."""
    try:
        return str(json.loads(body).get("__type", "")).rpartition("#")[2]
    except (ValueError, AttributeError):
        return ""
