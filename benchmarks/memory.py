"""Memory of idle activations and CPU of an idle host, in a process of its own: ``python -m benchmarks.memory``.

A process that has worked before has free memory in its pools, which would hide what the activations take.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jido_objects.bench.stats import Figure, Spread, Target

if TYPE_CHECKING:
    from jido_objects.bench.stage import Stage


def figures(stage: Stage, count: int, idle: float) -> list[Figure]:
    """Measure in a child; the objects are made and checked there."""
    command = [sys.executable, "-m", "benchmarks.memory", "--alias", stage.alias, "--count", str(count), "--idle", str(idle)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"benchmarks.memory failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    wrong = [found["wrong"]] if found["wrong"] else []
    memory, cpu = Spread.of([found["rss"]]), Spread.of([found["cpu"] * 100])
    note = f"growth of the resident set; tracemalloc: {found['traced']:,.0f} bytes; {found['rate']:,.0f}/s were thawed and changed"
    return [
        Figure(
            "memory", f"idle activation, {count:,} in one process", memory, "bytes", target=Target(5 * 1024, at_most=True, unit="bytes"),
            wrong=wrong, note=note, details=found,
        ),
        Figure(
            "memory", f"an idle host with {count:,} of them, of a core", cpu, "%", target=Target(2, at_most=True, unit="%"), wrong=wrong,
            details=found,
        ),
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--alias", required=True)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--idle", type=float, default=10.0)
    given = parser.parse_args(argv)
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    # Models, those of the bench too, can be imported from here on.
    from jido_objects.bench.stage import Stage

    print(json.dumps(measure(Stage(given.alias), given.count, given.idle)))


def measure(stage: Stage, count: int, idle: float) -> dict[str, Any]:
    from jido_objects import process
    from jido_objects.bench.sides import for_each

    from . import history
    from .objects import Seat

    traced = min(2000, count // 2)
    name = f"seats-{os.getpid()}"
    keys = history.populate(stage, Seat, name, count, '[["set","row",1],["set","holder","somebody"]]', "take", "1")
    stage.serve()
    wrong = 0

    async def thaw(ref: Any) -> None:
        nonlocal wrong
        # Thawed, changed and committed: what an object is before it goes idle.
        wrong += await ref.acall(Seat.take, "somebody else") != 2

    def thaw_all(some: list[str]) -> float:
        began = time.perf_counter()
        asyncio.run(for_each((Seat.at(*key.split("/")) for key in some), thaw))
        return time.perf_counter() - began

    # What is needed once, and what the allocator keeps, is there before the count begins.
    tracemalloc.start()
    thaw_all(keys[: traced // 2])
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    thaw_all(keys[traced // 2 : traced])
    gc.collect()
    bytes_traced = (tracemalloc.get_traced_memory()[0] - before) / (traced - traced // 2)
    tracemalloc.stop()

    gc.collect()
    resident = _resident()
    seconds = thaw_all(keys[traced:])
    gc.collect()
    grown = _resident() - resident
    host = process.current().host
    live = 0 if host is None else len(host.activations)

    time.sleep(1.0)
    cpu = time.process_time()
    time.sleep(idle)
    cpu = (time.process_time() - cpu) / idle
    process.stop()
    problem = f"{wrong} objects thawed with a wrong value" if wrong else "" if live == count else f"{live} are live, not {count}"
    process.stop()
    rest = count - traced
    return {"rss": grown / rest, "traced": bytes_traced, "cpu": cpu, "rate": rest / seconds, "live": live, "wrong": problem}


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
