"""``@transactional`` where it is hardest, on a real PostgreSQL: COMMIT without an answer, and an owner that stands still.

The whole host goes through a proxy that knows where a statement begins and ends; or it is another process, stopped in the
middle of its transaction while this one takes over.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections

from jido_objects import process
from jido_objects.errors import OwnedElsewhere, TurnTimeout
from jido_objects.models import Journal, Object
from tests.app.models import Order
from tests.app.shops import Patient, Shop
from tests.child import Child, child
from tests.contract.postgresql import needs_postgresql
from tests.contract.proxy import Proxy
from tests.contract.world import When

pytestmark = [needs_postgresql, pytest.mark.django_db(transaction=True, databases="__all__")]

ALIAS = "postgres"
SECONDS = 20.0


@pytest.fixture(autouse=True)
def database(settings: Any) -> Iterator[None]:
    process.stop()
    settings.JIDO_OBJECTS = {"DATABASE": ALIAS, "LEASE_SECONDS": 1.0}
    yield
    process.stop()


def _agree(key: str = "a") -> int:
    numbers = sorted(Order.objects.using(ALIAS).filter(shop=key).values_list("number", flat=True))
    seqs = list(Journal.objects.using(ALIAS).filter(object_id=Object.objects.using(ALIAS).get(key=key).pk).values_list("seq", flat=True))
    assert numbers == sorted(seqs) == list(range(1, len(numbers) + 1))
    assert (Shop.at(key).peek() or Patient.at(key).peek() or {})["sold"] == len(numbers)
    return len(numbers)


# ---------------------------------------------------------------- COMMIT without an answer


class AtCommit(Proxy):
    """Strikes the next COMMIT, or the append before it."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.word = b"COMMIT"
        self.how: When | None = None
        self.struck = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    def strike(self, statement: bytes) -> When | None:
        if self.how is None or self.word not in statement:
            return None
        how, self.how = self.how, None
        self.struck.set()
        return how


@contextmanager
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[AtCommit]:
    """Everything that this process sends to the database goes through it."""
    shared: dict[str, Any] = connections[ALIAS].settings_dict
    proxy = AtCommit(str(shared["HOST"]), int(shared["PORT"]))
    loop = proxy.loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(proxy.start(), loop).result(5)
    with monkeypatch.context() as patch:
        patch.setitem(shared, "HOST", "127.0.0.1")
        patch.setitem(shared, "PORT", str(proxy.port))
        patch.setitem(shared, "OPTIONS", {**shared["OPTIONS"], "sslmode": "disable", "gssencmode": "disable"})
        try:
            yield proxy
        finally:
            process.stop()
            connections[ALIAS].close()
            asyncio.run_coroutine_threadsafe(proxy.close(), loop).result(5)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(5)
            loop.close()


@pytest.mark.parametrize("when", list(When))
def test_commit_without_an_answer_is_settled_and_never_guessed(when: When, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxied(monkeypatch) as proxy:
        shop = Shop.at("a")
        assert shop.call(Shop.order) == 1
        proxy.how = when
        # Applied or not, the answer is that of one run.
        assert shop.call(Shop.order) == 2
        assert proxy.struck.is_set()
        if when is When.LATE:
            # Now it arrives: the lane that it was sent under is gone, and with it the transaction.
            assert proxy.loop is not None
            proxy.loop.call_soon_threadsafe(proxy.released.set)
        assert shop.call(Shop.order) == 3
        assert shop.call(Shop.order) == 4
        assert _agree() == 4


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER])
def test_a_connection_that_breaks_before_commit_has_applied_nothing(when: When, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxied(monkeypatch) as proxy:
        shop = Shop.at("a")
        assert shop.call(Shop.order) == 1
        proxy.word, proxy.how = b"INSERT INTO jido_journal", when
        assert shop.call(Shop.order) == 2
        assert proxy.struck.is_set()
        assert _agree() == 2


# ---------------------------------------------------------------- an owner that stands still


_STOPPED = {
    "in its method": "None",
    "between its row and COMMIT": (
        "setattr(__import__('jido_objects.stores.postgresql_transactions', fromlist=['x']).PostgresLane, 'commit', "
        "(lambda commit: lambda self, raw: (shops.gates.stop(), commit(self, raw))[1])"
        "(__import__('jido_objects.stores.postgresql_transactions', fromlist=['x']).PostgresLane.commit))"
    ),
}


@pytest.mark.parametrize("where", list(_STOPPED))
def test_an_owner_that_stands_still_in_a_transaction_holds_up_nobody(where: str, settings: Any) -> None:
    with child(settings.JIDO_OBJECTS) as other:
        assert other.ask("[shops := __import__('tests.app.shops', fromlist=['x']), globals().update(shops=shops)][1:]") == "[None]"
        assert other.ask("shops.Patient.at('a').call('order')") == "1"
        other.ask(_STOPPED[where])
        method = "wait" if where == "in its method" else "order"
        other.ask(f"__import__('threading').Thread(target=lambda: shops.Patient.at('a').call('{method}'), daemon=True).start()")
        assert other.ask("shops.gates.inside.acquire(timeout=10)") == "True"
        Patient.at("warm").call(Patient.order)
        other.process.send_signal(signal.SIGSTOP)
        try:
            # It waits for the row that the stopped one has inserted, unless its transaction has been ended: for half a minute.
            began = time.monotonic()
            assert _insist(lambda: Patient.at("a").call(Patient.order)) == 2
            assert time.monotonic() - began < 15
        finally:
            other.process.send_signal(signal.SIGCONT)
        assert other.ask("shops.gates.leave.set()") == "None"
        _harmless(other)
    assert _agree() == 3


def _harmless(other: Child) -> None:
    assert "OwnedElsewhere" in other.ask("shops.Patient.at('a').call('order')")
    assert other.ask("shops.Patient.at('mine').call('order')") == "1"
    assert Patient.at("a").call(Patient.order) == 3


def _insist(call: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return call()
        except OwnedElsewhere:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_query_that_takes_too_long_is_ended_in_the_server() -> None:
    with pytest.raises(TurnTimeout):
        Shop.at("a").call(Shop.sleep_in_the_database, 100)
    deadline = time.monotonic() + SECONDS
    while _sleeping():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert Shop.at("a").call(Shop.order) == 1


def _sleeping() -> int:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%%' AND state = 'active'")
        return int(cursor.fetchone()[0])
