"""Whether the caller may: asked of the emulator, which holds the users, roles and policies.

The caller's signed request goes to the emulator's own endpoint; the emulator checks signature and policies before
anything else, and only that verdict counts. What it doesn't do for Batch and ECS is added here:

- It checks a Batch action against the resource `*`, and an ECS action against the cluster that the request names. The
  latter would let pass what AWS refuses, so it is made to look at another resource that nobody names: it takes the
  body's digest from a header that it doesn't ask to be signed, so the body may be another. A statement limited to a
  queue or a task definition thus never allows. A refusal is therefore checked again by SimulatePrincipalPolicy, against
  each resource that the call is about.
- A call may need a second action (SubmitJob with tags needs TagResource, RunTask needs iam:PassRole). For Batch the
  same request is sent once more with an `X-Amz-Target` header, which the emulator reads before the path, and no
  signature covers. For ECS that header is signed: the second action is simulated for the caller whom the refusal of the
  first one named. Who is allowed the first on everything isn't named, and is refused: better that than to let pass too
  much.
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
"""What the emulator's own Batch and ECS answer where they can't do something: by then the caller has passed."""
CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 .*Credential=(?P<key>[^/,]+)/[^,]+/(?P<service>[^/,]+)/aws4_request")
NOWHERE = "arn:aws:ecs:us-east-1:000000000000:nowhere/nothing"
"""A resource that no statement names but one about all of them."""
ASSUMED_ROLE = re.compile(r"^arn:aws:sts::(\d+):assumed-role/([^/]+)/")


@dataclass(frozen=True)
class SignedRequest:
    """A request as it came over the wire."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def service(self) -> str:
        """The service it claims to be signed for; nothing if it isn't signed."""
        return self._credential("service")

    @property
    def key(self) -> str:
        """The access key it claims to be signed with."""
        return self._credential("key")

    def having(self, **headers: str) -> "SignedRequest":
        """The same with other headers; their names with underscores for hyphens."""
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
        principal = None
        for position, grant in enumerate(grants):
            question = _question(request, grant, first=position == 0)
            refusal = self._forward(question) if question else None
            if question and not refusal:
                continue
            if refusal:
                principal = _principal(refusal)
                if not principal:
                    # Not a matter of policies: a bad signature, an unknown key.
                    return refusal
            elif request.key == ROOT["aws_access_key_id"]:
                continue
            if not principal or not self._simulated(principal, grant):
                return refusal or _denied(principal, grant)
        return None

    def _forward(self, request: SignedRequest) -> Refusal | None:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_SECONDS)
        try:
            # The signature covers the Host header: the caller's stays.
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
        """Whether the principal's policies allow the action on each of the resources themselves."""
        return bool(grant.resources) and all(
            self._iam.simulate_principal_policy(
                PolicySourceArn=principal, ActionNames=[grant.action], ResourceArns=[resource]
            )["EvaluationResults"][0]["EvalDecision"]
            == "allowed"
            for resource in grant.resources
        )


def _question(request: SignedRequest, grant: Grant, *, first: bool) -> SignedRequest | None:
    """The request by which the emulator tells whether the caller has the action on everything; None if none does."""
    if request.service == "batch":
        return request.having(x_amz_target="" if first else f"AWSBatch.{grant.action.partition(':')[2]}")
    if not first:
        return None
    body = json.dumps({"cluster": NOWHERE}).encode()
    digest = hashlib.sha256(request.body).hexdigest()
    return replace(request.having(x_amz_content_sha256=digest, content_length=str(len(body))), body=body)


def _principal(refusal: Refusal) -> str | None:
    """The user or role that a refusal names; a session's policies are its role's."""
    found = re.search(rb"User: (\S+) is not authorized", refusal.body)
    return ASSUMED_ROLE.sub(r"arn:aws:iam::\1:role/\2#", found[1].decode()).partition("#")[0] if found else None


def _denied(principal: str | None, grant: Grant) -> Refusal:
    """The refusal of an action that the emulator wasn't asked about."""
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
