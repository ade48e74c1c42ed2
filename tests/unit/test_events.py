"""The registry of events, and what it costs and spoils: nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Any
from uuid import uuid4

import pytest

from jido_objects import events
from jido_objects.errors import ConfigurationError, StoreUnavailable
from jido_objects.lease import Keeper, Lease
from tests.listening import Told, listening
from tests.unit.test_lease import Clock, Store

SNAPSHOTS = events.SnapshotsWritten(1, 2, 0.5)
BURIED = events.TermBuried(uuid4(), True)


def test_nobody_listens_at_first() -> None:
    assert not events.listening


def test_a_subscriber_gets_all_kinds_or_those_it_names() -> None:
    with listening() as everything, listening(events.TermBuried, events.TermLost) as some:
        events.emit(SNAPSHOTS)
        events.emit(BURIED)
        assert everything.events == [SNAPSHOTS, BURIED]
        assert some.events == [BURIED]
    events.emit(BURIED)
    assert some.events == [BURIED]
    assert not events.listening


def test_subscribing_again_replaces_the_kinds() -> None:
    told = Told()
    assert events.subscribe(told) is told
    events.subscribe(told, events.TermLost)
    events.emit(BURIED)
    assert told.events == []
    assert len(events.listening) == 1
    events.unsubscribe(told)
    events.unsubscribe(told)
    assert not events.listening


def test_a_bound_method_can_be_unsubscribed() -> None:
    class Counts:
        n = 0

        def take(self, event: events.Event) -> None:
            self.n += 1

    counts = Counts()
    events.subscribe(counts.take)
    events.emit(BURIED)
    events.unsubscribe(counts.take)
    events.emit(BURIED)
    assert counts.n == 1


def test_a_subscriber_may_leave_while_it_is_told() -> None:
    told = Told()

    @events.subscribe
    def once(event: events.Event) -> None:
        events.unsubscribe(once)
        told(event)

    with listening() as after:
        events.emit(BURIED)
        events.emit(BURIED)
        assert told.events == [BURIED]
        assert after.events == [BURIED, BURIED]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), asyncio.CancelledError(), KeyboardInterrupt()])
def test_what_raises_is_logged_once_per_kind_and_others_are_told(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    @events.subscribe
    def careless(event: events.Event) -> None:
        raise error

    try:
        with listening() as told:
            for event in (BURIED, SNAPSHOTS, BURIED, SNAPSHOTS):
                events.emit(event)
            assert told.events == [BURIED, SNAPSHOTS, BURIED, SNAPSHOTS]
        assert [record.name for record in caplog.records] == ["jido_objects.events"] * 2
        assert "term_buried" in caplog.records[0].getMessage()
        assert caplog.records[0].exc_info is not None
        assert caplog.records[0].exc_info[1] is error
    finally:
        events.unsubscribe(careless)
    events.subscribe(careless)
    try:
        events.emit(BURIED)
        assert len(caplog.records) == 3, "it came back, and may be told of again"
    finally:
        events.unsubscribe(careless)


async def _coroutine(event: events.Event) -> None:
    pass


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((3,), "plain function"), ((_coroutine,), "plain function"), ((print, "turn_finished"), "no kind"), ((print, int), "no kind")],
)
def test_what_cannot_subscribe_is_refused(arguments: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        events.subscribe(*arguments)
    assert not events.listening


def test_events_are_frozen_and_slotted_and_named() -> None:
    assert events.TurnFinished.name == "turn_finished"
    for name, kind in events.KINDS.items():
        assert kind.name == name
        assert getattr(events, kind.__name__) is kind
        assert not hasattr(kind, "__dict__") or "__dict__" not in dir(kind.__new__(kind)), name
    with pytest.raises(dataclasses.FrozenInstanceError):
        BURIED.proven = False  # type: ignore[misc]


# -------------------------------------------------------------------------------------------- the lease keeper's


def _keep(store: Any, clock: Clock, lease: Lease, *, stuck: bool = False) -> None:
    keeper = Keeper(store, clock, lambda: lease, stuck=lambda: stuck, renewed=lambda lease: None, lost=lambda lease: None)
    asyncio.run(keeper.tick())


def test_a_lease_that_fails_or_is_renewed_late_is_told(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    lease = Lease(uuid4(), 10.0, clock, runs_out=True)
    lease.confirm(100.0)

    async def fine() -> bool:
        return True

    async def down() -> bool:
        raise StoreUnavailable("down")

    with listening() as told:
        clock.time = 102.0
        _keep(Store(fine), clock, lease)
        assert told.events == []
        clock.time = 105.0
        with caplog.at_level(logging.CRITICAL, "jido_objects.lease"):
            _keep(Store(down), clock, lease)
        assert told.events == [events.LeaseFailed(lease.term, "StoreUnavailable", 6.0)]
        told.forget()
        clock.time = 107.0
        _keep(Store(fine), clock, lease, stuck=True)
        assert told.events == [events.LeaseFailed(lease.term, "stuck", 4.0)]
        told.forget()
        clock.time = 112.0
        _keep(Store(fine), clock, lease)
        assert told.events == [events.LeaseRenewedLate(lease.term, -1.0)]
        told.forget()
        clock.time = 115.9
        _keep(Store(fine), clock, lease)
        assert told.events == [], "more than half of it is left"
        clock.time = 120.0
        _keep(Store(fine), clock, lease)
        (late,) = told.of(events.LeaseRenewedLate)
        assert late.trust_left == pytest.approx(4.9)


def test_where_life_is_a_lock_no_renewal_is_late() -> None:
    clock = Clock()
    lease = Lease(uuid4(), 10.0, clock, runs_out=False)

    async def fine() -> bool:
        return True

    with listening() as told:
        clock.time += 1000
        _keep(Store(fine), clock, lease)
        assert told.events == []
