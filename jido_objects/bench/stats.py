"""What is made of measurements: rounds in which all sides take turns, and the median ratio of two of them with its spread.

A machine that others use is slow one second and fast the next. Two figures of the same round have seen about the same
machine; their ratio means something where neither figure does. So sides alternate, in reversed order every other round (what
comes second finds caches and disks as the first left them), and a claim is judged by the median of the rounds' ratios.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(slots=True)
class Run:
    """What one side did in one round (or part of it). Seconds."""

    count: int
    seconds: float
    latencies: list[float] = field(default_factory=list)
    extra: dict[str, float] = field(default_factory=dict)
    """Sums that are divided by ``count`` in reports: CPU seconds of a thread."""

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.count / self.seconds if self.seconds else 0.0

    def percentile(self, percent: float) -> float:
        """Latency that ``percent`` of the calls did not exceed; by nearest rank."""
        if not self.latencies:
            return 0.0
        ordered = sorted(self.latencies)
        return ordered[max(0, math.ceil(percent * len(ordered) / 100) - 1)]

    def add(self, other: Run) -> None:
        """Take in another part of the same round."""
        self.count += other.count
        self.seconds += other.seconds
        self.latencies += other.latencies
        for name, value in other.extra.items():
            self.extra[name] = self.extra.get(name, 0.0) + value


class Side(Protocol):
    """One of the things that are compared."""

    title: str

    def prepare(self) -> None:
        """Make what is needed, and warm up."""

    def run(self, seconds: float) -> Run:
        """Work for about so long."""

    def check(self) -> str | None:
        """What is wrong with the state that all runs together left; ``None`` when nothing is."""

    def close(self) -> None:
        """Let go of threads and connections. Called once, whatever happened."""


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a ratio; with a unit, on our own figure."""

    bound: float
    at_most: bool = False
    unit: str = "×"

    @property
    def absolute(self) -> bool:
        return self.unit != "×"

    def met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:,g} {self.unit}"


def rate(run: Run) -> float:
    """Calls per second."""
    return run.rate


def p50(run: Run) -> float:
    """Median latency in seconds."""
    return run.percentile(50)


def per_call(run: Run) -> float:
    """Seconds per call, all callers together."""
    return run.seconds / run.count if run.count else 0.0


Measure = Callable[[Run], float]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Which sides are compared, by what, and what is claimed of it."""

    title: str
    ours: str
    reference: str
    measure: Measure = rate
    target: Target | None = None
    note: str = ""


@dataclass(slots=True)
class Workload:
    """Sides that take turns, and the ratios that are read off them. ``parts``: how often they take turns within a round."""

    name: str
    title: str
    sides: Mapping[str, Side]
    ratios: Sequence[Ratio]
    parts: int = 1


@dataclass(slots=True)
class Spread:
    """The middle and the ends of a few values."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if not values:
            return cls(0.0, 0.0, 0.0)
        return cls(statistics.median(values), min(values), max(values))


@dataclass(slots=True)
class Figure:
    """One line of the table. A figure without a reference is judged by itself."""

    workload: str
    title: str
    ours: Spread
    unit: str
    reference: Spread | None = None
    reference_title: str = ""
    ratio: Spread | None = None
    target: Target | None = None
    wrong: list[str] = field(default_factory=list)
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def judged(self) -> float:
        """The value that the target speaks of."""
        alone = self.ratio is None or (self.target is not None and self.target.absolute)
        return self.ours.median if alone or self.ratio is None else self.ratio.median

    @property
    def ok(self) -> bool | None:
        """Whether the target is met; ``None`` where nothing is claimed. Wrong final state is never right."""
        if self.wrong:
            return False
        return None if self.target is None else self.target.met(self.judged)


def alternate(
    sides: Mapping[str, Side], *, rounds: int, seconds: float, parts: int = 1, tick: Callable[[str], None] = lambda name: None
) -> dict[str, list[Run]]:
    """Let the sides take turns; returns each one's run of every round. ``tick`` hears who has just finished a part."""
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    turn = 0
    for _ in range(rounds):
        totals = {name: Run(0, 0.0) for name in sides}
        for _ in range(parts):
            names = list(sides) if turn % 2 == 0 else list(sides)[::-1]
            turn += 1
            for name in names:
                totals[name].add(sides[name].run(seconds / parts))
                tick(name)
        for name, total in totals.items():
            runs[name].append(total)
    return runs


def figure(workload: str, ratio: Ratio, sides: Mapping[str, Side], runs: Mapping[str, Sequence[Run]], wrong: Mapping[str, str]) -> Figure:
    """The line of one ratio. ``wrong`` says of a side what its final state should not be."""
    ours, reference = runs[ratio.ours], runs[ratio.reference]
    mine = [ratio.measure(run) for run in ours]
    theirs = [ratio.measure(run) for run in reference]
    ratios = [a / b for a, b in zip(mine, theirs, strict=True) if b]
    return Figure(
        workload,
        ratio.title,
        Spread.of(mine),
        "/s" if ratio.measure is rate else "s",
        Spread.of(theirs),
        sides[ratio.reference].title,
        Spread.of(ratios) if ratios else None,
        ratio.target,
        [f"{sides[name].title}: {wrong[name]}" for name in dict.fromkeys((ratio.ours, ratio.reference)) if name in wrong],
        ratio.note,
        {"ours": summary(ours), "reference": summary(reference), "ratios": ratios},
    )


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """All rounds of one side, for JSON: calls per second of each, latencies and extras over all of them."""
    total = Run(0, 0.0)
    for run in runs:
        total.add(run)
    found: dict[str, Any] = {"calls": total.count, "seconds": total.seconds, "rates": [run.rate for run in runs]}
    if total.latencies:
        found |= {f"p{percent:g}": total.percentile(percent) for percent in (50, 90, 99)}
    if total.count:
        found |= {f"{name}_per_call": value / total.count for name, value in total.extra.items()}
    return found


def measure(workload: Workload, *, rounds: int, seconds: float, tick: Callable[[str], None] = lambda name: None) -> list[Figure]:
    """Prepare the sides, let them alternate, check what they left, and close them."""
    opened: list[Side] = []
    try:
        for side in workload.sides.values():
            opened.append(side)
            side.prepare()
        runs = alternate(workload.sides, rounds=rounds, seconds=seconds, parts=workload.parts, tick=tick)
        wrong = {name: found for name, side in workload.sides.items() if (found := side.check()) is not None}
        return [figure(workload.name, ratio, workload.sides, runs, wrong) for ratio in workload.ratios]
    finally:
        for side in reversed(opened):
            side.close()
