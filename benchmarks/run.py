"""Runs the workloads on each database and prints what came out."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from jido_objects.bench import calls, report
from jido_objects.bench.progress import Progress, progress
from jido_objects.bench.stage import Stage
from jido_objects.bench.stats import Figure, Workload, measure

from . import fence, memory, profiling, scale, windows

MEMORY = "memory"


def workloads(quick: bool) -> dict[str, Callable[[Stage], Workload | None]]:
    """By name; ``None`` where a database has no such thing."""
    return {
        **calls.BLOCK,
        "fence": fence.overhead,
        "state-size": scale.state_size,
        "thaw": partial(scale.thaw, turns=20_000 if quick else 1_000_000),
        "trimming": partial(windows.trimming, rows=30_000 if quick else 100_000),
        "cold": partial(scale.cold, count=2_000 if quick else 20_000),
    }


def main(given: argparse.Namespace, aliases: list[str]) -> int:
    known = workloads(given.quick)
    chosen = [given.profile] if given.profile else given.only
    if given.profile == MEMORY:
        print("memory runs in a process of its own and has no profile.", file=sys.stderr)
        return 2
    tables: dict[str, list[Figure]] = {}
    failed: list[str] = []
    try:
        for alias in aliases:
            # On SQLite 64 of Django's writers wait for seconds each: too long for a quick look.
            stage = Stage(alias, callers=min(given.callers, 8) if given.quick and alias != "postgres" else given.callers)
            with stage.opened():
                if given.profile:
                    workload = known[given.profile](stage)
                    if workload is not None:
                        profiling.profile(workload, given.seconds * 2)
                    continue
                title = f"{stage}{'' if alias == 'postgres' else ' (for information)'}"
                found = tables[title] = []
                with progress() as shown:
                    for name in chosen or _all(given, alias):
                        try:
                            found += _measure(name, stage, given, shown)
                        except Exception:
                            # One that fails costs its own figures and the exit code, not what the others found.
                            failed.append(name)
                            traceback.print_exc()
            if "-" not in (given.json, given.markdown):
                print(f"\n{title}\n\n{report.table(found)}\n", flush=True)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    _write(given.json, report.as_json(tables, rounds=given.rounds, seconds=given.seconds, quick=given.quick))
    _write(given.markdown, "\n\n".join(f"## {title}\n\n{report.markdown(figures)}" for title, figures in tables.items()))
    figures = [figure for found in tables.values() for figure in found]
    if failed or any(figure.wrong for figure in figures):
        return 1
    return 3 if given.strict and any(figure.ok is False for figure in figures) else 0


def _all(given: argparse.Namespace, alias: str) -> list[str]:
    # A quick look has a minute for both databases.
    return list(calls.BLOCK) if given.quick and alias != "postgres" else [*workloads(given.quick), MEMORY]


def _measure(name: str, stage: Stage, given: argparse.Namespace, shown: Progress) -> list[Figure]:
    if name == MEMORY:
        shown.start("memory of idle activations", 1)
        return memory.figures(stage, *((2_000, 1.0) if given.quick else (100_000, 10.0)))
    workload = workloads(given.quick)[name](stage)
    if workload is None:
        return []
    shown.start(workload.title, given.rounds * workload.parts * len(workload.sides))
    return measure(workload, rounds=given.rounds, seconds=given.seconds, tick=shown.step)


def _write(where: str | None, text: str) -> None:
    if where == "-":
        print(text)
    elif where:
        Path(where).write_text(text + "\n", encoding="utf-8")
