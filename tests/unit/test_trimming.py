"""What a host's trimmer asks of its store, and what it makes of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from jido_objects import DurableObject
from jido_objects.clock import SystemClock
from jido_objects.definition import Definition
from jido_objects.errors import CorruptObject, StoreUnavailable
from jido_objects.host import HostSettings
from jido_objects.rebuilding import rebuild
from jido_objects.state import State
from jido_objects.stores.protocol import EntryKind, Loaded, TailEntry, Trim, Trimmed, Walk
from jido_objects.stores.windows import START, cut, droppable, stretch
from jido_objects.trimming import ALONE, NEAR, STRETCH, TOGETHER, Trimmer


class Store:
    """Answers as it is told to, and notes what it was asked."""

    def __init__(self, objects: int = 0, outcomes: dict[int, list[Trimmed | None]] | None = None) -> None:
        self.objects = dict.fromkeys(range(objects), "nobody.Knows")
        self.outcomes = outcomes or {}
        self.trims: list[tuple[list[int], int, int | None]] = []
        self.walks: list[Walk] = []
        self.forgets: list[int] = []
        self.walking = 0
        self.fail: list[Exception] = []

    async def trim(self, trims: Sequence[Trim], *, call_id_seconds: float, limit: int) -> list[Trimmed | None]:
        self.trims.append(([trim.object_id for trim in trims], limit, trims[0].size))
        if self.fail:
            raise self.fail.pop()
        return [self.outcomes.get(trim.object_id, [Trimmed(1, False)]).pop(0) for trim in trims]

    async def walk(self, retention: float, slack: float, limit: int) -> Walk:
        self.walking += 1
        done = bool(self.walks) or not self.objects
        return Walk(retention, START, START if done else ("~1", START[1]), {} if done else self.objects, False)

    async def walked(self, walk: Walk) -> bool:
        self.walks.append(walk)
        return True

    async def forget(self, call_id_seconds: float, limit: int) -> int:
        return self.forgets.pop(0) if self.forgets else 0


def trimmer(store: Store, **settings: Any) -> Trimmer:
    host: Any = SimpleNamespace(store=store, clock=SystemClock(), settings=HostSettings(**settings), lease=object())
    return Trimmer(host)


def test_objects_are_trimmed_together_and_who_has_more_alone() -> None:
    store = Store(TOGETHER + 2, {1: [Trimmed(5, True), Trimmed(7, True), Trimmed(9, False)]})
    one = trimmer(store)
    asyncio.run(one.round())
    assert [(len(ids), limit) for ids, limit, _ in store.trims] == [(TOGETHER, NEAR), (1, ALONE), (1, ALONE), (2, NEAR)]
    assert [ids for ids, limit, _ in store.trims if limit == ALONE] == [[1], [1]]
    assert one.rows == TOGETHER + 1 + 5 + 7 + 9
    assert len(store.walks) == 1


@pytest.mark.parametrize("outcomes", [[None], [Trimmed(5, True), None]], ids=["at once", "later"])
def test_a_stretch_is_not_walked_past_while_somebody_else_is_at_one_of_its_objects(outcomes: list[Trimmed | None]) -> None:
    store = Store(3, {1: outcomes})
    asyncio.run(trimmer(store).round())
    assert store.walks == []
    assert store.walking == 1


def test_ids_are_forgotten_until_there_are_no_more() -> None:
    store = Store()
    store.forgets = [STRETCH, STRETCH, 3, 99]
    asyncio.run(trimmer(store).round())
    assert store.forgets == [99]


def test_who_grows_is_trimmed_at_once_whatever_goes_wrong_once() -> None:
    async def main() -> None:
        store = Store()
        store.fail = [StoreUnavailable("struck"), ValueError("struck")]
        one = trimmer(store, retention_rows=80, retention_bytes=8_000)
        task = asyncio.ensure_future(one.run())
        for count, (rows, size) in enumerate([(10, 0), (10, 0), (1, 1000), (9, 0)], 1):
            one.wrote(count, "nobody.Knows", rows, size)
            async with asyncio.timeout(10):
                while len(store.trims) < min(count, 3):
                    await asyncio.sleep(0)
        task.cancel()
        assert store.trims == [([1], NEAR, None), ([2], NEAR, None), ([3], NEAR, 8_000)]

    asyncio.run(main())


def test_who_hosts_nothing_trims_nothing() -> None:
    async def main() -> None:
        store = Store(1)
        one = trimmer(store, retention=0.016)
        one._host.lease = None
        one.wrote(1, "nobody.Knows", 10**9, 0)
        task = asyncio.ensure_future(one.run())
        await asyncio.sleep(0.02)
        assert (store.trims, store.walking) == ([], 0)
        one._host.lease = object()  # type: ignore[assignment]
        async with asyncio.timeout(10):
            while not store.walks:
                await asyncio.sleep(0)
        task.cancel()

    asyncio.run(main())


# ---------------------------------------------------------------- the rules


@pytest.mark.parametrize(
    ("first", "head", "bases", "limit", "alone", "destroyed", "expected"),
    [
        (1, 9, [], 100, True, False, None),
        (1, 9, [4], 100, True, False, (1, 4, 4, False)),
        (1, 9, [2, 4, 9], 100, True, False, (1, 8, 9, False)),
        (1, 9, [2, 4, 9], 5, True, False, (1, 4, 4, True)),
        (3, 9, [2, 4, 9], 1, True, False, (3, 3, 4, True)),
        (3, 9, [2, 4, 9], 1, False, False, (3, 2, 4, True)),
        (9, 9, [9], 100, True, False, None),
        (1, 9, [], 100, True, True, (1, 8, 9, False)),
        (1, 9, [], 3, True, True, (1, 8, 9, False)),
        (1, 9, [], 3, False, True, (1, 0, 9, True)),
        (1, 9, [4], 3, True, True, (1, 3, 4, True)),
        (9, 9, [], 100, True, True, None),
    ],
)
def test_where_a_history_is_cut(
    first: int, head: int, bases: list[int], limit: int, alone: bool, destroyed: bool, expected: tuple[int, int, int, bool] | None
) -> None:
    assert cut(first, head, bases, limit, alone=alone, destroyed=destroyed) == expected


def test_a_busy_object_keeps_about_twenty_snapshots_and_always_a_base() -> None:
    """Four days with a snapshot per minute, of few rows or of many: trimmed by time, and by rows."""
    day, rows = 86400.0, 100_000
    for per_snapshot in (64, 5_000):
        at: dict[int, float] = {}
        oldest = 1
        most = 0
        for n in range(1, 4 * 1440):
            seq, now = n * per_snapshot, n * 60.0
            at[seq] = now
            for gone in droppable(at, oldest, seq, day, rows):
                del at[gone]
            most = max(most, len(at))
            past = [one for one in sorted(at)[:-2] if at[one] < now - day or one <= seq - rows]
            if n % 2 == 0 and past:
                oldest = past[-1] + 1
                at = {one: when for one, when in at.items() if one >= past[-1]}
            assert oldest == 1 or any(one in (oldest - 1, oldest) for one in at)
        assert most <= 24, most
        assert seq - oldest <= rows * 1.25
        assert now - oldest / per_snapshot * 60 <= day * 1.25


def test_a_walk_leaves_to_the_next_stretch_what_its_limit_cut_in_two() -> None:
    rows = [("~1", 1, "a.A"), ("~2", 2, "a.A"), ("~2", 3, "a.A")]
    assert stretch(1.0, START, rows, [], 3).until == ("~1", START[1])
    assert stretch(1.0, START, rows, [], 4).until == ("~2", START[1])
    # There is no other way on from here.
    assert stretch(1.0, START, rows[1:], [], 2).until == ("~2", START[1])


def test_an_object_can_be_rebuilt_from_its_destruction_on() -> None:
    class Gone(DurableObject):
        n: int = 5

        class Meta:
            label = "tests.Gone"

    definition = Definition.registry.pop("tests.Gone")
    state = State(definition.shape, {}, "an object")
    tail = [TailEntry(9, 1, EntryKind.DESTROY, "[]", 1), TailEntry(10, 1, EntryKind.TURN, '[["set","n",7]]', 1)]
    rebuild(state, definition, ("tests.Gone", "a"), Loaded(None, tail, 10, 1))
    assert state.plain() == {"n": 7}
    with pytest.raises(CorruptObject):
        rebuild(state, definition, ("tests.Gone", "a"), Loaded(None, tail[1:], 10, 1))
