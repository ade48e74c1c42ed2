"""The search finds an order where there is one, and says so when it ran out of budget."""

from __future__ import annotations

import itertools
import random
from typing import Any

from tests.sim.search import Invocation, Verdict, search


def apply(state: Any, call: Any) -> tuple[Any, Any]:
    """A register: ``("write", x)`` answers what was there before, ``("read",)`` what is there."""
    return (call[1] if call[0] == "write" else state), state


def write(invoked: float, completed: float | None, value: int, before: int | None = None) -> Invocation:
    return Invocation(invoked, completed, ("write", value), before)


def read(invoked: float, completed: float, value: int) -> Invocation:
    return Invocation(invoked, completed, ("read",), value)


def test_one_after_the_other() -> None:
    assert search([write(1, 2, 5, 0), read(3, 4, 5)], 0, apply) is Verdict.LINEARIZABLE
    assert search([], 0, apply) is Verdict.LINEARIZABLE


def test_a_stale_read() -> None:
    assert search([write(1, 2, 5, 0), read(3, 4, 0)], 0, apply) is Verdict.VIOLATION


def test_beside_each_other_either_may_be_first() -> None:
    assert search([write(1, 4, 5, 0), read(2, 3, 0)], 0, apply) is Verdict.LINEARIZABLE
    assert search([write(1, 4, 5, 0), read(2, 3, 5)], 0, apply) is Verdict.LINEARIZABLE


def test_what_was_seen_stays_seen() -> None:
    assert search([write(1, 9, 5, 0), read(2, 3, 5), read(4, 5, 0)], 0, apply) is Verdict.VIOLATION


def test_a_lost_update() -> None:
    assert search([write(1, 2, 5, 0), write(3, 4, 6, 0)], 0, apply) is Verdict.VIOLATION


def test_an_unknown_write_may_take_effect_late_or_never() -> None:
    unknown = write(1, None, 5)
    assert search([unknown, read(2, 3, 0), read(4, 5, 5)], 0, apply) is Verdict.LINEARIZABLE
    assert search([unknown, read(2, 3, 0), read(4, 5, 0)], 0, apply) is Verdict.LINEARIZABLE
    assert search([unknown, read(2, 3, 5), read(4, 5, 0)], 0, apply) is Verdict.VIOLATION
    assert search([unknown, read(0, 0.5, 5)], 0, apply) is Verdict.VIOLATION


def test_a_spent_budget_is_no_verdict() -> None:
    many = [write(1, None, value) for value in range(40)]
    assert search([*many, read(2, 3, 99)], 0, apply, budget=5_000) is Verdict.SPENT
    assert search([write(1, 2, 5, 0), read(3, 4, 0)], 0, apply, budget=1) is Verdict.SPENT


def test_it_agrees_with_trying_every_order() -> None:
    rng = random.Random(2)
    verdicts = set()
    for _ in range(300):
        history = []
        for _ in range(5):
            start = rng.uniform(0, 10)
            end = start + rng.uniform(0.1, 6)
            history.append(rng.choice([write(start, end, rng.randrange(3), rng.randrange(3)), read(start, end, rng.randrange(3))]))
        expected = any(_explains(order) for order in itertools.permutations(history))
        verdicts.add(expected)
        assert search(history, 0, apply) is (Verdict.LINEARIZABLE if expected else Verdict.VIOLATION)
    assert verdicts == {True, False}


def _explains(order: tuple[Invocation, ...]) -> bool:
    state: Any = 0
    for position, one in enumerate(order):
        if any(later.completed is not None and later.completed < one.invoked for later in order[position + 1 :]):
            return False
        state, answer = apply(state, one.call)
        if answer != one.answer:
            return False
    return True
