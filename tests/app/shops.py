"""Object types whose turns are transactions."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections, transaction

from jido_objects import DurableObject, ObjectException, process, query, transactional
from jido_objects.errors import BlockingCall
from tests.app.models import Customer, Order
from tests.app.objects import Counter


def alias() -> str:
    """The database of the running test."""
    running = process.running()
    assert running is not None
    return running.settings.DATABASE


def orders() -> Any:
    return Order.objects.using(alias())


class Closed(ObjectException):
    """The shop is closed after {0} orders."""


class Gates:
    """Where methods wait for their test, and tell it that they are there."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.leave = threading.Event()
        self.refused: list[tuple[str, str]] = []

    def stop(self) -> None:
        self.inside.release()
        assert self.leave.wait(30)


gates = Gates()


class Shop(DurableObject):
    """Its orders are rows, and it counts them."""

    sold: int = 0
    last: str = ""
    names: list[str] = []

    @transactional
    def order(self, fail: str = "") -> int:
        self.sold += 1
        self.names.append(str(self.sold))
        orders().create(shop=self.key, number=self.sold)
        if fail == "error":
            raise ValueError("out of paper")
        if fail == "stop":
            raise StopIteration("no more")
        if fail == "cancelled":
            raise asyncio.CancelledError
        if fail == "exit":
            raise SystemExit(1)
        if fail == "refuse":
            raise Closed(self.sold)
        if fail == "clean":
            self.last = "forbidden"
        if fail == "constraint":
            orders().create(shop=self.key, number=self.sold)
        if fail == "deferred":
            orders().create(shop=self.key, number=-1, customer_id=999_999)
        if fail == "caught":
            try:
                orders().create(shop=self.key, number=self.sold)
            except Exception:
                return -1
        if fail == "caught in a cursor":
            try:
                with connections[alias()].cursor() as cursor:
                    cursor.execute("SELECT 1 / 0")
            except Exception:
                return -1
        if fail == "marked":
            transaction.set_rollback(True, using=alias())
        if fail == "commit":
            with connections[alias()].cursor() as cursor:
                cursor.execute("COMMIT")
        if fail == "close":
            connections[alias()].close()
        if fail == "too large":
            self.last = "x" * 5000
        return self.sold

    def clean(self) -> None:
        if self.last == "forbidden":
            raise Closed(self.sold)

    def plain(self) -> int:
        self.sold += 1
        return self.sold

    @transactional
    def row_only(self) -> None:
        orders().create(shop=self.key, number=1000 + orders().filter(shop=self.key).count())

    @transactional
    def caught_inside_its_own(self) -> int:
        self.sold += 1
        orders().create(shop=self.key, number=self.sold)
        try:
            with transaction.atomic(using=alias()):
                orders().create(shop=self.key, number=self.sold)
        except Exception:
            return orders().filter(shop=self.key).count()
        return -1

    @transactional
    def wait(self) -> int:
        """Order, and stop in the middle."""
        self.sold += 1
        orders().create(shop=self.key, number=self.sold)
        sold = self.sold
        gates.stop()
        # If the turn has ended meanwhile, this must come to nothing.
        for late in (lambda: setattr(self, "last", "late"), lambda: orders().create(shop=self.key, number=-sold)):
            try:
                late()
            except Exception as error:
                gates.refused.append((self.key, type(error).__name__))
        return sold

    @transactional
    def sleep(self, seconds: float) -> int:
        self.sold += 1
        orders().create(shop=self.key, number=self.sold)
        time.sleep(seconds)
        return self.sold

    @transactional
    def sleep_in_the_database(self, seconds: float) -> int:
        with connections[alias()].cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [seconds])
        self.sold += 1
        return self.sold

    @transactional
    def visit(self, first: str, second: str) -> int:
        """Lock two rows in the order given; both turns that do it crosswise have one when they go on."""
        rows = Customer.objects.using(alias()).select_for_update()
        self.sold += 1
        for name in (first, second):
            customer = rows.get(name=name)
            customer.visits += 1
            customer.save(using=alias())
            if name == first and self.turn.attempt == 0 and meeting is not None and not meeting.broken:
                try:
                    meeting.wait(1)
                except threading.BrokenBarrierError:
                    meeting.abort()
        return self.sold

    @transactional
    def call_others(self) -> str:
        self.sold += 1
        try:
            Counter.at("x").call(Counter.add)
        except BlockingCall as error:
            return str(error)
        return "?"

    @transactional
    def elsewhere(self, other: str) -> None:
        self.sold += 1
        Order.objects.using(other).create(shop=self.key, number=1)

    @transactional
    def then(self, fail: bool = False) -> int:
        self.sold += 1
        number = self.sold
        orders().create(shop=self.key, number=number)
        self.on_commit(lambda: happened.append(("ours", number, orders().filter(shop="x").count())))
        transaction.on_commit(lambda: happened.append(("django", number, orders().filter(shop="x").count())), using=alias())
        if fail:
            raise Closed(number)
        return number

    def plain_then(self, fail: bool = False) -> int:
        self.sold += 1
        number = self.sold
        self.on_commit(lambda: happened.append(("ours", number, orders().count() * 0)))
        if fail:
            raise Closed(number)
        return number

    @transactional
    def then_raises(self) -> int:
        self.sold += 1

        def broken() -> None:
            raise ValueError("no mail today")

        self.on_commit(broken)
        transaction.on_commit(broken, using=alias())
        return self.sold

    @transactional
    def then_async(self) -> int:
        async def wrong() -> None: ...

        self.on_commit(wrong)
        return 0

    @transactional
    def session(self) -> tuple[str, str, str]:
        """Name, isolation and timeout of the connection, on PostgreSQL."""
        with connections[alias()].cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('application_name'), current_setting('transaction_isolation'), "
                "current_setting('idle_in_transaction_session_timeout')"
            )
            name, isolation, timeout = cursor.fetchone()
        return name, isolation, timeout

    @query
    def count(self) -> int:
        return self.sold

    class Meta:
        turn_timeout = 3.0
        max_state_bytes = 4096
        snapshot_every = 4


class Patient(Shop):
    """Has so much time that a test which waits for its end fails."""

    class Meta:
        turn_timeout = 60.0


class Awaiting(DurableObject):
    """Async turns that use the ORM."""

    n: int = 0

    async def order(self) -> int:
        self.n += 1
        await orders().acreate(shop=self.key, number=self.n)
        return int(await orders().filter(shop=self.key).acount())

    async def wait(self) -> int:
        await sync_to_async(orders().count)()
        await sync_to_async(gates.stop)()
        self.n += 1
        return self.n


class Opened(DurableObject):
    """Is created by a transaction."""

    by: str = ""

    def on_create(self) -> None:
        self.by = "on_create"
        orders().create(shop=self.key, number=0)

    @transactional
    def touch(self) -> str:
        return self.by


happened: list[tuple[str, int, int]] = []
meeting: threading.Barrier | None = None
