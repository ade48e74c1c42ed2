"""Callers that never guess: whoever does not know what became of a call sends it again under the same id until it is known.

Everything that any attempt was ever told is kept, late answers of attempts long given up included; the checkers judge it all.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from jido_objects import ids
from tests.sim.witness import Operation, Outcome

from .hosts import Gone, HostProcess, Reply
from .model import LedgerModel, cast_id

MODEL = LedgerModel()


class History:
    """What callers asked and were told, in real time."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.counts: Counter[str] = Counter()
        """Attempts by what became of them, re-sends, late answers."""
        self.odd: list[str] = []
        """Errors that no fault explains."""
        self.slowest = 0.0
        """Longest time in seconds from a call's first sending until its outcome was known."""
        self.slowest_call: tuple[str, str | None] = ("", None)
        self.last_answer = time.monotonic()
        self.longest_silence = 0.0
        """Longest time in seconds in which nobody was answered, while somebody asked."""
        self._sent: set[tuple[str, str]] = set()
        self._answered: set[tuple[str, str]] = set()
        self._reads = 0

    def read_id(self) -> str:
        self._reads += 1
        return f"read-{self._reads}"

    def attempt(
        self, host: HostProcess, key: str, method: str, args: list[Any], call_id: str | None, timeout: float = 5.0, **how: bool
    ) -> Attempt:
        """Send a call; whatever comes back, whenever it comes, is noted."""
        operation = Operation(
            key,
            call_id or self.read_id(),
            method,
            args,
            call_id is not None and not ids.is_generated(call_id),
            time.monotonic(),
            where=host.name,
        )
        self.operations.append(operation)
        self.counts["attempts"] += 1
        if call_id is not None:
            if (key, call_id) in self._sent:
                self.counts["re-sends"] += 1
                self.counts["re-sends of an unknown"] += (key, call_id) not in self._answered
            self._sent.add((key, call_id))
        return Attempt(self, operation, host.call(key, method, args, call_id, timeout, **how))

    def cast(self, key: str, call_id: str, source: str, invoked: float) -> None:
        """A call that an object has made: nobody is told of its outcome."""
        self.operations.append(Operation(key, call_id, "hear", [source], False, invoked))

    def slow(self, seconds: float, key: str, call_id: str | None) -> None:
        """A call's outcome is known."""
        if seconds > self.slowest:
            self.slowest = seconds
            self.slowest_call = (key, call_id)

    def outcome(self, operation: Operation) -> None:
        """Somebody has learned what became of this call."""
        self.counts["answers"] += 1
        self._answered.add((operation.object, operation.id))

    def answered(self) -> None:
        now = time.monotonic()
        self.longest_silence = max(self.longest_silence, now - self.last_answer)
        self.last_answer = now


class Attempt:
    """One sending of one call."""

    def __init__(self, history: History, operation: Operation, reply: asyncio.Future[Reply]) -> None:
        self.history = history
        self.operation = operation
        self.reply = reply
        self.error: str | None = None
        self.retryable = True
        self.given_up = False
        reply.add_done_callback(self._note)

    def _note(self, reply: asyncio.Future[Reply]) -> None:
        operation, counts = self.operation, self.history.counts
        if reply.cancelled() or reply.exception() is not None:
            counts["unknown"] += not self.given_up
            return
        operation.completed = time.monotonic()
        self.history.answered()
        counts["late answers"] += self.given_up
        told = reply.result()
        if "error" in told:
            self.error = told["error"]
            self.retryable = told["retryable"]
            counts[told["error"]] += 1
            if told["applied"] is None:
                operation.completed = None
                counts["unknown"] += not self.given_up
            else:
                operation.outcome = Outcome.NOT_APPLIED
            if not told["retryable"]:
                self.history.odd.append(f"{operation.method} [{operation.id}] at {operation.where}: {told['error']}: {told['text']}")
            return
        answer = told["ok"] if "ok" in told else told["refused"]
        operation.outcome = Outcome.OK if "ok" in told else Outcome.REFUSED
        operation.saw, operation.result = answer[0], answer[1:]
        self.history.outcome(operation)

    @property
    def known(self) -> bool:
        """Whether its caller was told what became of it."""
        return self.operation.outcome in (Outcome.OK, Outcome.REFUSED)

    async def wait(self, seconds: float) -> bool:
        """Whether it was answered in time with an outcome."""
        with contextlib.suppress(Gone, TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.reply), seconds)
        if not self.reply.done() and not self.given_up:
            self.given_up = True
            self.history.counts["unknown"] += 1
        return self.known


class Keys:
    """A window of keys that moves: objects are created all the time, and none becomes too long to check."""

    def __init__(self, width: int, uses: int) -> None:
        self._width = width
        self._uses = uses
        self._used = 0
        self._first = 0

    def pick(self, rng: random.Random) -> str:
        self._used += 1
        if self._used >= self._uses:
            self._used = 0
            self._first += 1
        return f"k{self._first + rng.randrange(self._width)}"


METHODS = {"put": 24, "drain": 6, "slow": 5, "take": 20, "order": 8, "keep": 8, "tell": 7, "look": 30}


class Client:
    """One caller after the other call; all of it drawn from one seed."""

    def __init__(
        self,
        name: str,
        history: History,
        hosts: list[HostProcess],
        keys: Keys,
        rng: random.Random,
        *,
        again: float = 0.2,
        patience: float = 1.0,
    ) -> None:
        self.name = name
        self._history = history
        self._hosts = hosts
        self._keys = keys
        self._rng = rng
        self._again = again
        self._patience = patience
        self._made = 0
        self._known: list[Operation] = []

    async def run(self, go_on: Callable[[], bool]) -> None:
        while go_on():
            if self._known and self._rng.random() < self._again:
                await self._repeat(self._rng.choice(self._known))
            else:
                await self._call()

    async def _call(self) -> None:
        rng = self._rng
        method = rng.choices(list(METHODS), list(METHODS.values()))[0]
        key = self._keys.pick(rng)
        self._made += 1
        args: list[Any] = [] if method == "look" else [rng.randrange(1000)]
        if method == "drain":
            args = [[rng.randrange(1000) for _ in range(3)]]
        if method == "tell":
            args.append(self._keys.pick(rng))
            if args[1] == key:
                args[1] += "t"
        call_id: str | None = None
        if method != "look":
            # Generated ids leave no row where nothing changed, so what never changes anything has ids of its own.
            call_id = ids.generate() if method in ("put", "drain", "slow") and rng.random() < 0.2 else f"{self.name}-{self._made}"
        started = time.monotonic()
        how = {}
        if rng.random() < 0.15:
            how["confirmed" if method == "look" else "thread"] = True
        last = await self.insist(key, method, args, call_id, **how)
        self._history.slow(time.monotonic() - started, key, call_id)
        if method == "tell":
            assert call_id is not None
            self._history.cast(args[1], cast_id(call_id, key, args[1]), key, started)
        if call_id is not None and last is not None and not (last.outcome is Outcome.REFUSED and last.saw == 0):
            self._known.append(last)
            if len(self._known) > 200:
                del self._known[:100]

    async def insist(self, key: str, method: str, args: list[Any], call_id: str | None, **how: bool) -> Operation | None:
        """Send until its outcome is known; ``None`` for an error that no fault explains."""
        host = self._rng.choice(self._hosts)
        while True:
            host = await self._one_that_lives(host)
            if call_id is not None and self._rng.random() < 0.05:
                # A duplicate on its heels: it waits for the first, or the first for it.
                self._history.attempt(self._rng.choice([host, host, *self._hosts]), key, method, args, call_id)
            attempt = self._history.attempt(host, key, method, args, call_id, **how)
            if await attempt.wait(self._patience):
                return attempt.operation
            if not attempt.retryable:
                return None
            if attempt.error != "OwnedElsewhere" or self._rng.random() < 0.1:
                await asyncio.sleep(self._rng.random() * 0.02)
            host = self._rng.choice([other for other in self._hosts if other is not host] or [host])

    async def _repeat(self, known: Operation) -> None:
        """A call whose outcome is known is sent again, sometimes to everybody at once: the answer must be the same."""
        rng = self._rng
        copies = rng.choice([1, 1, 1, 2, 4])
        hosts = [host for host in self._hosts if host.alive] or self._hosts[:1]
        attempts = [self._history.attempt(rng.choice(hosts), known.object, known.method, known.args, known.id) for _ in range(copies)]
        for attempt in attempts:
            await attempt.wait(self._patience)

    async def _one_that_lives(self, host: HostProcess) -> HostProcess:
        while not host.alive:
            others = [other for other in self._hosts if other.alive]
            if others:
                return self._rng.choice(others)
            await asyncio.sleep(0.005)
        return host
