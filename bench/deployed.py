"""What template.yaml gives each function."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from samtranslator.yaml_helper import yaml_parse

from bench.environment import ROOT


@dataclass(frozen=True)
class Deployed:
    """A function's memory in MB and timeout in seconds."""

    memory: int
    timeout: int

    @classmethod
    def of(cls, function: str) -> Self:
        """That of a function, by the name of its folder; what it doesn't say itself, the template's Globals do."""
        (own,) = (
            resource["Properties"]
            for resource in template()["Resources"].values()
            if resource.get("Properties", {}).get("CodeUri") == f"functions/{function}"
        )
        said = template()["Globals"]["Function"] | own
        return cls(said["MemorySize"], said["Timeout"])


@cache
def template(path: str = "template.yaml") -> dict[str, Any]:
    """A template as it is written."""
    read: dict[str, Any] = yaml_parse((ROOT / path).read_text())
    return read
