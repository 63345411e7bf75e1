"""The deployed HTTP API: where it is, its key, and a client that uses both."""

from typing import Final

import httpx

from local.stack import LocalStack

STAGE: Final = "v1"


def address(stack: LocalStack) -> str:
    """The API's base URL."""
    return f"{stack.emulator.url}/_aws/execute-api/{stack.resource('Api')}/{STAGE}"


def key(stack: LocalStack) -> str:
    """The value of the API key that the template makes."""
    found = stack.client("apigateway").get_api_key(apiKey=stack.resource("ApiKey"), includeValue=True)
    return str(found["value"])


def client(stack: LocalStack) -> httpx.Client:
    """A client whose paths are relative to the API, and which carries its key."""
    # trust_env off: a proxy of the user's can't reach this machine's loopback address.
    return httpx.Client(base_url=address(stack), headers={"x-api-key": key(stack)}, trust_env=False, timeout=30)
