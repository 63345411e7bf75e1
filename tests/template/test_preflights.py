"""The gateway answers a preflight like the functions do, which answer it where an emulator can't."""

import json
import re
from typing import Any, Final

import pytest

from switchyard.api.http import Api
from tests.cases import cases
from tests.template.rendering import TEMPLATE, resolved

ORIGIN: Final = "https://app.example.com"


def _paths(**parameters: str) -> dict[str, Any]:
    """Returns the API's paths. The console's have no preflights: only its own page reads it."""
    paths = resolved(TEMPLATE, **parameters)["Api"]["Properties"]["Body"]["paths"]
    return {path: methods for path, methods in paths.items() if not path.startswith("/console")}


PATHS: Final[dict[str, Any]] = _paths()


def _integration() -> dict[str, Any]:
    [integration] = {json.dumps(path["options"]["x-amazon-apigateway-integration"]) for path in PATHS.values()}
    found: dict[str, Any] = json.loads(integration)
    return found


def _gateway(origins: str, headers: dict[str, str]) -> dict[str, str]:
    """Returns the headers of the gateway's answer to a preflight, by the template of its integration."""
    response = _integration()["responses"]["default"]
    text, values = response["responseTemplates"]["application/json"]["Fn::Sub"]
    assert values == {"Origins": {"Fn::Join": ['","', {"Fn::Split": [",", {"Ref": "CorsOrigins"}]}]}}
    return _Velocity(headers).run(text.replace("${Origins}", '","'.join(origins.split(","))))


class _Velocity:
    """Evaluates the few parts of the Velocity language that the template uses, and refuses all others."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers
        self._variables: dict[str, Any] = {}
        self._answered: dict[str, str] = {}

    def run(self, text: str) -> dict[str, str]:
        taken: list[tuple[bool, bool]] = []  # for each open #if: whether its branch runs, and whether one has run
        for line in text.splitlines():
            if match := re.fullmatch(r"#if\((.+)\)", line):
                holds = all(running for running, _ in taken) and self._holds(match[1])
                taken.append((holds, holds))
            elif match := re.fullmatch(r"#elseif\((.+)\)", line):
                _, done = taken.pop()
                holds = not done and all(running for running, _ in taken) and self._holds(match[1])
                taken.append((holds, done or holds))
            elif line == "#end":
                taken.pop()
            elif match := re.fullmatch(r"#set\(\$([\w.-]+) = (.+)\)", line):
                if all(running for running, _ in taken):
                    self._set(match[1], self._value(match[2]))
            else:
                raise ValueError(f"would be the answer's body: {line}")
        assert not taken
        return self._answered

    def _set(self, name: str, value: Any) -> None:  # noqa: ANN401 - a value of the template
        prefix, _, header = name.rpartition(".")
        if prefix == "context.responseOverride.header":
            self._answered[header] = value
        else:
            self._variables[name] = value

    def _value(self, text: str) -> Any:  # noqa: ANN401 - a value of the template
        if text[0] in '["':
            return json.loads(text)
        if match := re.fullmatch(r'\$input\.params\("(\w+)"\)', text):
            return self._headers.get(match[1], "")
        return self._variables[text.removeprefix("$")]

    def _holds(self, text: str) -> bool:
        if match := re.fullmatch(r"(!?)\$(\w+)\.contains\((.+)\)", text):
            return (self._value(match[3]) in self._variables[match[2]]) is not bool(match[1])
        if match := re.fullmatch(r"(\S+) (==|!=) (\S+)", text):
            return (self._value(match[1]) == self._value(match[3])) is (match[2] == "==")
        raise ValueError(f"not a condition: {text}")


@cases("origins", ["*", ORIGIN, f"https://other.example.com,{ORIGIN}", f"*,{ORIGIN}", ""])
@cases(
    "headers",
    [{}, *({name: value} for name in ("Origin", "origin") for value in (ORIGIN, ORIGIN + ".evil.example", "null", ""))],
)
def test_the_gateway_answers_a_preflight_like_a_function(origins: str, headers: dict[str, str]) -> None:
    api = Api({}, frozenset(filter(None, origins.split(","))))
    event = {"httpMethod": "OPTIONS", "resource": "/jobs", "headers": headers}
    answer = api.handle(event, None)
    answer["headers"].pop("Allow")  # differs between paths, and no page can read it
    assert (answer["statusCode"], answer["body"]) == (204, "")
    assert _gateway(origins, headers) == answer["headers"]


def test_the_gateway_s_answer_has_the_status_of_a_function_s() -> None:
    integration = _integration()
    assert integration["type"] == "mock"
    assert json.loads(integration["requestTemplates"]["application/json"]) == {"statusCode": 204}
    assert integration["responses"]["default"]["statusCode"] == "204"
    assert all(path["options"]["responses"].keys() == {"204"} for path in PATHS.values())


def test_the_emulator_s_preflights_are_a_function_s() -> None:
    for path in _paths(Local="true").values():
        assert path["options"]["x-amazon-apigateway-integration"]["type"] == "aws_proxy"


def test_what_the_evaluator_does_not_know_it_refuses() -> None:
    for text in ("{}", "#foreach($a in $b)", '#if($a)\n#set($b = "")\n#end'):
        with pytest.raises((ValueError, KeyError)):
            _Velocity({}).run(text)
