"""What the fence costs: the same pipeline, with a statement that locks no lane and looks for no head row.

Only the SQL is exchanged, and only here; the library has no way to do without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import perf_counter
from uuid import uuid4

from jido_objects import ids
from jido_objects.bench.names import APP
from jido_objects.bench.sides import Objects
from jido_objects.bench.stage import Stage
from jido_objects.bench.stats import Ratio, Run, Side, Target, Workload, per_call
from jido_objects.stores import statements
from jido_objects.stores.link import Statement
from jido_objects.stores.opening import open_store
from jido_objects.stores.protocol import Append, Entry, EntryKind, Store, TermInfo, Writer

_COLUMNS = statements.COLUMNS
_IGNORED = " AND ".join(f"{name} IS NOT NULL" for name in ("$1::uuid", "$3::bigint[]", "$4::bigint[]", "$5::bigint[]"))
UNFENCED = Statement(f"""INSERT INTO jido_journal (object_id, seq, {_COLUMNS}, format)
SELECT r.object_id, r.seq, {statements.VALUES}, $2::smallint
FROM unnest({statements.arrays(6, "bigint", "bigint", *statements.TYPES)}) AS r (object_id, seq, {_COLUMNS}) WHERE {_IGNORED}""")


@contextmanager
def unfenced() -> Iterator[None]:
    """Every writer of this process appends without the fence. For what creates objects nothing changes."""
    fenced, statements.APPEND = statements.APPEND, UNFENCED
    try:
        yield
    finally:
        statements.APPEND = fenced


class Unfenced(Objects):
    """The same calls without the fence."""

    def run(self, seconds: float) -> Run:
        with unfenced():
            return super().run(seconds)


class Batches:
    """A writer alone: batches that are ready, one after another. Counts rows."""

    def __init__(self, stage: Stage, title: str, objects: int, rows: int, *, fenced: bool) -> None:
        self.title = title
        self.stage = stage
        self.objects = objects
        self.rows = rows
        self.fenced = fenced
        self.expected = 0
        self.runner: asyncio.Runner | None = None
        self.store: Store | None = None
        self.writer: Writer | None = None
        self.heads: dict[str, tuple[int, int]] = {}

    def prepare(self) -> None:
        self.runner = asyncio.Runner()
        self.runner.run(self._begin())
        self.run(0.1)

    async def _begin(self) -> None:
        self.store = open_store(self.stage.alias)
        await self.store.open()
        self.term = uuid4()
        await self.store.begin_term(self.term, TermInfo(), 3600.0)
        self.writer = await self.store.writer(self.term)
        name = f"{self.stage.run}/batches-{id(self)}"
        created = [Append(f"{APP}.Counter", f"{name}/{n}", None, 1, 0, 1, [_entry(1)]) for n in range(self.objects)]
        for append, object_id in zip(created, await self.writer.append(created), strict=True):
            assert isinstance(object_id, int)
            self.heads[append.key] = object_id, 1
        self.expected += self.objects

    def run(self, seconds: float) -> Run:
        assert self.runner is not None
        if self.fenced:
            return self.runner.run(self._run(seconds))
        with unfenced():
            return self.runner.run(self._run(seconds))

    async def _run(self, seconds: float) -> Run:
        assert self.writer is not None
        each, latencies = self.rows // self.objects, []
        until = perf_counter() + seconds
        while not latencies or perf_counter() < until:
            batch = [
                Append(f"{APP}.Counter", key, object_id, 1, head, 1, [_entry(head + n) for n in range(1, each + 1)])
                for key, (object_id, head) in self.heads.items()
            ]
            begun = perf_counter()
            outcome = await self.writer.append(batch)
            latencies.append(perf_counter() - begun)
            assert None not in outcome
            self.heads = {key: (object_id, head + each) for key, (object_id, head) in self.heads.items()}
        count = len(latencies) * each * self.objects
        self.expected += count
        return Run(count, sum(latencies), latencies)

    def check(self) -> str | None:
        numbers = [object_id for object_id, _ in self.heads.values()]
        ((rows,),) = self.stage.rows("SELECT count(*) FROM jido_journal WHERE object_id = ANY (%s)", [numbers])
        return None if rows == self.expected else f"{self.expected} rows were acknowledged, {rows} are there"

    def close(self) -> None:
        if self.runner is not None:
            self.runner.run(self._end())
            self.runner.close()

    async def _end(self) -> None:
        if self.writer is not None:
            await self.writer.close()
        if self.store is not None:
            await self.store.bury(self.term, proven=True)
            await self.store.close()


def _entry(seq: int) -> Entry:
    now = datetime.now(UTC)
    return Entry(seq, EntryKind.TURN, now, ids.generate(), False, "add", 1, f'[["set","value",{seq}]]', str(seq), 1)


def overhead(stage: Stage) -> Workload | None:
    if stage.vendor != "postgresql":
        return None
    n = stage.callers
    sides: dict[str, Side] = {
        "ours": Objects(stage, "fenced", "async"),
        "without": Unfenced(stage, "without the fence", "async"),
        "many": Objects(stage, "fenced, 1,000 keys", "async", keys=1000),
        "many-without": Unfenced(stage, "without the fence", "async", keys=1000),
        "batch": Batches(stage, "fenced statement", 1, 64, fenced=True),
        "batch-without": Batches(stage, "without the fence", 1, 64, fenced=False),
        "batches": Batches(stage, "fenced statement", 64, 64, fenced=True),
        "batches-without": Batches(stage, "without the fence", 64, 64, fenced=False),
    }
    target = Target(1.08, at_most=True)
    ratios = [
        Ratio(f"the fence: hot key, {n} callers, per call", "ours", "without", per_call, target),
        Ratio(f"the fence: 1,000 keys, {n} callers, per call", "many", "many-without", per_call),
        Ratio("the fence: statement of 64 rows, 1 object, per row", "batch", "batch-without", per_call),
        Ratio("the fence: statement of 64 rows, 64 objects, per row", "batches", "batches-without", per_call),
    ]
    return Workload("fence", "overhead of the fence", sides, ratios, parts=6)
