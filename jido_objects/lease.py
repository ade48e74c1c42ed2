"""The lease: how a term stays alive, and how long its host may trust its own memory.

*Identity.* A term is one life of a host: a row with an id that is never reused. *State.* The store's clock says when the
lease passes; from then on others may bury the term. *Trust.* The host may answer from memory only until

    trusted_until = start of the last successful renewal attempt + lease - margin

on its own monotonic clock. The start of the attempt, not its reply: the store began to count no earlier than the attempt
was sent, so the window closes here before the lease passes there, however long the reply took. Nothing compares two
clocks; a clock that runs slow by less than margin / lease is covered by the margin.

*Failure.* A renewal that fails proves nothing: it is tried again until the window closes, and after that until the store
says that the term is gone. A host whose loop is stuck stops being renewed, so that others may take over. Where liveness
is an OS lock held by the process (SQLite), nobody can take over while the process lives, and trust does not run out.

The keeper runs on a loop of its own, on a thread of its own: user code that blocks the host's loop does not lose the lease.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from uuid import UUID

from . import events
from .clock import Clock
from .errors import StoreError
from .logs import about
from .stores.protocol import Store

logger = logging.getLogger("jido_objects.lease")

RENEWALS_PER_LEASE = 5
MARGIN = 0.1
"""Part of the lease that is not trusted."""


class Lease:
    """The trust window of one term. Written by the keeper's thread, read by the host's: each value is one float."""

    __slots__ = ("_clock", "margin", "seconds", "term", "trusted_until")

    def __init__(self, term: UUID, seconds: float, clock: Clock, *, runs_out: bool) -> None:
        self.term = term
        self.seconds = seconds
        self.margin = seconds * MARGIN
        self._clock = clock
        self.trusted_until = -math.inf if runs_out else math.inf

    def confirm(self, attempted_at: float) -> None:
        """A renewal that was attempted at that time (monotonic) has succeeded."""
        self.trusted_until = max(self.trusted_until, attempted_at + self.seconds - self.margin)

    def trusted(self) -> bool:
        """Whether memory may be answered from now."""
        return self._clock.monotonic() < self.trusted_until


class Keeper:
    """Renews the lease of whatever term its host has."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        current: Callable[[], Lease | None],
        *,
        stuck: Callable[[], bool],
        renewed: Callable[[Lease], None],
        lost: Callable[[Lease], None],
        emit: Callable[[events.Event], None] = events.emit,
    ) -> None:
        self._store = store
        self._clock = clock
        self._current = current
        self._stuck = stuck
        self._renewed = renewed
        self._lost = lost
        self._emit = emit
        """Takes events to where subscribers are called: on the host's loop, which is another one."""
        self._failing = False

    async def tick(self) -> float:
        """Renew once if there is something to renew; returns the seconds until the next attempt."""
        lease = self._current()
        if lease is None:
            return 0.1
        period = lease.seconds / RENEWALS_PER_LEASE
        if self._stuck():
            self._tell_failed(lease, "stuck")
            return period
        attempted_at = self._clock.monotonic()
        try:
            alive = await self._store.renew(lease.term, lease.seconds)
        except StoreError as error:
            if not self._failing:
                logger.warning("The lease of term %s could not be renewed: %s", lease.term, error, extra=about(term=lease.term))
            self._failing = True
            self._tell_failed(lease, type(error).__name__)
            return period / 4
        if self._failing:
            logger.warning("The lease of term %s can be renewed again", lease.term, extra=about(term=lease.term))
        self._failing = False
        if not alive:
            self._lost(lease)
            return period
        if events.listening and (left := lease.trusted_until - self._clock.monotonic()) < lease.seconds / 2:
            self._emit(events.LeaseRenewedLate(lease.term, left))
        lease.confirm(attempted_at)
        self._renewed(lease)
        return max(0.0, attempted_at + period - self._clock.monotonic())

    def _tell_failed(self, lease: Lease, error: str) -> None:
        if events.listening:
            self._emit(events.LeaseFailed(lease.term, error, lease.trusted_until - self._clock.monotonic()))

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            try:
                await self._store.open()
                break
            except StoreError as error:
                logger.warning("The keeper of the lease cannot reach the database yet: %s", error, extra=about())
                await asyncio.sleep(0.1)
        while True:
            try:
                pause = await self.tick()
            except Exception:
                # Without a keeper the host would lose its term and never learn why.
                logger.exception("A renewal met an error that is not the store's", extra=about())
                pause = 0.1
            await asyncio.sleep(pause)
