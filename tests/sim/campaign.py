"""Many runs, and what they add up to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from .faults import EVERY_POINT, OPERATIONS, STAGES, WINDOWS
from .mutants import Catch
from .simulation import Report, simulate

ENOUGH = 500
"""Runs over all profiles after which a fault point that was never struck is a failure."""


@dataclass
class Totals:
    """What is left of many reports."""

    runs: Counter[str] = field(default_factory=Counter)
    operations: int = 0
    rows: int = 0
    burials: int = 0
    steps: int = 0
    virtual: float = 0.0
    seconds: float = 0.0
    searched: int = 0
    spent: int = 0
    reached: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[Report] = field(default_factory=list)

    def add(self, report: Report) -> None:
        self.runs[report.profile] += 1
        self.operations += report.operations
        self.rows += report.rows
        self.burials += report.burials
        self.steps += report.steps
        self.virtual += report.elapsed
        self.searched += report.searched
        self.spent += report.spent
        for name in ("reached", "struck", "actions", "outcomes", "answers"):
            getattr(self, name).update(getattr(report, name))
        if report.violations:
            self.failures.append(report)

    @property
    def never_struck(self) -> list[str]:
        return [point for point in EVERY_POINT if not self.struck[point]]

    def as_json(self) -> dict[str, Any]:
        return {
            "runs": dict(self.runs),
            "runs_per_second": round(self.runs.total() / self.seconds, 1) if self.seconds else None,
            "operations": self.operations,
            "journal_rows": self.rows,
            "burials": self.burials,
            "virtual_seconds": round(self.virtual, 1),
            "seconds": round(self.seconds, 1),
            "faults": self.struck.total(),
            "reached": {point: self.reached[point] for point in EVERY_POINT},
            "struck": {point: self.struck[point] for point in EVERY_POINT},
            "actions": dict(self.actions.most_common()),
            "outcomes": dict(self.outcomes.most_common()),
            "answers": dict(self.answers.most_common()),
            "search": {"linearizable_or_not": self.searched, "budget_spent": self.spent},
            "failures": [
                {"profile": one.profile, "seed": one.seed, "replay": one.replay(), "violations": list(map(str, one.violations))}
                for one in self.failures
            ],
        }


def campaign(profiles: Sequence[str], *, seeds: int | None, seconds: float | None, first: int = 0, jobs: int = 1) -> Totals:
    """Run the profiles in turn until so many runs are made or so much time has passed."""
    totals = Totals()
    began = time.monotonic()
    for report in _reports(_plan(profiles, seeds, first), jobs):
        totals.add(report)
        if seconds is not None and time.monotonic() - began >= seconds:
            break
    totals.seconds = time.monotonic() - began
    return totals


def _plan(profiles: Sequence[str], seeds: int | None, first: int) -> Iterator[tuple[str, int]]:
    made = 0
    for seed in count(first):
        for profile in profiles:
            if seeds is not None and made >= seeds:
                return
            made += 1
            yield profile, seed


def _reports(plan: Iterator[tuple[str, int]], jobs: int) -> Iterator[Report]:
    if jobs == 1:
        for profile, seed in plan:
            yield simulate(profile, seed)
        return
    with ProcessPoolExecutor(jobs) as pool:
        running = [pool.submit(simulate, *one) for _, one in zip(range(4 * jobs), plan, strict=False)]
        try:
            while running:
                yield running.pop(0).result()
                running.extend(pool.submit(simulate, *one) for _, one in zip(range(1), plan, strict=False))
        finally:
            for future in running:
                future.cancel()


# ---------------------------------------------------------------- for people


def describe(totals: Totals) -> str:
    """A page about a campaign."""
    runs = totals.runs.total()
    speed = runs / max(totals.seconds, 0.001)
    lines = [
        f"{runs} runs in {totals.seconds:.1f} s ({speed:.0f} a second), {totals.virtual:.0f} virtual seconds",
        f"made      {totals.operations} operations, {totals.rows} journal rows, {totals.burials} burials",
        "outcomes  " + ", ".join(f"{name} {number}" for name, number in totals.outcomes.most_common()),
        "answers   " + ", ".join(f"{name} {number}" for name, number in totals.answers.most_common()),
        f"search    {totals.searched} small objects searched, {totals.spent} where the budget was spent first (no verdict)",
        "faults    " + ", ".join(f"{name} {number}" for name, number in totals.actions.most_common()),
        "",
        f"{'passed / struck':16}" + "".join(f"{stage:>18}" for stage in STAGES),
    ]
    for operation in (*OPERATIONS, *WINDOWS):
        cells = [f"{totals.reached[f'{operation}:{stage}']} / {totals.struck[f'{operation}:{stage}']}" for stage in STAGES]
        lines.append(f"{operation:16}" + "".join(f"{cell:>18}" for cell in cells))
    lines.append(f"{'connect':16}{totals.reached['connect']:>14} / {totals.struck['connect']}")
    if totals.never_struck:
        lines.append(f"never struck: {', '.join(totals.never_struck)}")
    for report in totals.failures:
        lines += ["", f"{len(report.violations)} violations, replay with: {report.replay()}"]
        lines += [f"  {violation}" for violation in report.violations[:8]]
    return "\n".join(lines)


def describe_catches(catches: Sequence[Catch]) -> str:
    lines = [f"{'mutant':42}{'aimed at':14}{'seeds':>6}  shown by"]
    for catch in catches:
        seeds = str(catch.seeds) if catch.seeds else "never"
        shown = ", ".join(sorted(catch.kinds)) + ("" if catch.clean else "  BUT THE CODE AS IT IS FAILS THE SAME SEEDS")
        lines.append(f"{catch.mutant.name:42}{catch.mutant.profile:14}{seeds:>6}  {shown}")
    return "\n".join(lines)
