"""The fence's races, each on a real PostgreSQL, with a second connection that holds the other side's transaction open.

Nothing sleeps: a statement is known to be blocked because the server says so. Each test was seen to fail with the part of
the SQL that it guards taken out, and still is: ``test_mutants`` takes it out again at each run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from jido_objects.errors import OutcomeUnknown, StoreUnavailable
from jido_objects.stores import postgresql, statements
from jido_objects.stores.link import Statement
from jido_objects.stores.postgresql import PostgresStore
from jido_objects.stores.postgresql_writer import PostgresWriter
from jido_objects.stores.protocol import Claim, Snapshot, TermEnded
from tests.contract.postgresql import PostgresWorld, needs_postgresql
from tests.contract.proxy import Proxy
from tests.contract.world import LEASE, TYPE, When, create, extend, on_a_loop

pytestmark = needs_postgresql

Connection = psycopg.AsyncConnection[Any]
PROBE_SECONDS = 20.0
"""How long the server may take to show what a test waits for; a mutant, which never will, gets less."""


class Scene:
    """A host with one object at seq 1, a second host, and a connection on which to hold things open."""

    def __init__(self, world: PostgresWorld) -> None:
        self.world = world
        self.key = str(uuid4())
        self.store: PostgresStore
        self.other: PostgresStore
        self.term: UUID
        self.other_term: UUID
        self.writer: PostgresWriter
        self.other_writer: PostgresWriter
        self.held: Connection
        self.eyes: Connection
        self.id = 0
        self.tasks: list[asyncio.Task[Any]] = []

    async def set(self) -> None:
        world = self.world
        self.eyes = await world.connection(autocommit=True)
        self.held = await world.connection()
        for connection in (self.eyes, self.held):
            world.keep(connection)
        store, other = await world.store(), await world.store()
        assert isinstance(store, PostgresStore)
        assert isinstance(other, PostgresStore)
        self.store, self.other = store, other
        self.term, self.other_term = await world.term(store), await world.term(other)
        writer, other_writer = await world.writer(store, self.term), await world.writer(other, self.other_term)
        assert isinstance(writer, PostgresWriter)
        assert isinstance(other_writer, PostgresWriter)
        self.writer, self.other_writer = writer, other_writer
        (outcome,) = await self.writer.append([create(self.key)])
        assert isinstance(outcome, int)
        self.id = outcome

    def start(self, call: Awaitable[Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(call)
        assert isinstance(task, asyncio.Task)
        self.tasks.append(task)
        return task

    async def ask(self, sql: str, *parameters: object) -> Any:
        cursor = await self.eyes.execute(sql, parameters)
        row = await cursor.fetchone()
        return row[0] if row else None

    async def blocked(self, name: str) -> None:
        """Wait until a connection of that name waits for a lock."""
        await self.until(
            lambda: self.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s AND wait_event_type = 'Lock'", name)
        )

    async def until(self, probe: Callable[[], Awaitable[Any]]) -> None:
        async with asyncio.timeout(PROBE_SECONDS):
            while not await probe():
                await asyncio.sleep(0.002)

    async def hold_an_append(self) -> asyncio.Task[Any]:
        """An append of seq 2 that has its lane's lock and cannot finish: a row of the same key is being inserted."""
        await self.held.execute(
            "INSERT INTO jido_journal SELECT object_id, 2, epoch, digest, at, version, format, kind, own_id, 'stranger', method, user_id, "
            "delta, result, extra FROM jido_journal WHERE object_id = %s AND seq = 1",
            [self.id],
        )
        task = self.start(self.writer.append([extend(self.key, self.id, 1)]))
        await self.blocked(f"jido:{self.term.hex}:%")
        return task

    async def head(self) -> int:
        (loaded,) = await self.other.load([self.id])
        return loaded.head_seq

    async def lanes(self, term: UUID) -> int:
        return int(await self.ask("SELECT count(*) FROM jido_lane WHERE term = %s", term))


@asynccontextmanager
async def scene(parameters: dict[str, Any]) -> AsyncIterator[Scene]:
    world = PostgresWorld(parameters)
    set_ = Scene(world)
    try:
        await set_.set()
        yield set_
    finally:
        for task in set_.tasks:
            task.cancel()
        await asyncio.gather(*set_.tasks, return_exceptions=True)
        await world.close()


async def prepared(connection: Connection, statement: Statement, *parameters: str) -> None:
    """Execute one of the store's statements in a transaction of the test's own."""
    values = ", ".join(f"'{parameter}'" for parameter in parameters)
    await connection.execute(b"PREPARE one AS " + statement.sql)
    await connection.execute(f"EXECUTE one ({values})".encode())


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Burials that wait, however slow this machine is, instead of ending who makes them wait."""
    monkeypatch.setattr(postgresql, "LOCK_SECONDS", 8.0)


@pytest.mark.usefixtures("patient")
@on_a_loop
async def test_append_in_flight_while_buried(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        append = await on.hold_an_append()
        burial = on.start(on.other.bury(on.term, proven=True))
        await on.blocked("jido")
        assert not append.done()
        # Nothing can be taken over while the append is in flight.
        assert await on.other_writer.claim([Claim(on.id, 1)]) == [None]
        await on.held.rollback()
        assert await append == [on.id]
        assert await burial
        assert await on.other_writer.claim([Claim(on.id, 1)]) == [2]
        assert await on.head() == 2


@on_a_loop
async def test_append_while_the_burial_is_uncommitted(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        await on.held.execute("DELETE FROM jido_term WHERE id = %s", [on.term])
        await on.held.execute("DELETE FROM jido_lane WHERE term = %s", [on.term])
        append = on.start(on.writer.append([extend(on.key, on.id, 1)]))
        await on.blocked(f"jido:{on.term.hex}:%")
        await on.held.commit()
        with pytest.raises(TermEnded):
            await append
        assert await on.head() == 1


@on_a_loop
async def test_append_when_the_burial_comes_to_nothing(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        await on.held.execute("DELETE FROM jido_term WHERE id = %s", [on.term])
        await on.held.execute("DELETE FROM jido_lane WHERE term = %s", [on.term])
        append = on.start(on.writer.append([extend(on.key, on.id, 1)]))
        await on.blocked(f"jido:{on.term.hex}:%")
        await on.held.rollback()
        assert await append == [on.id]


@pytest.mark.parametrize("what", ["append", "create", "claim", "claim again", "snapshot"])
@on_a_loop
async def test_every_write_waits_for_an_uncommitted_burial(what: str, postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "append": lambda: on.writer.append([extend(on.key, on.id, 1, 2)]),
            "create": lambda: on.writer.append([create(str(uuid4()))]),
            "claim": lambda: on.writer.claim([Claim(on.id, 1)]),
            "claim again": lambda: on.writer.claim([Claim(on.id, 1, again=True)]),
            "snapshot": lambda: on.writer.snapshot([Snapshot(on.id, 1, 1, "{}", 0)]),
        }
        await on.held.execute("DELETE FROM jido_lane WHERE term = %s", [on.term])
        write = on.start(calls[what]())
        await on.blocked(f"jido:{on.term.hex}:%")
        await on.held.commit()
        with pytest.raises(TermEnded):
            await write


@pytest.mark.usefixtures("patient")
@on_a_loop
async def test_append_after_heartbeat_and_burial(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        # A renewal in time, not yet committed when somebody begins to bury: it counts.
        await on.world.lapse(on.term)
        await prepared(on.held, statements.RENEW, on.term.hex, str(LEASE))
        burial = on.start(on.other.bury(on.term))
        await on.blocked("jido")
        await on.held.commit()
        assert not await burial
        assert await on.writer.append([extend(on.key, on.id, 1)]) == [on.id]
        # The row has several versions now, and the burial deletes the last.
        assert await on.store.renew(on.term, LEASE)
        await on.world.lapse(on.term)
        assert await on.other.bury(on.term)
        with pytest.raises(TermEnded):
            await on.writer.append([extend(on.key, on.id, 2)])
        assert not await on.store.renew(on.term, LEASE)
        assert await on.head() == 2


@on_a_loop
async def test_heartbeat_during_an_uncommitted_burial(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        await on.held.execute("DELETE FROM jido_term WHERE id = %s", [on.term])
        renewal = on.start(on.store.renew(on.term, LEASE))
        await on.blocked("jido")
        await on.held.commit()
        assert not await renewal


@on_a_loop
async def test_heartbeat_under_a_held_share_lock(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        lane = uuid4()
        await prepared(on.held, statements.BEGIN_LANE, lane.hex, on.term.hex)
        await on.held.execute("SELECT FROM jido_lane WHERE term = %s FOR KEY SHARE", [on.term])
        async with asyncio.timeout(PROBE_SECONDS / 2):
            assert await on.store.renew(on.term, LEASE)


@on_a_loop
async def test_append_under_an_uncommitted_heartbeat(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        await prepared(on.held, statements.RENEW, on.term.hex, str(LEASE))
        async with asyncio.timeout(PROBE_SECONDS / 2):
            assert await on.writer.append([extend(on.key, on.id, 1)]) == [on.id]
            await on.world.writer(on.store, on.term)


@pytest.mark.usefixtures("patient")
@on_a_loop
async def test_lane_inserted_while_its_term_is_being_buried(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        lane = uuid4()
        await prepared(on.held, statements.BEGIN_LANE, lane.hex, on.term.hex)
        burial = on.start(on.other.bury(on.term, proven=True))
        await on.blocked("jido")
        await on.held.commit()
        assert await burial
        assert await on.lanes(on.term) == 0


@on_a_loop
async def test_lane_wanted_while_the_burial_is_uncommitted(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        await on.held.execute("DELETE FROM jido_term WHERE id = %s", [on.term])
        await on.held.execute("DELETE FROM jido_lane WHERE term = %s", [on.term])
        writer = on.start(on.world.writer(on.store, on.term))
        await on.blocked(f"jido:{on.term.hex}:%")
        await on.held.commit()
        with pytest.raises(TermEnded):
            await writer
        assert await on.lanes(on.term) == 0


@pytest.mark.usefixtures("patient")
@on_a_loop
async def test_the_same_term_s_old_backend_commits_late(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        append = await on.hold_an_append()
        assert on.writer._link is not None
        on.writer._link.close()
        with pytest.raises(OutcomeUnknown):
            await append
        with pytest.raises(RuntimeError):
            await on.writer.claim([Claim(on.id, 1)])
        settling = on.start(on.writer.settle())
        await on.blocked("jido settling%")
        await on.held.rollback()
        await settling
        # What the old backend did is done, and visible to whoever claims from now on.
        assert await on.head() == 2
        assert await on.writer.claim([Claim(on.id, 1)]) == [2]


@on_a_loop
async def test_an_old_backend_that_does_not_end_is_ended(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        append = await on.hold_an_append()
        assert on.writer._link is not None
        on.writer._link.close()
        with pytest.raises(OutcomeUnknown):
            await append
        await on.writer.settle()
        await on.held.rollback()
        assert await on.head() == 1
        assert await on.writer.append([extend(on.key, on.id, 1)]) == [on.id]


@pytest.mark.parametrize("same_term", [False, True], ids=["two terms", "two lanes of one term"])
@on_a_loop
async def test_two_claimers_with_one_epoch(same_term: bool, postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        assert await on.store.bury(on.term, proven=True)
        term = on.other_term if same_term else await on.world.term(on.store)
        await on.world.writer(on.store, term)
        lane = await on.ask("SELECT id FROM jido_lane WHERE term = %s LIMIT 1", term)
        await prepared(on.held, statements.CLAIM, str(lane), f"{{{on.id}}}", "{1}")
        claim = on.start(on.other_writer.claim([Claim(on.id, 1)]))
        await on.blocked(f"jido:{on.other_term.hex}:%")
        await on.held.commit()
        assert await claim == [None]
        (found,) = await on.other.find([(TYPE, on.key)])
        assert found is not None
        assert found.owner is not None
        assert (found.epoch, found.owner.term) == (2, term)


@pytest.mark.parametrize("when", [When.AFTER, When.LATE], ids=lambda when: when.value)
@on_a_loop
async def test_a_claim_whose_reply_was_lost(when: When, postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        await on.store.bury(on.term, proven=True)
        store, proxy = await on.world.faulty()
        assert isinstance(proxy, Proxy)
        term = await on.world.term(store)
        writer = await on.world.writer(store, term)
        assert await writer.claim([Claim(10**12, 1)]) == [None]  # prepares the statement
        proxy.arm(1, when)
        with pytest.raises(OutcomeUnknown):
            await writer.claim([Claim(on.id, 1)])
        await writer.settle()
        (found,) = await store.find([(TYPE, on.key)])
        assert found is not None
        assert found.epoch == (2 if when is When.AFTER else 1)
        # A lost reply must not orphan the object: its new owner is the claimant, who may claim again.
        assert await writer.claim([Claim(on.id, found.epoch)]) == [found.epoch + 1]
        if when is When.LATE:
            proxy.released.set()
            await proxy.landed.wait()
        (again,) = await store.find([(TYPE, on.key)])
        assert again is not None
        assert again.epoch == found.epoch + 1


@on_a_loop
async def test_an_append_that_lands_after_settling_writes_nothing(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        store, proxy = await on.world.faulty()
        assert isinstance(proxy, Proxy)
        writer = await on.world.writer(store, await on.world.term(store))
        key = str(uuid4())
        (id_,) = await writer.append([create(key)])
        assert isinstance(id_, int)
        assert await writer.append([extend(key, id_, 1)]) == [id_]
        proxy.arm(1, When.LATE)
        with pytest.raises(OutcomeUnknown):
            await writer.append([extend(key, id_, 2, call_id="late")])
        await writer.settle()
        assert await writer.claim([Claim(id_, 1)]) == [2]
        proxy.released.set()
        await proxy.landed.wait()
        assert [row.seq for _, row in await store.history(id_)] == [1, 2]
        assert await writer.append([extend(key, id_, 2, epoch=2, head_epoch=1)]) == [id_]


# ---------------------------------------------------------------- burials that are held up


@on_a_loop
async def test_a_frozen_client_does_not_block_a_burial(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        frozen = await on.world.connection(f"jido:{on.term.hex}:{uuid4().hex[:16]}")
        on.world.keep(frozen)
        await frozen.execute("SELECT FROM jido_lane WHERE term = %s FOR KEY SHARE", [on.term])
        assert await on.other.bury(on.term, proven=True)
        assert await on.lanes(on.term) == 0
        with pytest.raises(psycopg.OperationalError):
            await frozen.commit()


@on_a_loop
async def test_a_stranger_who_blocks_a_burial_is_left_alone(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        await on.held.execute("SELECT FROM jido_lane WHERE term = %s FOR KEY SHARE", [on.term])
        with pytest.raises(StoreUnavailable):
            await on.other.bury(on.term, proven=True)
        assert await on.store.renew(on.term, LEASE)
        await on.held.rollback()
        assert await on.other.bury(on.term, proven=True)


@on_a_loop
async def test_after_a_start_of_the_server_everyone_has_one_lease_to_come_back(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        # The lease passed long ago, but it is longer than the server has been up.
        await on.eyes.execute("UPDATE jido_term SET lease_until = 'epoch', lease_seconds = 1e8 WHERE id = %s", [on.term])
        assert not await on.other.bury(on.term)
        (found,) = await on.other.find([(TYPE, on.key)])
        assert found is not None
        assert found.owner is not None
        assert found.owner.lease_left > 0


@on_a_loop
async def test_lanes_do_not_wait_for_each_other(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        append = await on.hold_an_append()
        second = await on.world.writer(on.store, on.term)
        async with asyncio.timeout(PROBE_SECONDS / 2):
            (outcome,) = await second.append([create(str(uuid4()))])
        assert isinstance(outcome, int)
        await on.held.rollback()
        assert await append == [on.id]


@on_a_loop
async def test_a_crash_of_the_server_forgets_no_epoch(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:

        async def epoch() -> int:
            (found,) = await on.other.find([(TYPE, on.key)])
            assert found is not None
            return found.epoch

        async def crash(forgotten: int) -> None:
            await on.eyes.execute("UPDATE jido_object SET epoch = %s WHERE id = %s", [forgotten, on.id])
            assert on.writer._link is not None
            on.writer._link.close()

        # A claim of one's own does not wait for the disk: the next connection claims it once more, with the same epoch.
        assert await on.writer.claim([Claim(on.id, 1, again=True)]) == [2]
        await crash(forgotten=1)
        assert await on.writer.append([extend(on.key, on.id, 1, epoch=2, head_epoch=1)]) == [on.id]
        assert await epoch() == 2
        assert await on.writer.claim([Claim(on.id, 2, again=True)]) == [3]
        await crash(forgotten=2)
        await on.writer.settle()
        assert await epoch() == 3
        # What was not forgotten stays as it is, and what was written since cannot be forgotten.
        assert await on.writer.claim([Claim(on.id, 3, again=True)]) == [4]
        assert on.writer._link is not None
        on.writer._link.close()
        assert await on.writer.append([extend(on.key, on.id, 2, epoch=4, head_epoch=2)]) == [on.id]
        assert await epoch() == 4
        assert not on.writer._forgettable
        # Somebody else's object is never claimed again, whatever its epoch.
        assert await on.other_writer.claim([Claim(on.id, 4, again=True)]) == [None]
        await on.store.bury(on.term, proven=True)
        assert await on.other_writer.claim([Claim(on.id, 4, again=True)]) == [None]
        assert await on.other_writer.claim([Claim(on.id, 4)]) == [5]


@on_a_loop
async def test_a_claim_of_one_s_own_is_durable_once_something_was_written(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        assert await on.writer.claim([Claim(on.id, 1, again=True)]) == [2]
        assert on.writer._forgettable
        assert await on.writer.append([extend(on.key, on.id, 1, epoch=2, head_epoch=1)]) == [on.id]
        assert not on.writer._forgettable
