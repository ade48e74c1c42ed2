"""Small scenarios by hand: two or three hosts on one database and one virtual loop, each held at a named point.

    bench = Bench()
    bench.run(scenario(bench))

What the simulation finds is told again here in a few lines, so that it stays found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from jido_objects import ids
from jido_objects.definition import Definition
from jido_objects.host import Host, HostSettings
from jido_objects.lease import Keeper
from jido_objects.stores.memory import Faults, MemoryLink, MemoryStore
from jido_objects.stores.protocol import TermInfo
from jido_objects.turns import Call

from .database import Database
from .loop import EPOCH, VirtualClock, VirtualLoop, run
from .simulation import controlled

T = TypeVar("T")
LEASE = 1.0


class Gates(Faults):
    """Holds what comes to a named point until it is opened, or breaks the connection there."""

    def __init__(self) -> None:
        self._closed: dict[str, asyncio.Event] = {}
        self._came: dict[str, asyncio.Event] = {}
        self._broken: set[str] = set()

    def close(self, point: str) -> None:
        self._closed[point] = asyncio.Event()
        self._came[point] = asyncio.Event()

    def open(self, point: str) -> None:
        self._closed.pop(point).set()

    def break_at(self, point: str) -> None:
        """The next statement that comes to this point is lost there, and its connection with it."""
        self._broken.add(point)

    async def came(self, point: str) -> None:
        """Wait until something is held at this point."""
        await self._came[point].wait()

    async def at(self, point: str, link: MemoryLink) -> None:
        if point in self._broken:
            self._broken.discard(point)
            raise ConnectionResetError(point)
        gate = self._closed.get(point)
        if gate is not None:
            self._came[point].set()
            await gate.wait()


class Reply:
    """Completes a future, once."""

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future
        self.answers = 0

    def set_result(self, result: Any) -> None:
        self.answers += 1
        if not self.future.done():
            self.future.set_result(result)

    def set_exception(self, error: BaseException) -> None:
        self.answers += 1
        if not self.future.done():
            self.future.set_exception(error)
            # A scenario may look at the call's outcome in another way.
            self.future.exception()


class Process:
    """A host, and its keeper if it is to have one."""

    def __init__(self, bench: Bench, pid: int) -> None:
        self.bench = bench
        self.gates = Gates()
        self.clock = VirtualClock(bench.loop)
        self.store = MemoryStore(bench.database, faults=self.gates)
        self.host = Host(
            self.store, self.clock, HostSettings(lease_seconds=LEASE), info=TermInfo(pid=pid),
            proven_dead=lambda info: info.pid in bench.dead,
        )  # fmt: skip
        self.keeper = Keeper(
            MemoryStore(bench.database), self.clock, lambda: self.host.lease, stuck=lambda: False,
            renewed=lambda lease: self.host.renewed(), lost=self.host.term_lost,
        )  # fmt: skip
        self.keeping: asyncio.Task[None] | None = None
        self.pid = pid

    def keep(self) -> None:
        """Renew the lease from now on."""
        self.keeping = asyncio.get_running_loop().create_task(self.keeper.run())

    def send(
        self, key: str, method: str, *args: Any, call_id: str | None = None, confirmed: bool = False, timeout: float = 10.0
    ) -> asyncio.Future[Any]:
        """Dispatch a call of a ``Ledger``; with ``call_id`` it is the caller's own."""
        return self.dispatch(self.call(key, method, *args, call_id=call_id, confirmed=confirmed, timeout=timeout))

    def call(self, key: str, method: str, *args: Any, call_id: str | None = None, confirmed: bool = False, timeout: float = 10.0) -> Call:
        definition = Definition.of(self.bench.label)
        found = definition.method(method)
        bound, named = found.bind(args, {})
        encoded = found.encode_arguments(bound, named)
        call = Call(
            (definition.label, key), found, bound, named, encoded, found.digest(encoded), call_id or self.bench.new_id(),
            self.clock.monotonic() + timeout, Reply(asyncio.get_running_loop().create_future()),
        )  # fmt: skip
        call.own_id = call.lookup = call_id is not None
        call.confirmed = confirmed
        return call

    def dispatch(self, call: Call) -> asyncio.Future[Any]:
        assert isinstance(call.reply, Reply)
        self.host.dispatch(call)
        return call.reply.future

    def activation(self, key: str) -> Any:
        return self.host.activations[self.bench.label, key]


class Bench:
    """See the module."""

    def __init__(self, types: dict[str, Definition] | None = None) -> None:
        self.types = types or {}
        """Object types besides the simulation's. Calls go to the first of them, if there is one."""
        self.label = next(iter(self.types), "sim.Ledger")
        self.loop = VirtualLoop()
        self.database = Database(VirtualClock(self.loop))
        self.dead: set[int] = set()
        self._pids = self._ids = 0

    def new_id(self) -> str:
        self._ids += 1
        return f"{ids.prefix(EPOCH.timestamp() + self.loop.elapsed)}{self._ids:020x}"

    async def process(self, *, keeper: bool = False) -> Process:
        self._pids += 1
        process = Process(self, self._pids)
        await process.host.start()
        if keeper:
            process.keep()
        return process

    def run(self, scenario: Coroutine[Any, Any, T]) -> T:
        with controlled("bench", self.types):
            return run(asyncio.wait_for(scenario, 300), self.loop)

    def rows(self, key: str) -> list[tuple[int, str, str]]:
        return [(row.seq, row.call_id, row.method) for row in self.database.rows() if row.object == key]
