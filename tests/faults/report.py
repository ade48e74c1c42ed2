"""What a run did and found, for people and as JSON."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.sim.witness import Violation


@dataclass
class Report:
    """One part of a run on one database."""

    title: str
    database: str
    seed: int
    done: Counter[str] = field(default_factory=Counter)
    """Faults and episodes, by name."""
    points: Counter[str] = field(default_factory=Counter)
    """Named points at which a process was struck."""
    counts: Counter[str] = field(default_factory=Counter)
    """Attempts of calls, by what became of them."""
    checked: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """Durations that bound something: name to the worst that was seen."""
    violations: list[str] = field(default_factory=list)
    by_promise: Counter[str] = field(default_factory=Counter)
    elapsed: float = 0.0

    def violate(self, promise: str, text: str) -> None:
        self.violations.append(f"{promise}: {text}")
        self.by_promise.update(promise.split("/"))

    def judge(self, found: list[Violation]) -> None:
        for violation in found:
            self.violate(PROMISES.get(violation.kind, "P1"), str(violation))

    def worst(self, name: str, seconds: float) -> None:
        self.seconds[name] = max(seconds, self.seconds.get(name, 0.0))

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def text(self) -> str:
        lines = [f"{self.title} on {self.database}, seed {self.seed}, {self.elapsed:.1f} s"]
        for name, counted in (("done", self.done), ("points", self.points), ("calls", self.counts), ("checked", self.checked)):
            if counted:
                lines.append(
                    f"  {name + ':':9}" + ", ".join(f"{what} {n:,}" for what, n in sorted(counted.items(), key=lambda item: -item[1]))
                )
        if self.seconds:
            lines.append("  worst:   " + ", ".join(f"{what} {seconds:.2f} s" for what, seconds in self.seconds.items()))
        lines.append(f"  {len(self.violations)} violations" + "".join(f"\n    {text}" for text in self.violations[:20]))
        return "\n".join(lines)


PROMISES = {
    "apart": "P2",
    "lost": "P2",
    "misplaced": "P2/P3",
    "unrecorded": "P2",
    "gap": "P2",
    "double": "P3",
    "conflict": "P3",
    "epoch": "P4",
    "buried": "P4",
    "superseded": "P4",
    "owners": "P4",
    "stale": "P4",
    "applied": "P5",
    "replay": "P12",
    "snapshot": "P12",
}
"""Which promise a kind of violation breaks first; what is not here breaks the order of calls."""
