"""Whether trimming keeps up: rows trimmed per second beside rows appended per second, in one run.

Rows and snapshots are made in bulk as the library would have left them; what is timed is what a host's trimmer does, one
object's whole shares one after another, or many objects at rest together, each statement with the rest after it left out.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from jido_objects.bench.counter import BenchCounter
from jido_objects.bench.sides import Objects
from jido_objects.bench.stage import Stage
from jido_objects.bench.stats import Ratio, Run, Side, Target, Workload
from jido_objects.limits import RETENTION_ROWS
from jido_objects.stores.opening import open_store
from jido_objects.stores.protocol import Store, Trim, Trimmed
from jido_objects.stores.windows import SHARES
from jido_objects.trimming import ALONE, NEAR, TOGETHER

from . import history

SHARE = RETENTION_ROWS // SHARES


class Trims:
    """Trims what is old of one object with a long history. Counts rows."""

    title = "trimmed, one long history"

    def __init__(self, stage: Stage, rows: int) -> None:
        self.stage = stage
        self.rows = rows
        self.head = 1
        self.object_id = 0
        self.runner: asyncio.Runner | None = None
        self.store: Store | None = None

    def prepare(self) -> None:
        self.runner = asyncio.Runner()
        (key,) = history.populate(self.stage, BenchCounter, f"trim-{id(self)}", 1, '[["set","value",1]]', "add", "1")
        label = BenchCounter.at("x").label
        ((self.object_id,),) = self.stage.rows("SELECT id FROM jido_object WHERE type = %s AND key = %s", [label, key])
        self.store = open_store(self.stage.alias)
        self.runner.run(self.store.open())

    def run(self, seconds: float) -> Run:
        assert self.runner is not None
        first, self.head = self.head + 1, self.head + self.rows
        history.lengthen(self.stage, self.object_id, first, self.head, 1)
        for seq in [*range(first + SHARE, self.head - SHARE, SHARE), self.head - 200, self.head - 100, self.head]:
            history.snapshot(self.stage, self.object_id, seq, {"value": seq})
        return self.runner.run(self._run())

    async def _run(self) -> Run:
        assert self.store is not None
        count, latencies, more = 0, [], True
        while more:
            begun = perf_counter()
            (trimmed,) = await self.store.trim([Trim(self.object_id, 0.0)], call_id_seconds=3600.0, limit=ALONE)
            latencies.append(perf_counter() - begun)
            assert trimmed is not None
            count, more = count + trimmed.rows, trimmed.more
        return Run(count, sum(latencies), latencies)

    def check(self) -> str | None:
        ((rows,),) = self.stage.rows("SELECT count(*) FROM jido_journal WHERE object_id = %s", [self.object_id])
        return None if rows == 1 else f"{rows} rows are left of which one may stay"

    def close(self) -> None:
        if self.runner is not None:
            if self.store is not None:
                self.runner.run(self.store.close())
            self.runner.close()


class ManyTrims(Trims):
    """Trims objects at rest, ten turns each, many in one statement."""

    title = "trimmed, objects of 10 turns"

    def __init__(self, stage: Stage, rows: int) -> None:
        super().__init__(stage, rows)
        self.left = 0
        self.ids: list[int] = []

    def run(self, seconds: float) -> Run:
        assert self.runner is not None
        count = self.rows // 10
        name = f"rest-{id(self)}-{self.head}"
        self.head += 1
        history.populate(self.stage, BenchCounter, name, count, '[["set","value",1]]', "add", "1")
        like = f"{self.stage.run}/{name}/%"
        found = self.stage.rows("SELECT id FROM jido_object WHERE type = %s AND key LIKE %s", [BenchCounter.at("x").label, like])
        ids = [object_id for (object_id,) in found]
        self.ids += ids
        history.repeat(self.stage, like, 10)
        return self.runner.run(self._trim(ids))

    async def _trim(self, ids: list[int]) -> Run:
        assert self.store is not None
        count, latencies = 0, []
        for first in range(0, len(ids), TOGETHER):
            begun = perf_counter()
            trims = [Trim(object_id, 0.0) for object_id in ids[first : first + TOGETHER]]
            outcome = await self.store.trim(trims, call_id_seconds=3600.0, limit=NEAR)
            latencies.append(perf_counter() - begun)
            count += sum(one.rows for one in outcome if isinstance(one, Trimmed))
        return Run(count, sum(latencies), latencies)

    def check(self) -> str | None:
        ((rows,),) = self.stage.rows(
            "SELECT count(*) FROM jido_journal j JOIN jido_object o ON o.id = j.object_id WHERE o.key LIKE %s",
            [f"{self.stage.run}/rest-{id(self)}-%"],
        )
        return None if rows == len(self.ids) else f"{rows} rows are left of {len(self.ids)} objects"


def trimming(stage: Stage, rows: int = 100_000) -> Workload:
    n = stage.callers
    sides: dict[str, Side] = {
        "trims": Trims(stage, rows),
        "many": ManyTrims(stage, rows // 10),
        "hot": Objects(stage, f"appended, hot key, {n} callers", "async"),
        "scattered": Objects(stage, f"appended, 1,000 keys, {n} callers", "async", keys=1000),
    }
    target = Target(1.0)
    ratios = [
        Ratio("rows trimmed of a long history", "trims", "hot", target=target),
        Ratio("rows trimmed of objects at rest", "many", "scattered", target=target),
    ]
    return Workload("trimming", "trimming beside appending", sides, ratios)
