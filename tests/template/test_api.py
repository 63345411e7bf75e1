"""The deployed API matches its document, and each route invokes the right function."""

import json
import re
from typing import Any, Final

from switchyard.api.http import CONSOLE
from tests.cases import cases
from tests.template.rendering import ROOT, TEMPLATE, load

DOCUMENT: Final = json.loads((ROOT / "layers" / "switchyard" / "switchyard" / "api" / "openapi.json").read_text())
DEFINITION: Final[dict[str, Any]] = load(TEMPLATE).of_type("AWS::ApiGateway::RestApi")["Api"]["Body"]
METHODS: Final = {"get", "put", "post", "delete", "patch", "head"}


def _routes(paths: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in paths.items()
        for method, operation in methods.items()
        if method in METHODS
    }


DEPLOYED: Final = _routes(DEFINITION["paths"])
DOCUMENTED: Final = _routes(DOCUMENT["paths"])


def test_every_route_is_documented_and_every_documented_route_is_there() -> None:
    assert set(DEPLOYED) == set(DOCUMENTED) | CONSOLE


def test_the_console_needs_no_credentials_since_it_holds_no_data() -> None:
    assert not any("security" in DEPLOYED[route] for route in CONSOLE)


def test_the_document_asks_for_credentials_where_the_gateway_does() -> None:
    asks = {route for route, operation in DOCUMENTED.items() if operation.get("security", DOCUMENT.get("security"))}
    assert asks == {route for route, operation in DEPLOYED.items() if "security" in operation}


@cases("route", DEPLOYED)
def test_the_function_answers_the_route(route: str) -> None:
    uri = DEPLOYED[route]["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
    match = re.search(r"\$\{(\w+)\.Arn\}", uri)
    assert match
    folder = load(TEMPLATE).written["Resources"][match[1]]["Properties"]["CodeUri"]
    assert f'"{route}": ' in (ROOT / folder / "app.py").read_text()


@cases("route", DEPLOYED)
def test_what_the_gateway_refuses_is_documented(route: str) -> None:
    if "security" in DEPLOYED[route]:
        assert {"401", "403", "429"} <= set(DOCUMENTED[route]["responses"])
