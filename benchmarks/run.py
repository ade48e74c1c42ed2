"""Runs the workloads on each database and prints what came out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from jido_objects import process
from jido_objects.bench import calls, report
from jido_objects.bench.progress import Progress, progress
from jido_objects.bench.stage import Stage
from jido_objects.bench.stats import Figure, Workload, measure

from . import profiling

WORKLOADS: dict[str, Callable[[Stage], Workload]] = {**calls.BLOCK}


def main(given: argparse.Namespace, aliases: list[str]) -> int:
    if given.list:
        print("\n".join(WORKLOADS))
        return 0
    names = given.only or list(WORKLOADS)
    if given.profile:
        names = [given.profile]
    for name in names:
        if name not in WORKLOADS:
            print(f"There is no workload {name!r}; there are {', '.join(WORKLOADS)}.", file=sys.stderr)
            return 2
    tables: dict[str, list[Figure]] = {}
    try:
        for alias in aliases:
            stage = Stage(alias, callers=given.callers)
            stage.open()
            try:
                if given.profile:
                    profiling.profile(WORKLOADS[given.profile](stage), given.seconds * 2)
                    continue
                title = f"{stage}{'' if alias == 'postgres' else ' (informative)'}"
                with progress() as shown:
                    tables[title] = [figure for name in names for figure in _measure(WORKLOADS[name](stage), given, shown)]
            finally:
                process.stop()
            print(f"\n{title}\n\n{report.table(tables[title])}\n", flush=True)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    _write(given.json, report.as_json(tables, rounds=given.rounds, seconds=given.seconds, quick=given.quick))
    _write(given.markdown, "\n\n".join(f"## {title}\n\n{report.markdown(figures)}" for title, figures in tables.items()))
    figures = [figure for found in tables.values() for figure in found]
    if any(figure.wrong for figure in figures):
        return 1
    return 3 if given.strict and any(figure.ok is False for figure in figures) else 0


def _measure(workload: Workload, given: argparse.Namespace, shown: Progress) -> list[Figure]:
    shown.start(workload.title, given.rounds * workload.parts * len(workload.sides))
    return measure(workload, rounds=given.rounds, seconds=given.seconds, tick=shown.step)


def _write(where: str | None, text: str) -> None:
    if where == "-":
        print(text)
    elif where:
        Path(where).write_text(text + "\n", encoding="utf-8")
