"""GET /console and GET /console/{file+}: serves the console, a page that speaks this API."""

from functools import cache
from pathlib import Path
from typing import Any

from switchyard import clients, cold_start, observability
from switchyard.api import console
from switchyard.api.console import Console
from switchyard.api.http import Api
from switchyard.api.signing import origin
from switchyard.observability import handler
from switchyard.settings import ServeConsoleSettings

_FILES = Path(__file__).with_name("console")


@cache
def api() -> Api:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = ServeConsoleSettings.from_env()
    observability.configure(settings.environment)
    if not settings.console:
        return Api({"GET /console": console.absent, "GET /console/{file+}": console.absent}, auth=settings.api_auth)
    told = {
        "auth": settings.api_auth,
        "signInUrl": settings.console_sign_in_url,
        "clientId": settings.console_client_id,
    }
    more = [settings.console_sign_in_url] if settings.console_sign_in_url else []
    served = Console(_FILES, told, origin(clients.s3(), settings.s3_bucket), more)
    routes = {"GET /console": served.enter, "GET /console/{file+}": served.file}
    return Api(routes, auth=settings.api_auth)


@handler
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answers one request of API Gateway's REST proxy integration."""
    return api().handle(event, context)


cold_start.prepare(api)
