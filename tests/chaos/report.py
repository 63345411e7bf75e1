"""Formats a run's figures as plain text and as JSON. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """A run's results by section.

    Attributes:
        title: The run's title.
        sections: Headings, each with rows of a name and a value.
        violations: Broken promises; the run failed if there is any.
    """

    title: str
    sections: dict[str, Sequence[tuple[str, Any]]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def add(self, heading: str, rows: Iterable[tuple[str, Any]] | Mapping[str, Any]) -> None:
        """Adds a section; without rows it says "none"."""
        self.sections[heading] = list(rows.items() if isinstance(rows, Mapping) else rows)

    def text(self) -> str:
        """Returns the report as text, also for docs/reliability.md."""
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
