"""Parses templates and renders them with SAM's own translator, as CloudFormation gets them."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from samtranslator.translator.managed_policy_translator import ManagedPolicyLoader
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import intrinsics_multi_constructor

ROOT: Final = Path(__file__).parents[2]
TEMPLATE: Final = ROOT / "template.yaml"
COMPUTE: Final = ROOT / "stacks" / "compute.yaml"
WATCH: Final = ROOT / "stacks" / "watch.yaml"


@dataclass(frozen=True)
class Template:
    """A template as text, parsed and rendered. Without SAM resources the last two are equal."""

    source: str
    written: dict[str, Any]
    rendered: dict[str, Any]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Returns the properties of every rendered resource of a type, by logical id."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.rendered["Resources"].items()
            if resource["Type"] == kind
        }

    def statements(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields every IAM statement of every policy with the logical id of its resource."""
        for name, resource in self.rendered["Resources"].items():
            for document in _documents(resource.get("Properties", {})):
                for statement in document["Statement"]:
                    yield name, statement.get("Fn::If", [None, statement])[1]


def _documents(node: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - a template holds anything
    if isinstance(node, dict):
        if "Statement" in node:
            yield node
        for child in node.values():
            yield from _documents(child)
    elif isinstance(node, list):
        for child in node:
            yield from _documents(child)


class _NoManagedPolicies(ManagedPolicyLoader):  # type: ignore[misc] # ships no types
    """Replaces the IAM call by which SAM looks up managed policies' names; our roles use none."""

    def __init__(self) -> None:
        super().__init__(None)

    def load(self) -> dict[str, str]:
        return {}


class _Loader(yaml.CSafeLoader):
    """Reads intrinsics like SAM's own loader, in a seventh of the time."""


_Loader.add_multi_constructor("!", intrinsics_multi_constructor)


@cache
def load(path: Path) -> Template:
    """Reads and renders a template. Callers must not change the result: it is shared."""
    source = path.read_text()
    written = yaml.load(source, _Loader)  # noqa: S506 - a safe one
    return Template(source, written, _render(written))


@cache
def load_watched() -> Template:
    """Returns template.yaml with the resources of its nested stack Watch, the stack's parameters filled in."""
    parent, watch = load(TEMPLATE), load(WATCH)
    given = parent.rendered["Resources"]["Watch"]["Properties"]["Parameters"]
    resources = parent.rendered["Resources"] | _filled_in(watch.rendered["Resources"], given)
    return Template(parent.source + watch.source, parent.written, {**parent.rendered, "Resources": resources})


def _filled_in(node: Any, given: dict[str, Any]) -> Any:  # noqa: ANN401 - a template holds anything
    match node:
        case {"Ref": str(name)} if name in given:
            return given[name]
        case dict():
            return {key: _filled_in(child, given) for key, child in node.items()}
        case list():
            return [_filled_in(child, given) for child in node]
    return node


def _render(written: dict[str, Any]) -> dict[str, Any]:
    if "Transform" not in written:
        return written
    rendered: dict[str, Any] = transform(_uploaded(written), {}, _NoManagedPolicies())
    return rendered


def _uploaded(written: dict[str, Any]) -> dict[str, Any]:
    """Replaces local folders, which the translator refuses, by S3 addresses as `sam package` does."""
    uploaded = copy.deepcopy(written)
    for resource in uploaded["Resources"].values():
        for key in ("CodeUri", "ContentUri"):
            if key in resource.get("Properties", {}):
                resource["Properties"][key] = "s3://bucket/key"
    return uploaded


# ---- as CloudFormation resolves it for given parameters --------------------------------------------------------------

_FUNCTIONS: Final[dict[str, Callable[[list[Any]], bool]]] = {
    "Fn::Equals": lambda values: str(values[0]) == str(values[1]),
    "Fn::Not": lambda values: not values[0],
    "Fn::And": all,
    "Fn::Or": any,
}
_NOTHING: Final = object()
"""The value of a property that resolves to AWS::NoValue."""


def resolved(path: Path, **given: str) -> dict[str, Any]:
    """Returns a template's resources for these parameters, the others at their defaults, without any `Fn::If`.

    Resources of conditions that don't hold are left out. References stay as they are.
    """
    template = load(path).rendered
    parameters = {name: str(each.get("Default", "")) for name, each in template["Parameters"].items()}
    if unknown := given.keys() - parameters.keys():
        raise ValueError(f"no such parameters: {unknown}")
    conditions = _Conditions(template.get("Conditions", {}), parameters | given)
    return {
        name: conditions.resolve({key: value for key, value in resource.items() if key != "Metadata"})
        for name, resource in template["Resources"].items()
        if "Condition" not in resource or conditions.hold(resource["Condition"])
    }


@dataclass(frozen=True)
class _Conditions:
    written: dict[str, Any]
    parameters: dict[str, str]

    def hold(self, name: str) -> bool:
        return bool(self._value(self.written[name]))

    def _value(self, node: Any) -> Any:  # noqa: ANN401 - a template holds anything
        match node:
            case {"Condition": str(name)}:
                return self.hold(name)
            case {"Ref": str(name)}:
                return self.parameters[name]
            case {"Fn::Select": [0, listed]}:
                found = self._value(listed)
                return found[0] if isinstance(found, list) else found.split(",")[0]
            case {"Fn::Split": [str(separator), text]}:
                return self._value(text).split(separator)
            case dict():
                [(function, arguments)] = node.items()
                return _FUNCTIONS[function]([self._value(argument) for argument in arguments])
        return node

    def resolve(self, node: Any) -> Any:  # noqa: ANN401 - a template holds anything
        match node:
            case {"Fn::If": [str(name), yes, no]}:
                return self.resolve(yes if self.hold(name) else no)
            case {"Ref": "AWS::NoValue"}:
                return _NOTHING
            case dict():
                found = ((key, self.resolve(child)) for key, child in node.items())
                return {key: child for key, child in found if child is not _NOTHING}
            case list():
                return [child for child in map(self.resolve, node) if child is not _NOTHING]
        return node
