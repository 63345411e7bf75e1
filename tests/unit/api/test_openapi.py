"""openapi.json is valid, its examples match its schemas, and it has the functions' routes."""

import importlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from jsonschema_rs import Draft4Validator

from switchyard import observability
from switchyard.api import http
from switchyard.api.uploads import EXTENSIONS, MAX_PARTS, MIN_PART
from switchyard.protocol.jobs import Status
from tests.cases import cases

ROOT: Final = Path(__file__).parents[3]
DOCUMENT: Final = http.document()
SCHEMAS: Final[dict[str, Any]] = DOCUMENT["components"]["schemas"]
METHODS: Final = ("get", "post", "delete")
OPERATIONS: Final = {
    f"{method.upper()} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method in METHODS
}
every_operation = cases("route", OPERATIONS)
every_schema = cases("name", SCHEMAS)


def found(node: object, path: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields every object of the document with its place."""
    if isinstance(node, dict):
        yield path, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield from found(child, f"{path}/{str(name).replace('/', '~1')}")


def resolved(reference: str) -> Any:  # noqa: ANN401 - any part of the document
    node: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part.replace("~1", "/")]
    return node


def responses(route: str) -> dict[str, dict[str, Any]]:
    return {
        status: resolved(response["$ref"]) if "$ref" in response else response
        for status, response in OPERATIONS[route]["responses"].items()
    }


def problems(schema: dict[str, Any], value: object) -> list[str]:
    """Returns the errors that another validator of JSON Schema finds."""
    root = schema | {"components": DOCUMENT["components"]}
    return [error.message for error in Draft4Validator(root).iter_errors(value)]


# ---- the document ---------------------------------------------------------------------------------------------------


def test_the_document_is_valid() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()


def test_the_document_is_written_as_it_is_read() -> None:
    path = ROOT / "layers" / "switchyard" / "switchyard" / "api" / "openapi.json"
    assert path.read_text() == json.dumps(DOCUMENT, indent=2, ensure_ascii=False) + "\n"


def test_every_reference_leads_somewhere() -> None:
    for _, node in found(DOCUMENT):
        if "$ref" in node:
            assert resolved(node["$ref"])


def test_every_component_is_used() -> None:
    used = {node["$ref"] for _, node in found(DOCUMENT) if "$ref" in node}
    components = DOCUMENT["components"]
    held = {f"#/components/{kind}/{name}" for kind in components for name in components[kind]}
    assert {each for each in held - used if "/securitySchemes/" not in each} == set()


def test_no_two_operations_have_the_same_id() -> None:
    assert max(Counter(operation["operationId"] for operation in OPERATIONS.values()).values()) == 1


def test_every_parameter_of_a_path_is_described() -> None:
    for path, item in DOCUMENT["paths"].items():
        described = {resolved(each["$ref"])["name"] for each in item.get("parameters", ())}
        assert described == set(re.findall(r"\{(\w+)\}", path))


def test_every_example_is_as_its_schema_says() -> None:
    for path, node in found(DOCUMENT["paths"]):
        if "schema" in node and "example" in node:
            assert problems(node["schema"], node["example"]) == [], path


@every_schema
def test_the_example_of_a_schema_is_as_it_says(name: str) -> None:
    for path, node in found(SCHEMAS[name]):
        if "example" in node and "type" in node:
            assert problems(node, node["example"]) == [], path


def test_preflight_requests_are_not_operations() -> None:
    assert {method for item in DOCUMENT["paths"].values() for method in item} <= {*METHODS, "parameters"}


# ---- what every operation has ---------------------------------------------------------------------------------------


@every_operation
def test_every_operation_may_fail_here_or_at_the_gateway(route: str) -> None:
    assert {"429", "500", "502", "503", "504"} <= set(responses(route))


@every_operation
def test_every_operation_but_the_document_needs_credentials(route: str) -> None:
    is_open = route == "GET /openapi.json"
    assert ("security" in OPERATIONS[route]) is is_open
    assert ({"401", "403"} <= set(responses(route))) is not is_open


@every_operation
def test_every_error_has_a_body(route: str) -> None:
    for status, response in responses(route).items():
        schema = response.get("content", {}).get("application/json", {}).get("schema")
        if int(status) < 400:
            continue
        assert schema in (
            {"$ref": "#/components/schemas/Error"},
            {"$ref": "#/components/schemas/GatewayError"},
            {"anyOf": [{"$ref": "#/components/schemas/Error"}, {"$ref": "#/components/schemas/GatewayError"}]},
        )


@every_operation
def test_what_takes_a_body_says_how_it_is_refused(route: str) -> None:
    takes_body = "requestBody" in OPERATIONS[route]
    assert (takes_body, {"400", "413", "415"} <= set(responses(route))) in ((True, True), (False, False))


@every_operation
def test_an_answer_that_may_be_304_has_an_etag(route: str) -> None:
    answers = responses(route)
    assert ("304" in answers) is ("ETag" in answers.get("200", {}).get("headers", {}))


@every_operation
def test_an_answer_without_a_body_is_described_without_one(route: str) -> None:
    answers = responses(route)
    assert {status for status, answer in answers.items() if "content" not in answer} == {"204", "304"} & set(answers)


def test_patience_is_asked_for_with_a_time() -> None:
    assert "Retry-After" in DOCUMENT["components"]["responses"]["Unavailable"]["headers"]


# ---- what the code has ----------------------------------------------------------------------------------------------


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Returns every variable without a default that a function of the API reads."""
    for name in (
        "JOBS_TABLE",
        "LANES_TABLE",
        "LIBRARY_TABLE",
        "WEBHOOKS_TABLE",
        "S3_BUCKET",
        "QUEUE_URL",
        "DEAD_LETTER_QUEUE_URL",
        "ECS_DEAD_LETTER_QUEUE_URL",
        "TRACK_QUEUE_URL",
        "VIDEO_QUEUE_URL",
        "ECS_QUEUE_URL",
        "BATCH_JOB_QUEUE",
        "BATCH_JOB_DEFINITION",
        "SUBMIT_FUNCTION",
    ):
        monkeypatch.setenv(name, name.lower())
    # Powertools warns where one process, as never in Lambda, names two environments.
    monkeypatch.setattr(observability, "configure", lambda _: None)


def test_the_routes_are_those_that_the_functions_answer(configured: None) -> None:
    answered = []
    for path in sorted(ROOT.glob("functions/*/app.py")):
        app = importlib.import_module(f"functions.{path.parent.name}.app")
        if hasattr(app, "api"):
            app.api.cache_clear()
            answered += app.api().routes
            app.api.cache_clear()
    assert sorted(answered) == sorted([*OPERATIONS, *http.CONSOLE])


def bodies() -> dict[str, str]:
    """Returns the name of each operation's body schema."""
    return {
        route: operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for route, operation in OPERATIONS.items()
        if "requestBody" in operation
    }


def test_the_code_reads_the_schemas_of_the_bodies() -> None:
    package = ROOT / "layers" / "switchyard" / "switchyard"
    read = {name for path in package.rglob("*.py") for name in re.findall(r'\.json\("(\w+)"', path.read_text())}
    assert read == set(bodies().values())


@cases("name", sorted(bodies().values()))
def test_the_code_can_read_every_schema_of_a_body(name: str) -> None:
    assert callable(http._validator(name))


@cases("name", sorted(bodies().values()))
def test_a_body_has_no_field_that_is_not_known(name: str) -> None:
    assert SCHEMAS[name]["additionalProperties"] is False


@every_schema
def test_both_readers_of_a_schema_agree_on_its_example(name: str) -> None:
    if SCHEMAS[name]["type"] == "object" and "example" in SCHEMAS[name]:
        http._validator(name)(dict(SCHEMAS[name]["example"]))
        assert problems(SCHEMAS[name], SCHEMAS[name]["example"]) == []


def test_the_types_that_may_be_uploaded_are_those_of_the_code() -> None:
    assert SCHEMAS["ContentType"]["enum"] == list(EXTENSIONS)


def test_the_sizes_of_parts_are_those_of_the_code() -> None:
    created = SCHEMAS["MultipartUpload"]["properties"]
    assert (created["partSize"]["minimum"], created["partCount"]["maximum"]) == (MIN_PART, MAX_PARTS)


def test_the_statuses_are_those_of_the_code() -> None:
    assert SCHEMAS["Job"]["properties"]["status"]["enum"] == list(Status)


# ---- docs/api.md ----------------------------------------------------------------------------------------------------

PAGE: Final = (ROOT / "docs" / "api.md").read_text()
CODES: Final = re.findall(r"^\| (\d{3}) \| `([A-Z_]+)` \|", PAGE, re.MULTILINE)
ALL_CODES: Final = re.compile(r"`([A-Z]+_[A-Z_]+|INTERNAL|UNAVAILABLE|FORBIDDEN|UNAUTHORIZED)`")


@every_operation
def test_the_page_shows_every_route_with_curl(route: str) -> None:
    path = route.partition(" ")[2].replace("{jobId}", "6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506")
    path = (
        path.replace("{lane}", "video")
        .replace("{userId}", "user-42")
        .replace("{webhookId}", "$HOOK")
        .replace("{deliveryId}", "$DELIVERY")
    )
    assert re.search(rf'(?:ask|curl) [^\n]*"\$API{re.escape(path)}"', PAGE)


def test_the_page_explains_every_error_of_the_document() -> None:
    documented = set(ALL_CODES.findall(json.dumps(OPERATIONS) + json.dumps(DOCUMENT["components"]["responses"])))
    # Our functions' own answer to a method that no route has, which API Gateway never lets through to them.
    assert {code for _, code in CODES} == documented | {"METHOD_NOT_ALLOWED"}


def test_the_page_gives_every_error_a_status_that_the_document_has() -> None:
    described = {
        (status, code)
        for route in OPERATIONS
        for status, response in responses(route).items()
        for code in ALL_CODES.findall(response["description"])
    }
    assert described <= set(CODES)


def test_every_error_that_the_code_gives_is_explained() -> None:
    files = [*ROOT.glob("layers/switchyard/switchyard/**/*.py"), *ROOT.glob("functions/*/app.py")]
    given = {pair for path in files for pair in re.findall(r'\((\d{3}), "([A-Z_]+)"', path.read_text())}
    assert given
    assert given <= set(CODES)


def test_open_routes_are_those_that_the_document_opens() -> None:
    assert {
        f"{method.upper()} {path}"
        for path, operations in http.document()["paths"].items()
        for method, operation in operations.items()
        if method != "parameters" and operation.get("security") == []
    } == http.OPEN - http.CONSOLE
