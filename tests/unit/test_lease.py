"""The trust window: tests are named for the property they hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from jido_objects.errors import StoreUnavailable
from jido_objects.lease import Keeper, Lease


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return datetime.now(UTC)


class Store:
    """Answers renewals as it is told."""

    def __init__(self, answer: Callable[[], Awaitable[bool]]) -> None:
        self.renew = lambda term, seconds: answer()


def _lease(clock: Clock) -> Lease:
    return Lease(uuid4(), 10.0, clock, runs_out=True)


def _tick(clock: Clock, lease: Lease | None, answer: Callable[[], Awaitable[bool]], **told: Any) -> tuple[float, list[str]]:
    events: list[str] = []
    keeper = Keeper(
        Store(answer),  # type: ignore[arg-type]
        clock,
        lambda: lease,
        stuck=told.get("stuck", lambda: False),
        renewed=lambda lease: events.append("renewed"),
        lost=lambda lease: events.append("lost"),
    )
    return asyncio.run(keeper.tick()), events


def test_trust_begins_with_the_first_success_and_ends_before_the_lease() -> None:
    clock = Clock()
    lease = _lease(clock)
    assert not lease.trusted()
    lease.confirm(clock.time)
    assert lease.trusted()
    clock.time += 8.99
    assert lease.trusted()
    clock.time += 0.02
    assert not lease.trusted()


def test_a_slow_renewal_does_not_extend_the_trust_window() -> None:
    clock = Clock()
    lease = _lease(clock)

    async def slowly() -> bool:
        clock.time += 7
        return True

    pause, events = _tick(clock, lease, slowly)
    assert events == ["renewed"]
    assert lease.trusted_until == 100 + 9
    assert pause == 0


def test_an_earlier_attempt_does_not_shorten_it() -> None:
    clock = Clock()
    lease = _lease(clock)
    lease.confirm(105)
    lease.confirm(101)
    assert lease.trusted_until == 105 + 9


def test_a_failed_renewal_proves_nothing_and_is_tried_again_soon() -> None:
    clock = Clock()
    lease = _lease(clock)
    lease.confirm(100)

    async def fail() -> bool:
        raise StoreUnavailable("down")

    pause, events = _tick(clock, lease, fail)
    assert events == []
    assert lease.trusted()
    assert pause < 10 / 5


def test_a_buried_term_is_told_at_once() -> None:
    clock = Clock()

    async def gone() -> bool:
        return False

    assert _tick(clock, _lease(clock), gone)[1] == ["lost"]


def test_a_stuck_host_is_not_renewed() -> None:
    clock = Clock()
    asked: list[int] = []

    async def count() -> bool:
        asked.append(1)
        return True

    assert _tick(clock, _lease(clock), count, stuck=lambda: True)[1] == []
    assert asked == []


def test_where_life_is_a_lock_trust_does_not_run_out() -> None:
    clock = Clock()
    lease = Lease(uuid4(), 10.0, clock, runs_out=False)
    clock.time += 1e9
    assert lease.trusted()


def test_without_a_term_nothing_is_renewed() -> None:
    async def never() -> bool:
        raise AssertionError

    assert _tick(Clock(), None, never)[1] == []
