"""The object that is hammered. ``model`` says without it what each of its turns must do.

Every answer begins with the ``seq`` of the state its turn ran on, so that the journal is the claimed order of all calls
(``tests.sim.witness``). The value is a chain over all writes: whoever missed one, or saw one twice, cannot be right by accident.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from jido_objects import DurableObject, ObjectException, Transient, query, transactional

from .model import chained
from .models import Order


class No(ObjectException):
    """No, at {0}: {1}."""


class Ledger(DurableObject):
    value: int = 0
    counts: dict[str, int] = {}
    recent: list[int] = []
    heard: dict[str, int] = {}
    life: Transient[str] = ""

    def on_thaw(self) -> None:
        self.life = uuid4().hex

    def put(self, tag: int) -> list[int]:
        saw = self.seq
        _write(self, tag)
        return [saw, self.value, len(self.counts)]

    def drain(self, tags: list[int]) -> list[int]:
        """Uses up its argument: a run that was given what another has left of it writes less."""
        saw = self.seq
        while tags:
            _write(self, tags.pop(0))
        return [saw, self.value, len(self.counts)]

    async def slow(self, tag: int) -> list[int]:
        saw, value = self.seq, self.value
        self.value = -1
        await asyncio.sleep(0.001)
        self.value = value
        _write(self, tag)
        return [saw, self.value, len(self.counts)]

    def take(self, tag: int) -> list[int]:
        """Refuses one time in three, with its hands already in the state."""
        saw, value = self.seq, self.value
        _write(self, tag)
        if value % 3 == 0:
            raise No(saw, value)
        return [saw, self.value, len(self.counts)]

    @transactional
    def order(self, tag: int) -> list[int]:
        """A write with a row of the application's own. Refuses one time in three, with its hands in both."""
        saw, value = self.seq, self.value
        _write(self, tag)
        Order.objects.create(ledger=self.key, call_id=self.turn.call_id, value=self.value)
        if value % 3 == 0:
            raise No(saw, value)
        return [saw, self.value, len(self.counts)]

    def keep(self, tag: int) -> list[int]:
        """Changes nothing; leaves a row all the same if the caller chose the id."""
        return [self.seq, self.value, tag]

    def tell(self, tag: int, key: str) -> list[int]:
        """A write whose cast leaves with its commit."""
        saw = self.seq
        _write(self, tag)
        Ledger.at(key).cast(Ledger.hear, self.key)
        return [saw, self.value, len(self.counts)]

    def hear(self, source: str) -> list[int]:
        self.heard[source] = self.heard.get(source, 0) + 1
        return [self.seq, self.heard[source]]

    @query
    def look(self) -> list[Any]:
        return [self.seq, self.value, dict(self.counts), list(self.recent)]

    @query
    def alive(self) -> list[Any]:
        """Which activation this is."""
        return [self.seq, self.life]

    class Meta:
        snapshot_every = 4
        idle_seconds = 5.0


def _write(ledger: Ledger, tag: int) -> None:
    ledger.value = chained(ledger.value, tag)
    name = str(tag % 5)
    ledger.counts[name] = ledger.counts.get(name, 0) + 1
    ledger.recent.append(tag)
    if len(ledger.recent) > 3:
        del ledger.recent[0]
