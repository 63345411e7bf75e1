"""Checks callers' permissions by asking the emulator, which has the users, roles and policies.

The caller's signed request is forwarded to the emulator's own Batch or ECS, which checks signature and policies first.
Only that verdict counts. This module adds what the emulator lacks:

- Resources. The emulator checks a Batch action against the resource `*`, and an ECS action against the cluster in the
  request. The latter would allow calls that AWS refuses, so the request is sent with another body, which names a
  cluster that no statement names. (The emulator takes the body's digest from a header that need not be signed.) A
  statement limited to a queue or task definition then never allows the call, so every refusal is checked again with
  SimulatePrincipalPolicy, against each resource of the call.
- Second actions: SubmitJob with tags needs TagResource, RunTask needs iam:PassRole. For Batch, the same request is sent
  again with an `X-Amz-Target` header, which the emulator reads before the path and no signature covers. For ECS, that
  header is signed, so the second action is simulated for the principal that the first refusal names. A caller who may
  do the first action on everything is not named, and is refused: too strict rather than too lax.
"""

import asyncio
import hashlib
import http.client
import json
import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.compute.config import Config
from local.compute.errors import EmulatorUnreachableError
from local.compute.events import ONE_TRY, ROOT
from local.compute.service import Grant

TIMEOUT_SECONDS = 10
SERVICE_ERRORS = frozenset({"ClientException", "InvalidAction", "ClusterNotFoundException"})
"""Errors of the emulator's own Batch and ECS that come after the permission check."""
CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 .*Credential=(?P<key>[^/,]+)/[^,]+/(?P<service>[^/,]+)/aws4_request")
NOWHERE = "arn:aws:ecs:us-east-1:000000000000:nowhere/nothing"
"""A resource that only a statement for all resources covers."""
ASSUMED_ROLE = re.compile(r"^arn:aws:sts::(\d+):assumed-role/([^/]+)/")


@dataclass(frozen=True)
class SignedRequest:
    """A request as it was received."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def service(self) -> str:
        """The service in its signature; empty if it isn't signed."""
        return self._credential("service")

    @property
    def key(self) -> str:
        """The access key in its signature; empty if it isn't signed."""
        return self._credential("key")

    def having(self, **headers: str) -> "SignedRequest":
        """A copy with other headers; their names have underscores for hyphens."""
        others = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = [(name, value) for name, value in self.headers if name.lower() not in others]
        return replace(self, headers=[*kept, *((name, value) for name, value in others.items() if value)])

    def _credential(self, part: str) -> str:
        for name, value in self.headers:
            if name.lower() == "authorization" and (found := CREDENTIAL.match(value)):
                return found[part]
        return ""


@dataclass(frozen=True)
class Refusal:
    """A refusal of the emulator, to be passed on."""

    status: int
    error_type: str
    body: bytes


class Gatekeeper:
    """Checks permissions with the emulator at `url`."""

    def __init__(self, url: str, config: Config) -> None:
        self._address = urlsplit(url).netloc
        self._iam: Any = boto3.client("iam", endpoint_url=url, region_name=config.region, config=ONE_TRY, **ROOT)

    async def check(self, request: SignedRequest, grants: list[Grant]) -> Refusal | None:
        """None if the caller has every grant, otherwise the refusal.

        Raises:
            EmulatorUnreachableError: the emulator doesn't answer.
        """
        try:
            return await asyncio.to_thread(self._check, request, grants)
        except (OSError, http.client.HTTPException, BotoCoreError, ClientError) as error:
            raise EmulatorUnreachableError(f"can't check permissions, the emulator doesn't answer: {error}") from error

    def _check(self, request: SignedRequest, grants: list[Grant]) -> Refusal | None:
        principal = None
        for position, grant in enumerate(grants):
            question = _question(request, grant, first=position == 0)
            refusal = self._forward(question) if question else None
            if question and not refusal:
                continue
            if refusal:
                principal = _principal(refusal)
                if not principal:
                    # Not about policies: a bad signature or an unknown key.
                    return refusal
            elif request.key == ROOT["aws_access_key_id"]:
                continue
            if not principal or not self._simulated(principal, grant):
                return refusal or _denied(principal, grant)
        return None

    def _forward(self, request: SignedRequest) -> Refusal | None:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_SECONDS)
        try:
            # The signature covers the Host header, so the caller's is kept.
            connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers:
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

    def _simulated(self, principal: str, grant: Grant) -> bool:
        """Whether the principal's policies allow the action on each of the resources."""
        return bool(grant.resources) and all(
            self._iam.simulate_principal_policy(
                PolicySourceArn=principal, ActionNames=[grant.action], ResourceArns=[resource]
            )["EvaluationResults"][0]["EvalDecision"]
            == "allowed"
            for resource in grant.resources
        )


def _question(request: SignedRequest, grant: Grant, *, first: bool) -> SignedRequest | None:
    """The request with which to ask the emulator for the action on all resources; None if it can't be asked."""
    if request.service == "batch":
        return request.having(x_amz_target="" if first else f"AWSBatch.{grant.action.partition(':')[2]}")
    if not first:
        return None
    body = json.dumps({"cluster": NOWHERE}).encode()
    digest = hashlib.sha256(request.body).hexdigest()
    return replace(request.having(x_amz_content_sha256=digest, content_length=str(len(body))), body=body)


def _principal(refusal: Refusal) -> str | None:
    """The user or role that a refusal names; for a session, its role."""
    found = re.search(rb"User: (\S+) is not authorized", refusal.body)
    return ASSUMED_ROLE.sub(r"arn:aws:iam::\1:role/\2#", found[1].decode()).partition("#")[0] if found else None


def _denied(principal: str | None, grant: Grant) -> Refusal:
    """A refusal of an action that the emulator wasn't asked about."""
    why = "because no identity-based policy allows it" if principal else "as far as the local stand-in can tell"
    message = (
        f"User: {principal or '?'} is not authorized to perform: {grant.action} on {', '.join(grant.resources)}, {why}"
    )
    code = "AccessDeniedException"
    return Refusal(400, code, json.dumps({"__type": code, "message": message}).encode())


def _type(body: bytes) -> str:
    """The error's name in a JSON body."""
    try:
        return str(json.loads(body).get("__type", "")).rpartition("#")[2]
    except (ValueError, AttributeError):
        return ""
