"""What every store promises. Subclass it and give it a ``World``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest

from jido_objects.errors import StoreError, StoreUnavailable
from jido_objects.stores.protocol import (
    Append,
    Claim,
    EntryKind,
    Found,
    Loaded,
    Owner,
    Snapshot,
    Store,
    TermEnded,
    TermInfo,
    Unacceptable,
    Writer,
)

from .world import LEASE, TYPE, World, create, entry, extend, on_a_loop

INFO = TermInfo(
    boot_id="b-1",
    pid_namespace="pid:[1]",
    network_namespace="net:[2]",
    pid=4711,
    pid_started="998",
    hostname="höst",
    region="fra",
    code_version="1.0 'x' \\ {}",
    wire_version=3,
    endpoints={"tcp": "127.0.0.1:1", "redis": 'a"b'},
    draining=True,
)


def key() -> str:
    return str(uuid4())


def _id(outcome: object) -> int:
    assert isinstance(outcome, int)
    return outcome


class StoreContract:
    """Each test opens its own handles and draws its own keys; the database may hold anything else."""

    def world(self) -> World:
        raise NotImplementedError

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[World, Store]]:
        world = self.world()
        try:
            yield world, await world.store()
        finally:
            await world.close()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[tuple[World, Store, UUID, Writer]]:
        async with self.opened() as (world, store):
            term = await world.term(store)
            yield world, store, term, await world.writer(store, term)

    # ---------------------------------------------------------------- handles

    @on_a_loop
    async def test_opening_and_closing_twice_is_harmless(self) -> None:
        async with self.opened() as (_, store):
            await store.open()
            assert isinstance(store, Store)
            await store.close()
            await store.close()
            with pytest.raises(StoreUnavailable):
                await store.find([(TYPE, "x")])
            await store.open()
            assert await store.find([(TYPE, key())]) == [None]

    @on_a_loop
    async def test_reads_share_a_handle(self) -> None:
        async with self.writing() as (_, store, _, writer):
            keys = [key() for _ in range(20)]
            ids = await writer.append([create(k) for k in keys])
            found = await asyncio.gather(*(store.find([(TYPE, k)]) for k in keys))
            assert [f and f.id for (f,) in found] == ids

    # ---------------------------------------------------------------- terms

    @on_a_loop
    async def test_a_term_is_seen_as_it_was_begun(self) -> None:
        async with self.opened() as (world, store):
            before = datetime.now(UTC)
            term = uuid4()
            await store.begin_term(term, INFO, LEASE)
            (row,) = [row for row in await (await world.store()).terms() if row.id == term]
            assert row.info == INFO
            assert 0 < row.lease_left <= LEASE
            assert abs(row.started - before) < timedelta(seconds=30)

    @on_a_loop
    async def test_a_term_s_id_is_used_once(self) -> None:
        async with self.opened() as (world, store):
            term = await world.term(store)
            with pytest.raises(StoreError):
                await store.begin_term(term, INFO, LEASE)
            assert await store.renew(term, LEASE)

    @on_a_loop
    async def test_renewing_extends_the_lease_of_a_live_term_only(self) -> None:
        async with self.opened() as (world, store):
            term = await world.term(store)
            assert await store.renew(term, LEASE)
            assert await store.bury(term, proven=True)
            assert not await store.renew(term, LEASE)
            assert not await store.renew(uuid4(), LEASE)

    @on_a_loop
    async def test_alive_tells_which_terms_are_not_buried(self) -> None:
        async with self.opened() as (world, store):
            other = await world.store()
            one, two, buried = [await world.term(store) for _ in range(3)]
            assert await store.bury(buried, proven=True)
            assert await store.alive([]) == []
            for asked in (store, other):
                assert await asked.alive([one, buried, two, uuid4(), one]) == [True, False, True, False, True]
            assert await other.bury(two, proven=True)
            assert await store.alive([one, two]) == [True, False]

    @on_a_loop
    async def test_alive_changes_nothing(self) -> None:
        """A term whose lease has passed is alive until somebody buries it, and being asked for keeps it from nobody."""
        async with self.opened() as (world, store):
            term = await world.term(store)
            await world.lapse(term)
            other = await world.store()
            before = await other.terms()
            assert await other.alive([term]) == [True]
            (left,) = [row.lease_left for row in await other.terms() if row.id == term]
            assert left < 0
            assert left <= min(row.lease_left for row in before if row.id == term)
            assert await other.bury(term)
            assert await other.alive([term]) == [False]

    @on_a_loop
    async def test_a_live_term_is_not_buried(self) -> None:
        async with self.writing() as (world, store, term, writer):
            other = await world.store()
            assert not await other.bury(term)
            assert not await store.bury(term)
            assert await store.renew(term, LEASE)
            assert isinstance((await writer.append([create(key())]))[0], int)

    @on_a_loop
    async def test_a_lapsed_term_is_buried_by_anyone(self) -> None:
        async with self.writing() as (world, store, term, _):
            await world.lapse(term)
            other = await world.store()
            assert await other.bury(term)
            assert await other.bury(term)
            assert not await store.renew(term, LEASE)
            assert term not in {row.id for row in await other.terms()}

    @on_a_loop
    async def test_burying_what_never_was_is_burying(self) -> None:
        async with self.opened() as (_, store):
            assert await store.bury(uuid4())
            assert await store.bury(uuid4(), proven=True)

    @on_a_loop
    async def test_nothing_is_written_in_the_name_of_a_buried_term(self) -> None:
        async with self.writing() as (world, store, term, writer):
            k, new = key(), key()
            id_ = _id((await writer.append([create(k)]))[0])
            assert await store.bury(term, proven=True)
            for attempt in (
                writer.append([extend(k, id_, 1)]),
                writer.append([create(new)]),
                writer.append([extend(k, id_, 1), create(new)]),
                writer.append([replace(extend(k, id_, 1), destroyed=True)]),
                writer.claim([Claim(id_, 1)]),
                writer.snapshot([Snapshot(id_, 1, 1, "{}", 0)]),
                writer.settle(),
                world.writer(store, term),
            ):
                with pytest.raises(TermEnded):
                    await attempt
            assert await store.find([(TYPE, k), (TYPE, new)]) == [Found(id_, 1, Owner(term, False)), None]
            assert await store.load([id_]) == [Loaded(None, (await store.load([id_]))[0].tail, 1, 1)]

    @on_a_loop
    async def test_one_store_s_terms_are_independent(self) -> None:
        async with self.writing() as (world, store, term, _):
            second = await world.term(store)
            writer = await world.writer(store, second)
            assert await store.bury(term, proven=True)
            assert await store.renew(second, LEASE)
            assert isinstance((await writer.append([create(key())]))[0], int)

    # ---------------------------------------------------------------- find

    @on_a_loop
    async def test_find_tells_owner_and_epoch(self) -> None:
        async with self.opened() as (world, store):
            term = uuid4()
            await store.begin_term(term, INFO, LEASE)
            writer = await world.writer(store, term)
            k = key()
            (id_,) = await writer.append([create(k, epoch=1)])
            absent, found = await (await world.store()).find([(TYPE, key()), (TYPE, k)])
            assert absent is None
            assert found is not None
            assert found.owner is not None
            assert (found.id, found.epoch, found.destroyed) == (id_, 1, False)
            assert (found.owner.term, found.owner.present, found.owner.info) == (term, True, INFO)
            assert 0 < found.owner.lease_left <= LEASE
            await world.lapse(term)
            (found,) = await store.find([(TYPE, k)])
            assert found is not None
            assert found.owner is not None
            assert found.owner.lease_left < 0
            assert await store.bury(term)
            assert await store.find([(TYPE, k)]) == [Found(_id(id_), 1, Owner(term, False))]

    @on_a_loop
    async def test_find_tells_the_version_of_the_newest_row(self) -> None:
        async with self.writing() as (world, store, _, writer):
            k, bare = key(), key()
            id_ = _id((await writer.append([create(k, 2, version=1)]))[0])
            await world.put(TYPE, bare, epoch=1)
            assert [f and f.version for f in await store.find([(TYPE, k), (TYPE, bare)])] == [1, 0]
            await writer.append([extend(k, id_, 2, version=3)])
            assert [f and f.version for f in await store.find([(TYPE, k)])] == [3]
            # A snapshot says nothing of its own: it is of a row.
            assert await writer.snapshot([Snapshot(id_, 3, 1, "{}", 3)]) == [True]
            await writer.append([extend(k, id_, 3, 2, version=4)])
            assert [f and f.version for f in await store.find([(TYPE, k)])] == [4]

    @on_a_loop
    async def test_find_without_names_and_with_one_twice(self) -> None:
        async with self.writing() as (_, store, _, writer):
            assert await store.find([]) == []
            k = key()
            (id_,) = await writer.append([create(k)])
            assert [f and f.id for f in await store.find([(TYPE, k), (TYPE, k), ("other.Type", k)])] == [id_, id_, None]

    @on_a_loop
    async def test_an_object_without_owner(self) -> None:
        async with self.opened() as (world, store):
            k = key()
            id_ = await world.put(TYPE, k, epoch=4)
            assert await store.find([(TYPE, k)]) == [Found(id_, 4, None)]
            assert await store.load([id_]) == [Loaded(None, [], 0, 4)]

    # ---------------------------------------------------------------- append

    @on_a_loop
    async def test_an_object_is_created_with_its_first_rows_once(self) -> None:
        async with self.writing() as (_, store, term, writer):
            k = key()
            (id_,) = await writer.append([create(k, 2, epoch=1)])
            assert await writer.append([create(k)]) == [None]
            (loaded,) = await store.load([_id(id_)])
            assert (loaded.head_seq, loaded.head_epoch, [row.seq for row in loaded.tail]) == (2, 1, [1, 2])
            (found,) = await store.find([(TYPE, k)])
            assert found is not None
            assert found.owner is not None
            assert found.owner.term == term

    @on_a_loop
    async def test_rows_come_back_as_they_were_written(self) -> None:
        async with self.writing() as (_, store, _, writer):
            odd = "a\"b\\c{}, \n\t'né 🎟 NULL \x1f\x1e\x7f"
            entries = [
                entry(1, delta=odd, result=None, call_id="NULL", user=None, extra=None),
                entry(2, delta="[]", result=odd, call_id=odd, method='m"\\', user=odd, extra=odd, own_id=True, version=7),
                entry(
                    3,
                    kind=EntryKind.REFUSAL,
                    digest=-(2**63),
                    at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=5))),
                ),
                entry(4, kind=EntryKind.DESTROY, digest=2**63 - 1, at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), result=""),
                entry(5, delta="x" * 500_000, result="null", user="", extra="\\"),
            ]
            (id_,) = await writer.append([Append(TYPE, k := key(), None, 1, 0, 1, entries[:2])])
            assert await writer.append([Append(TYPE, k, _id(id_), 1, 2, 1, entries[2:])]) == [id_]
            history = await store.history(_id(id_))
            assert [row for _, row in history] == entries
            assert [epoch for epoch, _ in history] == [1] * 5

    @on_a_loop
    async def test_rows_follow_the_head_and_nothing_else(self) -> None:
        async with self.writing() as (_, store, _, writer):
            k = key()
            id_ = _id((await writer.append([create(k, 3)]))[0])
            wrong = [
                extend(k, id_, 4),  # a gap
                extend(k, id_, 2),  # a row is there already
                extend(k, id_, 3, head_epoch=2),  # the head is somebody else's
                extend(k, id_, 0),  # not the first
                extend(k, id_ + 10**6, 3),  # no such object
                extend(k, id_ + 10**6, 0),
            ]
            for append in wrong:
                assert await writer.append([append]) == [None], append
            assert await writer.append([extend(k, id_, 3, 2)]) == [id_]
            assert (await store.load([id_]))[0].head_seq == 5

    @on_a_loop
    async def test_the_object_s_row_is_the_head_before_the_first(self) -> None:
        async with self.opened() as (world, store):
            k = key()
            id_ = await world.put(TYPE, k, epoch=4)
            writer = await world.writer(store, await world.term(store))
            assert await writer.claim([Claim(id_, 4)]) == [5]
            assert await writer.append([extend(k, id_, 0, epoch=5, head_epoch=4)]) == [None]
            assert await writer.append([extend(k, id_, 0, epoch=5)]) == [id_]

    @on_a_loop
    async def test_the_outcome_is_per_object(self) -> None:
        async with self.writing() as (_, store, _, writer):
            k = [key() for _ in range(5)]
            ids = [_id(outcome) for outcome in await writer.append([create(k[0], 2), create(k[1]), create(k[2])])]
            assert len(set(ids)) == 3
            batch = [extend(k[0], ids[0], 2, 3), extend(k[1], ids[1], 5), extend(k[2], ids[2], 1)]
            assert await writer.append(batch) == [ids[0], None, ids[2]]
            mixed = [create(k[3]), extend(k[0], ids[0], 5), create(k[1]), extend(k[1], ids[1], 1), extend(k[2], ids[2], 1), create(k[4], 2)]
            made, grown, twice, first, stale, other = await writer.append(mixed)
            assert (grown, twice, first, stale) == (ids[0], None, ids[1], None)
            heads = [loaded.head_seq for loaded in await store.load([*ids, _id(made), _id(other)])]
            assert heads == [6, 2, 2, 1, 2]
            assert await writer.append([extend(k[0], ids[0], 0), extend(k[1], ids[1], 0)]) == [None, None]

    @on_a_loop
    async def test_rows_that_cannot_be_stored_spoil_no_other_object(self) -> None:
        async with self.writing() as (_, store, _, writer):
            k = [key() for _ in range(5)]
            ids = [_id(outcome) for outcome in await writer.append([create(one) for one in k[:3]])]
            bad: list[dict[str, Any]] = [{"delta": "\ud800"}, {"digest": 2**64}, {"call_id": None}]
            for number, fields in enumerate(bad, 1):
                good = extend(k[0], ids[0], number)
                taken = extend(k[2], ids[2], 0)
                spoilt, refused = extend(k[1], ids[1], 1, **fields), create(k[0])
                outcomes = await writer.append([good, spoilt, taken, refused])
                assert outcomes[0] == ids[0]
                assert isinstance(outcomes[1], Unacceptable)
                assert outcomes[1].applied is False
                assert not outcomes[1].retryable
                assert outcomes[2:] == [None, None]
                (outcome,) = await writer.append([create(k[3], **fields)])
                assert isinstance(outcome, Unacceptable)
            assert await store.find([(TYPE, k[3])]) == [None]
            assert [loaded.head_seq for loaded in await store.load(ids)] == [len(bad) + 1, 1, 1]

    @on_a_loop
    async def test_the_destroyed_flag_changes_with_the_rows(self) -> None:
        async with self.writing() as (_, store, _, writer):
            k = key()
            id_ = _id((await writer.append([create(k)]))[0])

            async def destroyed() -> bool:
                (found,) = await store.find([(TYPE, k)])
                assert found is not None
                return found.destroyed

            assert await writer.append([replace(extend(k, id_, 5), destroyed=True)]) == [None]
            assert not await destroyed()
            assert await writer.append([replace(extend(k, id_, 1, kind=EntryKind.DESTROY), destroyed=True)]) == [id_]
            assert await destroyed()
            assert await writer.append([extend(k, id_, 2)]) == [id_]
            assert await destroyed()
            assert await writer.append([replace(extend(k, id_, 3), destroyed=False)]) == [id_]
            assert not await destroyed()
            await writer.append([replace(create(k := key()), destroyed=True)])
            assert await destroyed()

    @on_a_loop
    async def test_a_large_batch(self) -> None:
        async with self.writing() as (_, store, _, writer):
            keys = [key() for _ in range(512)]
            ids = [_id(outcome) for outcome in await writer.append([create(k, delta="x" * 8000) for k in keys])]
            assert await writer.append([extend(k, id_, 1, 2, delta="y" * 4000) for k, id_ in zip(keys, ids, strict=True)]) == ids
            assert {loaded.head_seq for loaded in await store.load(ids)} == {3}

    @on_a_loop
    async def test_an_empty_batch(self) -> None:
        async with self.writing() as (_, _, _, writer):
            assert await writer.append([]) == []
            assert await writer.claim([]) == []
            assert await writer.snapshot([]) == []

    # ---------------------------------------------------------------- claim

    @on_a_loop
    async def test_who_may_claim(self) -> None:
        async with self.writing() as (world, store, term, writer):
            mine, free, theirs = key(), key(), key()
            id_free = await world.put(TYPE, free, epoch=0)
            other_store = await world.store()
            other = await world.term(other_store)
            other_writer = await world.writer(other_store, other)
            id_mine = _id((await writer.append([create(mine)]))[0])
            id_theirs = _id((await other_writer.append([create(theirs)]))[0])
            claims = [Claim(id_theirs, 1), Claim(id_free, 0), Claim(id_mine, 1), Claim(10**12, 1)]
            assert await writer.claim(claims) == [None, 1, 2, None]
            assert await writer.claim([Claim(id_mine, 1), Claim(id_free, 0)]) == [None, None]  # not the epoch that is there
            assert await writer.claim([Claim(id_mine, 2)]) == [3]
            assert await store.bury(other, proven=True)
            assert await writer.claim([Claim(id_theirs, 1)]) == [2]
            found = await store.find([(TYPE, theirs), (TYPE, mine), (TYPE, free)])
            assert [(f.epoch, f.owner.term) for f in found if f and f.owner] == [(2, term), (3, term), (1, term)]

    @on_a_loop
    async def test_a_claim_of_one_s_own(self) -> None:
        async with self.writing() as (world, store, _, writer):
            k, free = key(), key()
            id_ = _id((await writer.append([create(k)]))[0])
            id_free = await world.put(TYPE, free, epoch=0)
            again = [Claim(id_, 1, again=True), Claim(id_free, 0, again=True), Claim(10**12, 1, again=True)]
            assert await writer.claim(again) == [2, None, None]
            assert await writer.claim([Claim(id_, 1, again=True), Claim(id_free, 0)]) == [None, 1]
            other = await world.writer(store, await world.term(store))
            assert await other.claim([Claim(id_, 2, again=True)]) == [None]

    @on_a_loop
    async def test_a_claim_changes_no_head(self) -> None:
        async with self.writing() as (_, store, _, writer):
            k = key()
            id_ = _id((await writer.append([create(k, 2, epoch=1)]))[0])
            assert await writer.claim([Claim(id_, 1)]) == [2]
            (loaded,) = await store.load([id_])
            assert (loaded.head_seq, loaded.head_epoch) == (2, 1)
            assert await writer.append([extend(k, id_, 2, epoch=2, head_epoch=2)]) == [None]
            assert await writer.append([extend(k, id_, 2, epoch=2, head_epoch=1)]) == [id_]
            (loaded,) = await store.load([id_])
            assert (loaded.head_seq, loaded.head_epoch, [row.epoch for row in loaded.tail]) == (3, 2, [1, 1, 2])

    # ---------------------------------------------------------------- snapshots and reads

    @on_a_loop
    async def test_an_object_is_loaded_from_its_last_snapshot(self) -> None:
        async with self.writing() as (_, store, _, writer):
            k, bare = key(), key()
            id_, bare_id = [_id(outcome) for outcome in await writer.append([create(k, 6), create(bare)])]
            document = '{"a":"né \\u0000 \\" 🎟"}'
            assert await writer.snapshot([Snapshot(id_, 2, 1, "{}", 0), Snapshot(id_, 4, 1, document, 3)]) == [True, True]
            both = await store.load([id_, bare_id, 10**12, id_])
            assert both[0] == both[3]
            assert both[0].snapshot == Snapshot(id_, 4, 1, document, 3)
            assert [(row.seq, row.delta, row.kind, row.version) for row in both[0].tail] == [
                (seq, f'[["set","n",{seq}]]', EntryKind.TURN, 0) for seq in (5, 6)
            ]
            assert (both[0].head_seq, both[0].head_epoch) == (6, 1)
            assert (both[1].snapshot, both[1].head_seq, len(both[1].tail)) == (None, 1, 1)
            assert both[2] == Loaded(None, [], 0, 0)
            assert await writer.snapshot([Snapshot(id_, 6, 1, "{}", 0)]) == [True]
            assert await store.load([id_]) == [Loaded(Snapshot(id_, 6, 1, "{}", 0), [], 6, 1)]
            assert await store.load([]) == []

    @on_a_loop
    async def test_a_snapshot_is_of_committed_state(self) -> None:
        async with self.writing() as (_, store, _, writer):
            id_ = _id((await writer.append([create(key(), 2)]))[0])
            wrong = [Snapshot(id_, 3, 1, "{}", 0), Snapshot(id_, 2, 2, "{}", 0), Snapshot(10**12, 1, 1, "{}", 0)]
            assert await writer.snapshot([*wrong, Snapshot(id_, 1, 1, "{}", 0)]) == [False, False, False, True]
            (loaded,) = await store.load([id_])
            assert loaded.snapshot == Snapshot(id_, 1, 1, "{}", 0)

    @on_a_loop
    async def test_the_last_two_snapshots_are_kept(self) -> None:
        async with self.writing() as (world, _, _, writer):
            id_ = _id((await writer.append([create(key(), 9)]))[0])
            # And the first, from which history may have to begin.
            kept = [[3], [3, 5], [3, 5, 7], [3, 7, 9], [3, 7, 9]]
            for seq, seqs in zip([3, 5, 7, 9, 9], kept, strict=True):
                await writer.snapshot([Snapshot(id_, seq, 1, str(seq), 0)])
                assert await self.snapshots(world, id_) == seqs

    @on_a_loop
    async def test_one_more_is_kept_from_which_the_oldest_row_can_be_rebuilt(self) -> None:
        async with self.writing() as (world, _, _, writer):
            id_ = _id((await writer.append([create(key(), 9)]))[0])
            await writer.snapshot([Snapshot(id_, 3, 1, "3", 0)])
            await self.cut(world, id_, 3)
            for seq in (5, 7, 9):
                await writer.snapshot([Snapshot(id_, seq, 1, str(seq), 0)])
            assert await self.snapshots(world, id_) == [3, 7, 9]

    async def snapshots(self, world: World, object_id: int) -> list[int]:
        raise NotImplementedError

    async def cut(self, world: World, object_id: int, up_to: int) -> None:
        raise NotImplementedError

    @on_a_loop
    async def test_calls_are_recalled_by_object_and_id(self) -> None:
        async with self.writing() as (_, store, _, writer):
            at = datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
            one = Append(
                TYPE, key(), None, 1, 0, 1, [entry(1, call_id="a", at=at), entry(2, call_id="b", kind=EntryKind.REFUSAL, result='["x"]')]
            )
            two = Append(TYPE, key(), None, 1, 0, 1, [entry(1, call_id="b", result=None), entry(2, call_id="b"), entry(3, call_id='c"\\{')])
            id_one, id_two = [_id(outcome) for outcome in await writer.append([one, two])]
            asked = [(id_two, "b"), (id_one, "b"), (id_one, "c"), (id_one, "a"), (10**12, "a"), (id_two, 'c"\\{'), (id_one, "b")]
            first, refusal, none, plain, nobody, odd, again = await store.recall(asked)
            assert first is not None
            assert (first.seq, first.result) == (1, None)
            assert refusal is not None
            assert (refusal.seq, refusal.kind, refusal.method, refusal.digest, refusal.result) == (2, EntryKind.REFUSAL, "add", 2, '["x"]')
            assert (none, nobody, again) == (None, None, refusal)
            assert plain is not None
            assert plain.at == at
            assert odd is not None
            assert odd.seq == 3
            assert await store.recall([]) == []

    @on_a_loop
    async def test_history_is_read_in_pages(self) -> None:
        async with self.writing() as (_, store, _, writer):
            k = key()
            id_ = _id((await writer.append([create(k, 3)]))[0])
            await writer.claim([Claim(id_, 1)])
            await writer.append([extend(k, id_, 3, 4, epoch=2, head_epoch=1)])
            rows = await store.history(id_)
            assert [(epoch, row.seq) for epoch, row in rows] == [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6), (2, 7)]
            assert await store.history(id_, 2, 3) == rows[2:5]
            assert await store.history(id_, 7) == await store.history(10**12) == []

    # ---------------------------------------------------------------- settling

    @on_a_loop
    async def test_settling_may_be_repeated_at_any_time(self) -> None:
        async with self.writing() as (_, _, _, writer):
            k = key()
            id_ = _id((await writer.append([create(k)]))[0])
            await writer.settle()
            await writer.settle()
            assert await writer.append([extend(k, id_, 1)]) == [id_]

    @on_a_loop
    async def test_a_cancelled_call_must_be_settled(self) -> None:
        async with self.writing() as (_, store, _, writer):
            k = key()
            task = asyncio.ensure_future(writer.append([create(k)]))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(RuntimeError):
                await writer.append([create(k)])
            await writer.settle()
            (found,) = await store.find([(TYPE, k)])
            (outcome,) = await writer.append([create(k)])
            assert (outcome is None) == (found is not None)

    @on_a_loop
    async def test_a_closed_writer_leaves_its_term(self) -> None:
        async with self.writing() as (world, store, term, writer):
            await writer.close()
            await writer.close()
            assert await store.renew(term, LEASE)
            assert isinstance((await (await world.writer(store, term)).append([create(key())]))[0], int)
