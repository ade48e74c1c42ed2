"""What every store promises of the windows in which history and call ids are kept. Subclass it beside ``StoreContract``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from jido_objects.stores.protocol import (
    FORGOTTEN,
    Append,
    Claim,
    EntryKind,
    Recorded,
    Snapshot,
    Store,
    Trim,
    Trimmed,
    Walk,
    Writer,
)

from .world import TYPE, World, entry, extend, on_a_loop

HOUR = 3600.0
DAY = 24 * HOUR

Writing = AbstractAsyncContextManager[tuple[World, Store, UUID, Writer]]


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def generated(at: datetime, n: int = 0) -> str:
    return f"~{int(at.timestamp() * 1000):012x}{n:020x}"


def old(first: int, last: int, seconds: float = 2 * DAY, **fields: Any) -> list[Any]:
    """Rows that were written so long ago, one a second, under generated ids."""
    rows = []
    for seq in range(first, last + 1):
        at = ago(seconds - seq)
        rows.append(entry(seq, **({"at": at, "call_id": generated(at, seq)} | fields)))
    return rows


class WindowContract:
    """Each test draws its own keys; what else is in the database is none of its business, except to the walk."""

    def writing(self) -> Writing:
        raise NotImplementedError

    async def snapshots(self, world: World, object_id: int) -> list[int]:
        raise NotImplementedError

    async def make(self, writer: Writer, rows: Sequence[Any], *seqs: int) -> tuple[str, int]:
        """An object with these rows, and snapshots at these seqs."""
        key = str(uuid4())
        ((id_),) = await writer.append([Append(TYPE, key, None, 1, 0, 1, list(rows))])
        assert isinstance(id_, int)
        for seq in seqs:
            await self.snapshot(writer, id_, seq)
        return key, id_

    async def snapshot(self, writer: Writer, id_: int, seq: int) -> None:
        """A snapshot beside which all before it stay: each is the first of its share of a window of 8 ms."""
        await asyncio.sleep(0.002)
        assert await writer.snapshot([Snapshot(id_, seq, 1, f'{{"n":{seq}}}', 0, 0.008)]) == [True]

    async def trim(self, store: Store, trim: Trim, *, limit: int = 10_000, call_id_seconds: float = 7 * DAY) -> Trimmed:
        (trimmed,) = await store.trim([trim], call_id_seconds=call_id_seconds, limit=limit)
        assert trimmed is not None
        return trimmed

    async def seqs(self, store: Store, id_: int) -> list[int]:
        return [row.seq for _, row in await store.history(id_)]

    # ---------------------------------------------------------------- what goes, and what stays

    @on_a_loop
    async def test_old_rows_go_up_to_a_snapshot(self) -> None:
        async with self.writing() as (world, store, _, writer):
            key, id_ = await self.make(writer, [*old(1, 6), *old(7, 9, HOUR)], 2, 5, 8)
            assert await self.trim(store, Trim(id_, DAY)) == Trimmed(2, False)
            # Row 6 is old as well, and 5 would do; but 5 is the second newest.
            assert await self.seqs(store, id_) == [3, 4, 5, 6, 7, 8, 9]
            await self.snapshot(writer, id_, 9)
            assert await self.trim(store, Trim(id_, DAY)) == Trimmed(3, False)
            assert await self.seqs(store, id_) == [6, 7, 8, 9]
            assert await self.snapshots(world, id_) == [5, 8, 9]
            (loaded,) = await store.load([id_])
            assert loaded.snapshot == Snapshot(id_, 9, 1, '{"n":9}', 0)
            assert (loaded.head_seq, loaded.tail) == (9, [])
            assert await writer.append([extend(key, id_, 9)]) == [id_]
            assert await self.trim(store, Trim(id_, DAY)) == Trimmed(0, False)

    @on_a_loop
    async def test_the_last_row_stays(self) -> None:
        async with self.writing() as (world, store, _, writer):
            key, id_ = await self.make(writer, old(1, 9), 4, 9)
            assert await self.trim(store, Trim(id_, DAY)) == Trimmed(8, False)
            assert await self.seqs(store, id_) == [9]
            assert await self.snapshots(world, id_) == [9]
            assert await writer.claim([Claim(id_, 1)]) == [2]
            (loaded,) = await store.load([id_])
            assert (loaded.head_seq, loaded.head_epoch) == (9, 1)
            assert await writer.append([extend(key, id_, 9, 2, epoch=2, head_epoch=1)]) == [id_]
            assert await writer.append([extend(key, id_, 11, 1, epoch=2)]) == [id_]

    @on_a_loop
    async def test_what_has_no_snapshot_to_begin_from_stays(self) -> None:
        async with self.writing() as (_, store, _, writer):
            _, bare = await self.make(writer, old(1, 9))
            _, tail = await self.make(writer, [*old(1, 3), *old(4, 4, HOUR), *old(5, 9)], 4)
            _, none = await self.make(writer, old(1, 1), 1)
            trims = [Trim(bare, DAY), Trim(tail, DAY), Trim(10**12, DAY), Trim(none, DAY)]
            outcome = await store.trim(trims, call_id_seconds=DAY, limit=100)
            assert [one and one.rows for one in outcome if one] == [0] * len([one for one in outcome if one])
            assert await self.seqs(store, bare) == await self.seqs(store, tail) == list(range(1, 10))
            assert await store.trim([], call_id_seconds=DAY, limit=100) == []

    @on_a_loop
    async def test_trimming_needs_no_owner_and_no_order(self) -> None:
        async with self.writing() as (_, store, term, writer):
            made = [await self.make(writer, old(1, 5), 5) for _ in range(6)]
            assert await store.bury(term, proven=True)
            ids = [id_ for _, id_ in made][::-1]
            outcome = await store.trim([Trim(id_, DAY) for id_ in ids], call_id_seconds=DAY, limit=100)
            assert outcome == [Trimmed(4, False)] * 6

    @on_a_loop
    async def test_several_may_trim_at_once(self) -> None:
        async with self.writing() as (world, store, _, writer):
            made = [await self.make(writer, old(1, 40), 15, 25, 40) for _ in range(8)]
            ids = [id_ for _, id_ in made]
            others = [store, await world.store(), await world.store()]
            for _ in range(10):
                asked = [
                    one.trim([Trim(id_, DAY) for id_ in order], call_id_seconds=DAY, limit=26)
                    for one, order in zip(others, (ids, ids[::-1], ids[4:] + ids[:4]), strict=True)
                ]
                await asyncio.gather(*asked)
            assert [await self.seqs(store, id_) for id_ in ids] == [[40]] * 8

    @on_a_loop
    async def test_more_rows_or_bytes_than_an_object_may_hold_go_early(self) -> None:
        async with self.writing() as (_, store, _, writer):
            _, rows = await self.make(writer, old(1, 40, HOUR), 10, 20, 30, 40)
            assert await self.trim(store, Trim(rows, DAY, 40, least=60)) == Trimmed(0, False)
            assert await self.trim(store, Trim(rows, DAY, 15, least=2 * HOUR)) == Trimmed(0, False)
            assert await self.trim(store, Trim(rows, DAY, 15, least=60)) == Trimmed(20, False)
            assert await self.seqs(store, rows) == list(range(21, 41))
            _, size = await self.make(writer, old(1, 40, HOUR, delta="x" * 900, result="y" * 60, extra="é" * 20), 10, 20, 30, 40)
            assert await self.trim(store, Trim(size, DAY)) == Trimmed(0, False)
            assert await self.trim(store, Trim(size, DAY, size=40_001, least=60)) == Trimmed(0, False)
            assert await self.trim(store, Trim(size, DAY, size=20_001, least=60)) == Trimmed(10, False)
            assert await self.trim(store, Trim(size, DAY, size=20_000, least=60)) == Trimmed(10, False)
            # A short window is not made longer by the least time.
            _, short = await self.make(writer, old(1, 5, 50), 5)
            assert await self.trim(store, Trim(short, 30, 1, least=3600)) == Trimmed(4, False)

    @on_a_loop
    async def test_a_limit_bounds_what_goes_at_once(self) -> None:
        async with self.writing() as (_, store, _, writer):
            _, id_ = await self.make(writer, old(1, 40), 10, 20, 30, 40)
            assert await self.trim(store, Trim(id_, DAY), limit=25) == Trimmed(20, True)
            # The next is further than the limit: it goes piece by piece when it is alone, and waits for that otherwise.
            _, other = await self.make(writer, old(1, 3), 3)
            both = await store.trim([Trim(id_, DAY), Trim(other, DAY)], call_id_seconds=DAY, limit=5)
            assert both == [Trimmed(0, True), Trimmed(2, False)]
            left = []
            for _ in range(4):
                left.append((await self.trim(store, Trim(id_, DAY), limit=5)).more)
            assert left == [True, True, True, False]
            assert await self.seqs(store, id_) == [40]

    @on_a_loop
    async def test_the_history_of_what_was_destroyed_goes_too(self) -> None:
        async with self.writing() as (world, store, _, writer):
            gone = entry(9, kind=EntryKind.DESTROY, at=ago(2 * DAY))
            key, id_ = await self.make(writer, [*old(1, 8), gone], 4)
            assert await self.trim(store, Trim(id_, 3 * DAY)) == Trimmed(0, False)
            assert await self.trim(store, Trim(id_, DAY), limit=3) == Trimmed(3, True)
            assert (await store.load([id_]))[0].head_seq == 9
            assert await self.trim(store, Trim(id_, DAY), limit=3) == Trimmed(1, True)
            assert await self.trim(store, Trim(id_, DAY), limit=3) == Trimmed(4, False)
            assert await self.snapshots(world, id_) == []
            (loaded,) = await store.load([id_])
            assert [(row.seq, row.kind) for row in loaded.tail] == [(9, EntryKind.DESTROY)]
            assert (loaded.snapshot, loaded.head_seq) == (None, 9)
            assert await writer.append([extend(key, id_, 9)]) == [id_]

    @on_a_loop
    async def test_the_first_snapshot_of_each_share_of_the_window_stays(self) -> None:
        async with self.writing() as (world, _, _, writer):
            rows = [entry(seq) for seq in range(1, 26)]
            key = str(uuid4())
            ((id_),) = await writer.append([Append(TYPE, key, None, 1, 0, 1, rows)])
            assert isinstance(id_, int)
            for seq in range(1, 21):
                await writer.snapshot([Snapshot(id_, seq, 1, "{}", 0, DAY)])
            assert await self.snapshots(world, id_) in ([1, 19, 20], [1, 12, 19, 20])
            # With a window so short that each is the first of its share, all stay.
            for seq in range(21, 26):
                await self.snapshot(writer, id_, seq)
            assert {21, 22, 23, 24, 25} <= set(await self.snapshots(world, id_))

    # ---------------------------------------------------------------- what is remembered

    @on_a_loop
    async def test_callers_own_ids_outlive_their_rows(self) -> None:
        async with self.writing() as (_, store, _, writer):
            rows = old(1, 5)
            rows[1] = entry(2, at=ago(2 * DAY), call_id="order-2", own_id=True, kind=EntryKind.REFUSAL, result='["né"]', digest=-7)
            rows[2] = entry(3, at=ago(9 * DAY), call_id="order-3", own_id=True)
            rows[3] = entry(4, at=ago(2 * DAY), call_id="order-4", own_id=True, result=None)
            _, id_ = await self.make(writer, rows, 5)
            before = await store.recall([(id_, "order-2"), (id_, "order-4"), (id_, "order-9")])
            assert isinstance(before[0], Recorded)
            assert (await self.trim(store, Trim(id_, DAY))).rows == 4
            assert await store.recall([(id_, "order-2"), (id_, "order-4"), (id_, "order-9")]) == before
            assert await store.recall([(id_, "order-3"), (id_ + 10**9, "order-2")]) == [None, None]
            while await store.forget(2 * DAY + HOUR, 1):
                pass
            assert await store.recall([(id_, "order-2")]) == before[:1]
            assert await store.forget(DAY, 10_000) >= 2
            assert await store.recall([(id_, "order-2"), (id_, "order-4")]) == [None, None]

    @on_a_loop
    async def test_forgetting_is_bounded(self) -> None:
        async with self.writing() as (_, store, _, writer):
            rows = [*old(1, 7, 5 * DAY, own_id=True), *old(8, 8)]
            await store.forget(3 * DAY, 10**6)
            _, id_ = await self.make(writer, rows, 8)
            await self.trim(store, Trim(id_, DAY))
            assert [await store.forget(3 * DAY, 3) for _ in range(4)] == [3, 3, 1, 0]

    @on_a_loop
    async def test_a_generated_id_that_may_have_been_trimmed_is_forgotten_and_not_unknown(self) -> None:
        async with self.writing() as (_, store, _, writer):
            rows = old(1, 6)
            # The clock of one caller was ahead when it made this id: the horizon follows ids, not clocks.
            ahead = generated(rows[5].at, 7)
            rows[2] = entry(3, at=rows[2].at, call_id=ahead)
            _, id_ = await self.make(writer, rows, 5)
            never = [generated(rows[3].at, 99), generated(rows[5].at, 0), generated(rows[5].at + timedelta(milliseconds=1))]
            assert await store.recall([(id_, one) for one in never]) == [None] * 3
            assert (await self.trim(store, Trim(id_, DAY))).rows == 5
            first, known, *rest = await store.recall([(id_, one) for one in (rows[0].call_id, rows[5].call_id, ahead, *never, "order")])
            assert first is FORGOTTEN
            assert isinstance(known, Recorded)
            assert rest == [FORGOTTEN, FORGOTTEN, FORGOTTEN, None, None]

    @on_a_loop
    async def test_the_horizon_never_goes_back(self) -> None:
        async with self.writing() as (_, store, _, writer):
            rows = [*old(1, 3, 2 * DAY), *old(4, 6, 3 * DAY), *old(7, 7)]
            _, id_ = await self.make(writer, rows, 3, 6, 7)
            for _ in range(3):
                await self.trim(store, Trim(id_, DAY), limit=3)
            assert await self.seqs(store, id_) == [7]
            assert await store.recall([(id_, generated(rows[1].at, 99))]) == [FORGOTTEN]

    @pytest.mark.parametrize("call_id", ["~" + "f" * 32, "~" + "0" * 32, "call", "~nothing"])
    @on_a_loop
    async def test_odd_ids_can_be_trimmed(self, call_id: str) -> None:
        async with self.writing() as (_, store, _, writer):
            _, id_ = await self.make(writer, old(1, 2, call_id=call_id), 2)
            assert (await self.trim(store, Trim(id_, DAY))).rows == 1
            _, other = await self.make(writer, [entry(1, at=ago(2 * DAY), call_id=call_id), *old(2, 2)], 2)
            assert (await self.trim(store, Trim(other, DAY))).rows == 1
            expected = FORGOTTEN if len(call_id) == 33 else None
            assert await store.recall([(other, call_id)]) == [expected]

    # ---------------------------------------------------------------- the walk

    async def walk_all(self, store: Store, retention: float, *, limit: int = 1000) -> dict[int, str]:
        found: dict[int, str] = {}
        while True:
            walk = await store.walk(retention, 0.0, limit)
            if walk.until == walk.since:
                return found
            found |= walk.objects
            assert await store.walked(walk)

    @on_a_loop
    async def test_the_walk_finds_what_came_past_the_window_once(self) -> None:
        async with self.writing() as (_, store, _, writer):
            # A window and a time of its own for each test: the walk is the whole deployment's, and goes forward only.
            retention = 20 * DAY + 1.5
            await self.walk_all(store, retention)
            _, one = await self.make(writer, old(1, 5, 21 * DAY))
            _, own = await self.make(writer, old(1, 2, 21 * DAY, own_id=True, call_id="order"))
            _, young = await self.make(writer, old(1, 5, 19 * DAY))
            found = await self.walk_all(store, retention, limit=2)
            assert {one: TYPE, own: TYPE}.items() <= found.items()
            assert young not in found
            assert not {one, own, young} & set(await self.walk_all(store, retention))
            # Another window is another walk.
            assert {one, own, young} <= set(await self.walk_all(store, 10 * DAY + 1.5))

    @on_a_loop
    async def test_a_walk_leaves_slack(self) -> None:
        async with self.writing() as (_, store, _, writer):
            retention = 30 * DAY + 2.5
            await self.walk_all(store, retention)
            _, id_ = await self.make(writer, old(1, 5, 30 * DAY + HOUR))
            assert id_ not in (await store.walk(retention, 2 * HOUR, 1000)).objects
            assert id_ in (await store.walk(retention, 0.0, 1000)).objects

    @on_a_loop
    async def test_only_one_of_two_walkers_moves_on(self) -> None:
        async with self.writing() as (world, store, _, writer):
            retention = 40 * DAY + 3.5
            await self.walk_all(store, retention)
            _, id_ = await self.make(writer, old(1, 5, 41 * DAY))
            other = await world.store()
            one, two = await store.walk(retention, 0.0, 2), await other.walk(retention, 0.0, 4)
            assert id_ in one.objects
            assert await other.walked(two)
            assert not await store.walked(one)
            again: Walk = await store.walk(retention, 0.0, 1000)
            assert again.since == two.until
            assert await store.walked(again)
            assert await store.walk(retention, 0.0, 1000) == Walk(retention, again.until, again.until, {}, False)
