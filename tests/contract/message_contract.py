"""What every store promises of durable messages. Subclass it beside ``StoreContract``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from jido_objects.stores.messages import VISIBILITY, Armed, InboxChanges, Revised, Sent, Taken
from jido_objects.stores.protocol import Append, Store, TermEnded, Writer

from .world import TYPE, World, create, extend, on_a_loop

DUE = datetime(2027, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def armed(delay: float = 0.0, **fields: Any) -> Armed:
    values: dict[str, Any] = {"due": DUE, "method": "ring", "args": '["é\\"{}"]', "kwargs": '{"n":1}', "user": "7"}
    values |= {"call_id": "c-1", "recurrence": "60", "zone": "UTC"}
    return Armed(delay=delay, **(values | fields))


def sent(key: str, seq: int, index: int, method: str = "take") -> Sent:
    return Sent(TYPE, key, method, "[1]", "{}", f"{key}-{seq}-{index}", None, seq, index)


def with_inbox(append: Append, *, applied: tuple[int, ...] = (), sends: tuple[Sent, ...] = (), **alarms: Armed | None) -> Append:
    return replace(append, inbox=InboxChanges(list(applied), dict(alarms), list(sends)))


def methods(taken: list[Taken]) -> list[str]:
    return [message.method for message in taken]


class MessageContract:
    """Each test begins with an empty inbox."""

    def world(self) -> World:
        raise NotImplementedError

    @asynccontextmanager
    async def inbox(self) -> AsyncIterator[tuple[World, Store, UUID, Writer]]:
        world = self.world()
        try:
            store = await world.store()
            await world.clear()
            term = await world.term(store)
            yield world, store, term, await world.writer(store, term)
            await world.clear()
        finally:
            await world.close()

    async def made(self, writer: Writer, key: str, **changes: Any) -> int:
        (id_,) = await writer.append([with_inbox(create(key), **changes)])
        assert isinstance(id_, int)
        return id_

    @on_a_loop
    async def test_an_alarm_is_written_with_its_row_and_taken_when_it_is_due(self) -> None:
        async with self.inbox() as (world, store, term, writer):
            k = str(uuid4())
            await self.made(writer, k, x=armed(), y=armed(3600.0))
            (message,) = await writer.take(10)
            wanted = (TYPE, k, "x", "ring", '["é\\"{}"]', '{"n":1}', 1, None, "c-1", "7")
            m = message
            assert (m.type, m.key, m.name, m.method, m.args, m.kwargs, m.attempts, m.sender, m.call_id, m.user) == wanted
            assert timedelta(0) <= m.now - DUE < timedelta(seconds=10)
            assert m.recurrence == "60"
            assert 0 <= m.late < 10
            rows = {row.name: row for row in await world.messages()}
            assert (rows["x"].taker, rows["x"].attempts, rows["y"].taker, rows["y"].attempts) == (term, 1, None, 0)
            assert await writer.take(10) == []
            overdue = await store.overdue(term)
            assert not overdue.ready
            assert overdue.wait is not None
            assert VISIBILITY - 10 < overdue.wait <= VISIBILITY

    @on_a_loop
    async def test_an_alarm_that_is_written_again_starts_anew(self) -> None:
        async with self.inbox() as (world, _, _, writer):
            k = str(uuid4())
            id_ = await self.made(writer, k, x=armed())
            (message,) = await writer.take(10)
            await writer.revise([Revised(message.id, dead=True, error="no")])
            (row,) = await world.messages()
            assert (row.dead, row.last_error, row.taker, row.attempts) == (True, "no", None, 1)
            assert await writer.take(10) == []
            assert await writer.append([with_inbox(extend(k, id_, 1), x=armed(due=DUE + timedelta(1), method="other"))]) == [id_]
            (row,) = await world.messages()
            assert (row.dead, row.last_error, row.taker, row.attempts) == (False, None, None, 0)
            assert (row.due, row.method) == (DUE + timedelta(1), "other")
            assert methods(await writer.take(10)) == ["other"]
            # Written again while it is taken: what its taker says of it afterwards is about another alarm.
            assert await writer.append([with_inbox(extend(k, id_, 2), x=armed(method="third"))]) == [id_]
            await writer.revise([Revised(row.id, dead=True)])
            assert methods(await writer.take(10)) == ["third"]
            assert await writer.append([with_inbox(extend(k, id_, 3), x=None, absent=None)]) == [id_]
            assert await world.messages() == []

    @on_a_loop
    async def test_a_message_is_applied_with_the_rows_or_neither(self) -> None:
        async with self.inbox() as (world, store, _, writer):
            k, other = str(uuid4()), str(uuid4())
            id_ = await self.made(writer, k, x=armed(), y=armed())
            taken = {message.name: message.id for message in await writer.take(10)}
            both = [with_inbox(extend(k, id_, 1), applied=(taken["x"],), sends=(sent(other, 2, 0),)), create(other)]
            first, second = await writer.append(both)
            assert first == id_
            assert isinstance(second, int)
            assert [row.method for row in await world.messages()] == ["ring", "take"]
            again = [with_inbox(extend(k, id_, 2), applied=(taken["x"], taken["y"]), z=armed(), sends=(sent(other, 3, 0),))]
            new = str(uuid4())
            made = with_inbox(create(new), applied=(taken["x"],), x=armed())
            assert await writer.append([*again, made, extend(other, second, 1)]) == [None, None, second]
            assert await writer.append(again) == [None]
            assert await writer.append([made]) == [None]
            assert await store.find([(TYPE, new)]) == [None]
            assert [loaded.head_seq for loaded in await store.load([id_, second])] == [2, 2]
            assert [(row.name, row.method) for row in await world.messages()] == [("y", "ring"), (None, "take")]

    @on_a_loop
    async def test_rows_that_are_refused_change_no_message(self) -> None:
        async with self.inbox() as (world, _, _, writer):
            k = str(uuid4())
            id_ = await self.made(writer, k, x=armed())
            (message,) = await writer.take(10)
            stale = with_inbox(extend(k, id_, 5), applied=(message.id,), x=None, y=armed(), sends=(sent("k", 6, 0),))
            assert await writer.append([stale]) == [None]
            assert await writer.append([with_inbox(create(k), y=armed())]) == [None]
            assert [(row.id, row.name) for row in await world.messages()] == [(message.id, "x")]

    @on_a_loop
    async def test_a_message_that_two_hold_is_applied_by_one(self) -> None:
        async with self.inbox() as (world, store, _, writer):
            other = await world.writer(store, await world.term(store))
            for _ in range(10):
                keys = [str(uuid4()) for _ in range(4)]
                for k in keys[:2]:
                    await world.put_message(k, "ring")
                taken = [message.id for message in await writer.take(10)]
                assert len(taken) == 2
                outcomes = await asyncio.gather(
                    writer.append([with_inbox(create(keys[2]), applied=(taken[0], taken[1]))]),
                    other.append([with_inbox(create(keys[3]), applied=(taken[1], taken[0]))]),
                )
                assert sorted(outcome is None for (outcome,) in outcomes) == [False, True]
                assert await world.messages() == []
                assert sum(found is not None for found in await store.find([(TYPE, keys[2]), (TYPE, keys[3])])) == 1

    @on_a_loop
    async def test_an_alarm_that_fires_may_set_itself_again(self) -> None:
        async with self.inbox() as (world, _, _, writer):
            k = str(uuid4())
            id_ = await self.made(writer, k, x=armed())
            (message,) = await writer.take(10)
            again = with_inbox(extend(k, id_, 1), applied=(message.id,), x=armed(method="again"))
            assert await writer.append([again]) == [id_]
            (row,) = await world.messages()
            assert (row.name, row.method, row.attempts, row.taker) == ("x", "again", 0, None)

    @on_a_loop
    async def test_messages_of_one_sender_are_taken_in_their_order(self) -> None:
        async with self.inbox() as (world, _, _, writer):
            sender, k, other = (str(uuid4()) for _ in range(3))
            sends = tuple(sent(k, 1, n, f"m{n}") for n in range(3))
            id_ = await self.made(writer, sender, sends=(*sends, sent(other, 1, 3, "free")))
            await writer.append([with_inbox(extend(sender, id_, 1), sends=(sent(k, 2, 0, "m3"),))])
            taken = await writer.take(10)
            assert [m.method for m in taken if m.key == k] == ["m0", "m1", "m2", "m3"]
            assert {m.sender for m in taken} == {id_}
            ids = {m.method: m.id for m in taken}
            await writer.revise([Revised(ids["m0"], delay=3600.0), *(Revised(ids[name], delay=0.0, attempts=0) for name in ("m1", "m2"))])
            assert await writer.take(10) == []
            await writer.revise([Revised(ids["m3"], delay=0.0)])
            assert await writer.take(10) == []
            rows = {row.method: row for row in await world.messages()}
            assert (rows["m1"].attempts, rows["m0"].attempts) == (0, 1)

    @on_a_loop
    async def test_a_dead_letter_is_kept_and_holds_up_nobody(self) -> None:
        async with self.inbox() as (world, _, _, writer):
            sender, k = str(uuid4()), str(uuid4())
            await self.made(writer, sender, sends=(sent(k, 1, 0, "a"), sent(k, 1, 1, "b")))
            first, second = await writer.take(10)
            await writer.revise([Revised(first.id, dead=True, error="Refused: no"), Revised(second.id, delay=0.0, attempts=0)])
            assert methods(await writer.take(10)) == ["b"]
            dead = [row for row in await world.messages() if row.dead]
            assert [(row.method, row.last_error) for row in dead] == [("a", "Refused: no")]

    @on_a_loop
    async def test_messages_of_other_owners_and_of_paused_objects_are_left(self) -> None:
        async with self.inbox() as (world, store, _, writer):
            mine, theirs, nobody = (str(uuid4()) for _ in range(3))
            other = await world.term(store)
            second = await world.writer(store, other)
            await self.made(writer, mine, x=armed(method="mine"))
            await self.made(second, theirs, x=armed(method="theirs"))
            await world.put_message(nobody, "nobody")
            overdue = await store.overdue(await world.term(store))
            assert sorted(overdue.owners) == sorted([(TYPE, mine), (TYPE, theirs)])
            assert overdue.ready
            await world.pause(mine, True)
            assert await writer.take(10, adopt=False) == []
            await world.pause(mine, False)
            await world.pause(None, True)
            try:
                assert await writer.take(10) == []
                assert not (await store.overdue(other)).ready
            finally:
                await world.pause(None, False)
            assert not (await store.overdue(uuid4(), adopt=False)).ready
            assert (await store.overdue(uuid4(), adopt=False)).owners == []
            assert methods(await writer.take(10, adopt=False)) == ["mine"]
            assert methods(await writer.take(10)) == ["nobody"]
            assert methods(await second.take(10)) == ["theirs"]

    @on_a_loop
    async def test_what_a_buried_term_had_taken_is_due_at_once(self) -> None:
        async with self.inbox() as (world, store, term, writer):
            k = str(uuid4())
            await self.made(writer, k, x=armed())
            assert methods(await writer.take(10)) == ["ring"]
            successor = await world.term(store)
            heir = await world.writer(store, successor)
            assert await heir.take(10) == []
            assert not (await store.overdue(successor)).ready
            assert await store.bury(term, proven=True)
            assert (await store.overdue(successor)).ready
            (message,) = await heir.take(10)
            assert (message.attempts, message.method) == (2, "ring")
            assert timedelta(0) <= message.now - DUE < timedelta(seconds=10)
            for attempt in (writer.take(10), writer.revise([Revised(message.id)])):
                with pytest.raises(TermEnded):
                    await attempt
            assert [row.taker for row in await world.messages()] == [successor]

    @on_a_loop
    async def test_a_message_is_revised_by_its_taker_only(self) -> None:
        async with self.inbox() as (world, store, _, writer):
            k = str(uuid4())
            await self.made(writer, k, x=armed())
            (message,) = await writer.take(10)
            other = await world.writer(store, await world.term(store))
            await other.revise([Revised(message.id), Revised(message.id, dead=True)])
            assert [row.dead for row in await world.messages()] == [False]
            await writer.revise([Revised(message.id, delay=0.0, error="once", attempts=0)])
            (row,) = await world.messages()
            assert (row.taker, row.attempts, row.last_error) == (None, 0, "once")
            assert timedelta(0) <= row.due - DUE < timedelta(seconds=10)
            await writer.revise([Revised(message.id)])
            (message,) = await writer.take(10)
            assert timedelta(0) <= message.now - DUE < timedelta(seconds=10)
            await writer.revise([Revised(message.id)])
            assert await world.messages() == []
            await writer.revise([Revised(message.id)])
            await writer.revise([])

    @on_a_loop
    async def test_time_is_the_store_s_and_can_be_put_forward(self) -> None:
        async with self.inbox() as (world, store, term, writer):
            await self.made(writer, str(uuid4()), x=armed(100.0), y=armed(200.0, method="later"))
            assert await writer.take(10) == []
            overdue = await store.overdue(term)
            assert overdue.wait is not None
            assert 90 < overdue.wait <= 100
            store.skew = 150.0
            assert (await store.overdue(term)).ready
            assert methods(await writer.take(10)) == ["ring"]
            await world.clear()

    @on_a_loop
    async def test_no_more_is_taken_than_asked_for_and_the_oldest_first(self) -> None:
        async with self.inbox() as (_, store, _, writer):
            names = {f"n{n}": armed(10.0 - n, method=f"m{n}") for n in range(5)}
            await self.made(writer, str(uuid4()), **names)
            store.skew = 60.0
            assert methods(await writer.take(2)) == ["m4", "m3"]
            assert methods(await writer.take(10)) == ["m2", "m1", "m0"]
