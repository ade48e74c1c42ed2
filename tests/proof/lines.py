"""One line per promise: what was run, how much of it, what it broke."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Line:
    """A line of the table. It passes when nothing was broken and enough was run."""

    promise: str
    what: str
    count: int
    wanted: int
    unit: str
    violations: list[str] = field(default_factory=list)
    notes: str = ""

    @property
    def passed(self) -> bool:
        return not self.violations and self.count >= self.wanted

    @property
    def verdict(self) -> str:
        if self.violations:
            return "BROKEN"
        return "holds" if self.count >= self.wanted else f"too few: {self.wanted:,} were wanted"

    def cells(self, *, notes: bool = True) -> list[str]:
        what = f"{self.what} ({self.notes})" if self.notes and notes else self.what
        return [self.promise, what, f"{self.count:,} {self.unit}", str(len(self.violations)), self.verdict]

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "verdict": self.verdict, "passed": self.passed}


@dataclass
class Part:
    """Something that runs on its own and gives lines. ``scale`` multiplies its counts."""

    name: str
    run: Callable[[float, int], Iterable[Line]]


HEADINGS = ["promise", "what was run", "count", "violations", "verdict"]


def markdown(lines: list[Line]) -> str:
    rows = [HEADINGS, ["---"] * len(HEADINGS), *(line.cells() for line in lines)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def plain(lines: list[Line]) -> str:
    """For a terminal: what a line has to say besides stands below it."""
    rows = [(HEADINGS, ""), *((line.cells(notes=False), line.notes) for line in lines)]
    widths = [max(len(row[column]) for row, _ in rows) for column in range(len(HEADINGS))]
    text = []
    for row, notes in rows:
        text.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if notes:
            text.append(f"{'':{widths[0]}}    {notes}")
    return "\n".join(text)


def promises(text: str, lines: list[Line]) -> str:
    """``docs/promises.md`` with the figures of these lines, between the markers of their promises.

    A line takes the place of the one that says the same was run, so that a part may be run by itself.
    """
    for promise in dict.fromkeys(line.promise for line in lines):
        pattern = re.compile(rf"(<!-- begin: {promise} -->\n).*?(<!-- end: {promise} -->)", re.DOTALL)
        found = pattern.search(text)
        if found is None:
            continue
        rows = {_what(row): row for row in found[0].split("\n") if row.startswith("|")}
        rows = dict.fromkeys(["last run", "---"]) | rows | {line.what: _row(line) for line in lines if line.promise == promise}
        rows |= {"last run": "| last run | count | violations |", "---": "| --- | --- | --- |"}
        table = "\n".join(filter(None, rows.values()))
        text = pattern.sub(lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text)  # type: ignore[misc]
    return text


def _what(row: str) -> str:
    return row.split("|")[1].partition(" (")[0].strip()


def _row(line: Line) -> str:
    cells = line.cells()
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells[1:4]) + " |"
