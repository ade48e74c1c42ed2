"""Where the time of a call goes: its way in segments, then a profile of the host's thread and one of the caller's.

The segments are wall time between landmarks of the runtime, on the host's thread; they show waiting, which a profile hides.
cProfile costs most where functions are small: read its shares, not its totals. The CPU seconds per call that are printed
first are measured without either.
"""

from __future__ import annotations

import cProfile
import itertools
import pstats
import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from jido_objects import process
from jido_objects.activation import Activation
from jido_objects.bench.sides import Objects
from jido_objects.bench.stats import Run, Workload

Marks = list[tuple[str, float]]


def profile(workload: Workload, seconds: float, lines: int = 45) -> None:
    """Print segments and profiles of our sides of a workload."""
    for side in workload.sides.values():
        if not isinstance(side, Objects):
            continue
        side.prepare()
        try:
            run = side.run(seconds)
            print(f"\n══ {workload.name}: {side.title} ({side.how}, {side.count} callers), without a profiler")
            _say(run)
            if side.stage.vendor == "postgresql":
                with _landmarks() as marks:
                    run = side.run(seconds)
                _say_segments(marks, run)
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


# ---------------------------------------------------------------- segments


@contextmanager
def _landmarks() -> Iterator[Marks]:
    """Note when the runtime passes its landmarks. They are its private names: one that is gone is left out."""
    from jido_objects.stores.link import Link
    from jido_objects.stores.postgresql_writer import PostgresWriter

    places: list[tuple[type, str, str, str]] = [
        (PostgresWriter, "_append", "batch formed", ""),
        (Link, "_start", "arrays built", "sent"),
        (Activation, "committed", "commit known", "replies given"),
    ]
    marks: Marks = []
    before: list[tuple[type, str, Callable[..., Any]]] = []

    def mark(function: Callable[..., Any], reached: str, left: str) -> Callable[..., Any]:
        def marked(*args: Any, **kwargs: Any) -> Any:
            marks.append((reached, perf_counter()))
            try:
                return function(*args, **kwargs)
            finally:
                if left:
                    marks.append((left, perf_counter()))

        return marked

    try:
        for cls, name, reached, left in places:
            function = getattr(cls, name, None)
            if function is not None:
                before.append((cls, name, function))
                setattr(cls, name, mark(function, reached, left))
        yield marks
    finally:
        for cls, name, function in before:
            setattr(cls, name, function)


def _say_segments(marks: Marks, run: Run) -> None:
    segments: dict[str, list[float]] = {}
    for (one, at), (other, then) in itertools.pairwise(marks):
        segments.setdefault(f"{one} → {other}", []).append(then - at)
    batches = max(1, sum(name == "sent" for name, _ in marks))
    print(f"\n── between landmarks on the host's thread, {run.count / batches:.0f} calls per statement ({run.rate:,.0f} calls/s)")
    for name, found in sorted(segments.items(), key=lambda item: -sum(item[1])):
        if len(found) >= max(10, batches // 20):
            median, tenth = statistics.median(found) * 1e6, statistics.quantiles(found, n=10)[0] * 1e6
            print(f"   {sum(found) / run.seconds:5.1%} of the time  p50 {median:7.0f} µs  p10 {tenth:7.0f} µs  {len(found):6} × {name}")


# ---------------------------------------------------------------- profiles


def _here(side: Objects, seconds: float, profiler: cProfile.Profile) -> Run:
    if side.how == "threads":
        print("   (the callers are threads of their own; this one only waits)")
    profiler.enable()
    try:
        return side.run(seconds)
    finally:
        profiler.disable()


def _on_host(side: Objects, seconds: float, profiler: cProfile.Profile) -> Run:
    _on_its_thread(profiler.enable)
    try:
        return side.run(seconds)
    finally:
        _on_its_thread(profiler.disable)


def _on_its_thread(what: Callable[[], object]) -> None:
    done = threading.Event()

    def act() -> None:
        what()
        done.set()

    process.current().loop.call_soon_threadsafe(act)
    done.wait()
