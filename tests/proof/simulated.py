"""The parts that need no database: the simulation over virtual time (``tests.sim``), and Hypothesis (``tests/properties``)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .lines import Line, Part

ROOT = Path(__file__).parents[2]
RUNS = 700
ENOUGH = 500
"""Runs after which a point that was never struck is a failure."""
EXAMPLES = re.compile(r"(\d+) passing(?: examples)?, (\d+) failing")


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    # What this run was given is spread by its parts; the simulation would take it for its own.
    environment = {name: value for name, value in os.environ.items() if name not in ("SECONDS", "SEED", "PROFILE")}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, env=environment | {"COLUMNS": "200"}
    )


def _sim(*arguments: str) -> dict[str, Any]:
    done = _command("tests.sim", "--json", *arguments)
    try:
        told: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise RuntimeError(f"python -m tests.sim {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}") from None
    return told


def _simulation(scale: float, seed: int) -> Iterator[Line]:
    told = _sim("--no-mutants", "--seeds", str(round(RUNS * scale)), "--first", str(seed), "--jobs", "2")
    one = told["campaign"]
    broken = [f"replay with {failure['replay']}: {'; '.join(failure['violations'][:3])}" for failure in one["failures"]]
    never = [point for point, times in one["struck"].items() if not times]
    if never and sum(one["runs"].values()) >= ENOUGH:
        broken.append(f"never struck: {', '.join(never)}")
    search = one["search"]
    notes = f"{sum(one['runs'].values()):,} seeds of {len(one['runs'])} profiles; {one['burials']:,} burials"
    yield Line(
        "P1",
        "simulation over virtual time, witness on every answer",
        one["operations"],
        round(30_000 * min(scale, 1)),
        "operations",
        broken,
        notes,
    )
    notes = f"at {len(one['struck'])} points, each struck"
    yield Line("P1", "faults aimed in it", one["faults"], 20, "faults", [], notes)
    searched, spent = search["linearizable_or_not"], search["budget_spent"]
    notes = f"{spent:,} more gave no verdict, their budget was spent"
    yield Line("P1", "search for any order, small objects", searched, 1, "objects", [], notes)


def _mutants(scale: float, seed: int) -> Iterator[Line]:
    mutants = _sim("--mutants")["mutants"]
    broken = [f"not caught: {one['mutant']} ({one['rule']})" for one in mutants if not one["seeds"]]
    broken += [f"caught, but the code as it is fails the same seeds: {one['mutant']}" for one in mutants if not one["unmutated_passes"]]
    caught = [one["seeds"] for one in mutants if one["seeds"]]
    notes = f"each within {max(caught, default=0)} aimed seeds"
    yield Line(
        "all", "mutants in the simulation, one rule taken out each", len(caught), len(mutants), f"of {len(mutants)} caught", broken, notes
    )


def _thaw_is_identity(scale: float, seed: int) -> Iterator[Line]:
    """P12, with the profile that ``tests/properties`` registers for this."""
    done = _command(
        *("pytest", "tests/properties", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=proof"),
        *("--hypothesis-show-statistics", f"--hypothesis-seed={seed}"),
    )
    examples = [(int(passing), int(failing)) for passing, failing in EXAMPLES.findall(done.stdout)]
    broken = [] if done.returncode == 0 else [f"pytest ended with {done.returncode}: {done.stdout[-3000:]}{done.stderr[-1000:]}"]
    count = sum(passing for passing, _ in examples)
    yield Line("P12", "random calls, snapshots, hibernations and crashes (Hypothesis)", count, 500, "examples", broken)


PARTS = [Part("simulation", _simulation), Part("mutants", _mutants), Part("thaw is identity", _thaw_is_identity)]
