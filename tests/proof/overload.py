"""P11 in one process: a key that is called ten times as often as it can serve while others are called, and many cold keys.

``python -m tests.proof.overload SCALE`` prints one JSON object; the settings come as for the processes of ``tests.faults``.
Quiet and flooded phases alternate, so that what else the machine does strikes both.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import threading
import time
from collections import Counter
from typing import Any

import django
import psutil

ROUNDS = 5
PHASE = 2.0
"""Seconds of a phase."""
FLOODERS = 2
"""Threads, each with an event loop of its own."""
TICK = 0.004
TURN = 0.001
"""Seconds that a turn of the flooded key awaits."""
OVERLOAD = 10
OTHERS = 4
"""Keys besides, each with one caller."""
COLD = 50_000
CALLERS = 64


def percentile(values: list[float], q: float) -> float:
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))]


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


class Flood:
    """Calls one key from several threads at a rate, whatever becomes of the calls."""

    def __init__(self, hot: Any, rate: float) -> None:
        self.answers: Counter[str] = Counter()
        self.refused_after: list[float] = []
        self._hot = hot
        self._rate = rate
        self._until = 0.0
        self._lock = threading.Lock()

    def run(self, seconds: float) -> list[threading.Thread]:
        self._until = time.monotonic() + seconds
        threads = [threading.Thread(target=lambda: asyncio.run(self._flood())) for _ in range(FLOODERS)]
        for thread in threads:
            thread.start()
        return threads

    async def _flood(self) -> None:
        sent: set[asyncio.Task[None]] = set()
        answers: Counter[str] = Counter()
        refused: list[float] = []
        began = time.monotonic()
        count = 0
        while (now := time.monotonic()) < self._until:
            while count < (now - began) * self._rate / FLOODERS:
                task = asyncio.create_task(self._one(answers, refused))
                sent.add(task)
                task.add_done_callback(sent.discard)
                count += 1
            await asyncio.sleep(TICK)
        await asyncio.gather(*sent)
        with self._lock:
            self.answers += answers
            self.refused_after += refused

    async def _one(self, answers: Counter[str], refused: list[float]) -> None:
        from jido_objects.errors import Overloaded

        began = time.perf_counter()
        try:
            await self._hot.acall("work")
        except Overloaded:
            refused.append(time.perf_counter() - began)
            answers["refused"] += 1
        except Exception as error:
            answers[f"{type(error).__name__}: {error}"] += 1
        else:
            answers["served"] += 1


async def serve(others: list[Any], seconds: float) -> list[float]:
    """Times of calls of the other keys, each called again a moment after its answer."""
    took: list[float] = []
    until = time.monotonic() + seconds

    async def one(ref: Any) -> None:
        while time.monotonic() < until:
            began = time.perf_counter()
            await ref.acall("add")
            took.append(time.perf_counter() - began)
            await asyncio.sleep(0.001)

    await asyncio.gather(*(one(ref) for ref in others))
    return took


def overload(scale: float) -> dict[str, Any]:
    from tests.proof.objects import Bystander, Hot

    hot, others = Hot.at("hot"), [Bystander.at(str(n)) for n in range(OTHERS)]
    asyncio.run(serve(others, 0.5))
    began = time.monotonic()

    async def capacity() -> int:
        done = 0
        while time.monotonic() < began + 1:
            await asyncio.gather(*(hot.acall("work") for _ in range(64)))
            done += 64
        return done

    done = asyncio.run(capacity())
    rate = OVERLOAD * done / (time.monotonic() - began)
    served = done
    quiet: list[float] = []
    flooded: list[float] = []
    refused: list[list[float]] = []
    answers: Counter[str] = Counter()
    memory = [resident()]
    for _ in range(max(1, round(ROUNDS * scale))):
        quiet.extend(asyncio.run(serve(others, PHASE)))
        flood = Flood(hot, rate)
        threads = flood.run(PHASE + 0.5)
        # The mailbox is full when the times of the others begin to count.
        time.sleep(0.5)
        flooded.extend(asyncio.run(serve(others, PHASE)))
        for thread in threads:
            thread.join()
        refused.append(flood.refused_after)
        answers += flood.answers
        memory.append(resident())
    served += answers["served"]
    count = hot.get("done")
    return {
        "answers": dict(answers),
        "offered": rate,
        "lost": served - count,
        "refused_p99": statistics.median(percentile(took, 0.99) for took in refused),
        # Of all rounds together: a single one has too few calls for the last percent of them to say much.
        "p50": [percentile(took, 0.5) for took in (quiet, flooded)],
        "p99": [percentile(took, 0.99) for took in (quiet, flooded)],
        "grown": max(memory[1:]) - memory[1],
    }


def cold(scale: float) -> dict[str, Any]:
    from jido_objects import process
    from tests.proof.objects import Bystander

    count = round(COLD * scale)
    calls = iter([(f"cold-{n}", time) for time in (1, 2) for n in range(count)])
    live: list[int] = []
    memory: list[int] = []
    wrong = 0

    async def work() -> None:
        nonlocal wrong
        host = process.current().host
        assert host is not None
        for key, expected in calls:
            wrong += await Bystander.at(key).acall("add") != expected
            live.append(len(host.activations))
            if len(live) % 5000 == 0:
                memory.append(resident())

    async def main() -> None:
        await Bystander.at("first").acall("add")
        await asyncio.gather(*(work() for _ in range(CALLERS)))

    began = time.monotonic()
    asyncio.run(main())
    return {
        "calls": len(live),
        "keys": count,
        "wrong": wrong,
        "live": max(live),
        "limit": process.current().settings.MAX_ACTIVATIONS + CALLERS,
        "grown": memory[-1] - memory[0],
        "resident": memory[-1],
        "per_second": len(live) / (time.monotonic() - began),
    }


def main() -> None:
    django.setup()
    scale = float(sys.argv[1])
    print(json.dumps({"overload": overload(scale), "cold": cold(scale)}))


if __name__ == "__main__":
    main()
