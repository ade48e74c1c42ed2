"""P12: what thaws is what was there, whatever was snapshotted, hibernated or lost in a crash in between.

Random calls on a rich object over the memory store and virtual time. A crash drops the host without goodbye: its term stays
until its lease has passed, and another host takes over. After every thaw the canonical JSON of the state is compared, byte
for byte, with that of the state as it was in memory before; and the order of every dict with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from jido_objects import DurableObject, ObjectException, Ref, ids
from jido_objects.host import Host
from jido_objects.router import HostReply
from jido_objects.stores.memory import MemoryServer, MemoryStore
from jido_objects.turns import Call
from tests.sim.loop import VirtualClock, VirtualLoop, run

LEASE = 3.0


@dataclass(frozen=True)
class Spot:
    row: int
    name: str


class No(ObjectException):
    """No: {0}."""


class Rich(DurableObject):
    """Something of everything."""

    n: int = 0
    ratio: float = 0.5
    price: Decimal = Decimal("1.10")
    when: datetime | None = None
    day: date = date(2026, 1, 1)
    tags: set[str] = set()
    log: list[str] = []
    holds: dict[str, int] = {}
    by_id: dict[UUID, list[int]] = {}
    by_spot: dict[Spot, dict[str, int]] = {}
    spots: list[Spot] = []
    rows: list[list[int]] = []
    anything: dict = {}
    friend: Ref[Rich] | None = None

    def scalar(self, n: int, price: Decimal, when: datetime | None) -> int:
        self.n += n
        self.price, self.when = price, when
        self.day += timedelta(days=n % 7)
        return self.n

    def put(self, key: str, value: int) -> int | None:
        before = self.holds.get(key)
        self.holds[key] = value
        return before

    def drop(self, key: str) -> bool:
        return self.holds.pop(key, None) is not None

    def replace(self, keys: list[str]) -> None:
        self.holds = dict.fromkeys(keys, 1)
        for key in keys[:1]:
            del self.holds[key]
            self.holds[key] = 2

    def note(self, text: str, front: bool) -> int:
        if front:
            self.log.insert(0, text)
        else:
            self.log.append(text)
        if len(self.log) > 6:
            del self.log[1:3]
        return len(self.log)

    def sort(self) -> list[str]:
        self.log.sort()
        self.log.reverse()
        return list(self.log)

    def nest(self, number: int, value: int) -> list[int]:
        self.by_id.setdefault(UUID(int=number), []).append(value)
        self.by_spot.setdefault(Spot(number, "x"), {})[str(value)] = value
        self.spots.append(Spot(value, str(number)))
        self.rows.append([value])
        self.rows[number % len(self.rows)].extend([number, value])
        if len(self.rows) > 4:
            self.rows.pop(0)
        return self.by_id[UUID(int=number)].copy()

    def tag(self, tags: set[str]) -> None:
        self.tags ^= tags

    def loose(self, key: str, value: Any) -> None:
        self.anything[key] = value

    def befriend(self, key: str) -> None:
        self.friend = Rich.at(key)

    def refuse(self, key: str) -> None:
        self.holds.pop(key, None)
        self.holds["new"] = 1
        self.log.clear()
        raise No(key)

    class Meta:
        snapshot_every = 5


words = st.text("abcé$/ \u2028", min_size=1, max_size=3)
numbers = st.integers(-3, 3)
moments = st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)) | st.just(datetime(2026, 1, 1, tzinfo=UTC))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words | st.decimals(-9, 9, places=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
calls = st.one_of(
    st.tuples(st.just("scalar"), st.tuples(numbers, st.decimals(-9, 9, places=3), moments)),
    st.tuples(st.just("put"), st.tuples(words, numbers)),
    st.tuples(st.just("drop"), st.tuples(words)),
    st.tuples(st.just("replace"), st.tuples(st.lists(words, max_size=3, unique=True))),
    st.tuples(st.just("note"), st.tuples(words, st.booleans())),
    st.tuples(st.just("sort"), st.just(())),
    st.tuples(st.just("nest"), st.tuples(st.integers(0, 2), numbers)),
    st.tuples(st.just("tag"), st.tuples(st.sets(words, max_size=2))),
    st.tuples(st.just("loose"), st.tuples(words, values)),
    st.tuples(st.just("befriend"), st.tuples(words)),
    st.tuples(st.just("refuse"), st.tuples(words)),
)
steps = st.one_of(calls, calls, calls, st.sampled_from(["hibernate", "crash", "snapshot", "pipelined"]).map(lambda what: (what, ())))


class World:
    """One object and the hosts that had it."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.clock = VirtualClock(loop)
        self.server = MemoryServer(self.clock)
        self.host: Host

    async def begin(self) -> None:
        self.host = Host(MemoryStore(self.server), self.clock)
        await self.host.start()

    def send(self, name: str, args: tuple[Any, ...]) -> asyncio.Future[Any]:
        ref = Rich.at("k")
        method = ref.definition.method(name)
        bound, named = method.bind(args, {})
        encoded = method.encode_arguments(bound, named)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        deadline = self.clock.monotonic() + 60
        call = Call(
            (ref.label, ref.key), method, bound, named, encoded, method.digest(encoded), ids.generate(), deadline, HostReply(future)
        )
        self.host.dispatch(call)
        return future

    async def renew(self) -> None:
        lease = self.host.lease
        if lease is not None:
            began = self.clock.monotonic()
            assert await self.host.store.renew(lease.term, lease.seconds)
            lease.confirm(began)

    def memory(self) -> tuple[str, int] | None:
        """The canonical state of the live object and its seq, or ``None`` where there is none."""
        activation = next(iter(self.host.activations.values()), None)
        if activation is None or activation.object_id is None:
            return None
        return activation.state.canonical(), activation.seq

    async def thaw(self) -> tuple[str, int] | None:
        await self.send("drop", ("no such key",))
        return self.memory()


async def _play(world: World, script: list[tuple[str, tuple[Any, ...]]]) -> None:
    await world.begin()
    for what, args in script:
        await world.renew()
        if what == "hibernate":
            before, plain = world.memory(), _plain(world)
            for activation in list(world.host.activations.values()):
                assert world.host.hibernate(activation)
            _compare(before, plain, await world.thaw(), _plain(world))
        elif what == "crash":
            before, plain = world.memory(), _plain(world)
            for task in list(world.host._tasks):
                task.cancel()
            await asyncio.sleep(2 * LEASE)
            await world.begin()
            await asyncio.sleep(2 * LEASE)
            _compare(before, plain, await world.thaw(), _plain(world))
        elif what == "snapshot":
            await asyncio.sleep(0.3)
        elif what == "pipelined":
            await asyncio.gather(*(world.send("put", (str(n), n)) for n in range(7)))
        else:
            with contextlib.suppress(No):
                await world.send(what, args)


def _plain(world: World) -> list[tuple[str, Any]] | None:
    def order(value: Any) -> Any:
        if isinstance(value, dict):
            return [(key, order(inner)) for key, inner in value.items()]
        return [order(inner) for inner in value] if isinstance(value, list) else value

    activation = next(iter(world.host.activations.values()), None)
    if activation is None or activation.object_id is None:
        return None
    return [(name, order(value)) for name, value in activation.state.plain().items()]


def _compare(before: Any, plain: Any, after: Any, plain_after: Any) -> None:
    if before is None:
        assert after is None
        return
    assert after is not None
    assert after == before
    assert plain_after == plain


@given(st.lists(steps, min_size=1, max_size=30))
def test_thaw_is_identity(script: list[tuple[str, tuple[Any, ...]]]) -> None:
    loop = VirtualLoop()
    run(_play(World(loop), [*script, ("hibernate", ()), ("crash", ())]), loop)
