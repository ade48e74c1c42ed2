"""``@transactional``: rows and state together, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections, transaction

from jido_objects import DurableObject, process, query, transactional
from jido_objects.errors import (
    BlockingCall,
    CallFailed,
    CallIdReused,
    CallTimeout,
    ConfigurationError,
    DeadlineExceeded,
    DefinitionError,
    InvalidArguments,
    StateTooLarge,
    TurnTimeout,
)
from jido_objects.limits import TRANSACTION_THREADS, TRANSACTIONS_ABANDONED
from jido_objects.models import Journal, Lane, Object, Snapshot, Term
from jido_objects.stores.postgresql_transactions import PostgresLane
from jido_objects.stores.sqlite_transactions import SqliteLane
from jido_objects.transaction_thread import TransactionThread
from tests.app import shops
from tests.app.models import Customer, Order
from tests.app.objects import Counter
from tests.app.shops import Awaiting, Closed, Gates, Opened, Shop


@pytest.fixture(autouse=True)
def gates(database: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    gates = Gates()
    monkeypatch.setattr(shops, "gates", gates)
    monkeypatch.setattr(shops, "happened", [])
    yield gates
    gates.leave.set()
    process.stop()


def _until(probe: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _agree(database: str, key: str = "a") -> int:
    """The object and its rows tell the same; returns how many there are."""
    numbers = sorted(Order.objects.using(database).filter(shop=key).values_list("number", flat=True))
    state = Shop.at(key).peek() or {"sold": 0}
    assert numbers == list(range(1, state["sold"] + 1))
    return len(numbers)


# ---------------------------------------------------------------- together or not at all


def test_rows_and_state_commit_together(database: str) -> None:
    shop = Shop.at("a")
    assert [shop.call(Shop.order) for _ in range(3)] == [1, 2, 3]
    assert _agree(database) == 3
    process.stop()
    assert Shop.at("a").call(Shop.order) == 4
    rows = Journal.objects.using(database).order_by("seq").values_list("seq", "method")
    assert list(rows) == [(n, "order") for n in range(1, 5)]


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ("error", CallFailed, "ValueError: out of paper"),
        ("stop", CallFailed, "StopIteration: no more"),
        ("cancelled", CallFailed, "CancelledError"),
        ("exit", CallFailed, "SystemExit"),
        ("refuse", Closed, "closed after 2"),
        ("clean", Closed, "closed after 2"),
        ("constraint", CallFailed, "IntegrityError"),
        ("deferred", CallFailed, "IntegrityError"),
        ("caught", CallFailed, "TransactionManagementError.*cannot be committed"),
        ("marked", CallFailed, "TransactionManagementError.*marked for rollback"),
        ("commit", CallFailed, "StateError: COMMIT in a @transactional method"),
        ("close", CallFailed, "cannot be committed: it closed its connection"),
        ("too large", StateTooLarge, "4096"),
    ],
)
def test_whatever_fails_takes_both_with_it(how: str, error: type[Exception], text: str, database: str) -> None:
    shop = Shop.at("a")
    shop.call(Shop.order)
    with pytest.raises(error, match=text) as caught:
        shop.call(Shop.order, how)
    assert caught.value.applied is False  # type: ignore[attr-defined]
    assert _agree(database) == 1
    # On the same activation, with nothing left of the one before.
    assert shop.call(Shop.order) == 2
    assert shop.get("names") == ["1", "2"]
    assert _agree(database) == 2


def test_an_error_inside_of_an_inner_atomic_can_be_caught(database: str) -> None:
    assert Shop.at("a").call(Shop.caught_inside_its_own) == 1
    assert _agree(database) == 1


def test_an_error_caught_in_a_cursor_has_spoilt_the_transaction(database: str) -> None:
    if connections[database].vendor != "postgresql":
        pytest.skip("not applicable: in SQLite a failed statement leaves the transaction as it was")
    with pytest.raises(CallFailed, match="a database error was caught in it"):
        Shop.at("a").call(Shop.order, "caught in a cursor")
    assert Shop.at("a").call(Shop.order) == 1
    assert _agree(database) == 1


def test_plain_turns_and_transactions_take_turns(database: str) -> None:
    """A transaction starts when all before it is committed, and what comes after it waits."""

    async def main() -> list[Any]:
        shop = Shop.at("a")
        calls = []
        for _ in range(10):
            calls += [shop.acall(Shop.plain), shop.acall(Shop.order), shop.acall(Shop.plain), shop.aget("sold"), shop.acall(Shop.count)]
        return await asyncio.gather(*calls)

    answers = asyncio.run(main())
    assert answers == [n for turn in range(10) for n in (3 * turn + 1, 3 * turn + 2, 3 * turn + 3, 3 * turn + 3, 3 * turn + 3)]
    rows = Journal.objects.using(database).order_by("seq").values_list("seq", flat=True)
    assert list(rows) == list(range(1, 31))
    assert sorted(Order.objects.using(database).values_list("number", flat=True)) == [3 * turn + 2 for turn in range(10)]


def test_a_turn_that_changes_only_rows_leaves_its_own_row_too(database: str) -> None:
    """Else its retry would find nothing, and write the rows again."""
    shop = Shop.at("a")
    shop.call(Shop.row_only)
    shop.using(call_id="once").call(Shop.row_only)
    shop.using(call_id="once").call(Shop.row_only)
    assert Order.objects.using(database).count() == 2
    assert Journal.objects.using(database).count() == 2
    assert shop.exists()


def test_an_object_created_by_a_transaction(database: str) -> None:
    assert Opened.at("a").call(Opened.touch) == "on_create"
    assert Order.objects.using(database).get().number == 0
    process.stop()
    assert Opened.at("a").call(Opened.touch) == "on_create"
    assert Order.objects.using(database).count() == 1


def test_a_refused_creation_creates_nothing(database: str) -> None:
    with pytest.raises(Closed):
        Shop.at("a").using(call_id="mine").call(Shop.order, "refuse")
    assert not Shop.at("a").exists()
    assert not Order.objects.using(database).exists()


def test_ids_are_applied_once_and_refusals_recorded(database: str) -> None:
    shop = Shop.at("a")
    shop.call(Shop.order)
    for _ in range(2):
        assert shop.using(call_id="two").call(Shop.order) == 2
        with pytest.raises(Closed):
            shop.using(call_id="no").call(Shop.order, "refuse")
        process.stop()
    with pytest.raises(CallIdReused):
        shop.using(call_id="two").call(Shop.order, "error")
    assert _agree(database) == 2
    assert Journal.objects.using(database).count() == 3


def test_snapshots_are_taken_and_thawed(database: str) -> None:
    for n in range(1, 10):
        assert Shop.at("a").call(Shop.order) == n
    _until(lambda: Snapshot.objects.using(database).exists())
    newest = Snapshot.objects.using(database).order_by("seq").last()
    assert newest is not None
    assert f'"sold":{newest.seq}' in newest.document
    process.stop()
    assert Shop.at("a").call(Shop.order) == 10
    assert _agree(database) == 10


# ---------------------------------------------------------------- where it may be called, and what it may call


def test_inside_an_outer_atomic_it_is_refused_before_anything_happens(database: str) -> None:
    with transaction.atomic(using=database), pytest.raises(BlockingCall, match=r"non_atomic_requests\).*send") as caught:
        Shop.at("a").call(Shop.order)
    assert caught.value.applied is False
    assert not Shop.at("a").exists()
    assert Shop.at("a").call(Shop.order) == 1


def test_a_transaction_cannot_wait_for_another_object(database: str) -> None:
    said = Shop.at("a").call(Shop.call_others)
    assert "a turn may not block" in said
    assert "send" in said
    assert not Counter.at("x").exists()


def test_rows_of_another_database_cannot_be_part_of_it(database: str) -> None:
    other = "postgres" if database == "default" else "default"
    with pytest.raises(CallFailed, match=f"wrote to database '{other}', and its transaction is on '{database}'"):
        Shop.at("a").call(Shop.elsewhere, other)
    assert not Order.objects.using(other).exists()
    assert not Shop.at("a").exists()


def test_a_store_without_transactions(database: str) -> None:
    Counter.at("x").call(Counter.add)
    running = process.running()
    assert running is not None
    assert running.host is not None
    running.host.transactions = None
    with pytest.raises(ConfigurationError, match="@transactional"):
        Shop.at("a").call(Shop.order)
    assert Shop.at("a").call(Shop.plain) == 1


class TestDefinitions:
    def test_async(self) -> None:
        with pytest.raises(DefinitionError, match=r"write `def pay\(self"):

            class Bad(DurableObject):
                @transactional
                async def pay(self) -> None: ...

    def test_query(self) -> None:
        with pytest.raises(DefinitionError, match="Drop one of the two"):

            class Bad(DurableObject):
                @transactional
                @query
                def look(self) -> None: ...

    def test_hook(self) -> None:
        with pytest.raises(DefinitionError, match="mark that method"):

            class Bad(DurableObject):
                @transactional
                def on_create(self) -> None: ...

    def test_an_async_on_create_has_no_place_on_a_thread(self) -> None:
        with pytest.raises(DefinitionError, match="def on_create"):

            class Bad(DurableObject):
                async def on_create(self) -> None: ...

                @transactional
                def pay(self) -> None: ...


# ---------------------------------------------------------------- time


def test_a_turn_over_its_time_is_rolled_back_and_what_it_does_later_is_nothing(database: str, gates: Gates) -> None:
    shop = Shop.at("a")
    assert shop.call(Shop.order) == 1
    lanes = _lanes(database)
    with pytest.raises(TurnTimeout, match=r"3\.0 s") as caught:
        shop.call(Shop.wait)
    assert caught.value.applied is False
    # The thread is still inside. Its locks are gone all the same, so the object goes on, with another thread.
    assert shop.call(Shop.order) == 2
    gates.leave.set()
    _until(lambda: not any(thread.name == "jido-transaction-1" for thread in threading.enumerate()))
    _until(lambda: _pool()._abandoned == 0)
    assert shop.call(Shop.order) == 3
    assert shop.get("last") == ""
    assert _agree(database) == 3
    # The lane of the thread that was left behind has gone with its transaction.
    assert len(lanes - _lanes(database)) == (1 if connections[database].vendor == "postgresql" else 0)


def test_the_callers_deadline_bounds_it_too(database: str, gates: Gates) -> None:
    with pytest.raises((TurnTimeout, CallTimeout)):
        Shop.at("a").using(timeout=0.3).call(Shop.wait)
    gates.leave.set()
    assert Shop.at("a").call(Shop.order) == 1
    assert _agree(database) == 1


def test_what_waits_for_a_thread_can_be_withdrawn(database: str, gates: Gates) -> None:
    """And whoever waits is served in the order of asking."""
    threads = _threads(database)
    with ThreadPoolExecutor(threads + 1) as callers:
        busy = [callers.submit(Shop.at(f"busy {n}").call, Shop.wait) for n in range(threads)]
        for _ in range(threads):
            assert gates.inside.acquire(timeout=10)
        with pytest.raises(DeadlineExceeded) as caught:
            Shop.at("late").using(timeout=0.2).call(Shop.order)
        assert caught.value.applied is False
        gates.leave.set()
        assert [future.result() for future in busy] == [1] * threads
    assert not Shop.at("late").exists()
    assert Shop.at("late").call(Shop.order) == 1


def test_more_transactions_than_threads_queue_in_order(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    serve = TransactionThread._serve

    def noted(self: TransactionThread, job: Any) -> None:
        served.append(job.body.__self__.call.name[1])
        serve(self, job)

    monkeypatch.setattr(TransactionThread, "_serve", noted)

    async def main() -> None:
        keys = [f"{n:02}" for n in range(30)]
        await asyncio.gather(*(Shop.at(key).acall(Shop.plain) for key in keys))
        await asyncio.gather(*(Shop.at(key).acall(Shop.order) for key in keys))

    asyncio.run(main())
    threads = _threads(database)
    assert len(served) == 30
    # Threads are given out in the order of asking; which of them begins first is theirs.
    for place, key in enumerate(served):
        assert abs(int(key) - place) < 2 * threads
    assert sum(thread.name.startswith("jido-transaction") for thread in threading.enumerate()) <= threads


def test_so_many_threads_are_left_behind_and_no_more(database: str, gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jido_objects.transactions.TRANSACTIONS_ABANDONED", 2)
    assert TRANSACTIONS_ABANDONED > 2
    monkeypatch.setattr("jido_objects.transactions.TRANSACTION_THREADS", 1)
    for n in range(2):
        with pytest.raises((TurnTimeout, CallTimeout)):
            Shop.at(n).using(timeout=0.3).call(Shop.wait)
    with pytest.raises(DeadlineExceeded):
        Shop.at("a").using(timeout=0.3).call(Shop.order)
    gates.leave.set()
    assert Shop.at("a").call(Shop.order) == 1
    assert _agree(database) == 1
    # The first one's transaction was ended by the thread in its place, the second one's by nobody: it is refused all the same.
    _until(lambda: len(gates.refused) == 4)
    assert [name for key, name in gates.refused if key == "1"] == ["StateError", "StateError"]


def test_stop_ends_what_is_inside_and_nothing_of_it_is_applied(database: str, gates: Gates) -> None:
    with ThreadPoolExecutor(1) as callers:
        call = callers.submit(Shop.at("a").call, Shop.wait)
        assert gates.inside.acquire(timeout=10)
        running = process.running()
        assert running is not None
        assert running.host is not None
        host = running.host
        asyncio.run_coroutine_threadsafe(host.stop(grace=0.1), running.loop).result(10)
        process.stop()
        with pytest.raises(Exception, match="stopped hosting") as caught:
            call.result(10)
        assert caught.value.applied is False  # type: ignore[attr-defined]
        gates.leave.set()
    assert Shop.at("a").call(Shop.order) == 1
    assert _agree(database) == 1


def _lanes(database: str) -> set[Any]:
    return set(Lane.objects.using(database).values_list("pk", flat=True))


def _pool() -> Any:
    running = process.running()
    assert running is not None
    assert running.host is not None
    return running.host.transactions


def _threads(database: str) -> int:
    return TRANSACTION_THREADS if connections[database].vendor == "postgresql" else 1


# ---------------------------------------------------------------- two that lock each other's rows


def test_two_turns_that_lock_each_others_rows_end_in_one_clean_retry(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("ann", "bob"):
        Customer.objects.using(database).create(name=name)
    monkeypatch.setattr(shops, "meeting", threading.Barrier(2))
    with caplog.at_level(logging.INFO, "jido_objects.turn"), ThreadPoolExecutor(2) as callers:
        one = callers.submit(Shop.at("one").call, Shop.visit, "ann", "bob")
        two = callers.submit(Shop.at("two").call, Shop.visit, "bob", "ann")
        assert (one.result(20), two.result(20)) == (1, 1)
    assert list(Customer.objects.using(database).values_list("visits", flat=True)) == [2, 2]
    deadlocks = [record for record in caplog.records if "deadlock" in record.getMessage()]
    assert len(deadlocks) == (1 if connections[database].vendor == "postgresql" else 0)


# ---------------------------------------------------------------- after the commit


def test_on_commit_runs_after_the_commit_and_not_after_a_rollback(database: str) -> None:
    shop = Shop.at("x")
    assert shop.call(Shop.then) == 1
    _until(lambda: len(shops.happened) == 2)
    # Both saw the row: it was committed.
    assert sorted(shops.happened) == [("django", 1, 1), ("ours", 1, 1)]
    with pytest.raises(Closed):
        shop.call(Shop.then, True)
    with pytest.raises(Closed):
        shop.call(Shop.plain_then, True)
    assert shop.call(Shop.plain_then) == 2
    _until(lambda: len(shops.happened) == 3)
    assert shops.happened[2] == ("ours", 2, 0)
    process.stop()
    assert len(shops.happened) == 3


def test_an_on_commit_that_raises_is_logged_and_changes_nothing(database: str, caplog: pytest.LogCaptureFixture) -> None:
    assert Shop.at("x").call(Shop.then_raises) == 1
    _until(lambda: sum("no mail today" in (record.exc_text or str(record.exc_info)) for record in caplog.records) == 2)
    assert Shop.at("x").call(Shop.then_raises) == 2


def test_on_commit_takes_no_coroutine_function(database: str) -> None:
    with pytest.raises(CallFailed, match=InvalidArguments.__name__):
        Shop.at("x").call(Shop.then_async)
    assert not Shop.at("x").exists()


# ---------------------------------------------------------------- connections


def test_the_connection_is_its_own(database: str, settings: Any) -> None:
    if connections[database].vendor != "postgresql":
        pytest.skip("not applicable: SQLite has no sessions")
    name, isolation, timeout = Shop.at("a").call(Shop.session)
    row = Object.objects.using(database).get(key="a")
    assert row.owner is not None
    assert name.startswith(f"jido:{row.owner.hex}:")
    assert name.endswith(":orm")
    assert isolation == "read committed"
    assert timeout == "4s"
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT current_setting('application_name'), current_setting('idle_in_transaction_session_timeout')")
        assert cursor.fetchone() == ("", "0")


def test_nothing_of_the_alias_that_others_share_reaches_it() -> None:
    given = {"pool": True, "isolation_level": 4, "sslmode": "disable", "application_name": "mine", "connect_timeout": 7}
    options = PostgresLane("postgres").options(given, uuid4(), uuid4())
    assert {"pool", "isolation_level"}.isdisjoint(options)
    assert options["application_name"].startswith("jido:")
    assert (options["sslmode"], options["connect_timeout"]) == ("disable", 7)
    assert "tcp_user_timeout" in options
    assert given["pool"] is True
    assert SqliteLane("default").options({"transaction_mode": "DEFERRED"}, uuid4(), uuid4())["transaction_mode"] == "IMMEDIATE"


def test_a_broken_connection_is_replaced(database: str) -> None:
    if connections[database].vendor != "postgresql":
        pytest.skip("not applicable: there is no server to end it")
    assert Shop.at("a").call(Shop.order) == 1
    for n in range(2, 5):
        with connections[database].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'jido:%:orm'")
            assert cursor.rowcount == 1
        assert Shop.at("a").call(Shop.order) == n
    assert _agree(database) == 4
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'jido:%:orm'")
        assert cursor.fetchone() == (1,)


def test_a_term_that_was_buried_commits_nothing(database: str, gates: Gates) -> None:
    """The fence refuses the turn's row, and its rows go with it; the call runs again under the new term."""
    shop = Shop.at("a")
    assert shop.call(Shop.order) == 1
    if connections[database].vendor == "sqlite":
        # The file has one writer: the burial comes between two transactions.
        Term.objects.using(database).all().delete()
        assert shop.call(Shop.order) == 2
        assert _agree(database) == 2
        assert Object.objects.using(database).get(key="a").owner == Term.objects.using(database).get().pk
        return
    with ThreadPoolExecutor(1) as callers:
        call = callers.submit(shop.call, Shop.wait)
        assert gates.inside.acquire(timeout=10)
        Term.objects.using(database).all().delete()
        Lane.objects.using(database).all().delete()
        gates.leave.set()
        assert call.result(20) == 2
    assert sorted(Order.objects.using(database).values_list("number", flat=True)) == [-2, 1, 2]
    assert Journal.objects.using(database).count() == 2


# ---------------------------------------------------------------- the ORM in `async def` turns


def test_async_turns_have_a_thread_and_a_connection_each_and_keep_neither(database: str, gates: Gates) -> None:
    before = _anonymous(database) if connections[database].vendor == "postgresql" else 0
    with ThreadPoolExecutor(2) as callers:
        waiting = [callers.submit(Awaiting.at(n).call, Awaiting.wait) for n in range(2)]
        for _ in waiting:
            # Both block in their ORM's thread at once, so neither has the other's.
            assert gates.inside.acquire(timeout=10)
        assert Awaiting.at("third").call(Awaiting.order) == 1
        gates.leave.set()
        assert [future.result(10) for future in waiting] == [1, 1]
    if connections[database].vendor == "postgresql":
        _until(lambda: _anonymous(database) <= before)


def _anonymous(database: str) -> int:
    """Connections without a name: Django's own, this test's among them."""
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = ''")
        return int(cursor.fetchone()[0])
