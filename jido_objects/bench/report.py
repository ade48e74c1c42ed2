"""Figures as people and programs read them: a table, Markdown, JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import django

from .stats import Figure, Spread

HEAD = ("workload", "ours", "reference", "", "ratio [min – max]", "target", "")


def value(number: float, unit: str) -> str:
    """A measured value, three digits of it."""
    if unit == "s":
        for factor, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
            if number * factor >= 1 or name == "µs":
                return f"{number * factor:.3g} {name}"
    if unit == "/s":
        return f"{number:,.0f}/s" if number >= 100 else f"{number:.3g}/s"
    return f"{number:,.3g} {unit}" if number < 1000 else f"{number:,.0f} {unit}"


def _ratio(spread: Spread | None) -> str:
    if spread is None:
        return ""
    digits = 0 if spread.median >= 100 else 1 if spread.median >= 10 else 2
    return f"{spread.median:,.{digits}f} [{spread.low:,.{digits}f} – {spread.high:,.{digits}f}]"


def verdict(figure: Figure) -> str:
    """One word for the last column."""
    if figure.wrong:
        return "WRONG STATE"
    return {True: "ok", False: "missed", None: ""}[figure.ok]


def cells(figure: Figure) -> tuple[str, ...]:
    """A figure as a row of the table."""
    reference = "" if figure.reference is None else value(figure.reference.median, figure.unit)
    target = "" if figure.target is None else str(figure.target)
    return (
        figure.title,
        value(figure.ours.median, figure.unit),
        reference,
        figure.reference_title,
        _ratio(figure.ratio),
        target,
        verdict(figure),
    )


def table(figures: Sequence[Figure]) -> str:
    """Columns for a terminal; what is wrong and what must be known stands below."""
    rows = [HEAD, *map(cells, figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    right = (1, 2, 4, 5)
    lines = ["  ".join(row[n].rjust(width) if n in right else row[n].ljust(width) for n, width in enumerate(widths)) for row in rows]
    lines.insert(1, "─" * max(map(len, lines)))
    return "\n".join([line.rstrip() for line in lines] + [f"  {line}" for line in remarks(figures)])


def markdown(figures: Sequence[Figure]) -> str:
    """The same table for ``docs/``."""
    lines = ["| workload | ours | reference | ratio [min – max] | target | |", "| --- | --- | --- | --- | --- | --- |"]
    for figure in figures:
        title, ours, reference, of, ratio, target, said = cells(figure)
        lines.append(f"| {title} | {ours} | {' · '.join(filter(None, (of, reference)))} | {ratio} | {target} | {said} |")
    return "\n".join([*lines, *(f"\n- {line}" for line in remarks(figures))])


def remarks(figures: Iterable[Figure]) -> list[str]:
    """Notes of figures, and what is wrong with their final state: such a figure does not count."""
    found = []
    for figure in figures:
        found += [f"WRONG STATE after “{figure.title}”: {wrong}" for wrong in figure.wrong]
        if figure.note:
            found.append(f"{figure.title}: {figure.note}")
    return list(dict.fromkeys(found))


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "python": platform.python_version(),
        "django": django.get_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "switch_interval": sys.getswitchinterval(),
    }


def as_json(tables: dict[str, Sequence[Figure]], **about: Any) -> str:
    """Everything that was measured. Seconds and calls per second."""
    found = {
        name: [{**asdict(figure), "target": figure.target and str(figure.target), "ok": figure.ok} for figure in figures]
        for name, figures in tables.items()
    }
    return json.dumps({"machine": machine(), **about, "figures": found}, indent=2, ensure_ascii=False)
