"""Where the time of a call goes: a profile of the host's thread, then one of the caller's, of the same load.

cProfile costs most where functions are small: read its shares, not its totals. The CPU seconds per call that are printed
first are measured without it.
"""

from __future__ import annotations

import cProfile
import pstats
import threading

from jido_objects import process
from jido_objects.bench.sides import Objects
from jido_objects.bench.stats import Run, Workload


def profile(workload: Workload, seconds: float, lines: int = 45) -> None:
    """Print the profiles of our sides of a workload."""
    for side in workload.sides.values():
        if not isinstance(side, Objects):
            continue
        side.prepare()
        try:
            run = side.run(seconds)
            print(f"\n══ {workload.name}: {side.title} ({side.how}, {side.count} callers), without a profiler")
            _say(run)
            for whose in ("host", "caller"):
                profiler = cProfile.Profile(builtins=True)
                run = _on_host(side, seconds, profiler) if whose == "host" else _here(side, seconds, profiler)
                print(f"\n── the {whose}'s thread, {run.count:,} calls under the profiler ({run.rate:,.0f}/s); times in seconds")
                stats = pstats.Stats(profiler)
                stats.strip_dirs().sort_stats("tottime").print_stats(lines)
        finally:
            side.close()


def _say(run: Run) -> None:
    print(f"   {run.rate:,.0f} calls/s, p50 {run.percentile(50) * 1e6:,.0f} µs, p99 {run.percentile(99) * 1e6:,.0f} µs")
    for name, value in run.extra.items():
        print(f"   {name}: {value / max(run.count, 1) * 1e6:.1f} µs per call, {value / run.seconds:.0%} of a core")


def _here(side: Objects, seconds: float, profiler: cProfile.Profile) -> Run:
    if side.how == "threads":
        print("   (the callers are threads of their own; this one only waits)")
    profiler.enable()
    try:
        return side.run(seconds)
    finally:
        profiler.disable()


def _on_host(side: Objects, seconds: float, profiler: cProfile.Profile) -> Run:
    loop = process.current().loop
    _there(loop.call_soon_threadsafe, profiler.enable)
    try:
        return side.run(seconds)
    finally:
        _there(loop.call_soon_threadsafe, profiler.disable)


def _there(call_soon: object, what: object) -> None:
    done = threading.Event()

    def act() -> None:
        what()  # type: ignore[operator]
        done.set()

    call_soon(act)  # type: ignore[operator]
    done.wait()
