"""An event loop whose time is virtual: it jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class _Selector(selectors.SelectSelector):
    """Nothing ever arrives from outside: to wait is to let time pass."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("the simulation is stuck: every task waits, and no timer is set")
        self.loop.elapsed += timeout
        self.loop.steps += 1
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Deterministic: the same coroutines give the same order of steps."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.steps = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.elapsed


class VirtualClock:
    """A host's clocks on virtual time; ``skew`` seconds off, ``frozen`` while its machine sleeps."""

    def __init__(self, loop: VirtualLoop, skew: float = 0.0) -> None:
        self._loop = loop
        self.skew = skew

    def monotonic(self) -> float:
        return self._loop.elapsed

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.elapsed + self.skew)


def run(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """Run a coroutine to its end and cancel what it left behind."""
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
