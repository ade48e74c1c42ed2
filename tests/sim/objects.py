"""The object type that the simulation calls, and the sequential model it is checked against.

Every answer begins with the ``seq`` of the state the call ran on, so that the journal says where in the order it belongs.
The value is a chain over all that was written before: an answer that missed a write, saw one twice or in another order
cannot be right by accident.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jido_objects import DurableObject, ObjectException, query
from jido_objects.definition import Definition

from .witness import Step

MODULUS = 1_000_003
OPEN = -1
"""What ``value`` is while an ``async`` turn is open."""


class No(ObjectException):
    """No, at {0}: {1}."""


def chained(value: int, tag: int) -> int:
    return (value * 31 + tag) % MODULUS


class Ledger(DurableObject):
    value: int = 0
    counts: dict[str, int] = {}
    recent: list[int] = []

    def put(self, tag: int) -> list[int]:
        """A write."""
        saw = self.seq
        _write(self, tag)
        return [saw, self.value, len(self.counts)]

    def drain(self, tags: list[int]) -> list[int]:
        """A write that uses up its argument: a run that was given what another has left of it writes less."""
        saw = self.seq
        while tags:
            _write(self, tags.pop(0))
        return [saw, self.value, len(self.counts)]

    async def drain_slowly(self, tags: list[int], seconds: float) -> list[int]:
        """The same over some time."""
        saw = self.seq
        while tags:
            _write(self, tags.pop(0))
            await asyncio.sleep(seconds / 3)
        return [saw, self.value, len(self.counts)]

    async def slow(self, tag: int, seconds: float) -> list[int]:
        """A write that shows the state between its beginning and its end to whoever looks too early."""
        saw, value = self.seq, self.value
        self.value = OPEN
        self.recent.append(OPEN)
        await asyncio.sleep(seconds)
        self.value = value
        self.recent.pop()
        _write(self, tag)
        return [saw, self.value, len(self.counts)]

    async def stubborn(self, tag: int, seconds: float) -> list[int]:
        """A slow write that will not be cancelled, not at once at least."""
        saw, value = self.seq, self.value
        self.value = OPEN
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            await asyncio.sleep(0.2 if tag % 2 else 1.7)
        self.value = value
        _write(self, tag)
        return [saw, self.value, len(self.counts)]

    async def slow_boom(self, tag: int, seconds: float) -> None:
        """A turn that fails half-way."""
        self.value = OPEN
        self.counts["boom"] = tag
        await asyncio.sleep(seconds)
        raise ValueError(tag)

    def boom(self, tag: int) -> None:
        """A turn that fails after it wrote."""
        self.value = OPEN
        raise ValueError(tag)

    def refuse(self, tag: int) -> None:
        """A refusal; it leaves no trace in the state."""
        self.counts["refused"] = tag
        raise No(self.seq, self.value)

    def keep(self, tag: int) -> list[int]:
        """Changes nothing; leaves a row all the same if the caller chose the id."""
        return [self.seq, self.value, tag]

    @query
    def look(self) -> list[Any]:
        return [self.seq, self.value, dict(self.counts), list(self.recent)]

    @query
    async def look_slowly(self, seconds: float) -> list[Any]:
        seen: list[Any] = [self.seq, self.value, dict(self.counts), list(self.recent)]
        await asyncio.sleep(seconds)
        return seen

    class Meta:
        label = "sim.Ledger"
        snapshot_every = 3
        turn_timeout = 2.0


def _write(ledger: Ledger, tag: int) -> None:
    ledger.value = chained(ledger.value, tag)
    name = str(tag % 5)
    ledger.counts[name] = ledger.counts.get(name, 0) + 1
    ledger.recent.append(tag)
    if len(ledger.recent) > 3:
        del ledger.recent[0]


# Only a simulation knows this type: the sweeper of every other host would look at it too.
TYPES = {"sim.Ledger": Definition.registry.pop("sim.Ledger")}


class LedgerModel:
    """What a ``Ledger`` must do, one call after the other; implements ``witness.Model``."""

    def initial(self) -> dict[str, Any]:
        return {"value": 0, "counts": {}, "recent": []}

    def step(self, state: dict[str, Any], method: str, args: list[Any]) -> Step:
        match method, args:
            case ("put", [tag]) | ("slow" | "stubborn", [tag, _]):
                after = self._after(state, tag)
                return Step(after, [after["value"], len(after["counts"])])
            case ("drain", [tags]) | ("drain_slowly", [tags, _]):
                after = state
                for tag in tags:
                    after = self._after(after, tag)
                return Step(after, [after["value"], len(after["counts"])])
            case "keep", [tag]:
                return Step(state, [state["value"], tag])
            case ("look", []) | ("look_slowly", [_]):
                return Step(state, [state["value"], state["counts"], state["recent"]])
            case "refuse", [_]:
                return Step(state, [state["value"]], refused=True)
        raise ValueError(f"{method}{args} has no answer")

    def _after(self, state: dict[str, Any], tag: int) -> dict[str, Any]:
        name = str(tag % 5)
        counts = {**state["counts"], name: state["counts"].get(name, 0) + 1}
        return {"value": chained(state["value"], tag), "counts": counts, "recent": [*state["recent"], tag][-3:]}

    def writes(self, method: str) -> bool:
        return method in ("put", "drain", "drain_slowly", "slow", "stubborn")

    def recorded(self, method: str) -> bool:
        return method not in ("look", "look_slowly", "peek")
