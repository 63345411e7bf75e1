"""Finds a deployment: by a stack's name, on this machine, or from a context file."""

import ipaddress
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from switchyard_client.access import ApiKey, Iam, Token, need_boto3
from switchyard_client.errors import SetupError

STAGE: Final = "v1"
STACK_NAME: Final = "switchyard-local"
CONTEXTS: Final = "contexts.toml"
_LOOPBACK_NAMES: Final = frozenset({"localhost"})


@dataclass(frozen=True, slots=True)
class Aws:
    """How operators' commands reach AWS: a stack's name, and how to make boto3 clients for it."""

    stack: str
    profile: str | None = None
    region: str | None = None
    endpoint: str | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict)

    def client(self, service: str) -> Any:  # noqa: ANN401 - without the extra, there are no types of it
        """A boto3 client; for the local system, one of the emulator that never sees real credentials."""
        boto3 = need_boto3()
        if self.endpoint is None:
            return boto3.Session(profile_name=self.profile, region_name=self.region).client(service)
        return boto3.client(
            service,
            endpoint_url=self.endpoints.get(service, self.endpoint),
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - the emulator's
        )

    def outputs(self) -> Mapping[str, str]:
        """The stack's outputs.

        Raises:
            SetupError: There is no such stack.
        """
        return outputs(self.described())

    def described(self) -> Mapping[str, Any]:
        """The stack, as CloudFormation describes it.

        Raises:
            SetupError: There is no such stack, or no access to it.
        """
        need_boto3()
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - only with the extra

        try:
            found: Mapping[str, Any] = self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                raise SetupError(
                    f"there is no stack {self.stack} in this account and Region: check --stack, --profile and --region"
                ) from error
            raise SetupError(f"the stack {self.stack} can't be read: {error}") from error
        except BotoCoreError as error:
            raise SetupError(f"the stack {self.stack} can't be read: {error}") from error
        return found


def outputs(described: Mapping[str, Any]) -> Mapping[str, str]:
    """A described stack's outputs."""
    return {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", ())}


def stack(name: str, profile: str | None = None, region: str | None = None) -> tuple[str, httpx.Auth]:
    """The API's address, and a way in, of a stack.

    Raises:
        SetupError: There is no such stack, no access to it, or it wants a user's token.
    """
    aws = Aws(name, profile, region)
    described = aws.described()
    found = outputs(described)
    if "ApiUrl" not in found:
        raise SetupError(f"the stack {name} has no output ApiUrl: is it a Switchyard stack?")
    if key := found.get("ApiKeyId"):
        return found["ApiUrl"], ApiKey(
            str(aws.client("apigateway").get_api_key(apiKey=key, includeValue=True)["value"])
        )
    given = {each["ParameterKey"]: each.get("ParameterValue") for each in described.get("Parameters", ())}
    if given.get("ApiAuth") == "iam":
        return found["ApiUrl"], Iam(profile=profile, region=described["StackId"].split(":")[3])
    if token := os.environ.get("SWITCHYARD_TOKEN"):
        return found["ApiUrl"], Token(token)
    raise SetupError(f"the stack {name} is for users of a user pool: set SWITCHYARD_TOKEN to an id token of yours")


def local_aws(folder: Path | None = None) -> Aws:
    """The local system's emulator.

    Raises:
        SetupError: There is none, or it isn't running.
    """
    state = _state(folder)
    emulator, compute = (f"http://127.0.0.1:{state[name]['port']}" for name in ("emulator", "compute"))
    return Aws(STACK_NAME, endpoint=emulator, endpoints={"batch": compute, "ecs": compute})


def local(folder: Path | None = None) -> tuple[str, httpx.Auth]:
    """The local system's API, and its key.

    Raises:
        SetupError: There is none, or it isn't running.
    """
    state = _state(folder)
    url = f"http://127.0.0.1:{state['emulator']['port']}/_aws/execute-api/{state['resources']['Api']}/{STAGE}"
    return url, ApiKey(state["api_key"])


def _state(folder: Path | None) -> dict[str, Any]:
    start = (folder or Path.cwd()).resolve()
    for place in (start, *(each / ".local" for each in (start, *start.parents))):
        file = place / "state.json"
        if file.is_file():
            state: dict[str, Any] = json.loads(file.read_text())
            if not (state.get("emulator") and state.get("compute") and state.get("api_key")):
                raise SetupError("the local system isn't running: start it with `make up`")
            return state
    raise SetupError("there is no local system here: go to Switchyard's folder and start it with `make up`")


# ---- contexts --------------------------------------------------------------------------------------------------------


def config_folder() -> Path:
    """The folder of the context file."""
    if os.name == "nt":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "switchyard"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "switchyard"


def state_folder() -> Path:
    """The folder of the journal of uploads."""
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "switchyard"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "switchyard"


@dataclass(frozen=True, slots=True)
class Context:
    """Which deployment is meant: a stack, the local system, or an address."""

    stack: str | None = None
    profile: str | None = None
    region: str | None = None
    local: bool = False
    url: str | None = None
    console: str | None = None

    def open(self) -> tuple[str, httpx.Auth]:
        """The API's address, and a way in.

        Raises:
            SetupError: There is none.
        """
        if self.local:
            return local()
        if self.url:
            if key := os.environ.get("SWITCHYARD_API_KEY"):
                return self.url, ApiKey(key)
            if token := os.environ.get("SWITCHYARD_TOKEN"):
                return self.url, Token(token)
            raise SetupError("an address needs SWITCHYARD_API_KEY or SWITCHYARD_TOKEN in the environment")
        if self.stack:
            return stack(self.stack, self.profile, self.region)
        raise SetupError(
            "which deployment? Give --stack NAME or --local, set SWITCHYARD_STACK, "
            f"or write a context file {config_folder() / CONTEXTS}"
        )

    def aws(self) -> Aws:
        """Access to the deployment's stack, for operators.

        Raises:
            SetupError: The context names no stack.
        """
        if self.local:
            return local_aws()
        if self.stack:
            return Aws(self.stack, self.profile, self.region)
        raise SetupError("this works on a stack with your AWS credentials: give --stack NAME or --local")


def context(name: str | None = None, file: Path | None = None) -> Context:
    """A context of the file `contexts.toml`: by name, or the one that its `default` names.

    ```toml
    default = "dev"

    [dev]
    stack = "switchyard-dev"
    profile = "work"
    region = "eu-central-1"

    [here]
    local = true
    ```

    Keys and tokens don't belong in it: they are read from the environment.

    Raises:
        SetupError: The file can't be read, or has no such context.
    """
    file = file or config_folder() / CONTEXTS
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if name:
            raise SetupError(f"there is no context {name}: {file} doesn't exist") from None
        return Context()
    except (OSError, ValueError) as error:
        raise SetupError(f"{file} can't be read: {error}") from error
    name = name or found.get("default")
    if name is None:
        return Context()
    known = sorted(each for each, value in found.items() if isinstance(value, dict))
    if name not in known:
        raise SetupError(f"{file} has no context {name!r}; it has {', '.join(known) or 'none'}")
    given = found[name]
    if unknown := sorted(given.keys() - Context.__dataclass_fields__.keys()):
        raise SetupError(f"{file}: the context {name} has the unknown setting {unknown[0]!r}")
    return Context(**given)


def checked(url: str) -> str:
    """An API's address without a slash at its end.

    Raises:
        SetupError: It isn't https, so that a key would be sent in clear; http is for this machine only.
    """
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in {"https", "http"}:
        raise SetupError(f"{url!r} is no https address")
    if parts.scheme == "http" and not is_loopback(url):
        raise SetupError(f"{url} is not https: credentials would be sent in clear")
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _LOOPBACK_NAMES or host.endswith(".localhost")
