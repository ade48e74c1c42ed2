"""What a test can do to the host that serves it: let it settle, crash it, put an object to sleep, move its clock."""

from __future__ import annotations

import asyncio
from asyncio.events import _get_running_loop
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from .. import process
from ..activation import Status
from ..errors import BlockingCall
from ..host import Host
from ..refs import Ref
from ..turns import describe
from .clock import CLOCK

T = TypeVar("T")

PATIENCE = 10.0
POLL = 0.002


async def settled(host: Host, timeout: float) -> None:
    """Wait until nothing that was begun is unfinished: calls, casts, their rows and snapshots. Raises ``TimeoutError``."""
    try:
        async with asyncio.timeout(timeout):
            while True:
                # What a commit has just set off is on its way to the host.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                while host.busy:
                    await asyncio.sleep(POLL)
                if host.lease is not None:
                    await host.pipeline.quiet()
                if not host.busy:
                    break
    except TimeoutError:
        busy = [describe(activation.name) for activation in host.activations.values() if not activation.idle]
        raise TimeoutError(f"the host has not settled within {timeout} s: {', '.join(busy) or 'rows are not written'}") from None


async def _crash_object(host: Host, ref: Ref[Any]) -> bool:
    activation = host.activations.get((ref.label, ref.key))
    if activation is None or activation.status is not Status.LIVE:
        return False
    host.drop(activation, "a test has crashed it")
    return True


async def _crash_host(host: Host) -> bool:
    lease = host.lease
    if lease is None:
        return False
    await host.store.bury(lease.term, proven=True)
    host.term_lost(lease)
    await host.term()
    return True


async def _hibernate(host: Host, ref: Ref[Any], timeout: float) -> bool:
    await settled(host, timeout)
    activation = host.activations.get((ref.label, ref.key))
    if activation is None or not host.hibernate(activation):
        return False
    await settled(host, timeout)
    return True


class JidoHost:
    """The host that the running test's calls go to. Each method has an async twin (``asettle``, …) for ``async def`` tests."""

    def settle(self, timeout: float = PATIENCE) -> None:
        """Wait until all that is under way has ended: calls, casts, what they set off, and its rows.

        ``timeout`` in seconds; raises ``TimeoutError`` naming the objects that are busy.
        """
        self._ask("settle", lambda host: settled(host, timeout))

    async def asettle(self, timeout: float = PATIENCE) -> None:
        """``settle`` from an event loop."""
        await self._aask(lambda host: settled(host, timeout))

    def crash(self, ref: Ref[Any] | None = None) -> bool:
        """Lose what is in memory, as by a crash: of one object, or of the whole host, which then takes a new term.

        What was committed stays; ``Transient`` attributes are gone; calls under way run again. Returns whether there was
        anything to lose.
        """
        return self._ask("crash", lambda host: _crash_host(host) if ref is None else _crash_object(host, ref))

    async def acrash(self, ref: Ref[Any] | None = None) -> bool:
        """``crash`` from an event loop."""
        return await self._aask(lambda host: _crash_host(host) if ref is None else _crash_object(host, ref))

    def hibernate(self, ref: Ref[Any]) -> bool:
        """Let an object leave memory as it does after ``Meta.idle_seconds``, once it has settled. Returns whether it was there."""
        return self._ask("hibernate", lambda host: _hibernate(host, ref, PATIENCE))

    async def ahibernate(self, ref: Ref[Any]) -> bool:
        """``hibernate`` from an event loop."""
        return await self._aask(lambda host: _hibernate(host, ref, PATIENCE))

    def _ask(self, what: str, question: Callable[[Host], Awaitable[T]]) -> T:
        if _get_running_loop() is not None:
            raise BlockingCall(f"{what}() blocks, and this is a running event loop: use `await a{what}()`.")
        return process.current().ask_blocking(question, PATIENCE * 2)

    async def _aask(self, question: Callable[[Host], Awaitable[T]]) -> T:
        # Calls of this step leave at its end, and must be there first.
        await asyncio.sleep(0)
        return await process.current().ask(question)


class JidoClock:
    """The wall clock of the objects of the running test: the machine's, plus what the test has advanced it by.

    Each test begins at the machine's time.
    """

    def now(self) -> datetime:
        """What ``self.now()`` would be in a turn that begins now: aware, in UTC."""
        process.current()
        return CLOCK.now()

    def advance(self, by: float | timedelta) -> None:
        """Move forward by seconds, or a ``timedelta``, and settle: what has become due by then has run when this returns."""
        self._shift(by)
        jido_host.settle()

    async def aadvance(self, by: float | timedelta) -> None:
        """``advance`` from an event loop."""
        # A new test must have been noticed, or its first call would set the clock back.
        await jido_host.asettle()
        CLOCK.shift(_span(by))
        await jido_host.asettle()

    def _shift(self, by: float | timedelta) -> None:
        process.current()
        CLOCK.shift(_span(by))

    def reset(self) -> None:
        """Back to the machine's time."""
        CLOCK.reset()


def _span(by: float | timedelta) -> timedelta:
    return by if isinstance(by, timedelta) else timedelta(seconds=by)


jido_host = JidoHost()
jido_clock = JidoClock()
