"""The things that are compared: durable objects, Django's ORM, and the bare driver. Each checks the state it has left."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

from .. import DurableObject, Ref
from . import bare, baseline
from .callers import Callers, One, Tasks, Threads, patient, with_cpu
from .counter import BenchCounter, BenchShared
from .stage import Stage
from .stats import Run

How = Literal["async", "threads", "sync"]
_names = itertools.count(1)


class Objects:
    """Calls of durable counters, spread over ``keys`` of them."""

    def __init__(
        self, stage: Stage, title: str, how: How, *, callers: int | None = None, keys: int = 1, type_: type[DurableObject] = BenchCounter
    ) -> None:
        self.title = title
        self.stage = stage
        self.how = how
        self.count = 1 if how == "sync" else (callers or stage.callers)
        self.name = f"{next(_names)}"
        self.refs: list[Ref[Any]] = [type_.at(stage.run, self.name, number) for number in range(keys)]
        self.expected = 0
        self.callers: Callers | None = None

    def prepare(self) -> None:
        asyncio.run(for_each(self.refs, self.create))
        self.expected += len(self.refs)
        self.callers = make_callers(self.how, self.count, self.call, self.acall)
        self.run(0.1)

    async def create(self, ref: Ref[Any]) -> None:
        """The first call of an object, one row."""
        await ref.acall(BenchCounter.add, 1)

    def call(self) -> object:
        return self.one().call(BenchCounter.add, 1)

    def acall(self) -> Awaitable[object]:
        return self.one().acall(BenchCounter.add, 1)

    def one(self) -> Ref[Any]:
        """Whom the next call goes to."""
        refs = self.refs
        return refs[0] if len(refs) == 1 else random.choice(refs)

    def run(self, seconds: float) -> Run:
        assert self.callers is not None
        run = with_cpu(self.callers, seconds)
        self.expected += run.count
        return run

    def check(self) -> str | None:
        """Every acknowledged call is one row of a gapless journal, with an id of its own, and counted in the state."""
        found = self.stage.rows(
            "SELECT o.key, count(*), min(j.seq), max(j.seq), count(DISTINCT j.call_id) FROM jido_object o "
            "JOIN jido_journal j ON j.object_id = o.id WHERE o.type = %s AND o.key LIKE %s GROUP BY o.key",
            [self.refs[0].label, f"{self.stage.run}/{self.name}/%"],
        )
        for key, count, first, last, ids in found:
            if not count == last == ids or first != 1:
                return f"the journal of {key} has {count} rows from {first} to {last} with {ids} call ids"
        rows = sum(row[1] for row in found)
        if rows != self.expected:
            return f"{self.expected} calls were answered, {rows} are in the journal"
        last_of = {row[0]: row[3] for row in found}
        for ref in self.refs[:50]:
            wrong = self.wrong_state(ref, last_of[ref.key])
            if wrong is not None:
                return f"{ref}: {wrong}"
        return None

    def wrong_state(self, ref: Ref[Any], rows: int) -> str | None:
        """What is wrong with an object that has so many rows, in memory or as its journal gives it."""
        committed, value = ref.peek(), ref.get("value")
        if committed != {"value": rows} or value != rows:
            return f"{value} in memory and {committed} committed, after {rows} calls of add(1)"
        return None

    def close(self) -> None:
        if self.callers is not None:
            self.callers.close()


class ObjectReads(Objects):
    """Reads of live objects."""

    def call(self) -> object:
        return self.one().get("value")

    def acall(self) -> Awaitable[object]:
        return self.one().aget("value")

    def run(self, seconds: float) -> Run:
        before = self.expected
        run = super().run(seconds)
        self.expected = before
        return run


class SharedObjects(Objects):
    """Calls of ``@transactional`` counters, each with a row of the baseline's table that counts the same."""

    def __init__(self, stage: Stage, title: str, how: How, *, callers: int | None = None) -> None:
        super().__init__(stage, title, how, callers=callers, type_=BenchShared)
        self.pk = 0

    def prepare(self) -> None:
        # One more than its calls, as the object is, whose first call creates it.
        self.pk = baseline.Counter.objects.using(self.stage.alias).create(value=1).pk
        super().prepare()

    def call(self) -> object:
        return self.one().call(BenchShared.add_shared, self.stage.alias, self.pk)

    def acall(self) -> Awaitable[object]:
        return self.one().acall(BenchShared.add_shared, self.stage.alias, self.pk)

    def check(self) -> str | None:
        counted = baseline.read(self.stage.alias, self.pk)
        if counted != self.expected:
            return f"{self.expected} calls were answered, the row counts {counted}"
        return super().check()


class Django:
    """The baseline: ``atomic`` + ``select_for_update`` + ``save`` + a history row."""

    def __init__(
        self, stage: Stage, title: str, how: Literal["threads", "sync"], *, keys: int = 1, history: bool = True, reads: bool = False
    ) -> None:
        self.title = title
        self.stage = stage
        self.how = how
        self.keys = keys
        self.history = history
        self.reads = reads
        self.pks: list[int] = []
        self.expected = 0
        self.callers: Callers | None = None

    def prepare(self) -> None:
        manager = baseline.Counter.objects.using(self.stage.alias)
        self.pks = [counter.pk for counter in manager.bulk_create([baseline.Counter() for _ in range(self.keys)])]
        call = self.call if self.stage.vendor == "postgresql" else patient(self.call)
        self.callers = Threads(self.stage.callers, call) if self.how == "threads" else One(call)
        self.run(0.1)

    def call(self) -> object:
        pk = self.pks[0] if self.keys == 1 else random.choice(self.pks)
        if self.reads:
            return baseline.read(self.stage.alias, pk)
        return (baseline.add if self.history else baseline.add_without_history)(self.stage.alias, pk)

    def run(self, seconds: float) -> Run:
        assert self.callers is not None
        run = self.callers.run(seconds)
        self.expected += 0 if self.reads else run.count
        return run

    def check(self) -> str | None:
        counted = sum(baseline.Counter.objects.using(self.stage.alias).filter(pk__in=self.pks).values_list("value", flat=True))
        if counted != self.expected:
            return f"{self.expected} calls returned, {counted} are counted"
        if self.history:
            kept = baseline.History.objects.using(self.stage.alias).filter(counter__in=self.pks).count()
            if kept != self.expected:
                return f"{self.expected} calls returned, {kept} are in the history"
        return None

    def close(self) -> None:
        if self.callers is not None:
            self.callers.close()


class BareInserts:
    """One connection that inserts ``batch`` history rows per statement. Counts rows; a latency is a statement's."""

    def __init__(self, stage: Stage, title: str, batch: int = 1) -> None:
        self.title = title
        self.stage = stage
        self.batch = batch
        self.counter = next(_names)
        self.expected = 0
        self.connection: bare.Bare | None = None

    def prepare(self) -> None:
        self.connection = bare.connect(self.stage.connection)
        self.run(0.1)

    def run(self, seconds: float) -> Run:
        connection = self.connection
        assert connection is not None
        run = One(lambda: connection.insert(self.counter, self.batch)).run(seconds)
        run.count *= self.batch
        self.expected += run.count
        return run

    def check(self) -> str | None:
        rows = baseline.Bare.objects.using(self.stage.alias).filter(counter=self.counter).count()
        return None if rows == self.expected else f"{self.expected} rows were inserted, {rows} are there"

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()


class BareSelects:
    """One connection that reads a row by its primary key."""

    def __init__(self, stage: Stage, title: str) -> None:
        self.title = title
        self.stage = stage
        self.pk = 0
        self.connection: bare.Bare | None = None

    def prepare(self) -> None:
        self.pk = baseline.Counter.objects.using(self.stage.alias).create().pk
        self.connection = bare.connect(self.stage.connection)
        self.run(0.1)

    def run(self, seconds: float) -> Run:
        connection = self.connection
        assert connection is not None
        return One(lambda: connection.select(self.pk)).run(seconds)

    def check(self) -> str | None:
        assert self.connection is not None
        found = self.connection.select(self.pk)
        return None if found == (self.pk, 0) else f"the row is {found}"

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()


def make_callers(how: How, count: int, call: Callable[[], object], acall: Callable[[], Awaitable[object]]) -> Callers:
    """Callers of one kind."""
    if how == "sync":
        return One(call)
    return Tasks(count, acall) if how == "async" else Threads(count, call)


async def for_each(refs: Iterable[Ref[Any]], call: Callable[[Ref[Any]], Awaitable[object]]) -> None:
    """Do something with every ref, 64 at a time."""
    waiting = iter(refs)

    async def work() -> None:
        for ref in waiting:
            await call(ref)

    async with asyncio.TaskGroup() as group:
        for _ in range(64):
            group.create_task(work())
