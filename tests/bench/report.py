"""The results of a section of the benchmark: a table for people, and JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Target:
    """A ratio that a run has to reach.

    :param what: in words
    :param value: the measured one; None when one side of it is missing
    :param bound: to reach
    :param at_most: whether the bound is an upper one
    """

    what: str
    value: float | None
    bound: float
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether it was reached; None when it could not be measured."""
        if self.value is None:
            return None
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        word = {True: "met    ", False: "NOT MET", None: "unknown"}[self.met]
        relation = "at most" if self.at_most else "at least"
        value = "not measured" if self.value is None else f"{self.value:.3g}"
        return f"{word}  {self.what}: {value} ({relation} {self.bound:g})"


@dataclass
class Section:
    """One table of the report, its targets, and its notes."""

    name: str
    title: str
    columns: Sequence[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return its part of bench.json."""
        targets = [
            {"what": t.what, "value": t.value, "bound": t.bound, "at_most": t.at_most, "met": t.met}
            for t in self.targets
        ]
        return {"title": self.title, "rows": self.rows, "targets": targets, "notes": self.notes}

    def __str__(self) -> str:
        lines = ["", f"## {self.name}: {self.title}", *table(self.columns, self.rows)]
        lines += [f"  {target}" for target in self.targets]
        return "\n".join([*lines, *(f"  Note: {note}" for note in self.notes)])


def table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of a table, aligned: the first column to the left, the others to the right."""
    cells = [list(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    lines = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in cells
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """Return the quotient; None when one of the two was not measured."""
    return numerator / denominator if numerator is not None and denominator else None
