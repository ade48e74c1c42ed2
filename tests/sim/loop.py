"""An event loop whose time is virtual, and on which whole processes can be stopped and continued.

Time jumps to the next timer instead of passing. Every callback belongs to the process named by the context it runs in
(``PROCESS``); while a process is stopped, its callbacks that become due are kept back, timers included, and run in their
order when it is continued: what SIGSTOP and SIGCONT do to a real one. Deterministic: the same coroutines give the same
order of steps.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections import deque
from collections.abc import Coroutine
from contextvars import Context, ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

PROCESS: ContextVar[object] = ContextVar("process", default=None)
"""Who runs here. A context without it (the network, the database, the simulator) cannot be stopped."""

STEP_LIMIT = 5_000_000
"""Callbacks of one simulation; past it, something goes round in circles."""


class Stuck(RuntimeError):
    """Nothing in the simulation can ever happen again, or far too much happens."""


class _Selector(selectors.SelectSelector):
    """Nothing ever arrives from outside."""

    def select(self, timeout: float | None = None) -> list[Any]:
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. It is driven by the scheduler below instead of by asyncio's, which waits for the operating system."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.steps = 0
        self._stopped: dict[object, list[asyncio.Handle]] = {}
        super().__init__(_Selector())
        self.outside: set[str] = set()
        """Names of coroutines that belong to nobody, whoever starts them: what a database executes for a client."""
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self.elapsed

    # ---------------------------------------------------------------- processes

    def freeze(self, process: object) -> None:
        """SIGSTOP."""
        self._stopped.setdefault(process, [])

    def thaw(self, process: object) -> None:
        """SIGCONT."""
        self._ready.extend(self._stopped.pop(process, ()))

    def frozen(self, process: object) -> bool:
        return process in self._stopped

    def thaw_all(self) -> None:
        for process in list(self._stopped):
            self.thaw(process)

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, context: Context | None = None, **options: Any
    ) -> asyncio.Task[Any]:
        if coroutine.__name__ in self.outside:
            context = Context()
        return asyncio.Task(coroutine, loop=loop, context=context, **options)

    # ---------------------------------------------------------------- the scheduler

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer stays where it is until its time comes."""

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        if not ready:
            while scheduled and scheduled[0]._cancelled:
                heapq.heappop(scheduled)
            if scheduled:
                self.elapsed = max(self.elapsed, scheduled[0]._when)
            elif not self._stopping:
                raise Stuck("every task waits, and no timer is set")
        while scheduled and scheduled[0]._when <= self.elapsed:
            handle: asyncio.Handle = heapq.heappop(scheduled)
            if not handle._cancelled:
                ready.append(handle)
        todo = len(ready)
        self.steps += todo
        if self.steps > STEP_LIMIT:
            raise Stuck(f"{self.steps} steps at {self.elapsed:.3f} s")
        for _ in range(todo):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            if self._stopped:
                kept = self._stopped.get(handle._context.get(PROCESS))
                if kept is not None:
                    kept.append(handle)
                    continue
            handle._run()


class VirtualClock:
    """The clocks of one machine on virtual time.

    The wall clock is ``skew`` seconds off. The monotonic clock runs at ``rate`` and may have stood still for a while
    (``stand_still``), as CLOCK_MONOTONIC does while a machine is suspended.
    """

    def __init__(self, loop: VirtualLoop, skew: float = 0.0, rate: float = 1.0) -> None:
        self._loop = loop
        self.skew = skew
        self.rate = rate
        self._lost = 0.0

    def monotonic(self) -> float:
        return (self._loop.elapsed - self._lost) * self.rate

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.elapsed + self.skew)

    def stand_still(self, seconds: float) -> None:
        """The monotonic clock has not counted the last ``seconds``."""
        self._lost += seconds


def run(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """Run a coroutine to its end and cancel what it left behind."""
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.thaw_all()
        # What is cancelled may start something in turn.
        while tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=1))
        asyncio.set_event_loop(None)
        loop.close()
