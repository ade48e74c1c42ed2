"""Trimming: what a host does so that history and call ids end with their windows, as fast as the journal grows.

Two things lead to what may go, and neither looks at objects at rest. A *walk* follows the journal's rows in the order of time
as they come past a window, once, for the whole deployment: how far it came is in the database. And whoever writes much to one
object asks for that one. What is found is trimmed by the store up to a snapshot (``stores.windows``), in batches, with as much
rest after each as it took.

Any number of hosts may trim at once, and one may die at any point: a stretch of the walk counts as walked when its objects have
been trimmed, and to trim an object twice does no harm. None of it needs the term, since nothing that goes is looked for by an
owner. An object whose newest rows have no snapshot keeps them, at most as many as are written between two snapshots, until it
is written to again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

from .definition import Definition
from .errors import StoreError
from .stores.protocol import Trim

if TYPE_CHECKING:
    from .host import Host

from .logs import about

logger = logging.getLogger("jido_objects.trimming")

EVERY_SECONDS = 30.0
"""How often, at most, a walk goes on; for short windows more often."""
SLACK_SECONDS = 300.0
"""At most so long after its window a row is walked past: its id is a little older than the row, its snapshot younger."""
PARTS = 16
"""Into so many parts a window is divided by rounds, and by the slack."""
STRETCH = 1000
"""Rows of one stretch of a walk."""
TOGETHER = 50
"""Objects trimmed in one statement."""
NEAR = 200
"""Rows that go from each of them; who has more is trimmed alone."""
ALONE = 20_000
"""Rows that go from one object at once. More than lie between two snapshots that stay."""
GROWTH = 8
"""An object is asked about again when it has grown by this part of what it may hold."""
GROWING = 10_000
"""Of so many objects it is known how much they grew."""


class Trimmer:
    """The trimming of one host: one task on its loop."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._grown: dict[int, tuple[int, int]] = {}
        self._due: dict[int, tuple[str, bool]] = {}
        """Objects that have grown much: their types, and whether in bytes rather than in rows."""
        self._wanted = asyncio.Event()
        self._failing = False
        self.rows = 0
        """How many rows this host has trimmed."""

    # -------------------------------------------------------------------------------------------- what leads to it

    def wrote(self, object_id: int, label: str, rows: int, size: int) -> None:
        """Rows of an object have been committed."""
        settings = self._host.settings
        before = self._grown.get(object_id)
        if before is not None:
            rows, size = rows + before[0], size + before[1]
        elif len(self._grown) >= GROWING:
            # The walk will find what is forgotten here.
            for old in list(islice(self._grown, GROWING // 4)):
                del self._grown[old]
        of_rows, of_bytes = rows * GROWTH / settings.retention_rows, size * GROWTH / settings.retention_bytes
        if of_rows < 1 and of_bytes < 1:
            self._grown[object_id] = rows, size
            return
        self._grown[object_id] = 0, 0
        self._due[object_id] = label, of_bytes > of_rows
        self._wanted.set()

    def retention(self, label: str) -> float:
        """Seconds for which the history of a type is kept."""
        definition = Definition.registry.get(label)
        return self._host.settings.retention if definition is None else definition.options.retention or self._host.settings.retention

    def _retentions(self) -> list[float]:
        own = {definition.options.retention for definition in Definition.registry.values() if definition.options.retention}
        return sorted({self._host.settings.retention, *own})

    # -------------------------------------------------------------------------------------------- rounds

    async def run(self) -> None:
        """Trim until cancelled."""
        clock = self._host.clock
        next_walk = clock.monotonic() + self._period()
        while True:
            walking = False
            try:
                await asyncio.wait_for(self._wanted.wait(), max(0.0, next_walk - clock.monotonic()))
            except TimeoutError:
                walking = True
                next_walk = clock.monotonic() + self._period()
            self._wanted.clear()
            # Only who hosts trims: a process that looks at an object and ends is not asked for more.
            if self._host.lease is None:
                continue
            try:
                await self._trim_due()
                if walking:
                    await self.round()
            except StoreError as error:
                if not self._failing:
                    logger.warning("History cannot be trimmed at present: %s", error, extra=about())
                self._failing = True
            except Exception:
                logger.exception("Trimming met an error that is not the store's; it goes on", extra=about())
            else:
                self._failing = False

    def _period(self) -> float:
        return min(EVERY_SECONDS, min(self._retentions()) / PARTS)

    async def round(self) -> None:
        """Walk on as far as there is anything to walk past, and forget what need not be known any more."""
        for retention in self._retentions():
            await self._walk(retention)
        while await self._host.store.forget(self._host.settings.call_id_seconds, STRETCH) >= STRETCH:
            await asyncio.sleep(0)

    async def _walk(self, retention: float) -> None:
        store = self._host.store
        while True:
            walk = await store.walk(retention, min(SLACK_SECONDS, retention / PARTS), STRETCH)
            if walk.until == walk.since:
                return
            ours = {id_: label for id_, label in walk.objects.items() if self.retention(label) == retention}
            if not await self._trim(ours, frozenset()) or not await store.walked(walk) or not walk.more:
                return
            await self._trim_due()

    async def _trim_due(self) -> None:
        while self._due:
            due = dict(islice(self._due.items(), TOGETHER))
            for object_id in due:
                del self._due[object_id]
            await self._trim({id_: label for id_, (label, _) in due.items()}, {id_ for id_, (_, large) in due.items() if large})

    async def _trim(self, objects: Mapping[int, str], large: frozenset[int] | set[int]) -> bool:
        """Trim these objects; ``large``: count their bytes too. False when somebody else was at one of them."""
        settings = self._host.settings
        complete = True
        every = [
            Trim(
                object_id,
                self.retention(label),
                settings.retention_rows,
                settings.retention_bytes if object_id in large else None,
                settings.retention_least,
            )
            for object_id, label in objects.items()
        ]
        for first in range(0, len(every), TOGETHER):
            for trim, more in await self._ask(every[first : first + TOGETHER], NEAR):
                going_on = more
                while going_on:
                    ((_, going_on),) = await self._ask([trim], ALONE)
                complete = complete and going_on is not None
        return complete

    async def _ask(self, trims: list[Trim], limit: int) -> list[tuple[Trim, bool | None]]:
        """Trim once; per object whether there is more to go, ``None`` where somebody else was at it."""
        host = self._host
        began = host.clock.monotonic()
        outcome = await host.store.trim(trims, call_id_seconds=host.settings.call_id_seconds, limit=limit)
        self.rows += sum(trimmed.rows for trimmed in outcome if trimmed is not None)
        await asyncio.sleep(min(1.0, host.clock.monotonic() - began))
        return [(trim, None if trimmed is None else trimmed.more) for trim, trimmed in zip(trims, outcome, strict=True)]
