"""Writes the client's types of the API's responses, from openapi.json: `python -m tools.shapes`.

Each object of the document's components that isn't a request becomes a `TypedDict`. A test compares the file with what
this would write.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from switchyard.api import http

ROOT: Final = Path(__file__).resolve().parents[1]
FILE: Final = ROOT / "client" / "switchyard_client" / "shapes.py"

_HEAD: Final = '''"""The API's responses. Written by tools/shapes.py from openapi.json: don't edit."""

from typing import Any, Literal, NotRequired, TypedDict
'''
_RAISED: Final = frozenset({"Error", "GatewayError"})
"""These become exceptions."""
_PLAIN: Final = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}


def written(document: Mapping[str, Any]) -> str:
    """The text of the client's module for this document."""
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    answers = [
        name
        for name, schema in schemas.items()
        if schema.get("type") == "object" and not name.endswith("Request") and name not in _RAISED
    ]
    classes = [text for name in answers for text in _classes(name, _inlined(schemas[name], schemas))]
    return "\n\n".join([_HEAD, *classes])


def _inlined(node: Any, schemas: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """A schema with what it refers to in place, unless that is an object, which has a class of its own."""
    match node:
        case {"$ref": str(reference)} if (found := schemas[reference.rpartition("/")[2]]).get("type") != "object":
            return _inlined(found, schemas)
        case dict():
            return {name: _inlined(each, schemas) for name, each in node.items()}
        case list():
            return [_inlined(each, schemas) for each in node]
    return node


def _classes(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """A class for a schema, after those for the objects in it."""
    required = set(schema.get("required", ()))
    lines = []
    for field, each in schema.get("properties", {}).items():
        inner: list[str] = []
        annotation = _annotation(each, name + field[0].upper() + field[1:], inner)
        yield from inner
        lines.append(f"    {field}: {annotation if field in required else f'NotRequired[{annotation}]'}\n")
    yield f"class {name}(TypedDict):\n{''.join(lines)}"


def _annotation(schema: Mapping[str, Any], name: str, inner: list[str]) -> str:
    match schema:
        case {"$ref": str(reference)}:
            found = f'"{reference.rpartition("/")[2]}"'
        case {"allOf": [only]}:
            found = _annotation(only, name, inner)
        case {"oneOf": [*ways]} | {"anyOf": [*ways]}:
            found = " | ".join(_annotation(way, name, inner).strip('"') for way in ways)
            found = f'"{found}"'
        case {"enum": [*values]}:
            found = "None" if values == [None] else f"Literal[{', '.join(map(_literal, values))}]"
        case {"type": "array"}:
            found = f"list[{_annotation(schema.get('items', {}), name, inner)}]"
        case {"type": "object", "properties": {}}:
            inner.extend(_classes(name, schema))
            found = f'"{name}"'
        case {"type": "object", "additionalProperties": dict(values)}:
            found = f"dict[str, {_annotation(values, name, inner)}]"
        case {"type": "object"}:
            found = "dict[str, Any]"
        case {"type": str(kind)}:
            found = _PLAIN[kind]
        case _:
            return "Any"
    return f"{found} | None" if schema.get("nullable") and '"' not in found else found


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    FILE.write_text(written(http.document()))
