"""Puts figures into plain text, and into JSON: pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """What a run has shown, section by section.

    Attributes:
        title: What it was.
        sections: Each a heading and rows of a name and a value.
        violations: What may not be; the run has failed if there is any.
    """

    title: str
    sections: dict[str, Sequence[tuple[str, Any]]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def add(self, heading: str, rows: Iterable[tuple[str, Any]] | Mapping[str, Any]) -> None:
        """Add a section; one without rows says so."""
        self.sections[heading] = list(rows.items() if isinstance(rows, Mapping) else rows)

    def text(self) -> str:
        """For people, and for docs/reliability.md."""
        lines = [self.title]
        for heading, rows in self.sections.items():
            lines += ["", f"{heading}:"]
            width = max((len(name) for name, _ in rows), default=0)
            lines += [f"  {name:<{width}}  {value}" for name, value in rows] or ["  none"]
        lines += ["", f"violations: {len(self.violations) or 'none'}", *(f"  {each}" for each in self.violations)]
        return "\n".join(lines)

    def json(self) -> str:
        """For programs."""
        whole = {"title": self.title, "sections": {name: dict(rows) for name, rows in self.sections.items()}}
        return json.dumps({**whole, "violations": self.violations}, indent=2, default=str)
