"""Who calls: an API key, a user's token, or an IAM identity that signs."""

from collections.abc import Callable, Generator
from typing import Any

import httpx

from switchyard_client.errors import SetupError


class ApiKey(httpx.Auth):
    """Deployments with `ApiAuth=api-key`, the default."""

    def __init__(self, key: str) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:  # noqa: D102
        request.headers["x-api-key"] = self._key
        yield request


class Token(httpx.Auth):
    """Deployments with `ApiAuth=cognito`: an id token, or a function that returns a fresh one.

    After a 401 the function is asked again, once a request.
    """

    def __init__(self, token: str | Callable[[], str]) -> None:
        self._fetch = token if callable(token) else None
        self._token = token if isinstance(token, str) else ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:  # noqa: D102
        if not self._token and self._fetch:
            self._token = self._fetch()
        request.headers["authorization"] = self._token
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED and self._fetch:
            self._token = self._fetch()
            request.headers["authorization"] = self._token
            yield request


class Iam(httpx.Auth):
    """Deployments with `ApiAuth=iam`: signs with AWS credentials. Needs the extra `aws`.

    Args:
        session: A `boto3.Session` or `botocore.session.Session`; by default one of this profile.
        profile: The AWS profile.
        region: The API's Region; by default the session's.
    """

    requires_request_body = True

    def __init__(self, session: Any = None, *, profile: str | None = None, region: str | None = None) -> None:  # noqa: ANN401
        boto3 = need_boto3()
        self._session = session or boto3.Session(profile_name=profile, region_name=region)
        self._region = region or str(getattr(self._session, "region_name", None) or "")
        if not self._region:
            raise SetupError("signing needs the API's Region: name it, or set AWS_REGION")

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:  # noqa: D102
        from botocore.auth import SigV4Auth  # noqa: PLC0415 - only with the extra
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        credentials = self._session.get_credentials()  # refreshed by botocore
        if credentials is None:
            raise SetupError("there are no AWS credentials: set a profile, or sign in")
        signed = AWSRequest(request.method, str(request.url), data=request.content or None)
        SigV4Auth(credentials.get_frozen_credentials(), "execute-api", self._region).add_auth(signed)
        for name in ("Authorization", "X-Amz-Date", "X-Amz-Security-Token"):
            if name in signed.headers:
                request.headers[name] = signed.headers[name]
        yield request


def need_boto3() -> Any:  # noqa: ANN401 - without the extra, there are no types of it
    """The module boto3.

    Raises:
        SetupError: It isn't installed.
    """
    try:
        import boto3  # noqa: PLC0415 - only with the extra
    except ImportError:
        raise SetupError(
            'this needs boto3: pip install "switchyard-client[aws]", or pipx inject switchyard-client boto3'
        ) from None
    return boto3
