"""A second opinion that needs no journal and takes no order from anybody: is there any that explains the answers?

Wing and Gong's search in Lowe's form: calls are linearized one by one among those that no finished call precedes, and a
pair of (what is linearized, the state reached) is tried once. It is exponential where outcomes are unknown, so it gets a
budget; ``Verdict.SPENT`` says that the budget ended first, and is never to be counted as a pass.

Sources: J. Wing and C. Gong, "Testing and verifying concurrent objects", 1993; G. Lowe, "Testing for linearizability", 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Verdict(Enum):
    LINEARIZABLE = "linearizable"
    VIOLATION = "no order explains the answers"
    SPENT = "the budget was spent"


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call. ``completed`` is ``None`` where the outcome is unknown: then it may take effect at any time, or never."""

    invoked: float
    completed: float | None
    call: Any
    answer: Any = None


Apply = Callable[[Any, Any], tuple[Hashable, Any]]
"""``(state, call) -> (state after, answer)``."""


def search(history: Sequence[Invocation], initial: Hashable, apply: Apply, *, budget: int = 100_000) -> Verdict:
    """Look for an order of the calls of one object that agrees with real time and with every answer."""
    ordered = sorted(history, key=lambda one: one.invoked)
    must = 0
    for position, one in enumerate(ordered):
        if one.completed is not None:
            must |= 1 << position
    tried: set[tuple[int, Hashable]] = set()
    stack: list[tuple[int, Hashable]] = [(0, initial)]
    spent = 0
    while stack:
        done, state = stack.pop()
        if done & must == must:
            return Verdict.LINEARIZABLE
        if (done, state) in tried:
            continue
        tried.add((done, state))
        # Whoever was invoked after the first of the rest had completed cannot come next.
        completed = [one.completed for p, one in enumerate(ordered) if not done >> p & 1]
        limit = min((at for at in completed if at is not None), default=float("inf"))
        for position, one in enumerate(ordered):
            if one.invoked > limit:
                break
            if done >> position & 1:
                continue
            spent += 1
            if spent > budget:
                return Verdict.SPENT
            after, answer = apply(state, one.call)
            if one.completed is None or answer == one.answer:
                stack.append((done | 1 << position, after))
    return Verdict.VIOLATION
