"""P12 with calls under way: whatever instant a host dies at, what thaws is the state after some row, and all that was answered.

The states in memory are noted after each turn, committed or not. A crash comes while the journal's statement is not sent yet,
under way, being executed or done, and the statement may still land while the next owner takes over. Each thaw must give,
byte for byte, one of the states that were noted, at its own ``seq``, and none older than the last answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jido_objects import DurableObject, ObjectException, Ref, Transient
from jido_objects.activation import Status
from jido_objects.definition import Definition
from jido_objects.errors import CallFailed
from tests.sim.bench import Bench, Process


class Phase(Enum):
    NEW = "new"
    PAID = "paid"


@dataclass(frozen=True)
class Line:
    sku: str
    price: Decimal
    tags: tuple[str, ...] = ()


class Address(msgspec.Struct, frozen=True):
    street: str
    number: int | None = None


class Sorry(ObjectException):
    """Sorry, {0}."""


class Order(DurableObject):
    """Types and ways to change them that the other test has not."""

    phase: Phase = Phase.NEW
    kind: Literal["web", "shop"] = "web"
    open: bool = True
    raw: bytes = b""
    closes: time = time(12)
    wait: timedelta = timedelta(0)
    where: Address | None = None
    pair: tuple[int, str] = (0, "")
    lines: list[Line] = []
    seen: set[int] = set()
    by_phase: dict[Phase, dict[int, list[str]]] = {}
    by_day: dict[tuple[int, str], set[str]] = {}
    maybe: dict[str, int | str | list[int] | None] = {}
    times: list[datetime] = []
    others: dict[str, Ref[Order]] = {}
    scratch: Transient[int] = 0

    def scalars(self, phase: Phase, raw: bytes, wait: timedelta, closes: time) -> str:
        self.phase, self.raw, self.wait, self.closes = phase, raw, wait, closes
        self.open = not self.open
        self.kind = "shop" if self.kind == "web" else "web"
        self.scratch += 1
        return self.kind

    def move(self, where: Address | None, pair: tuple[int, str]) -> tuple[int, str]:
        before, self.pair = self.pair, pair
        self.where = where
        return before

    def buy(self, line: Line, front: bool) -> list[Line]:
        if front:
            self.lines.insert(0, line)
        else:
            self.lines += [line]
        if len(self.lines) > 3:
            self.lines[1:3] = [line]
        return list(self.lines)

    def see(self, numbers: set[int]) -> int:
        self.seen -= {number for number in numbers if number < 0}
        self.seen |= numbers
        if len(self.seen) > 5:
            self.seen.pop()
        return len(self.seen)

    def file(self, phase: Phase, number: int, text: str) -> int:
        shelf = self.by_phase.setdefault(phase, {})
        shelf.setdefault(number, []).append(text)
        if len(shelf[number]) > 2:
            shelf[number].reverse()
            del shelf[number][0]
        if len(shelf) > 2:
            shelf.pop(number)
        self.by_day.setdefault((number, text), set()).symmetric_difference_update({text, "x"})
        return len(shelf)

    def put(self, key: str, value: int | str | list[int] | None) -> None:
        self.maybe[key] = value
        held = self.maybe[key]
        if not isinstance(held, int | str) and held is not None:
            held.append(1)
        self.maybe.pop("a", None)

    def note(self, moment: datetime, key: str) -> datetime:
        self.times.append(moment)
        self.others[key] = Order.at(key)
        self.times.sort(key=str)
        if len(self.times) > 3:
            self.times = self.times[1:]
        return moment

    def refuse(self, key: str) -> None:
        self.maybe.clear()
        self.lines.clear()
        raise Sorry(key)

    def boom(self, key: str) -> None:
        self.seen.clear()
        self.by_phase = {}
        self.others[key] = self.ref
        raise ValueError(key)

    class Meta:
        label = "properties.Order"
        snapshot_every = 3


# Only these tests know it: the sweeper of every other host would look at it too.
TYPES = {"properties.Order": Definition.registry.pop("properties.Order")}
NAME = ("properties.Order", "k")
Batch = list[tuple[str, tuple[Any, ...]]]
Script = list[tuple[Batch, str, bool]]

words = st.sampled_from(["a", "b", "é", "/", "a b"])
numbers = st.integers(-3, 3)
phases = st.sampled_from(Phase)
money = st.decimals(-99, 99, places=2)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), None])
calls = st.one_of(
    st.tuples(
        st.just("scalars"),
        st.tuples(phases, st.binary(max_size=3), st.timedeltas(timedelta(-9), timedelta(9)), st.times()),
    ),
    st.tuples(st.just("move"), st.tuples(st.none() | st.builds(Address, words, st.none() | numbers), st.tuples(numbers, words))),
    st.tuples(st.just("buy"), st.tuples(st.builds(Line, words, money, st.lists(words, max_size=2).map(tuple)), st.booleans())),
    st.tuples(st.just("see"), st.tuples(st.sets(numbers, max_size=3))),
    st.tuples(st.just("file"), st.tuples(phases, numbers, words)),
    st.tuples(st.just("put"), st.tuples(words, st.none() | numbers | words | st.lists(numbers, max_size=2))),
    st.tuples(st.just("note"), st.tuples(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=zones), words)),
    st.tuples(st.just("refuse"), st.tuples(words)),
    st.tuples(st.just("boom"), st.tuples(words)),
)
batches = st.lists(calls, min_size=1, max_size=5)
points = ["append:called", "append:sent", "append:executing", "append:executed", "snapshot:executing"]
ends = st.sampled_from(["hibernate", "stop", "crash", *points])
scripts = st.lists(st.tuples(batches, ends, st.booleans()), min_size=1, max_size=6)


class Story:
    """One object through several hosts, and what is known of it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.noted: dict[int, str] = {}
        self.answered = 0
        """The seq that the last answer vouches for."""
        self.host: Process

    def note(self) -> None:
        activation = self.host.activation("k")
        self.noted[activation.seq] = activation.state.canonical()

    async def begin(self) -> None:
        """A new host, and the object in its memory."""
        self.host = await self.bench.process(keeper=True)
        await self.thaw()

    async def thaw(self) -> None:
        """What is in memory now is what was there at that seq. What came after it was never answered, and is forgotten."""
        # It fails and leaves no trace: all that is wanted is the thaw.
        with contextlib.suppress(CallFailed):
            await self.host.send("k", "boom", "nothing")
        activation = self.host.host.activations.get(NAME)
        if activation is None:
            assert self.answered == 0
            self.noted = {}
            return
        assert activation.seq >= self.answered
        if self.noted:
            assert activation.state.canonical() == self.noted[activation.seq]
        self.noted = {activation.seq: activation.state.canonical()}
        self.answered = activation.seq

    @property
    def lives(self) -> bool:
        """Whether the object is in memory and its turns run at once."""
        activation = self.host.host.activations.get(NAME)
        return activation is not None and activation.status is Status.LIVE

    async def call(self, name: str, args: tuple[Any, ...]) -> None:
        """A call, waited for."""
        await asyncio.wait([self.host.send("k", name, *args)])
        if self.lives:
            self.note()
            self.answered = self.host.activation("k").seq

    async def call_all(self, batch: Batch, point: str) -> None:
        """Calls one upon the other, with the journal held: of what they wrote from then on, nobody may hear."""
        self.host.gates.close(point)
        assert self.lives
        waiting = []
        for name, args in batch:
            answer = self.host.send("k", name, *args)
            self.note()
            waiting.append((answer, self.host.activation("k").seq))
        await asyncio.sleep(0.01)
        if point.startswith("append:"):
            assert [answer.done() for answer, _ in waiting] == [seq == self.answered for _, seq in waiting]
        else:
            # What was sent with or before the snapshot was committed before it.
            self.answered = max([seq for answer, seq in waiting if answer.done()], default=self.answered)

    async def crash(self, late: bool, point: str | None = None) -> None:
        """The process is gone; its statement, if one is under way, lands before the next owner comes or while it does."""
        for task in [*self.host.host._tasks, self.host.keeping]:
            if task is not None:
                task.cancel()
        await asyncio.sleep(0)
        self.bench.dead.add(self.host.pid)
        gates = self.host.gates
        if point is not None and late:
            self.bench.loop.call_later(0.002, gates.open, point)
        elif point is not None:
            gates.open(point)
            await asyncio.sleep(0.01)
        await self.begin()

    async def live(self, batch: Batch, end: str, late: bool) -> None:
        if ":" in end:
            if not self.lives:
                await self.call("see", ({1},))
            await asyncio.sleep(0.3)
            await self.call_all(batch, end)
            await self.crash(late, end)
            return
        for name, args in batch:
            await self.call(name, args)
        if end == "hibernate":
            for activation in list(self.host.host.activations.values()):
                assert self.host.host.hibernate(activation)
            await self.thaw()
        elif end == "stop":
            await self.host.host.stop()
            await self.begin()
        else:
            await self.crash(late)


async def play(bench: Bench, script: Script) -> None:
    story = Story(bench)
    await story.begin()
    for batch, end, late in script:
        await story.live(batch, end, late)
    await story.crash(False)


@given(scripts)
def test_what_thaws_after_a_crash_was_there_before(script: Script) -> None:
    bench = Bench(TYPES)
    bench.run(play(bench, script))


@pytest.mark.parametrize("end", points)
@pytest.mark.parametrize("late", [True, False])
def test_a_crash_at_each_point(end: str, late: bool) -> None:
    bench = Bench(TYPES)
    batch: Batch = [("see", ({number},)) for number in range(4)]
    bench.run(play(bench, [(batch, "crash", False), (batch[::-1], end, late), (batch, "hibernate", False)]))


def test_values_come_back_as_what_they_were() -> None:
    bench = Bench(TYPES)
    moment = datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=-3)))

    async def story() -> dict[str, Any]:
        first = await bench.process(keeper=True)
        await first.send("k", "scalars", Phase.PAID, b"\x00\xff", timedelta(days=-1, microseconds=3), time(23, 59, 59, 999999))
        await first.send("k", "move", Address("x"), (3, "y"))
        await first.send("k", "buy", Line("a", Decimal("1.10"), ("p", "q")), True)
        await first.send("k", "file", Phase.PAID, 3, "z")
        await first.send("k", "note", moment, "o")
        before = first.activation("k").state.plain()
        await first.host.stop()
        second = await bench.process(keeper=True)
        await second.send("k", "see", {1})
        after: dict[str, Any] = second.activation("k").state.plain()
        assert after.pop("seen") == {1}
        before.pop("seen")
        assert after == before
        return after

    state = bench.run(story())
    assert state["lines"] == [Line("a", Decimal("1.10"), ("p", "q"))]
    assert str(state["lines"][0].price) == "1.10"
    assert state["where"] == Address("x")
    assert state["times"][0].utcoffset() == timedelta(hours=-3)
    assert state["by_phase"] == {Phase.PAID: {3: ["z"]}}
    assert state["by_day"] == {(3, "z"): {"z", "x"}}
    assert state["others"] == {"o": Order.at("o")}
