"""Reads each function's memory and timeout from template.yaml."""

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
        """Returns those of the function in folder `function`, with the template's Globals as defaults."""
        (own,) = (
            resource["Properties"]
            for resource in template()["Resources"].values()
            if resource.get("Properties", {}).get("CodeUri") == f"functions/{function}"
        )
        said = template()["Globals"]["Function"] | own
        return cls(said["MemorySize"], said["Timeout"])


@cache
def template(path: str = "template.yaml") -> dict[str, Any]:
    """Returns a parsed template."""
    read: dict[str, Any] = yaml_parse((ROOT / path).read_text())
    return read
