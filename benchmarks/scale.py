"""The second block: how cost grows with the state, the history and the number of objects."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from time import perf_counter
from typing import Any

from jido_objects import Ref, process
from jido_objects.bench.counter import BenchCounter
from jido_objects.bench.sides import BareSelects, Django, Objects
from jido_objects.bench.stage import Stage
from jido_objects.bench.stats import Ratio, Run, Side, Target, Workload, p50, per_call
from jido_objects.host import Host

from . import history
from .objects import Ledger

KINDS = {"dict": "a dict", "list": "a list", "set": "a set", "nested": "dicts in a dict"}


# ---------------------------------------------------------------- large states


class Touches(Objects):
    """Turns that touch one element of many."""

    def __init__(self, stage: Stage, kind: str, size: int) -> None:
        super().__init__(stage, f"{size:,} elements", "async", type_=Ledger)
        self.kind = kind
        self.size = size

    async def create(self, ref: Ref[Ledger]) -> None:
        await ref.acall(Ledger.fill, self.kind, self.size)

    def acall(self) -> Awaitable[object]:
        return self.refs[0].acall(f"touch_{self.kind}", random.randrange(self.size))

    def wrong_state(self, ref: Ref[Ledger], rows: int) -> str | None:
        state = ref.peek()
        assert state is not None
        committed = {
            "dict": sum(state["accounts"].values()),
            "list": sum(state["rows"]),
            "set": len(state["marks"]),
            "nested": sum(sum(page.values()) for page in state["pages"].values()),
        }[self.kind]
        live = ref.get("total", self.kind)
        if live != committed or (self.kind != "set" and live != rows - 1):
            return f"{live} in memory and {committed} committed, after {rows - 1} touches"
        return None


def state_size(stage: Stage) -> Workload:
    sides: dict[str, Side] = {}
    ratios = []
    for kind, title in KINDS.items():
        for size in (10, 10_000):
            sides[f"{kind}-{size}"] = Touches(stage, kind, size)
        target = Target(1.3, at_most=True)
        ratios.append(Ratio(f"a turn on {title} of 10,000", f"{kind}-10000", f"{kind}-10", per_call, target))
    return Workload("state-size", "state of 10 and of 10,000 elements", sides, ratios, parts=2)


# ---------------------------------------------------------------- long histories


class Thaws(Objects):
    """First calls of an object that is not in memory. The latency is the whole call's: find, claim, load, answer."""

    def __init__(self, stage: Stage, title: str, turns: int, *, tail: int = 0) -> None:
        super().__init__(stage, title, "async", callers=1)
        self.turns = turns
        self.tail = tail
        self.object_id = 0
        self.runner: asyncio.Runner | None = None

    def prepare(self) -> None:
        self.runner = asyncio.Runner()
        ref = self.refs[0]
        self.runner.run(self.create(ref))
        process.stop()
        ((self.object_id, digest),) = self.stage.rows(
            "SELECT o.id, j.digest FROM jido_object o JOIN jido_journal j ON j.object_id = o.id WHERE o.type = %s AND o.key = %s",
            [ref.label, ref.key],
        )
        alone = max(self.turns - 100, 1)
        if alone > 1:
            history.lengthen(self.stage, self.object_id, 2, alone, digest)
            history.snapshot(self.stage, self.object_id, alone, {"value": alone})
        history.settle(self.stage)
        self.stage.serve()
        while alone < self.turns:
            ref.call(BenchCounter.add, 1)
            alone += 1
        self.expected = self.turns
        self.run(0.1)

    def run(self, seconds: float) -> Run:
        assert self.runner is not None
        return self.runner.run(self._run(seconds))

    async def _run(self, seconds: float) -> Run:
        ref, latencies = self.refs[0], []
        until = perf_counter() + seconds
        while not latencies or perf_counter() < until:
            await self._to_rest(ref)
            begun = perf_counter()
            value = await ref.aget("value")
            latencies.append(perf_counter() - begun)
            if value != self.turns:
                raise AssertionError(f"{ref} thawed with {value} after {self.turns} turns")
        return Run(len(latencies), sum(latencies), latencies)

    async def _to_rest(self, ref: Ref[Any]) -> None:
        await process.current().ask(lambda host: _hibernate(host, ref))
        if self.tail:
            await asyncio.to_thread(
                self.stage.rows, "DELETE FROM jido_snapshot WHERE object_id = %s AND seq > %s", [self.object_id, self.turns - self.tail]
            )

    def close(self) -> None:
        if self.runner is not None:
            self.runner.close()


async def _hibernate(host: Host, ref: Ref[Any]) -> None:
    activation = host.activations.get((ref.label, ref.key))
    if activation is not None:
        while not host.hibernate(activation):
            await asyncio.sleep(0.001)
        await host.pipeline.quiet()


def thaw(stage: Stage, turns: int = 1_000_000) -> Workload:
    sides: dict[str, Side] = {
        "short": Thaws(stage, "after 10 turns", 10),
        "long": Thaws(stage, f"after {turns:,} turns", turns),
        "select": BareSelects(stage, "driver, select by pk"),
    }
    if stage.vendor == "postgresql":
        sides["hop"] = Live(stage, "live object, async caller")
    ratios = [
        Ratio(f"thaw after {turns:,} turns, p50", "long", "short", p50, Target(1.3, at_most=True)),
        Ratio("thaw after 10 turns, p50", "short", "select", p50, Target(2.5, at_most=True)),
    ]
    if "hop" in sides:
        ratios.append(Ratio("thaw after 10 turns, p50", "short", "hop", p50))
    return Workload("thaw", "thaw of an object", sides, ratios, parts=4)


class Live(Objects):
    """Reads of a live object by one coroutine: what of a thaw is the way there and back."""

    def __init__(self, stage: Stage, title: str) -> None:
        super().__init__(stage, title, "async", callers=1)

    def acall(self) -> Awaitable[object]:
        return self.refs[0].aget("value")

    def run(self, seconds: float) -> Run:
        before = self.expected
        run = super().run(seconds)
        self.expected = before
        return run


# ---------------------------------------------------------------- many objects


class Cold:
    """Objects at rest, wanted by all callers at once after the host has started anew."""

    def __init__(self, stage: Stage, title: str, count: int) -> None:
        self.title = title
        self.stage = stage
        self.count = count
        self.refs: list[Ref[Any]] = []
        self.wrong = 0
        self.runner: asyncio.Runner | None = None

    def prepare(self) -> None:
        keys = history.populate(self.stage, BenchCounter, "cold", self.count, '[["set","value",1]]', "add", "1")
        self.refs = [BenchCounter.at(*key.split("/")) for key in keys]
        self.runner = asyncio.Runner()
        self.run(0.2)

    def run(self, seconds: float) -> Run:
        assert self.runner is not None
        process.stop()
        self.stage.serve()
        random.shuffle(self.refs)
        return self.runner.run(self._run(seconds))

    async def _run(self, seconds: float) -> Run:
        waiting, latencies = iter(self.refs), []
        # The term and its connections are not what is measured.
        await next(waiting).aget("value")
        began = perf_counter()

        async def work() -> None:
            for ref in waiting:
                begun = perf_counter()
                self.wrong += await ref.aget("value") != 1
                ended = perf_counter()
                latencies.append(ended - begun)
                if ended - began > seconds:
                    return

        async with asyncio.TaskGroup() as group:
            for _ in range(self.stage.callers):
                group.create_task(work())
        return Run(len(latencies), perf_counter() - began, latencies)

    def check(self) -> str | None:
        if self.wrong:
            return f"{self.wrong} objects thawed with a wrong value"
        ((rows,),) = self.stage.rows(
            "SELECT count(*) FROM jido_journal j JOIN jido_object o ON o.id = j.object_id WHERE o.key LIKE %s", [f"{self.stage.run}/cold/%"]
        )
        return None if rows == self.count else f"{self.count} objects of one turn have {rows} rows"

    def close(self) -> None:
        if self.runner is not None:
            self.runner.close()


def cold(stage: Stage, count: int = 20_000) -> Workload:
    n = stage.callers
    sides: dict[str, Side] = {
        "ours": Cold(stage, f"{count:,} cold objects", count),
        "django": Django(stage, "Django get(pk=…)", "threads", keys=1000, reads=True, history=False),
    }
    title = f"cold objects thawed by {n} callers"
    return Workload("cold", title, sides, [Ratio(title, "ours", "django", target=Target(3000, unit="/s"))])
