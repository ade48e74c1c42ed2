"""The memory server keeps and breaks promises as PostgreSQL does: the fence's races again, aimed through its fault points."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from jido_objects.errors import OutcomeUnknown, StoreUnavailable
from jido_objects.stores import memory_server
from jido_objects.stores.memory import Faults, MemoryLink, MemoryServer, MemoryStore, MemoryWriter
from jido_objects.stores.protocol import Claim, Snapshot, TermEnded, TermInfo

from .world import LEASE, TYPE, create, extend, on_a_loop


class Gate(Faults):
    """Holds statements at one point until it is opened; says when one has arrived."""

    def __init__(self) -> None:
        self.point = ""
        self.arrived = asyncio.Event()
        self.opened = asyncio.Event()
        self.drop = False
        self.error: Exception | None = None
        self.seen: list[str] = []

    async def at(self, point: str, link: MemoryLink) -> None:
        self.seen.append(point)
        if point != self.point:
            return
        self.arrived.set()
        if self.drop:
            link.drop("cut")
        if self.error is not None:
            raise self.error
        await self.opened.wait()

    def close_at(self, point: str, *, drop: bool = False) -> None:
        self.point, self.drop = point, drop
        self.arrived.clear()
        self.opened.clear()


class Scene:
    def __init__(self) -> None:
        self.server = MemoryServer()
        self.gate, self.other_gate = Gate(), Gate()
        self.store = MemoryStore(self.server, faults=self.gate)
        self.other = MemoryStore(self.server, faults=self.other_gate)
        self.key = str(uuid4())

    async def set(self) -> Scene:
        await self.store.open()
        await self.other.open()
        self.term, self.other_term = uuid4(), uuid4()
        await self.store.begin_term(self.term, TermInfo(), LEASE)
        await self.other.begin_term(self.other_term, TermInfo(), LEASE)
        self.writer: MemoryWriter = await self.store.writer(self.term)
        self.other_writer: MemoryWriter = await self.other.writer(self.other_term)
        (outcome,) = await self.writer.append([create(self.key)])
        assert isinstance(outcome, int)
        self.id = outcome
        return self

    async def held(self, point: str, call: Any, *, drop: bool = False) -> asyncio.Task[Any]:
        self.gate.close_at(point, drop=drop)
        task: asyncio.Task[Any] = asyncio.ensure_future(call)
        await self.gate.arrived.wait()
        return task

    async def head(self) -> int:
        return (await self.other.load([self.id]))[0].head_seq

    def lapse(self) -> None:
        self.server.started -= 1000
        self.server.terms[self.term].lease_until -= 1000


async def _turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@on_a_loop
async def test_append_in_flight_while_buried() -> None:
    on = await Scene().set()
    append = await on.held("append:executing", on.writer.append([extend(on.key, on.id, 1)]))
    burial = asyncio.ensure_future(on.other.bury(on.term, proven=True))
    await _turns()
    assert not burial.done()
    assert await on.other_writer.claim([Claim(on.id, 1)]) == [None]
    on.gate.opened.set()
    assert await append == [on.id]
    assert await burial
    assert await on.other_writer.claim([Claim(on.id, 1)]) == [2]
    assert await on.head() == 2


@on_a_loop
async def test_a_statement_that_holds_up_a_burial_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_server, "LOCK_SECONDS", 0.01)
    on = await Scene().set()
    append = await on.held("append:executing", on.writer.append([extend(on.key, on.id, 1)]))
    assert await on.other.bury(on.term, proven=True)
    with pytest.raises(OutcomeUnknown):
        await append
    assert await on.head() == 1
    with pytest.raises(TermEnded):
        await on.writer.settle()


@pytest.mark.parametrize("what", ["append", "claim", "snapshot", "begin_lane"])
@on_a_loop
async def test_every_write_waits_for_an_uncommitted_burial(what: str) -> None:
    on = await Scene().set()
    calls: dict[str, Any] = {
        "append": lambda: on.writer.append([extend(on.key, on.id, 1)]),
        "claim": lambda: on.writer.claim([Claim(on.id, 1)]),
        "snapshot": lambda: on.writer.snapshot([Snapshot(on.id, 1, 1, "{}", 0)]),
        "begin_lane": lambda: on.store.writer(on.term),
    }
    on.other_gate.close_at("bury:executing")
    burial = asyncio.ensure_future(on.other.bury(on.term, proven=True))
    await on.other_gate.arrived.wait()
    write, renewal = asyncio.ensure_future(calls[what]()), asyncio.ensure_future(on.store.renew(on.term, LEASE))
    await _turns()
    assert not write.done()
    assert not renewal.done()
    on.other_gate.opened.set()
    assert await burial
    with pytest.raises(TermEnded):
        await write
    assert not await renewal
    assert await on.head() == 1


@on_a_loop
async def test_a_renewal_in_time_spoils_a_burial() -> None:
    on = await Scene().set()
    on.lapse()
    renewal = await on.held("renew:executing", on.store.renew(on.term, LEASE))
    burial = asyncio.ensure_future(on.other.bury(on.term))
    await _turns()
    assert not burial.done()
    assert await on.writer.append([extend(on.key, on.id, 1)]) == [on.id]
    on.gate.opened.set()
    assert await renewal
    assert not await burial


@on_a_loop
async def test_heartbeat_under_a_held_share_lock() -> None:
    on = await Scene().set()
    lane = await on.held("begin_lane:executing", on.store.writer(on.term))
    assert await on.store.renew(on.term, LEASE)
    burial = asyncio.ensure_future(on.other.bury(on.term, proven=True))
    await _turns()
    assert not burial.done()
    on.gate.opened.set()
    writer = await lane
    assert await burial
    with pytest.raises(TermEnded):
        await writer.append([extend(on.key, on.id, 1)])


@pytest.mark.parametrize("point", ["append:sent", "append:executing", "append:executed"])
@on_a_loop
async def test_a_statement_whose_client_has_gone_lands_unless_its_lane_was_ended(point: str) -> None:
    on = await Scene().set()
    append = await on.held(point, on.writer.append([extend(on.key, on.id, 1)]), drop=True)
    with pytest.raises(OutcomeUnknown):
        await append
    settling = asyncio.ensure_future(on.writer.settle())
    await _turns()
    # Only a statement that already holds its lane is waited for.
    assert settling.done() is (point != "append:executing")
    on.gate.opened.set()
    await settling
    await _turns()
    assert await on.head() == (1 if point == "append:sent" else 2)
    assert await on.writer.claim([Claim(on.id, 1)]) == [2]


@on_a_loop
async def test_without_settling_it_lands_late() -> None:
    on = await Scene().set()
    append = await on.held("append:sent", on.writer.append([extend(on.key, on.id, 1)]), drop=True)
    with pytest.raises(OutcomeUnknown):
        await append
    assert await on.head() == 1
    on.gate.opened.set()
    await _turns()
    assert await on.head() == 2


@on_a_loop
async def test_what_a_fault_raises() -> None:
    on = await Scene().set()
    on.gate.error = StoreUnavailable("no route")
    for point, kind, head in [
        ("append:called", StoreUnavailable, 1),
        ("append:sent", OutcomeUnknown, 1),
        ("append:executing", OutcomeUnknown, 1),
        ("append:executed", OutcomeUnknown, 2),
    ]:
        on.gate.point = point
        with pytest.raises(kind):
            await on.writer.append([extend(on.key, on.id, 1)])
        on.gate.point = ""
        assert await on.head() == head
        await on.writer.settle()
    for point in ("find:called", "find:sent", "find:executed", "connect"):
        on.gate.point = point
        if point == "connect":
            assert on.store._link is not None
            on.store._link.drop()
        with pytest.raises(StoreUnavailable):
            await on.store.find([(TYPE, on.key)])
    on.gate.point = ""
    assert await on.store.find([(TYPE, str(uuid4()))]) == [None]


@on_a_loop
async def test_the_points_come_in_order() -> None:
    on = await Scene().set()
    on.gate.seen.clear()
    await on.writer.append([extend(on.key, on.id, 1)])
    assert on.gate.seen == ["append:called", "append:sent", "append:executing", "append:executed"]


@on_a_loop
async def test_after_a_start_of_the_server_everyone_has_one_lease_to_come_back() -> None:
    on = await Scene().set()
    on.server.terms[on.term].lease_until -= 1000
    assert not await on.other.bury(on.term)
    on.lapse()
    assert await on.other.bury(on.term)


def test_stores_on_two_loops_share_a_server() -> None:
    """A host's loop and its keeper's: row locks are waited for across threads."""

    async def keep() -> bool:
        keeper = MemoryStore(on.server)
        await keeper.open()
        return await keeper.bury(on.term, proven=True)

    async def host() -> None:
        await on.set()
        append = await on.held("append:executing", on.writer.append([extend(on.key, on.id, 1)]))
        burial = asyncio.ensure_future(asyncio.to_thread(asyncio.run, keep()))
        while not on.server.waiters:
            await asyncio.sleep(0.001)
        on.gate.opened.set()
        assert await append == [on.id]
        assert await burial

    on = Scene()
    asyncio.run(host())
