"""What the contract suite needs of a store beyond its protocol: another handle, a lapsed lease, a fault at the k-th call."""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, ParamSpec
from uuid import UUID, uuid4

from jido_objects.stores.protocol import Append, Entry, EntryKind, Store, TermInfo, Writer

P = ParamSpec("P")

LEASE = 60.0
TYPE = "contract.Thing"


def on_a_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """An asynchronous test as pytest runs it; bounded, because what hangs proves nothing."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


class When(Enum):
    """Where a call is struck: before the database executed it, after, or while it is under way and lands late."""

    BEFORE = "before"
    AFTER = "after"
    LATE = "late"


@dataclass
class Message:
    """A row of the inbox."""

    id: int
    key: str
    name: str | None
    method: str
    args: str
    attempts: int
    taker: UUID | None
    dead: bool
    last_error: str | None
    due: datetime


MESSAGE = "id, key, name, method, args, attempts, taker, dead, last_error, due"


class Fault(ABC):
    """Strikes the k-th statement after it was armed."""

    fired = False

    @abstractmethod
    def arm(self, k: int, when: When) -> None: ...


class World(ABC):
    """A database, and the handles of it that one test opens."""

    def __init__(self) -> None:
        self._open: list[Any] = []

    @abstractmethod
    def make(self, fault: bool = False) -> tuple[Store, Fault | None]: ...

    @abstractmethod
    async def lapse(self, term: UUID) -> None:
        """Let the life of a term run out."""

    @abstractmethod
    async def put(self, type_: str, key: str, *, epoch: int) -> int:
        """An object's row without any journal row and without owner."""

    @abstractmethod
    async def messages(self) -> list[Message]:
        """All messages, in the order of their ids."""

    @abstractmethod
    async def clear(self) -> None:
        """Delete all messages."""

    @abstractmethod
    async def put_message(self, key: str, method: str) -> None:
        """What code outside of any object inserts: a message without sender, due now."""

    @abstractmethod
    async def pause(self, key: str | None, paused: bool) -> None:
        """Pause an object, or the deployment."""

    async def store(self) -> Store:
        store, _ = self.make()
        await store.open()
        self._open.append(store)
        return store

    async def faulty(self) -> tuple[Store, Fault]:
        store, fault = self.make(fault=True)
        assert fault is not None
        await store.open()
        self._open.append(store)
        return store, fault

    async def term(self, store: Store, **info: Any) -> UUID:
        term = uuid4()
        await store.begin_term(term, TermInfo(**{"pid": 1, **info}), LEASE)
        return term

    async def writer(self, store: Store, term: UUID) -> Writer:
        writer = await store.writer(term)
        self._open.append(writer)
        return writer

    def keep(self, closable: Any) -> None:
        self._open.append(closable)

    async def close(self) -> None:
        while self._open:
            await self._open.pop().close()


def entry(seq: int, **fields: Any) -> Entry:
    values: dict[str, Any] = {"at": datetime.now(UTC), "call_id": f"call-{seq}", "own_id": False, "method": "add", "digest": seq}
    values |= {"kind": EntryKind.TURN, "delta": f'[["set","n",{seq}]]', "result": str(seq)}
    return Entry(seq=seq, **(values | fields))


def create(key: str, count: int = 1, *, epoch: int = 1, **fields: Any) -> Append:
    return Append(TYPE, key, None, epoch, 0, epoch, [entry(seq, **fields) for seq in range(1, count + 1)])


def extend(key: str, object_id: int, head: int, count: int = 1, *, epoch: int = 1, head_epoch: int | None = None, **fields: Any) -> Append:
    entries = [entry(seq, **fields) for seq in range(head + 1, head + count + 1)]
    return Append(TYPE, key, object_id, epoch, head, epoch if head_epoch is None else head_epoch, entries)
