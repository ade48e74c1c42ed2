"""Object types that the tests call."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID

from jido_objects import DurableObject, ObjectException, Ref, Transient, expose, query
from jido_objects.errors import ReentrantCall


class SoldOut(ObjectException):
    """Only {0} left."""


class Level(Enum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Seat:
    row: int
    name: str


class Counter(DurableObject):
    """The smallest useful object."""

    value: int = 0

    def add(self, n: int = 1) -> int:
        self.value += n
        return self.value

    def add_seen(self, n: int = 1) -> tuple[int, int]:
        """The row's seq and the value at it: what a witness checks."""
        self.value += n
        return self.seq + 1, self.value

    @query
    def seen(self) -> tuple[int, int]:
        return self.seq, self.value

    @query
    def doubled(self, plus: int = 0) -> int:
        return self.value * 2 + plus

    def noop(self) -> int:
        return self.value

    def fail(self) -> None:
        self.value += 1000
        raise ValueError("out of cheese")


class Sale(DurableObject):
    """A flash sale."""

    stock: int = 100
    holds: dict[str, int] = {}
    log: list[str] = []
    seen: Transient[int] = 0

    @expose
    def reserve(self, buyer: str, n: int = 1) -> int:
        if n > self.stock:
            raise SoldOut(self.stock)
        self.stock -= n
        self.holds[buyer] = self.holds.get(buyer, 0) + n
        self.log.append(buyer)
        return self.stock

    @query
    def left(self) -> int:
        return self.stock

    @query
    def cheat(self) -> None:
        self.stock = 1

    def look(self) -> int:
        self.seen += 1
        return self.seen


class Everything(DurableObject):
    """Every state type there is."""

    text: str = "a"
    number: float = 1.5
    flag: bool = False
    price: Decimal = Decimal("9.90")
    when: datetime | None = None
    span: timedelta = timedelta(0)
    uid: UUID | None = None
    level: Level = Level.LOW
    raw: bytes = b""
    tags: set[str] = set()
    pair: tuple[int, str] = (1, "x")
    by_number: dict[int, list[str]] = {}
    by_seat: dict[Seat, int] = {}
    seats: list[Seat] = []
    friend: Ref[Counter] | None = None
    nested: dict[str, dict[str, list[int]]] = {}

    def put(self, name: str, key: str, value: int) -> int:
        self.nested.setdefault(name, {}).setdefault(key, []).append(value)
        return len(self.nested[name][key])

    def fill(self, when: datetime, uid: UUID, friend: Ref[Counter]) -> None:
        self.when, self.uid, self.friend = when, uid, friend
        self.level = Level.HIGH
        self.raw = b"\x00\xff"
        self.tags.add("b")
        self.tags |= {"a"}
        self.by_number[7] = ["seven"]
        self.by_seat[Seat(1, "A")] = 3
        self.seats.append(Seat(2, "B"))
        self.span = timedelta(hours=1, microseconds=5)


class Slow(DurableObject):
    """Turns that take their time."""

    done: int = 0

    async def wait(self, seconds: float) -> int:
        self.done += 1
        await asyncio.sleep(seconds)
        return self.done

    def hold(self, seconds: float) -> int:
        time.sleep(seconds)
        self.done += 1
        return self.done

    @query
    def count(self) -> int:
        return self.done

    class Meta:
        turn_timeout = 0.5


class Chain(DurableObject):
    """Objects that call objects."""

    steps: list[str] = []

    async def walk(self, path: list[str]) -> int:
        """Call the next key of the path with the rest of it."""
        self.steps.append("/".join(path))
        if path:
            return 1 + await Chain.at(path[0]).acall(Chain.walk, path[1:])
        return 0

    async def meet(self, other: str, seconds: float) -> str:
        """Call the other while it may be calling this one."""
        await asyncio.sleep(seconds)
        try:
            return await Chain.at(other).acall(Chain.meet_back)
        except ReentrantCall as error:
            return f"refused: {error}"

    def meet_back(self) -> str:
        return "met"

    async def wait_and_meet(self, waiting: int, *others: str) -> list[str]:
        """Call the others, all at once, as soon as that many calls wait for this object."""
        while len(self._jido.mailbox) < waiting:
            await asyncio.sleep(0.001)
        met = await asyncio.gather(*(Chain.at(other).acall(Chain.meet_back) for other in others), return_exceptions=True)
        return [f"refused: {answer}" if isinstance(answer, ReentrantCall) else str(answer) for answer in met]

    async def pass_on(self, *path: str) -> str:
        """``meet_back`` of the last of a path, each calling the next."""
        if not path:
            return "met"
        return await Chain.at(path[0]).acall(Chain.pass_on, *path[1:])

    async def ask(self, counter: Ref[Counter]) -> int:
        return await counter.acall(Counter.add, 1)

    def block(self) -> int:
        return Counter.at("x").call(Counter.add)

    def tell(self, counter: Ref[Counter], fail: bool = False) -> None:
        self.steps.append("tell")
        counter.cast(Counter.add, 5)
        if fail:
            raise ValueError("after the cast")


class Born(DurableObject):
    """Uses every hook."""

    born: int = 0
    thaws: Transient[int] = 0
    limit: int = 10

    def on_create(self) -> None:
        self.born += 1

    def on_thaw(self) -> None:
        self.thaws = self.thaws + 1

    def clean(self) -> None:
        if self.limit > 100:
            raise ValueError("limit over 100")

    def set_limit(self, limit: int) -> int:
        self.limit = limit
        return self.born

    @query
    def story(self) -> tuple[int, int]:
        return self.born, self.thaws


class Small(DurableObject):
    """Tight limits."""

    data: dict[str, str] = {}

    def put(self, key: str, value: str) -> int:
        self.data[key] = value
        return len(self.data)

    async def linger(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def big(self, size: int) -> str:
        self.data["big"] = "1"
        return "x" * size

    def smile(self, size: int) -> str:
        self.data["big"] = "1"
        return "😀" * size

    class Meta:
        max_mailbox = 8
        max_state_bytes = 4096
        snapshot_every = 4


class Only(DurableObject):
    """A singleton."""

    n: int = 0

    def add(self) -> int:
        self.n += 1
        return self.n

    class Meta:
        key = ()


class Refused(ObjectException):
    """Refused {0}."""


class Clockwork(DurableObject):
    """Sets alarms, and writes down what came."""

    rang: list[str] = []
    attempts: int = 0
    fails: int = 0

    def set(self, name: str | None = None, after: float | None = None, what: str = "x", every: float | None = None) -> str:
        return self.schedule("ring", after=after, every=every, args=[what], name=name)

    def ring(self, what: str) -> int:
        self.rang.append(what)
        return len(self.rang)

    def set_and_fail(self, name: str) -> None:
        self.schedule("ring", after=0, args=["never"], name=name)
        raise ValueError("rolled back")

    def drop(self, name: str) -> bool:
        return self.unschedule(name)

    def set_failing(self, name: str = "f", what: str = "fail") -> None:
        self.schedule(what, after=0, name=name)

    def fail(self) -> None:
        self.rang.append("not kept")
        if not self.calm:
            raise ValueError("still angry")

    calm: bool = False

    def calm_down(self) -> None:
        self.calm = True

    def refuse(self, n: int) -> None:
        raise Refused(n)

    def again(self, left: int) -> None:
        self.rang.append(f"again {left}")
        if left:
            self.schedule("again", after=0, args=[left - 1], name="again")

    @query
    def pending(self) -> list[tuple[str, str]]:
        return [(alarm.name, alarm.method) for alarm in self.alarms()]

    @query
    def due_in(self) -> list[float]:
        return [(alarm.due - self.now()).total_seconds() for alarm in self.alarms()]

    def tell(self, other: Ref[Clockwork], *what: str) -> None:
        for one in what:
            self.send(other, Clockwork.ring, one)

    def tell_and_fail(self, other: Ref[Clockwork]) -> None:
        self.send(other, "ring", "never")
        raise ValueError("rolled back")

    def tell_badly(self, other: Ref[Clockwork]) -> None:
        self.send(other, "ring", "first")
        self.send(other, "refuse", 3)
        self.send(other, "ring", "last")
