"""The buyers, so many at a time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .client import Connection, NoAnswer

HELD, REFUSED = 200, 409


class StormError(Exception):
    """The storm cannot go on: the server answered something that no retry changes."""


@dataclass
class Outcome:
    """What the buyers know. Times in seconds."""

    held: dict[str, tuple[int, ...]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    latencies: list[float] = field(default_factory=list)
    """Of every request that was answered with a final answer."""
    longest: float = 0.0
    """From a buyer's first request to its answer."""
    again: Counter[str] = field(default_factory=Counter)
    """Requests that were sent again, by what happened to the one before."""
    last_trouble: str = ""
    seconds: float = 0.0

    @property
    def known(self) -> int:
        return len(self.held) + len(self.refused)


class Load:
    """``buyers`` buyers of one sale, ``concurrency`` of them at a time, each patient for so many seconds."""

    def __init__(self, host: str, port: int, slug: str, *, buyers: int, concurrency: int, timeout: float, patience: float) -> None:
        self.path = f"/api/sales/{slug}/"
        self.outcome = Outcome()
        self._address, self._timeout = (host, port), timeout
        self._buyers = [f"buyer-{number:05d}" for number in range(1, buyers + 1)]
        self._concurrency = min(concurrency, buyers)
        self._patience = patience
        self._changed = asyncio.Event()

    async def state(self) -> dict[str, Any]:
        """What the server says of the sale; the first time, that opens it. Raises ``StormError`` if the server does not know it."""
        connection = Connection(*self._address, self._timeout)
        try:
            status, answer = await self._insist(partial(connection.get, self.path))
        finally:
            connection.close()
        if status == 404:
            raise StormError("The server does not know the sale that was just made: it uses another database. Give both one DATABASE_URL.")
        if status != 200:
            raise StormError(f"The server answered {status} to {self.path}: {answer!r:.300}")
        state: dict[str, Any] = answer
        return state

    async def run(self, progress: Callable[[Outcome], None]) -> None:
        """Until every buyer knows, or lost patience."""
        queue = iter(self._buyers)
        started = time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._concurrency):
                    group.create_task(self._queue(queue, progress))
        except* StormError as errors:
            raise errors.exceptions[0] from None
        self.outcome.seconds = time.perf_counter() - started

    async def sold(self, count: int) -> None:
        """Return once so many buyers hold their seats."""
        while len(self.outcome.held) < count:
            self._changed.clear()
            await self._changed.wait()

    async def ask_again(self, buyers: list[str]) -> list[str]:
        """Send these buyers' requests once more, under the same call ids; returns whose answer differs from the first."""
        connection, differ = Connection(*self._address, self._timeout), []
        try:
            for buyer in buyers:
                status, answer = await self._insist(partial(connection.post, self.path + "reserve", self._order(buyer)))
                first = self.outcome.held.get(buyer) or self.outcome.refused.get(buyer)
                if first != (tuple(answer["seats"]) if status == HELD else answer.get("error")):
                    differ.append(buyer)
        finally:
            connection.close()
        return differ

    def _order(self, buyer: str) -> dict[str, object]:
        return {"buyer": buyer, "call_id": "the-one-order", "n": 1}

    async def _queue(self, queue: Iterator[str], progress: Callable[[Outcome], None]) -> None:
        connection = Connection(*self._address, self._timeout)
        try:
            for buyer in queue:
                # Once one buyer has lost patience the promise is broken; the others need not wait as long to see it.
                if self.outcome.unknown:
                    self.outcome.unknown.add(buyer)
                else:
                    await self._buy(connection, buyer)
                self._changed.set()
                progress(self.outcome)
        finally:
            connection.close()

    async def _buy(self, connection: Connection, buyer: str) -> None:
        order, outcome, began, attempts = self._order(buyer), self.outcome, time.perf_counter(), 0
        while True:
            started = time.perf_counter()
            try:
                status, answer = await connection.post(self.path + "reserve", order)
            except NoAnswer as error:
                happened, outcome.last_trouble = "no answer", str(error)
            else:
                if status in (HELD, REFUSED):
                    break
                if status < 500:
                    raise StormError(f"The server answered {status}: {answer!r:.300}")
                happened, outcome.last_trouble = str(status), f"{status} {answer!r:.500}"
            if time.perf_counter() - began > self._patience or outcome.unknown:
                outcome.unknown.add(buyer)
                return
            outcome.again[happened] += 1
            attempts += 1
            await asyncio.sleep(random.uniform(0.5, 1) * min(0.02 * 2**attempts, 0.5))
        now = time.perf_counter()
        outcome.latencies.append(now - started)
        outcome.longest = max(outcome.longest, now - began)
        if status == HELD:
            outcome.held[buyer] = tuple(answer["seats"])
        else:
            outcome.refused[buyer] = answer["error"]

    async def _insist(self, request: Callable[[], Awaitable[tuple[int, Any]]]) -> tuple[int, Any]:
        """The answer to a request, repeated while there is none, or a server error, for as long as a buyer is patient."""
        began = time.perf_counter()
        while True:
            try:
                status, answer = await request()
            except NoAnswer as error:
                status, answer = 0, str(error)
            if 0 < status < 500:
                return status, answer
            if time.perf_counter() - began > self._patience:
                raise StormError(
                    f"No answer from the server: {answer}" if not status else f"The server keeps answering {status}: {answer!r:.300}"
                )
            await asyncio.sleep(0.2)
