"""Builds tables of figures, and compares figures with budgets and targets."""

from typing import Any

from rich.table import Table


def table(title: str, *columns: str, caption: str = "") -> Table:
    """Returns an empty table: the first column names the subject, the others hold figures."""
    made = Table(title=title, caption=caption or None, title_justify="left", caption_justify="left")
    for number, column in enumerate(columns):
        layout: dict[str, Any] = {"min_width": 5} if number == 0 else {"justify": "right", "no_wrap": True}
        made.add_column(column, **layout)
    return made


def verdict(value: float, budget: float, unit: str = "") -> str:
    """Formats the budget, and whether a figure keeps it."""
    return f"[green]kept: ≤ {budget:g}{unit}[/]" if value <= budget else f"[red]OVER: ≤ {budget:g}{unit}[/]"


def at_least(value: float, target: float, unit: str = "") -> str:
    """Formats the target, and whether a figure reaches it."""
    return f"[green]reached: ≥ {target:g}{unit}[/]" if value >= target else f"[red]MISSED: ≥ {target:g}{unit}[/]"
