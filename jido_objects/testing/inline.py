"""A host without threads, for one test: whoever calls runs its loop until the answer is there.

Its store is on the test's own connection, so what objects write is rolled back with the test; and what it has in memory is
dropped with it, since no test meets the host of another (``switch``). When a call returns, all that could happen without
waiting has happened, casts included.

A caller that is itself on an event loop cannot wait here: this loop is then run between two steps of the caller's.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from asyncio.events import _get_running_loop
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from dataclasses import replace
from typing import Any, TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper

from ..clock import Clock
from ..conf import Settings
from ..errors import BlockingCall, UnsupportedDatabase
from ..host import Host
from ..liveness import proven_dead, this_process
from ..process import Process
from ..runtime import WaitingReply
from ..stores.protocol import Store, TermInfo
from .blocks import blocks_of_testcase, no_running_loop
from .orm import lend_to_orm

T = TypeVar("T")

AGAIN = 0.002
"""Seconds after which a caller's loop looks again at what could not end yet: a turn that sleeps, or waits for a thread."""
SPIN_SECONDS = 2.0
"""So long a turn may keep the loop busy with steps that wait for nothing before its caller's time limit is looked at."""


class InlineLoop(asyncio.SelectorEventLoop):
    """A loop that is run bit by bit."""

    lent = False
    """Whether this thread runs ORM work of a turn: nobody may then leave work here and wait for it."""

    @property
    def ready(self) -> bool:
        """Whether something can run without waiting."""
        return bool(self._ready)  # type: ignore[attr-defined]

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if self.lent:
            # asgiref's async_to_sync, in code that a turn has called: it makes a loop of its own then.
            raise RuntimeError("this loop is waiting for the code that asks")
        return super().call_soon_threadsafe(callback, *args, context=context)


class InlineReply:
    """The answer that the calling thread runs the loop for."""

    __slots__ = ("_process", "error", "result", "there")

    def __init__(self, process: InlineProcess) -> None:
        self._process = process
        self.there = False
        self.result: Any = None
        self.error: BaseException | None = None

    def set_result(self, result: Any) -> None:
        self.result = result
        self._arrived()

    def set_exception(self, error: BaseException) -> None:
        self.error = error
        self._arrived()

    def _arrived(self) -> None:
        self.there = True
        self._process.loop.stop()

    def wait(self, timeout: float) -> bool:
        return self._process.run_until(lambda: self.there, timeout)


class InlineProcess(Process):
    """See the module; implements ``Runtime``. Belongs to the thread of its connection."""

    loop: InlineLoop

    def __init__(self, settings: Settings, clock: Clock, connection: BaseDatabaseWrapper) -> None:
        self._django = connection
        self._thread_id = threading.get_ident()
        self._asked: set[Future[Any]] = set()
        self._outer: set[asyncio.AbstractEventLoop] = set()
        super().__init__(settings, clock)

    def _new_loop(self) -> InlineLoop:
        return InlineLoop()

    def _launch(self) -> None:
        pass

    @property
    def thread_id(self) -> int:
        return self._thread_id

    # -------------------------------------------------------------------------------------------- in

    def reply(self) -> WaitingReply:
        return InlineReply(self)

    def in_transaction(self) -> bool:
        # The test's own block stands for no transaction at all: in production there would be none.
        return len(self._django.atomic_blocks) > len(blocks_of_testcase(self._django))

    def _call_soon(self, callback: Callable[[], None]) -> None:
        if self.stopped:
            self._refuse()
            return
        self.loop.call_soon(callback, context=self._context)
        self._see_to_it()

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        future = super()._start(coroutine)
        self._asked.add(future)
        future.add_done_callback(self._asked.discard)
        self._see_to_it()
        return future

    def ask_blocking(self, question: Callable[[Host], Awaitable[T]], timeout: float) -> T:
        self._refuse_in_a_turn()
        future = self.begin(question)
        future.add_done_callback(lambda future: self.loop.stop())
        if not self.run_until(future.done, timeout):
            future.cancel()
            raise TimeoutError
        return future.result()

    def _refuse_in_a_turn(self) -> None:
        if self.loop.is_running():
            raise BlockingCall(
                "Code that a turn called waits for another object: in a test both would need this thread. Await it in the turn "
                "itself, or use TransactionTestCase or django_db(transaction=True)."
            )

    def before_the_next_call(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this first. It waits for the store only, which answers at once, so it ends in one step of the loop."""
        self._first = self.loop.create_task(work, context=self._context.copy())
        self._see_to_it()

    # -------------------------------------------------------------------------------------------- running

    def _see_to_it(self) -> None:
        running = _get_running_loop()
        if running is None:
            self.run_ready()
        elif running is not self.loop and running not in self._outer:
            self._outer.add(running)
            running.call_soon(self._run_within, running)

    def _run_within(self, outer: asyncio.AbstractEventLoop) -> None:
        self._outer.discard(outer)
        self.run_ready()
        if self.busy and outer not in self._outer:
            self._outer.add(outer)
            outer.call_later(AGAIN, self._run_within, outer)

    @property
    def busy(self) -> bool:
        """Whether something is under way that has not ended for want of time or of another thread."""
        return not self.stopped and (bool(self._asked) or bool(self._incoming) or (self.host is not None and self.host.busy))

    def run_ready(self) -> None:
        """Run what can run without waiting."""
        if self.loop.is_running() or self.stopped:
            return
        give_up = time.monotonic() + SPIN_SECONDS
        with no_running_loop():
            while True:
                # One round, in which timers that are due count: it is told to stop before it starts.
                self.loop.stop()
                self.loop.run_forever()
                if not self.loop.ready or time.monotonic() > give_up:
                    break

    def run_until(self, done: Callable[[], bool], timeout: float) -> bool:
        """Run until it is done, at most so many seconds, and then what that set off; whether it is done."""
        give_up = time.monotonic() + timeout
        with no_running_loop():
            while not done() and (left := give_up - time.monotonic()) > 0:
                timer = self.loop.call_later(left, self.loop.stop)
                self.loop.run_forever()
                timer.cancel()
        self.run_ready()
        return done()

    # -------------------------------------------------------------------------------------------- the host

    async def _make(self) -> Host:
        host = Host(
            _store(self._django),
            self.clock,
            # In production another process may host; in a test there is none.
            replace(self._host_settings(), may_host=True),
            info=this_process(self.settings.REGION),
            proven_dead=_not_in_this_test,
            turn_scope=lambda: lend_to_orm(self.loop),
            answered=self._wake_answered,
        )
        await host.start()
        self.host = host
        return host

    def stop(self) -> None:
        """Forget everything, write nothing: the test's transaction is over, or the test wants a crash. Idempotent."""
        if self.stopped or self.pid != os.getpid():
            return
        self.stopped = True
        loop = self.loop
        with no_running_loop():
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                with suppress(Exception):
                    loop.run_until_complete(asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1.0))
            loop.run_until_complete(loop.shutdown_asyncgens())
        self._refuse()
        loop.close()


def _not_in_this_test(info: TermInfo) -> bool:
    """Terms of this process that a test can see are a former host's of its own transaction, or the process's own host's, which
    no test of this kind calls."""
    return info.pid == os.getpid() or proven_dead(info)


def _store(connection: BaseDatabaseWrapper) -> Store:
    if connection.vendor == "sqlite":
        from .sqlite import BorrowedSqliteStore

        return BorrowedSqliteStore(connection)
    if connection.vendor == "postgresql":
        try:
            from .postgresql import BorrowedPostgresStore
        except ImportError as error:
            raise UnsupportedDatabase(
                f"Database {connection.alias!r} is PostgreSQL, and its objects need psycopg 3: pip install 'psycopg[binary]'."
            ) from error

        return BorrowedPostgresStore(connection)
    raise UnsupportedDatabase(f"Database {connection.alias!r} is {connection.display_name}. Objects need PostgreSQL or SQLite.")
