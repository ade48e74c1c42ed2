"""P11: the parts that overload one process and look at what it costs the others (``overload``)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.faults.databases import ROOT, Databases, environment

from .lines import Line, Part

LIVE = 1_000
KEYS = 50_000
REFUSED_WITHIN = 0.020
SLOWER = 2.0
GROWTH = 64 * 2**20
"""Bytes of memory that may come on top while calls are refused, or while keys come and go."""
NAMES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}


def run(vendor: str, scale: float) -> dict[str, Any]:
    """What ``overload`` measured, in a process of its own."""
    with Databases() as databases:
        settings = databases.make(vendor).settings()
        done = subprocess.run(
            [sys.executable, "-m", "tests.proof.overload", str(scale)],
            env=environment(settings, {"MAX_ACTIVATIONS": LIVE}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"tests.proof.overload ended with {done.returncode}: {done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def judge(told: dict[str, Any], where: str, scale: float) -> Iterator[Line]:
    flood, cold = told["overload"], told["cold"]
    others = {name: times for name, times in flood["answers"].items() if name not in ("served", "refused")}
    broken = [f"{times} calls ended with {name}" for name, times in others.items()]
    if flood["lost"]:
        broken.append(f"{flood['lost']} answered calls are not in the state")
    if flood["refused_p99"] > REFUSED_WITHIN:
        broken.append(f"Overloaded after {flood['refused_p99'] * 1000:.1f} ms (p99); the limit is {REFUSED_WITHIN * 1000:.0f} ms")
    quiet, flooded = flood["p99"]
    if flooded > quiet * SLOWER:
        broken.append(f"the other keys' p99 is {flooded / quiet:.2f} × that without the overload; the limit is {SLOWER} ×")
    if flood["grown"] > GROWTH:
        broken.append(f"memory grew by {flood['grown'] / 2**20:.0f} MiB under the overload")
    notes = (
        f"{flood['offered']:,.0f} calls/s offered; Overloaded after {flood['refused_p99'] * 1000:.1f} ms p99; other keys' p99 "
        f"{quiet * 1000:.1f} → {flooded * 1000:.1f} ms, {flooded / quiet:.2f} ×; {_memory(flood)}"
    )
    wanted, refused = round(10_240 * min(scale, 1)), flood["answers"].get("refused", 0)
    yield Line("P11", f"one key called ten times as often as it serves, {where}", refused, wanted, "refused", broken, notes)
    broken = []
    if cold["live"] > cold["limit"]:
        broken.append(f"{cold['live']:,} objects were live at once; the limit is {cold['limit']:,}")
    if cold["wrong"]:
        broken.append(f"{cold['wrong']} calls saw another value than they should")
    if cold["grown"] > GROWTH:
        broken.append(f"memory grew by {cold['grown'] / 2**20:.0f} MiB while keys came and went")
    notes = (
        f"MAX_ACTIVATIONS {LIVE:,}: {cold['live']:,} live at most; {_memory(cold)}; "
        f"{cold['per_second']:,.0f} calls/s"
    )
    yield Line("P11", f"cold keys, each called twice, {where}", cold["keys"], round(KEYS * min(scale, 1)), "keys", broken, notes)


def _memory(told: dict[str, Any]) -> str:
    return f"memory {round(told['grown'] / 2**20):+d} MiB"


def part(vendor: str) -> Part:
    return Part(f"overload on {NAMES[vendor]}", lambda scale, seed: judge(run(vendor, scale), NAMES[vendor], scale))


PARTS = [part("postgresql"), part("sqlite")]
