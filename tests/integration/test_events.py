"""Each event with its fields, from a real host on each database."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from jido_objects import events, process, watching
from jido_objects.errors import CallFailed, OutcomeUnknown, Overloaded, StoreError, StoreUnavailable, TurnTimeout, Unacceptable
from jido_objects.host import Host
from jido_objects.logs import FIELDS
from jido_objects.models import Lane, Term
from tests.app.objects import Counter, Sale, Slow, Small, SoldOut
from tests.child import child
from tests.listening import Told, listening


@pytest.fixture
def told(database: str) -> Iterator[Told]:
    with listening() as told:
        yield told


def _host() -> Host:
    host = process.own().host
    assert host is not None
    return host


def _hibernate(name: tuple[str, str]) -> bool:
    async def ask(host: Host) -> bool:
        # What was answered is not yet let go of in the same step.
        while not host.activations[name].idle:
            await asyncio.sleep(0.001)
        return host.hibernate(host.activations[name])

    return process.current().ask_blocking(ask, 10)


def _writer_once(how: Any) -> None:
    """Let the next append of the host go as ``how(real, batch)`` says."""
    writer: Any = _host().pipeline._writer
    real = writer.append

    async def append(batch: Any) -> Any:
        writer.append = real
        return await how(real, batch)

    writer.append = append


def _bury(database: str) -> None:
    """What a burial by another host leaves."""
    Lane.objects.using(database).all().delete()
    Term.objects.using(database).all().delete()
    connections[database].close()


def _turn(told: Told) -> events.TurnFinished:
    """The one turn that was told since the last."""
    (event,) = told.await_(events.TurnFinished)
    told.forget()
    return event


# -------------------------------------------------------------------------------------------- turns


def test_turns_by_outcome(told: Told) -> None:
    Counter.at("a").using(call_id="one").call(Counter.add, 2)
    event = _turn(told)
    assert (event.type, event.key, event.method, event.call_id, event.source) == ("app.Counter", "a", "add", "one", "local")
    assert (event.outcome, event.error, event.seq) == ("committed", None, 1)
    assert min(event.mailbox_seconds, event.turn_seconds, event.commit_seconds) >= 0
    Counter.at("a").using(call_id="one").call(Counter.add, 2)  # from the journal: no turn
    Counter.at("a").get("value")
    event = _turn(told)
    assert (event.method, event.outcome, event.error, event.seq) == ("get:value", "unchanged", None, None)
    Counter.at("a").call(Counter.noop)
    assert _turn(told).outcome == "unchanged"
    with pytest.raises(CallFailed):
        Counter.at("a").call(Counter.fail)
    event = _turn(told)
    assert (event.outcome, event.error, event.seq) == ("failed", "ValueError", None)
    sale = Sale.at("s")
    with pytest.raises(SoldOut):
        sale.call(Sale.reserve, "ann", 1000)
    event = _turn(told)
    assert (event.outcome, event.error, event.seq) == ("refused", "SoldOut", None)
    sale.call(Sale.reserve, "ann")
    assert _turn(told).seq == 1
    with pytest.raises(SoldOut):
        sale.using(call_id="own").call(Sale.reserve, "ann", 1000)
    event = _turn(told)
    assert (event.outcome, event.error, event.seq) == ("refused", "SoldOut", 2)
    with pytest.raises(TurnTimeout):
        Slow.at("t").call(Slow.wait, 5)
    event = _turn(told)
    assert (event.outcome, event.error, event.seq) == ("timeout", "TurnTimeout", None)
    assert event.turn_seconds > 0.3


def test_times_of_a_turn_that_had_to_wait(told: Told) -> None:
    async def main() -> None:
        slow = Slow.at("a")
        await asyncio.gather(slow.acall(Slow.wait, 0.3), slow.acall(Slow.wait, 0.0))

    asyncio.run(main())
    first, second = told.await_(events.TurnFinished, 2)
    assert first.turn_seconds > 0.25
    assert second.mailbox_seconds > 0.25
    assert second.turn_seconds < first.turn_seconds
    assert [first.seq, second.seq] == [1, 2]


def test_every_event_comes_on_the_hosts_thread(told: Told) -> None:
    Counter.at("a").call(Counter.add)
    thread = process.own().thread_id
    told.await_(events.TurnFinished)
    process.stop()
    told.await_(events.HostEnded)
    assert told.threads == {thread}


def test_a_turn_whose_rows_the_database_refuses_is_told_as_failed(told: Told) -> None:
    Counter.at("a").call(Counter.add)
    _turn(told)

    async def refuse(real: Any, batch: Any) -> Any:
        return [Unacceptable("as it is") for _ in batch]

    _writer_once(refuse)
    with pytest.raises(Unacceptable):
        Counter.at("a").call(Counter.add)
    (failed,) = told.await_(events.CommitFailed)
    assert failed == events.CommitFailed(1, 1, "Unacceptable")
    (left,) = told.await_(events.ActivationLeft)
    assert (left.how, "its rows were not written" in left.why) == ("dropped", True)
    event = _turn(told)
    assert (event.outcome, event.error, event.seq) == ("failed", "Unacceptable", None)
    assert Counter.at("a").call(Counter.add) == 2


def test_an_overloaded_object(told: Told) -> None:
    async def main() -> None:
        small = Small.at("a")
        calls = [asyncio.ensure_future(small.acall(Small.linger, 0.2))]
        calls += [asyncio.ensure_future(small.acall(Small.put, str(n), "x")) for n in range(8)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(answer, Overloaded) for answer in answers) == 1

    asyncio.run(main())
    (event,) = told.await_(events.ObjectOverloaded)
    assert (event.type, event.key, event.method, event.limit) == ("app.Small", "a", "put", 8)
    assert len(told.await_(events.TurnFinished, 8)) == 8


def test_a_turn_that_holds_the_loop(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "jido_objects.host"):
        Slow.at("a").using(call_id="long").call(Slow.hold, 0.15)
    (event,) = told.await_(events.LoopHeld)
    assert (event.type, event.key, event.method, event.call_id) == ("app.Slow", "a", "hold", "long")
    assert event.seconds > 0.1
    record = next(record for record in caplog.records if "held the host's loop" in record.getMessage())
    fields = {name: getattr(record, name) for name in FIELDS}
    assert fields == {"object_type": "app.Slow", "object_key": "a", "method": "hold", "call_id": "long", "term": None}


# -------------------------------------------------------------------------------------------- commits


def test_batches(told: Told) -> None:
    async def main() -> None:
        await asyncio.gather(*(Counter.at(n % 5).acall(Counter.add) for n in range(50)))

    asyncio.run(main())
    told.await_(events.TurnFinished, 50)
    batches = told.of(events.BatchCommitted)
    assert sum(batch.rows for batch in batches) == 50
    assert max(batch.objects for batch in batches) == 5
    assert all(batch.bytes > 0 and batch.seconds > 0 and 0 < batch.objects <= batch.rows for batch in batches)


@pytest.mark.parametrize("landed", [False, True])
def test_an_unknown_outcome_and_what_became_of_it(told: Told, landed: bool) -> None:
    Counter.at("a").call(Counter.add)
    _turn(told)

    async def lose(real: Any, batch: Any) -> Any:
        if landed:
            await real(batch)
        raise OutcomeUnknown("append", "the connection broke")

    _writer_once(lose)
    assert Counter.at("a").call(Counter.add) == 2
    (settled,) = told.await_(events.CommitSettled)
    assert (settled.rows, settled.committed) == (1, int(landed))
    assert settled.seconds >= 0
    assert told.of(events.CommitUnknown) == [events.CommitUnknown(1, 1, "OutcomeUnknown")]
    (left,) = told.of(events.ActivationLeft)
    assert (left.how, left.why) == ("dropped", "its rows were in flight when the connection broke")
    assert len(told.of(events.BatchCommitted)) == (0 if landed else 1)
    event = _turn(told)
    assert (event.outcome, event.seq) == ("committed", 2)


def test_a_batch_that_was_not_written_runs_again_and_is_told_once(told: Told) -> None:
    Counter.at("a").call(Counter.add)
    _turn(told)

    async def fail(real: Any, batch: Any) -> Any:
        raise StoreUnavailable("down for a moment")

    _writer_once(fail)
    assert Counter.at("a").call(Counter.add) == 2
    assert told.await_(events.CommitFailed) == [events.CommitFailed(1, 1, "StoreUnavailable")]
    told.await_(events.BatchCommitted)
    event = _turn(told)
    assert (event.outcome, event.seq) == ("committed", 2)


def test_a_call_that_ended_without_the_turn_that_was_to_run_again_is_no_turn(told: Told) -> None:
    Counter.at("a").call(Counter.add)
    _turn(told)
    batcher: Any = _host().recalling

    async def fail(real: Any, batch: Any) -> Any:
        raise StoreUnavailable("down for a moment")

    async def recall(questions: Any) -> Any:
        raise StoreError("the journal cannot be asked")

    real, batcher._fetch = batcher._fetch, recall
    _writer_once(fail)
    with pytest.raises(StoreError, match="cannot be asked"):
        Counter.at("a").call(Counter.add)
    batcher._fetch = real
    assert Counter.at("a").call(Counter.add) == 2
    assert _turn(told).seq == 2


def test_snapshots(told: Told) -> None:
    for n in range(6):
        Small.at("a").call(Small.put, str(n), "x" * 100)
    process.stop()
    written = told.of(events.SnapshotsWritten)
    assert sum(event.snapshots for event in written) >= 1
    assert all(event.bytes > 100 and event.seconds > 0 for event in written)


# -------------------------------------------------------------------------------------------- activations


def test_into_memory_and_out_of_it(told: Told) -> None:
    for _ in range(3):
        Counter.at("a").call(Counter.add)
    (thawed,) = told.of(events.ActivationThawed)
    assert (thawed.type, thawed.key, thawed.tail) == ("app.Counter", "a", 0)
    assert _hibernate(("app.Counter", "a"))
    assert told.await_(events.ActivationLeft) == [events.ActivationLeft("app.Counter", "a", "hibernated", "")]
    told.forget()
    assert Counter.at("a").get("value") == 3
    (thawed,) = told.await_(events.ActivationThawed)
    assert thawed.tail == 3
    assert thawed.seconds > 0
    told.forget()
    Counter.at("nobody").get("value")
    told.await_(events.ActivationLeft)
    assert [event.name for event in told.events if isinstance(event, events.ActivationThawed | events.ActivationLeft)] == [
        "activation_thawed",
        "activation_left",
    ]
    assert told.of(events.ActivationLeft) == [events.ActivationLeft("app.Counter", "nobody", "absent", "")]
    told.forget()
    process.stop()
    assert told.of(events.ActivationLeft) == [events.ActivationLeft("app.Counter", "a", "stopped", "")]


def test_full_memory_evicts(told: Told, settings: Any) -> None:
    settings.JIDO_OBJECTS = {**settings.JIDO_OBJECTS, "MAX_ACTIVATIONS": 2}
    for key in "abcd":
        Counter.at(key).call(Counter.add)
    left = told.await_(events.ActivationLeft, 2)
    assert [(event.key, event.how) for event in left[:2]] == [("a", "evicted"), ("b", "evicted")]


def test_what_was_thawed_leaves_once(told: Told, database: str, settings: Any) -> None:
    """Through evictions, drops, lost terms and a stop: a gauge made of these two events ends at zero."""
    settings.JIDO_OBJECTS = {**settings.JIDO_OBJECTS, "MAX_ACTIVATIONS": 8}

    async def storm() -> None:
        for round_ in range(6):
            if round_ in (2, 4):
                await asyncio.to_thread(_bury, database)
            await asyncio.gather(*(Counter.at(n % 12).acall(Counter.add if n % 3 else Counter.noop) for n in range(60)))
        await Counter.at("dropped").acall(Counter.add)
        await process.current().ask(drop)

    async def drop(host: Host) -> None:
        host.drop(host.activations["app.Counter", "dropped"], "a test")

    asyncio.run(storm())
    process.stop()
    balance: dict[str, int] = {}
    for event in told.events:
        if isinstance(event, events.ActivationThawed):
            balance[event.key] = balance.get(event.key, 0) + 1
        elif isinstance(event, events.ActivationLeft):
            balance[event.key] -= 1
        assert all(count in (0, 1) for count in balance.values()), event
    assert set(balance.values()) == {0}
    assert {"evicted", "dropped", "stopped", "absent"} <= {event.how for event in told.of(events.ActivationLeft)}
    assert len(told.of(events.TermLost)) == 2
    assert len(told.of(events.TurnFinished)) == 361


# -------------------------------------------------------------------------------------------- hosts, terms, leases


def test_a_host_begins_and_ends(told: Told, database: str) -> None:
    Counter.at("a").call(Counter.add)
    term = Term.objects.using(database).get().pk
    process.stop()
    kinds = (events.HostStarted, events.TermBegun, events.ActivationThawed, events.BatchCommitted, events.TurnFinished)
    assert [type(event) for event in told.events] == [*kinds, events.ActivationLeft, events.HostEnded]
    (started,) = told.of(events.HostStarted)
    assert started.store == _store_name(database)
    assert told.of(events.TermBegun) == [events.TermBegun(term)]
    (ended,) = told.of(events.HostEnded)
    assert ended.drained is True
    assert ended.seconds >= 0


def _store_name(database: str) -> str:
    from jido_objects.stores.opening import open_store

    return open_store(database).name


def test_a_host_that_cannot_drain_says_so(told: Told) -> None:
    async def main() -> None:
        slow = asyncio.ensure_future(Slow.at("a").using(timeout=20).acall(Slow.wait, 0.4))
        while not (process.own().host and _host().activations and next(iter(_host().activations.values())).turn):
            await asyncio.sleep(0.001)
        await process.current().ask(lambda host: host.stop(grace=0.01))
        await asyncio.gather(slow, return_exceptions=True)

    asyncio.run(main())
    (ended,) = told.await_(events.HostEnded)
    assert ended.drained is False


def test_a_lost_term(told: Told, database: str, caplog: pytest.LogCaptureFixture) -> None:
    Counter.at("a").call(Counter.add)
    told.await_(events.TurnFinished)
    told.forget()
    term = Term.objects.using(database).get().pk
    _bury(database)
    with caplog.at_level(logging.WARNING, "jido_objects.host"):
        assert Counter.at("a").call(Counter.add) == 2
    assert told.await_(events.TermLost) == [events.TermLost(term, 1)]
    (begun,) = told.await_(events.TermBegun)
    assert begun.term != term
    record = next(record for record in caplog.records if "was buried" in record.getMessage())
    assert record.__dict__["term"] == str(term)


def test_a_dead_process_is_buried(told: Told, database: str, settings: Any) -> None:
    settings.JIDO_OBJECTS = {**settings.JIDO_OBJECTS, "LEASE_SECONDS": 60.0}
    with child(dict(settings.JIDO_OBJECTS)) as other:
        assert other.ask("Counter.at('a').call('add')") == "1"
        term = Term.objects.using(database).get().pk
        other.process.send_signal(signal.SIGKILL)
        other.process.wait()
        assert Counter.at("a").call(Counter.add) == 2
    assert told.await_(events.TermBuried) == [events.TermBuried(term, True)]


def test_a_stuck_loop_fails_its_lease_and_renews_it_late(told: Told, database: str, settings: Any) -> None:
    settings.JIDO_OBJECTS = {**settings.JIDO_OBJECTS, "LEASE_SECONDS": 1.0, "STALL_SECONDS": 0.1}
    Counter.at("a").call(Counter.add)
    term = Term.objects.using(database).get().pk
    Slow.at("a").call(Slow.hold, 1.2)
    failed = told.await_(events.LeaseFailed)[0]
    assert (failed.term, failed.error) == (term, "stuck")
    if connections[database].vendor == "postgresql":
        late = told.await_(events.LeaseRenewedLate)[0]
        assert late.term == term
        assert late.trust_left < 0.5
    assert told.threads == {process.own().thread_id}


# -------------------------------------------------------------------------------------------- a bad subscriber, and none


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(2), asyncio.CancelledError()])
def test_a_subscriber_that_raises_disturbs_nothing(database: str, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    @events.subscribe
    def careless(event: events.Event) -> None:
        seen.append(event.name)
        raise error

    try:
        for n in range(1, 4):
            assert Counter.at("a").call(Counter.add) == n
        with pytest.raises(SoldOut):
            Sale.at("s").call(Sale.reserve, "ann", 1000)
        process.stop()
        assert Counter.at("a").call(Counter.add) == 4
        process.stop()
    finally:
        events.unsubscribe(careless)
    logged = [record for record in caplog.records if record.name == "jido_objects.events"]
    assert len(logged) == len(set(seen))
    assert len(set(seen)) >= 6
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR and record not in logged]


def test_nobody_listening_nothing_is_made(database: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is told when somebody listens happens here, or nearly so."""
    settings.JIDO_OBJECTS = {**settings.JIDO_OBJECTS, "MAX_ACTIVATIONS": 4}
    made: list[Any] = []
    monkeypatch.setattr(events, "emit", made.append)
    monkeypatch.setattr(watching, "Watch", lambda now: made.append(now))
    for kind in events.KINDS.values():
        monkeypatch.setattr(events, kind.__name__, lambda *fields: made.append(fields))

    async def refuse(real: Any, batch: Any) -> Any:
        return [None for _ in batch]

    async def lose(real: Any, batch: Any) -> Any:
        raise OutcomeUnknown("append", "the connection broke")

    async def fail(real: Any, batch: Any) -> Any:
        raise StoreUnavailable("down for a moment")

    async def overload() -> None:
        small = Small.at("a")
        calls = [asyncio.ensure_future(small.acall(Small.linger, 0.1))]
        calls += [asyncio.ensure_future(small.acall(Small.put, str(n), "x")) for n in range(8)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(answer, Overloaded) for answer in answers) == 1

    assert Counter.at("a").call(Counter.add) == 1
    for n, how in enumerate((refuse, lose, fail)):
        _writer_once(how)
        assert Counter.at("a").call(Counter.add) == n + 2
    assert Counter.at("a").get("value") == 4
    assert Counter.at("nobody").get("value") == 0
    assert _hibernate(("app.Counter", "a"))
    assert asyncio.run(Slow.at("b").acall(Slow.wait, 0)) == 1
    Slow.at("b").call(Slow.hold, 0.1)
    asyncio.run(overload())
    _bury(database)
    assert Counter.at("a").call(Counter.add) == 5
    for key in "cdefgh":
        assert Counter.at(key).call(Counter.add) == 1
    with pytest.raises(SoldOut):
        Sale.at("s").call(Sale.reserve, "ann", 1000)
    with child(dict(settings.JIDO_OBJECTS)) as other:
        assert other.ask("Counter.at('killed').call('add')") == "1"
        other.process.send_signal(signal.SIGKILL)
        other.process.wait()
        assert Counter.at("killed").call(Counter.add) == 2
    process.stop()
    assert made == []


def test_a_subscriber_that_comes_late_is_told_what_is_whole(database: str) -> None:
    async def main() -> None:
        slow = Slow.at("a")
        first = asyncio.ensure_future(slow.acall(Slow.wait, 0.3))
        second = asyncio.ensure_future(slow.acall(Slow.wait, 0.0))
        # Its code runs: `turn` alone is set a step earlier.
        while not (process.own().host and any(one.instance.done for one in _in_turn(_host()))):
            await asyncio.sleep(0.001)
        with listening(events.TurnFinished) as told:
            assert await asyncio.gather(first, second) == [1, 2]
            await asyncio.to_thread(told.await_, events.TurnFinished)
        # The first turn had begun before; of the second nobody saw it come.
        (event,) = told.of(events.TurnFinished)
        assert (event.seq, event.mailbox_seconds) == (2, 0.0)

    asyncio.run(main())


def _in_turn(host: Host) -> list[Any]:
    return [activation for activation in list(host.activations.values()) if activation.turn is not None]


def test_records_about_a_call_name_it(database: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(CallFailed):
        Counter.at("a").using(call_id="mine").call(Counter.fail)
    record = next(record for record in caplog.records if record.name == "jido_objects.turn")
    fields = {name: getattr(record, name) for name in FIELDS}
    assert fields == {"object_type": "app.Counter", "object_key": "a", "method": "fail", "call_id": "mine", "term": None}
    call_id = Counter.at("a").cast(Counter.fail)
    assert Counter.at("a").get("value") == 0
    record = next(record for record in caplog.records if record.name == "jido_objects.router")
    assert record.__dict__["call_id"] == call_id
    assert record.getMessage().startswith("The cast app.Counter('a').fail failed: CallFailed: app.Counter('a').fail raised ValueError")
