"""The threads on which ``@transactional`` turns run, as the host's loop sees them, and the one that runs ``on_commit``.

Few and bounded: each has a connection of its own. Who waits for one gets it in the order of asking. A thread whose turn
took too long is left behind, and another one takes its place and ends its transaction; so many may be left behind, then
turns wait until one comes back.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, Full, Queue
from typing import Any, TypeVar
from uuid import UUID

from django.db import connections

from .limits import ON_COMMIT_WAITING, TRANSACTION_THREADS, TRANSACTIONS_ABANDONED
from .logs import about
from .stores.protocol import Append, SharesTransactions
from .stores.transactions import Lane
from .transaction_thread import Job, TransactionThread

logger = logging.getLogger("jido_objects.transaction")

T = TypeVar("T")
_numbers = itertools.count(1)


def lane_of(alias: str) -> Lane:
    """How transactions of an alias are fenced. The alias holds objects, so its database is one of those that can."""
    if connections[alias].vendor == "postgresql":
        from .stores.postgresql_transactions import PostgresLane

        return PostgresLane(alias)
    from .stores.sqlite_transactions import SqliteLane

    return SqliteLane(alias)


class TransactionPool:
    """Implements ``transacting.Transactions``. Belongs to the loop that makes it."""

    def __init__(self, alias: str, store: SharesTransactions) -> None:
        self.store = store
        self._alias = alias
        self._lane = lane_of(alias)
        self._most = self._lane.threads or TRANSACTION_THREADS
        self._loop = asyncio.get_running_loop()
        self._idle: list[TransactionThread] = []
        self._serving = 0
        """Threads that are idle or at work; not those that were left behind."""
        self._abandoned = 0
        self._waiting: deque[asyncio.Future[TransactionThread]] = deque()
        self._closed = False

    async def begin(self, term: UUID, seconds: float) -> PooledTransaction:
        return PooledTransaction(self, await self._thread(), term, seconds)

    async def _thread(self) -> TransactionThread:
        if self._idle:
            return self._idle.pop()
        if self._may_start():
            return self._start(None)
        future: asyncio.Future[TransactionThread] = self._loop.create_future()
        self._waiting.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._give(future.result())
            raise

    def _may_start(self) -> bool:
        return self._serving < self._most and self._abandoned < TRANSACTIONS_ABANDONED

    def _start(self, after: TransactionThread | None) -> TransactionThread:
        self._serving += 1
        return TransactionThread(self._alias, self._lane, f"jido-transaction-{next(_numbers)}", after)

    def _give(self, thread: TransactionThread) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(thread)
                return
        if self._closed:
            self._serving -= 1
            thread.jobs.put(None)
        else:
            self._idle.append(thread)

    # -------------------------------------------------------------------------------------------- told by transactions

    def left(self, thread: TransactionThread, *, abandoned: bool) -> None:
        """A thread has come back, for more or for good."""
        if not abandoned:
            self._give(thread)
            return
        self._abandoned -= 1
        if self._waiting and self._may_start():
            self._give(self._start(None))

    def abandon(self, thread: TransactionThread) -> None:
        """A thread is left behind where it is."""
        self._serving -= 1
        self._abandoned += 1
        if self._abandoned >= TRANSACTIONS_ABANDONED:
            logger.error(
                "%d threads are still inside of @transactional methods whose time was up; as long as they are, no more are started",
                self._abandoned,
                extra=about(),
            )
        if not self._closed and self._may_start():
            self._give(self._start(thread))

    def tell(self, callback: Callable[..., None], *args: Any) -> bool:
        """From a thread: call on the loop. False where the host has stopped: nobody waits any more, nor gives more to do."""
        try:
            self._loop.call_soon_threadsafe(callback, *args, context=contextvars.Context())
        except RuntimeError:
            return False
        return not self._closed

    async def close(self) -> None:
        self._closed = True
        for thread in self._idle:
            self._serving -= 1
            thread.jobs.put(None)
        threads, self._idle = self._idle, []
        for thread in threads:
            # They end without needing the loop.
            while thread.thread.is_alive():
                thread.thread.join(0.001)
                await asyncio.sleep(0)


class PooledTransaction(Job):
    """Implements ``transacting.Transaction``."""

    def __init__(self, pool: TransactionPool, thread: TransactionThread, term: UUID, seconds: float) -> None:
        super().__init__(term, seconds)
        self._pool = pool
        self._thread = thread
        self._ran: asyncio.Future[Any] = pool._loop.create_future()
        self._committed: asyncio.Future[int] | None = None

    # -------------------------------------------------------------------------------------------- on the loop

    def run(self, body: Callable[[], T]) -> asyncio.Future[T]:
        self.body = body
        self._thread.jobs.put(self)
        return self._ran

    def commit(self, append: Append) -> asyncio.Future[int]:
        self._committed = self._pool._loop.create_future()
        self.decisions.put(append)
        return self._committed

    async def settle(self) -> None:
        await self._pool.store.end_lane(self.term, self.lane)

    def abandon(self) -> None:
        if self._ran.done() and not self._ran.cancelled() and self._ran.exception() is not None:
            return  # it has been rolled back already
        self.abandoned = True
        self.decisions.put(None)
        self._pool.abandon(self._thread)

    # -------------------------------------------------------------------------------------------- on the thread

    def ran(self, result: Any, error: BaseException | None) -> None:
        self._pool.tell(_resolve, self._ran, result, error)

    def committed(self, object_id: int, error: BaseException | None) -> None:
        if self._committed is not None:
            self._pool.tell(_resolve, self._committed, object_id, error)

    def left(self) -> bool:
        return self._pool.tell(self._left)

    def _left(self) -> None:
        self._pool.left(self._thread, abandoned=self.abandoned)


def _resolve(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration | asyncio.CancelledError):
        # In a coroutine these two mean something else than that a method has raised them.
        failed = RuntimeError(f"{type(error).__name__}: {error}")
        failed.__cause__ = error
        future.set_exception(failed)
    else:
        future.set_exception(error)


class AfterCommit:
    """Runs what turns gave to ``on_commit``: one thread, in the order of their commits, with Django's connections tidied."""

    def __init__(self) -> None:
        self._actions: Queue[Callable[[], object] | None] = Queue(ON_COMMIT_WAITING)
        self._thread: threading.Thread | None = None

    def __call__(self, action: Callable[[], object]) -> None:
        try:
            self._actions.put_nowait(action)
        except Full:
            logger.error("%d actions wait to be run after their commits; %r is left out", ON_COMMIT_WAITING, action, extra=about())
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="jido-on-commit", daemon=True)
            contextvars.Context().run(self._thread.start)

    def _run(self) -> None:
        try:
            while (action := self._actions.get()) is not None:
                contextvars.Context().run(self._act, action)
        finally:
            connections.close_all()

    def _act(self, action: Callable[[], object]) -> None:
        _close_old_connections()
        try:
            made = action()
            if inspect.iscoroutine(made):
                made.close()
                raise TypeError("on_commit takes a plain function: this one returned a coroutine, which nobody awaits")
        except Exception:
            logger.exception("An action given to on_commit failed; the turn stays committed", extra=about())
        _close_old_connections()

    def close(self, seconds: float) -> None:
        """Run what is waiting, for so long, and end. From any thread but its own."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            self._actions.put(None, timeout=seconds)
        except Full:
            while True:
                try:
                    self._actions.get_nowait()
                except Empty:
                    break
            self._actions.put(None)
        thread.join(seconds)


def _close_old_connections() -> None:
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()
