"""What became of runs under one kind of fault: counted by the tests, printed as one table at the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

from tests.faults.read_back import Difference


@dataclass
class Tally:
    """One row of the table.

    :param fault: what went wrong
    :param where: the request, task or source that it happened to
    :param injected: how many times
    :param archived: how many runs ended archived all the same
    :param passed_on_retry: how many failed, with a message that says why, and were archived by a later try
    :param lines_lost: that the archive doesn't have in the end
    :param objects_twice: whose content another object has, too
    :param partial_objects: that don't decompress, or that no manifest lists as they are
    """

    fault: str
    where: str
    injected: int = 0
    archived: int = 0
    passed_on_retry: int = 0
    lines_lost: int = 0
    objects_twice: int = 0
    partial_objects: int = 0

    def add(self, difference: Difference) -> None:
        """Count what the archive has in the end.

        :param difference: to what was written
        """
        self.lines_lost += difference.lines_lost
        self.objects_twice += difference.objects_twice
        self.partial_objects += difference.partial_objects


def table(tallies: Iterable[Tally]) -> str:
    """Return rows as a table, in their order, those of the same fault and place added up, and a row of sums.

    :param tallies: the rows
    """
    rows: dict[tuple[str, str], list[int]] = {}
    for one in tallies:
        fault, where, *counts = astuple(one)
        before = rows.setdefault((fault, where), [0] * len(counts))
        rows[fault, where] = [old + new for old, new in zip(before, counts, strict=True)]
    rows["in all", ""] = [sum(column) for column in zip(*rows.values(), strict=True)]
    head = [field.name.replace("_", " ") for field in fields(Tally)]
    cells = [head, *([fault, where, *map(str, counts)] for (fault, where), counts in rows.items())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if number < 2 else cell.rjust(width) for number, (cell, width) in enumerate(row))
        for row in ([*zip(cells_of_row, widths, strict=True)] for cells_of_row in cells)
    )
