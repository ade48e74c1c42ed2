"""Objects in memory: the store of simulations, and of tests that need no database.

Client and server are independent here as they are in the world. A statement travels, is executed by a task of the server,
and its reply travels back; a client can lose its connection at any of these points while the statement goes on, and may
then land late, until its lane has been deleted (``memory_server``).

Faults are aimed through one hook, called at named points. For an operation ``append`` they are, in order: ``append:called``
(nothing sent yet), ``append:sent`` (under way to the server), ``append:executing`` (its locks are taken), ``append:executed``
(in effect, the reply under way). The operations: ``begin_term``, ``renew``, ``alive``, ``bury``, ``terms``, ``begin_lane``,
``end_lane``, ``append``, ``claim``, ``snapshot``, ``take``, ``revise``, ``overdue``, ``find``, ``load``, ``recall``,
``history``, ``trim``, ``walk``, ``walked``, ``forget``; and there is ``connect``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar
from uuid import UUID, uuid4

from ..errors import OutcomeUnknown, StoreUnavailable
from .memory_server import MemoryServer, Transaction
from .messages import Overdue, Revised, Taken
from .protocol import (
    Append,
    Appended,
    Claim,
    Entry,
    Forgotten,
    Found,
    Loaded,
    Recorded,
    Snapshot,
    TermInfo,
    TermRow,
    Trim,
    Trimmed,
    Walk,
)

__all__ = ["Faults", "MemoryLink", "MemoryServer", "MemoryStore"]

T = TypeVar("T")

_HARMLESS = frozenset({"terms", "alive", "overdue", "begin_lane", "end_lane", "find", "load", "recall", "history", "walk"})
"""Operations that change nothing a caller can see: a lost reply is no unknown outcome."""


class Faults:
    """Does nothing. Override ``at`` to delay (await), to break the connection (``link.drop()``), or to raise.

    What is raised at ``connect`` and at ``…:called`` reaches the caller as it is: nothing was sent. What is raised later
    breaks the connection at that point: before ``…:executed`` the statement then has no effect.
    """

    async def at(self, point: str, link: MemoryLink) -> None:
        """``point`` has been reached by a statement of this connection."""


class _Broken(Exception):
    """A fault struck while the statement was being executed."""


class MemoryLink:
    """One connection: it can be lost while what was sent through it goes on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.open = True
        self.pending: dict[asyncio.Future[object], str] = {}

    def drop(self, reason: str = "connection lost") -> None:
        """Lose the connection, as the client sees it. Idempotent."""
        self.open = False
        pending, self.pending = self.pending, {}
        for reply, operation in pending.items():
            if not reply.done():
                reply.set_exception(StoreUnavailable(reason) if operation in _HARMLESS else OutcomeUnknown(operation, reason))


class MemoryStore:
    """One process's view of a ``MemoryServer``; implements ``Store``."""

    liveness_by_lease = True

    def __init__(self, server: MemoryServer | None = None, *, faults: Faults | None = None, name: str = "memory") -> None:
        self.server = server or MemoryServer()
        self.faults = faults or Faults()
        self.name = name
        self.skew = 0.0
        self._link: MemoryLink | None = None

    async def connect(self, name: str) -> MemoryLink:
        link = MemoryLink(name)
        await self.faults.at("connect", link)
        return link

    async def open(self) -> None:
        if self._link is None or not self._link.open:
            self._link = await self.connect(self.name)

    async def close(self) -> None:
        if self._link is not None:
            self._link.drop("the store was closed")
            self._link = None

    async def send(self, link: MemoryLink, operation: str, execute: Callable[[Transaction], Awaitable[T]]) -> T:
        """Send one statement and wait for its reply."""
        await self.faults.at(f"{operation}:called", link)
        if not link.open:
            raise StoreUnavailable("the connection is closed")
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[object] = loop.create_future()
        link.pending[reply] = operation
        task = loop.create_task(self._serve(link, operation, execute, reply))
        self.server.tasks.add(task)
        task.add_done_callback(self.server.tasks.discard)
        try:
            return await reply  # type: ignore[return-value]
        except asyncio.CancelledError:
            link.pending.pop(reply, None)
            link.drop("a call was cancelled")
            raise

    async def _serve(
        self, link: MemoryLink, operation: str, execute: Callable[[Transaction], Awaitable[T]], reply: asyncio.Future[object]
    ) -> None:
        at = self.faults.at
        failed: Exception | None = None
        result: T | None = None
        broken = True
        try:
            await at(f"{operation}:sent", link)
            transaction = Transaction(self.server, partial(self._executing, operation, link))
            try:
                result = await execute(transaction)
            except _Broken:
                raise
            except Exception as error:
                failed = error
            finally:
                transaction.release()
            await at(f"{operation}:executed", link)
            broken = False
        except Exception as error:
            # Whatever a fault raises is a broken connection to the client; the fault's own name says which.
            link.drop(str(error.__cause__ if isinstance(error, _Broken) else error))
        finally:
            if broken:
                link.drop("the server ended the connection")
        if link.pending.pop(reply, None) is not None and not reply.done():
            if failed is not None:
                reply.set_exception(failed)
            else:
                reply.set_result(result)

    async def _executing(self, operation: str, link: MemoryLink) -> None:
        try:
            await self.faults.at(f"{operation}:executing", link)
        except Exception as error:
            raise _Broken from error

    async def _call(self, operation: str, execute: Callable[[Transaction], Awaitable[T]]) -> T:
        if self._link is None:
            raise StoreUnavailable("the store is closed")
        if not self._link.open:
            await self.open()
        return await self.send(self._link, operation, execute)

    # ---------------------------------------------------------------- terms

    async def begin_term(self, term: UUID, info: TermInfo, lease_seconds: float) -> None:
        await self._call("begin_term", lambda t: self.server.begin_term(t, term, info, lease_seconds))

    async def renew(self, term: UUID, lease_seconds: float) -> bool:
        return await self._call("renew", lambda t: self.server.renew(t, term, lease_seconds))

    async def alive(self, terms: Sequence[UUID]) -> list[bool]:
        return await self._call("alive", lambda t: self.server.alive(t, terms))

    async def bury(self, term: UUID, *, proven: bool = False) -> bool:
        return await self._call("bury", lambda t: self.server.bury(t, term, proven=proven))

    async def terms(self) -> list[TermRow]:
        return await self._call("terms", self.server.term_rows)

    async def writer(self, term: UUID) -> MemoryWriter:
        writer = MemoryWriter(self, term)
        await writer.begin()
        return writer

    # ---------------------------------------------------------------- messages

    async def overdue(self, term: UUID | None, *, adopt: bool = True) -> Overdue:
        return await self._call("overdue", lambda t: self.server.overdue(t, term, adopt=adopt, skew=self.skew))

    # ---------------------------------------------------------------- objects

    async def find(self, names: Sequence[tuple[str, str]]) -> list[Found | None]:
        return await self._call("find", lambda t: self.server.find(t, names))

    async def load(self, object_ids: Sequence[int]) -> list[Loaded]:
        return await self._call("load", lambda t: self.server.load(t, object_ids))

    async def recall(self, calls: Sequence[tuple[int, str]]) -> list[Recorded | Forgotten | None]:
        return await self._call("recall", lambda t: self.server.recall(t, calls))

    async def history(self, object_id: int, after: int = 0, limit: int = 1000) -> list[tuple[int, Entry]]:
        return await self._call("history", lambda t: self.server.history(t, object_id, after, limit))

    # ---------------------------------------------------------------- windows

    async def trim(self, trims: Sequence[Trim], *, call_id_seconds: float, limit: int) -> list[Trimmed | None]:
        return await self._call("trim", lambda t: self.server.trim(t, trims, call_id_seconds, limit))

    async def walk(self, retention: float, slack: float, limit: int) -> Walk:
        return await self._call("walk", lambda t: self.server.walk(t, retention, slack, limit))

    async def walked(self, walk: Walk) -> bool:
        return await self._call("walked", lambda t: self.server.walked(t, walk))

    async def forget(self, call_id_seconds: float, limit: int) -> int:
        return await self._call("forget", lambda t: self.server.forget(t, call_id_seconds, limit))


class MemoryWriter:
    """A lane of a term; implements ``Writer``."""

    def __init__(self, store: MemoryStore, term: UUID) -> None:
        self._store = store
        self._server = store.server
        self._term = term
        self._link: MemoryLink | None = None
        self._lanes: list[UUID] = []
        """Lanes whose statements may still be under way; the last is the one in use."""
        self._unsettled = False

    async def begin(self) -> None:
        """Connect, and begin a new lane. Raises ``TermEnded``, ``StoreUnavailable``."""
        lane = uuid4()
        link = await self._store.connect(f"writer of {self._term}")
        # Noted before it is sent: an insert that lands after its reply was lost leaves a lane to be ended like any other.
        self._lanes.append(lane)
        await self._store.send(link, "begin_lane", lambda t: self._server.begin_lane(t, self._term, lane))
        self._link, self._unsettled = link, False

    async def _execute(self, operation: str, execute: Callable[[Transaction, UUID], Awaitable[T]]) -> T:
        if self._unsettled or self._link is None:
            raise RuntimeError("the outcome of the last statement is unknown: settle first")
        lane = self._lanes[-1]
        if not self._link.open:
            # Nothing was in flight when it broke, so the lane can go on over a new connection.
            self._link = await self._store.connect(f"writer of {self._term}")
        try:
            return await self._store.send(self._link, operation, lambda t: execute(t, lane))
        except (OutcomeUnknown, asyncio.CancelledError):
            self._unsettled = True
            raise

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        return await self._execute("append", lambda t, lane: self._server.append(t, lane, batch, self._store.skew))

    async def take(self, limit: int, *, adopt: bool = True) -> list[Taken]:
        return await self._execute("take", lambda t, lane: self._server.take(t, lane, limit, adopt=adopt, skew=self._store.skew))

    async def revise(self, revised: Sequence[Revised]) -> None:
        await self._execute("revise", lambda t, lane: self._server.revise(t, lane, revised, self._store.skew))

    async def claim(self, claims: Sequence[Claim]) -> list[int | None]:
        return await self._execute("claim", lambda t, lane: self._server.claim(t, lane, claims))

    async def snapshot(self, snapshots: Sequence[Snapshot]) -> list[bool]:
        return await self._execute("snapshot", lambda t, lane: self._server.snapshot(t, lane, snapshots))

    async def settle(self) -> None:
        if self._link is not None:
            self._link.drop("settling")
        self._unsettled = True
        link = await self._store.connect(f"settling {self._term}")
        try:
            while self._lanes:
                lane = self._lanes[0]
                await self._store.send(link, "end_lane", partial(self._server.end_lane, lane=lane))
                del self._lanes[0]
        finally:
            link.drop("settled")
        await self.begin()

    async def close(self) -> None:
        if self._link is not None:
            self._link.drop("the writer was closed")
