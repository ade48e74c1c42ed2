"""Every call failed in turn: the k-th statement is struck, for every k, and a careful client must still end up right.

The client does what the protocol tells it to: repeats what was not applied, settles what is unknown, claims again, looks for
its call ids, and only then repeats. At the end every id must be in the journal once, in order, without a gap.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID, uuid4

import pytest

from jido_objects.errors import OutcomeUnknown, StoreUnavailable
from jido_objects.stores.protocol import Append, Claim, Snapshot, Store, TermInfo, Writer

from .world import LEASE, TYPE, Fault, When, World, entry, on_a_loop

T = TypeVar("T")

TURNS = 3


class Client:
    """One host with one object, which writes ``TURNS`` turns and does one of everything else."""

    def __init__(self, world: World, store: Store) -> None:
        self.world = world
        self.store = store
        self.key = str(uuid4())
        self.term: UUID
        self.writer: Writer
        self.object_id: int | None = None
        self.epoch = self.head_epoch = 1
        self.head = 0
        self.failures = 0

    async def again(self, call: Callable[[], Awaitable[T]]) -> T:
        """A call that may be repeated as it is, whatever became of it."""
        for _ in range(5):
            try:
                return await call()
            except (StoreUnavailable, OutcomeUnknown):
                self.failures += 1
        raise AssertionError("the fault does not end")

    async def run(self) -> None:
        async def begin() -> UUID:
            term = uuid4()
            await self.store.begin_term(term, TermInfo(), LEASE)
            return term

        self.term = await self.again(begin)
        self.writer = await self.again(lambda: self.store.writer(self.term))
        self.world.keep(self.writer)
        for turn in range(TURNS):
            await self.turn(f"turn-{turn}")
        await self.reclaim(wanted="turn-0")
        await self.snapshot()
        await self.turn("last")
        assert self.object_id is not None
        assert await self.again(lambda: self.store.renew(self.term, LEASE))
        assert self.term in {row.id for row in await self.again(self.store.terms)}
        assert await self.again(lambda: self.store.bury(self.term, proven=True))

    async def write(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """A write through the lane; ``None`` after an unknown outcome, which has been settled."""
        for _ in range(5):
            try:
                return await call()
            except StoreUnavailable:
                self.failures += 1
            except OutcomeUnknown:
                self.failures += 1
                await self.again(self.writer.settle)
                return None
        raise AssertionError("the fault does not end")

    async def turn(self, call_id: str) -> None:
        for _ in range(5):
            batch = [
                Append(TYPE, self.key, self.object_id, self.epoch, self.head, self.head_epoch, [entry(self.head + 1, call_id=call_id)])
            ]
            outcome = await self.write(functools.partial(self.writer.append, batch))
            if outcome is not None:
                assert isinstance(outcome[0], int), "nobody else writes this object"
                self.object_id, self.head, self.head_epoch = outcome[0], self.head + 1, self.epoch
                return
            if await self.reclaim(wanted=call_id):
                return
        raise AssertionError("the fault does not end")

    async def reclaim(self, wanted: str) -> bool:
        """Claim and load again; tells whether the call has been applied."""
        for _ in range(5):
            (found,) = await self.again(lambda: self.store.find([(TYPE, self.key)]))
            if found is None:
                return False
            assert found.owner is not None
            assert (found.owner.term, found.owner.present) == (self.term, True)
            self.object_id = found.id
            claims = [Claim(found.id, found.epoch)]
            outcome = await self.write(functools.partial(self.writer.claim, claims))
            if outcome is None:
                continue
            assert outcome == [found.epoch + 1]
            self.epoch = found.epoch + 1
            (loaded,) = await self.again(functools.partial(self.store.load, [found.id]))
            assert [row.seq for row in loaded.tail] == list(range((loaded.snapshot.seq if loaded.snapshot else 0) + 1, loaded.head_seq + 1))
            self.head, self.head_epoch = loaded.head_seq, loaded.head_epoch
            (recorded,) = await self.again(functools.partial(self.store.recall, [(found.id, wanted)]))
            return recorded is not None
        raise AssertionError("the fault does not end")

    async def snapshot(self) -> None:
        assert self.object_id is not None
        snapshots = [Snapshot(self.object_id, self.head, self.head_epoch, "{}", 0)]
        if await self.write(lambda: self.writer.snapshot(snapshots)) is None:
            await self.reclaim(wanted="turn-0")


class FailureContract:
    """Subclass it beside ``StoreContract``."""

    has_late = True
    """Whether a statement can outlive its client's interest in it."""

    def world(self) -> World:
        raise NotImplementedError

    @pytest.mark.parametrize("when", list(When), ids=lambda when: when.value)
    @on_a_loop
    async def test_every_statement_failed_in_turn(self, when: When) -> None:
        if when is When.LATE and not self.has_late:
            pytest.skip("not applicable: a statement ends before its thread takes another")
        struck = 0
        for k in range(1, 200):
            fired, failures = await self.strike(k, when)
            if not fired:
                break
            struck += 1
            # One strike is one failure; that of a statement which prepares another may go unnoticed.
            assert failures <= 2
        else:
            raise AssertionError("the run does not end")
        assert struck >= 12

    async def strike(self, k: int, when: When) -> tuple[bool, int]:
        world = self.world()
        try:
            store, fault = await world.faulty()
            fault.arm(k, when)
            client = Client(world, store)
            await client.run()
            other = await world.store()
            assert client.object_id is not None
            rows = await other.history(client.object_id)
            assert [row.seq for _, row in rows] == list(range(1, TURNS + 2)), (k, when)
            assert [row.call_id for _, row in rows] == [*(f"turn-{turn}" for turn in range(TURNS)), "last"], (k, when)
            epochs = [epoch for epoch, _ in rows]
            assert epochs == sorted(epochs)
            assert await self.landed_late(fault, other, client) == rows
            return fault.fired, client.failures
        finally:
            await world.close()

    async def landed_late(self, fault: Fault, store: Store, client: Client) -> object:
        """The journal after everything that was still under way has landed."""
        assert client.object_id is not None
        return await store.history(client.object_id)
