"""The contract on the memory store."""

from __future__ import annotations

import asyncio
from uuid import UUID

from jido_objects.clock import SystemClock
from jido_objects.errors import StoreUnavailable
from jido_objects.stores.memory import Faults, MemoryLink, MemoryServer, MemoryStore
from jido_objects.stores.memory_server import _Object
from jido_objects.stores.protocol import Store

from .failures import Client, FailureContract
from .message_contract import MessageContract
from .store_contract import StoreContract
from .window_contract import WindowContract
from .world import TYPE, Fault, Message, When, World


class Strike(Faults, Fault):
    """Breaks the connection at the k-th statement."""

    def __init__(self) -> None:
        self.k = 0
        self.when = When.BEFORE
        self.released = asyncio.Event()

    def arm(self, k: int, when: When) -> None:
        self.k, self.when = k, when

    async def at(self, point: str, link: MemoryLink) -> None:
        stage = point.partition(":")[2]
        if stage == "called" and self.when is not When.LATE:
            self.k -= 1
        if self.k != 0 or self.fired:
            if not (stage == "sent" and self.when is When.LATE and not self.fired):
                return
            self.k -= 1
            if self.k != 0:
                return
            self.fired = True
            link.drop("struck")
            await self.released.wait()
        elif self.when is When.BEFORE and stage == "called":
            self.fired = True
            raise StoreUnavailable("struck")
        elif self.when is When.AFTER and stage == "executed":
            self.fired = True
            link.drop("struck")


class MemoryWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.clock = SystemClock()
        self.server = MemoryServer(self.clock)

    def make(self, fault: bool = False) -> tuple[Store, Fault | None]:
        strike = Strike() if fault else None
        return MemoryStore(self.server, faults=strike), strike

    async def lapse(self, term: UUID) -> None:
        self.server.started -= 1000
        self.server.terms[term].lease_until -= 1000

    async def put(self, type_: str, key: str, *, epoch: int) -> int:
        row = _Object(next(self.server._ids), type_, key, None, epoch)
        self.server.objects[row.id] = self.server.names[type_, key] = row
        return row.id

    async def messages(self) -> list[Message]:
        return [
            Message(r.id, r.key, r.name, r.method, r.args, r.attempts, r.taker, r.dead, r.last_error, r.due)
            for r in sorted(self.server.messages.rows.values(), key=lambda row: row.id)
        ]

    async def clear(self) -> None:
        self.server.messages.rows.clear()

    async def put_message(self, key: str, method: str) -> None:
        now = self.clock.monotonic()
        self.server.messages.send(TYPE, key, method, "[]", "{}", f"sent-{method}", now, self.clock.now())

    async def pause(self, key: str | None, paused: bool) -> None:
        if key is None:
            self.server.messages.paused = paused
        else:
            self.server.names[TYPE, key].paused = paused


class TestMemoryStore(StoreContract, MessageContract, WindowContract, FailureContract):
    def world(self) -> MemoryWorld:
        return MemoryWorld()

    async def snapshots(self, world: World, object_id: int) -> list[int]:
        assert isinstance(world, MemoryWorld)
        return sorted(world.server.objects[object_id].snapshots)

    async def cut(self, world: World, object_id: int, up_to: int) -> None:
        assert isinstance(world, MemoryWorld)
        for seq in range(1, up_to + 1):
            del world.server.objects[object_id].journal[seq]

    async def landed_late(self, fault: Fault, store: Store, client: Client) -> object:
        assert isinstance(fault, Strike)
        fault.released.set()
        assert isinstance(store, MemoryStore)
        while store.server.tasks:
            await asyncio.wait(store.server.tasks)
        return await super().landed_late(fault, store, client)
