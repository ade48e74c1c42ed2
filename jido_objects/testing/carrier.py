"""Calls from an event loop whose thread is not the test's: an ``async def`` test, an async view under the test client.

There the ORM runs on the thread on which ``sync_to_async`` runs it. A call is carried to the same thread, and only there it
is known whether a test's transaction is open. Calls stay in their order. Where there is none, the loop has come to know that
its calls go to the process's own host, and gives them to it directly from then on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

from ..clock import Clock
from ..conf import Settings
from ..errors import BlockingCall
from ..host import Host
from ..process import Process
from ..runtime import WaitingReply
from ..turns import Call
from .inline import AGAIN, InlineProcess

T = TypeVar("T")

Work = tuple[Callable[[Process], None], Callable[[BaseException], None]]
"""What is to be done there, and what if that place is none."""


class Carrier:
    """One event loop's way to the thread of its ORM; implements ``Runtime``."""

    loop = None

    def __init__(self, settings: Settings, clock: Clock, there: Callable[[], Process]) -> None:
        self.settings = settings
        self.clock = clock
        self.direct: Process | None = None
        """Set when this loop needs no carrier."""
        self._there = there
        self._work: deque[Work] = deque()
        self._task: asyncio.Task[None] | None = None

    def reply(self) -> WaitingReply:
        raise BlockingCall("A thread with a running event loop cannot wait: use `await ref.acall(…)`.")

    def in_transaction(self) -> bool:
        # An event loop's thread is in none: atomic() does not work there.
        return False

    def submit(self, call: Call) -> None:
        self._give(lambda process: process.submit(call), call.fail)

    def submit_all(self, calls: list[Call]) -> None:
        for call in calls:
            self.submit(call)

    def withdraw(self, call: Call) -> None:
        self._give(lambda process: process.withdraw(call), lambda error: None)

    def nudge(self) -> None:
        self._give(lambda process: process.nudge(), lambda error: None)

    async def ask(self, question: Callable[[Host], Awaitable[T]]) -> T:
        begun: asyncio.Future[Future[T]] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def begin(process: Process) -> None:
            future = process.begin(question)
            loop.call_soon_threadsafe(begun.set_result, future)

        self._give(begin, begun.set_exception)
        return await asyncio.wrap_future(await begun)

    def ask_blocking(self, question: Callable[[Host], Awaitable[T]], timeout: float) -> T:
        raise BlockingCall("A thread with a running event loop cannot wait: use the method's async twin.")

    def answered(self, wake: Callable[[], None]) -> None:
        wake()

    def _give(self, work: Callable[[Process], None], fail: Callable[[BaseException], Any]) -> None:
        self._work.append((work, fail))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._carry())

    async def _carry(self) -> None:
        process: Process | None = None
        busy = False
        try:
            while self._work or busy:
                if busy and not self._work:
                    await asyncio.sleep(AGAIN)
                work = list(self._work)
                self._work.clear()
                try:
                    process, busy = await sync_to_async(self._do)(work)
                except Exception as error:
                    busy = False
                    for _, fail in work:
                        fail(error)
            if process is not None and not isinstance(process, InlineProcess):
                self.direct = process
        finally:
            self._task = None

    def _do(self, work: list[Work]) -> tuple[Process, bool]:
        process = self._there()
        for do, _ in work:
            do(process)
        if isinstance(process, InlineProcess):
            process.run_ready()
            return process, process.busy
        return process, False
