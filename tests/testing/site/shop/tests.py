"""Plain ``TestCase``s: nothing is configured, nothing is cleaned up. The order within a class is that of the names."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

from asgiref.sync import async_to_sync, sync_to_async
from django.db import IntegrityError, connection, transaction
from django.test import AsyncClient, SimpleTestCase, TestCase, TransactionTestCase, override_settings
from django.utils import timezone

from jido_objects import process
from jido_objects.errors import BlockingCall, CallFailed, CallIdReused, CallTimeout, ConfigurationError, ReentrantCall, StoreError
from jido_objects.models import Journal, Object, Term
from jido_objects.testing import jido_clock, jido_host
from shop.models import Order
from shop.objects import Counter, Never

SQLITE = connection.vendor == "sqlite"
IN_MEMORY = SQLITE and "memory" in str(connection.creation._get_test_db_name())


class Isolation(TestCase):
    def test_1_writes(self) -> None:
        self.assertEqual(Counter.at("a").call(Counter.add, 3), 3)
        self.assertEqual(Counter.at("a").call(Counter.look), 1)
        self.assertEqual(Object.objects.count(), 1)

    def test_2_sees_nothing_of_it(self) -> None:
        self.assertFalse(Counter.at("a").exists())
        self.assertEqual(Counter.at("a").get("value"), 0)
        self.assertEqual(Counter.at("a").call(Counter.add), 1)
        self.assertEqual(Counter.at("a").call(Counter.look), 1)

    def test_3_starts_no_thread(self) -> None:
        before = threading.active_count()
        Counter.at("a").call(Counter.add)
        self.assertEqual(threading.active_count(), before)
        self.assertIsNone(process.running())


class ClassData(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        Counter.at("shared").call(Counter.add, 5)
        Counter.at("shared").call(Counter.look)

    def test_1_has_it(self) -> None:
        self.assertEqual(Counter.at("shared").call(Counter.add), 6)
        self.assertEqual(Counter.at("shared").call(Counter.look), 1)

    def test_2_has_it_as_it_was(self) -> None:
        self.assertEqual(Counter.at("shared").get("value"), 5)
        self.assertEqual(Counter.at("shared").call(Counter.add), 6)


class Calls(TestCase):
    def test_call_get_query_peek_exists(self) -> None:
        counter = Counter.at("a")
        self.assertIsNone(counter.peek())
        self.assertEqual(counter.call("add", n=2), 2)
        self.assertEqual((counter.get("value"), counter.get("doubled"), counter.get("born")), (2, 4, True))
        self.assertEqual(counter.peek(), {"value": 2, "born": True})
        self.assertTrue(counter.exists())
        self.assertFalse(Counter.at("b").exists())

    def test_the_journal_is_there_to_be_read(self) -> None:
        Counter.at("a").using(call_id="order-1", user=7).call(Counter.add)
        row = Journal.objects.get()
        self.assertEqual((row.seq, row.method, row.result, row.call_id, row.user), (1, "add", "1", "order-1", "7"))

    def test_errors_leave_state_and_transaction_usable(self) -> None:
        counter = Counter.at("a")
        counter.call(Counter.add)
        with self.assertLogs("jido_objects.turn"), self.assertRaisesRegex(CallFailed, "out of cheese"):
            counter.call(Counter.fail)
        with self.assertRaisesRegex(Never, "Never 7"):
            counter.call(Counter.refuse)
        self.assertEqual(counter.get("value"), 1)
        Order.objects.create(buyer="ann")

    def test_a_call_id_counts_once(self) -> None:
        counter = Counter.at("a")
        self.assertEqual(counter.using(call_id="x").call(Counter.add), 1)
        jido_host.crash(counter)
        self.assertEqual(counter.using(call_id="x").call(Counter.add), 1)
        with self.assertRaises(CallIdReused):
            counter.using(call_id="x").call(Counter.add, 2)
        self.assertEqual(counter.get("value"), 1)

    def test_objects_call_each_other(self) -> None:
        self.assertEqual(Counter.at("a").call(Counter.pass_on, Counter.at("b")), 10)
        self.assertEqual((Counter.at("a").get("value"), Counter.at("b").get("value")), (1, 10))
        with self.assertLogs("jido_objects.turn"), self.assertRaisesRegex(CallFailed, ReentrantCall.__name__):
            Counter.at("a").call(Counter.pass_on, Counter.at("a"))

    def test_a_cast_has_run_when_it_returns(self) -> None:
        Counter.at("a").cast(Counter.add, 4)
        self.assertEqual(Journal.objects.count(), 1)
        Counter.at("b").call(Counter.throw, Counter.at("a"))
        self.assertEqual(Journal.objects.count(), 3)
        self.assertEqual(Counter.at("a").get("value"), 9)

    def test_a_cast_in_a_block_leaves_on_commit(self) -> None:
        with self.captureOnCommitCallbacks(execute=True) as callbacks, transaction.atomic():
            Counter.at("a").cast(Counter.add)
            self.assertEqual(Journal.objects.count(), 0)
        self.assertEqual(len(callbacks), 1)
        self.assertEqual(Counter.at("a").get("value"), 1)

    def test_a_turn_that_waits(self) -> None:
        self.assertEqual(Counter.at("a").call(Counter.nap, 0.01), 1)

    def test_a_turn_that_waits_too_long(self) -> None:
        with self.assertRaises(CallTimeout):
            Counter.at("a").using(timeout=0.05).call(Counter.nap, 0.6)
        Counter.at("b").cast(Counter.nap, 0.05)
        self.assertFalse(Counter.at("b").exists())
        jido_host.settle()
        self.assertEqual((Counter.at("a").get("value"), Counter.at("b").get("value")), (1, 1))

    def test_the_orm_of_an_async_turn_uses_the_test_s_connection(self) -> None:
        Order.objects.create(buyer="ann")
        self.assertEqual(Counter.at("a").call(Counter.order, "bob"), 2)
        self.assertEqual(Order.objects.count(), 2)

    def test_the_orm_of_an_async_turn_can_go_back_to_async(self) -> None:
        self.assertEqual(Counter.at("a").call(Counter.order_with_bridge, "bob"), "bob")
        self.assertEqual(async_to_sync(asyncio.sleep)(0, "still"), "still")

    def test_the_orm_of_an_async_turn_cannot_wait_for_another_object(self) -> None:
        with self.assertLogs("jido_objects.turn"), self.assertRaisesRegex(CallFailed, "TransactionTestCase"):
            Counter.at("a").call(Counter.ask_itself, Counter.at("b"))

    def test_the_orm_in_a_plain_turn_is_refused_as_in_production(self) -> None:
        with self.assertLogs("jido_objects.turn"), self.assertRaisesRegex(CallFailed, "transactional"):
            Counter.at("a").call(Counter.order_here, "bob")

    def test_calls_are_no_queries_of_the_caller(self) -> None:
        with self.assertNumQueries(0):
            Counter.at("a").call(Counter.add)
        with self.assertNumQueries(1):
            list(Order.objects.all())

    def test_a_view(self) -> None:
        self.assertEqual(self.client.get("/add/a/").content, b"1")
        self.assertEqual(self.client.get("/aadd/a/").content, b"2")
        self.assertEqual(Counter.at("a").get("value"), 2)

    def test_a_snapshot_and_many_rows(self) -> None:
        for n in range(1, 301):
            self.assertEqual(Counter.at("a").call(Counter.add), n)
        self.assertTrue(jido_host.hibernate(Counter.at("a")))
        self.assertEqual(Counter.at("a").get("value"), 300)

    def test_what_is_set_for_the_objects_is_not_set_for_the_test(self) -> None:
        if SQLITE:
            return
        with connection.cursor() as cursor:
            ask = "SELECT current_setting('lock_timeout'), current_setting('synchronous_commit'), current_setting('enable_seqscan')"
            cursor.execute(ask)
            before = cursor.fetchall()
            Counter.at("a").call(Counter.add)
            jido_host.crash(Counter.at("a"))
            Counter.at("a").call(Counter.add)
            jido_host.crash()
            Counter.at("a").call(Counter.add)
            cursor.execute(ask)
            self.assertEqual(cursor.fetchall(), before)


class Blocks(TestCase):
    """``atomic()`` blocks of the test's own."""

    def test_sqlite_refuses_as_in_production(self) -> None:
        if not SQLITE:
            return
        with transaction.atomic(), self.assertRaisesRegex(BlockingCall, "inside transaction.atomic"):
            Counter.at("a").call(Counter.add)
        with self.assertRaises(BlockingCall):
            self.client.get("/atomic/a/")
        self.assertEqual(Counter.at("a").call(Counter.add), 1)

    def test_postgresql_a_block_that_is_rolled_back_takes_the_call_back(self) -> None:
        if SQLITE:
            return
        Counter.at("b").call(Counter.look)
        for _ in range(2):
            with self.assertRaises(ZeroDivisionError):
                _add_and_fail()
            self.assertFalse(Counter.at("a").exists())
            self.assertEqual(Counter.at("a").get("value"), 0)
        self.assertEqual(self.client.get("/atomic/a/").content, b"1")
        self.assertEqual(Counter.at("a").call(Counter.look), 1)
        self.assertEqual(self.client.get("/atomic/a/").content, b"2")
        with self.assertRaises(ZeroDivisionError):
            _add_and_fail()
        self.assertEqual(Counter.at("a").get("value"), 2)
        self.assertEqual(Counter.at("a").call(Counter.add), 3)

    def test_postgresql_a_block_that_is_rolled_back_before_a_loop_runs(self) -> None:
        if SQLITE:
            return
        Counter.at("a").call(Counter.add)
        with self.assertRaises(ZeroDivisionError):
            _add_and_fail()

        async def main() -> int:
            return int(await Counter.at("a").aget("value"))

        self.assertEqual(asyncio.run(main()), 1)

    def test_postgresql_a_block_that_is_committed_keeps_memory(self) -> None:
        if SQLITE:
            return
        self.client.get("/atomic/a/")
        self.assertEqual(Counter.at("a").call(Counter.look), 1)
        self.client.get("/atomic/a/")
        self.assertEqual(Counter.at("a").call(Counter.look), 2)

    def test_postgresql_the_first_call_in_a_block_that_is_rolled_back(self) -> None:
        if SQLITE:
            return
        with self.assertRaises(ZeroDivisionError):
            _add_and_fail()
        self.assertEqual(Term.objects.count(), 0)
        self.assertEqual(Counter.at("a").call(Counter.add), 1)
        self.assertEqual(Term.objects.count(), 1)

    def test_a_test_whose_transaction_has_failed(self) -> None:
        Order.objects.create(buyer="ann")
        if SQLITE:
            return
        with transaction.atomic():
            with self.assertRaises(IntegrityError):
                Order.objects.bulk_create([Order(buyer="ann")])
            with self.assertRaisesRegex(StoreError, "earlier query of this test"):
                Counter.at("a").call(Counter.add)
            transaction.set_rollback(True)
        self.assertEqual(Counter.at("a").call(Counter.add), 1)


@transaction.atomic
def _add_and_fail() -> None:
    Counter.at("a").call(Counter.add, 100)
    raise ZeroDivisionError


class Async(TestCase):
    async def test_1_acalls(self) -> None:
        results = await asyncio.gather(*(Counter.at("a").acall(Counter.add) for _ in range(50)))
        self.assertEqual(sorted(results), list(range(1, 51)))
        self.assertEqual(await Counter.at("a").aget("value"), 50)
        self.assertEqual(await Counter.at("a").apeek(), {"value": 50, "born": True})
        self.assertTrue(await Counter.at("a").aexists())
        self.assertEqual(await Journal.objects.acount(), 50)

    async def test_2_sees_nothing_of_it(self) -> None:
        self.assertFalse(await Counter.at("a").aexists())
        self.assertEqual(await Counter.at("a").acall(Counter.add), 1)

    async def test_3_a_call_follows_the_cast_before_it(self) -> None:
        for n in range(20):
            await Counter.at("a").acast(Counter.add, 1)
            self.assertEqual(await Counter.at("a").acall(Counter.add), 2 * n + 2)

    async def test_4_waiting_turns_and_time_limits(self) -> None:
        self.assertEqual(await Counter.at("a").acall(Counter.nap, 0.01), 1)
        with self.assertRaises(CallTimeout):
            await Counter.at("a").using(timeout=0.05).acall(Counter.nap, 0.6)
        await jido_host.asettle()
        self.assertEqual(await Counter.at("a").aget("value"), 2)

    async def test_5_fixtures(self) -> None:
        await Counter.at("a").acall(Counter.add)
        await Counter.at("a").acall(Counter.look)
        self.assertTrue(await jido_host.acrash(Counter.at("a")))
        self.assertEqual(await Counter.at("a").acall(Counter.look), 1)
        self.assertTrue(await jido_host.acrash())
        self.assertTrue(await jido_host.ahibernate(Counter.at("a")) is False)
        before = await Counter.at("a").acall(Counter.moment)
        await jido_clock.aadvance(3600)
        self.assertGreaterEqual(await Counter.at("a").acall(Counter.moment) - before, timedelta(hours=1))

    async def test_6_views_and_sync_code(self) -> None:
        self.assertEqual((await AsyncClient().get("/aadd/a/")).content, b"1")
        self.assertEqual((await AsyncClient().get("/add/a/")).content, b"2")
        self.assertEqual(await sync_to_async(Counter.at("a").call)(Counter.add), 3)
        with self.assertRaises(BlockingCall):
            jido_host.settle()
        with self.assertRaises(BlockingCall):
            Counter.at("a").call(Counter.add)

    def test_7_a_loop_on_the_test_s_own_thread(self) -> None:
        async def main() -> None:
            self.assertEqual(await Counter.at("a").acall(Counter.add), 1)
            self.assertEqual(await Counter.at("a").acall(Counter.nap, 0.01), 2)
            self.assertEqual(await Counter.at("a").acall(Counter.order, "ann"), 1)
            results = await asyncio.gather(*(Counter.at("a").acall(Counter.add) for _ in range(20)))
            self.assertEqual(sorted(results), list(range(4, 24)))
            self.assertTrue(await Counter.at("a").aexists())
            with self.assertRaises(CallTimeout):
                await Counter.at("a").using(timeout=0.05).acall(Counter.nap, 0.6)
            await jido_host.asettle()

        asyncio.run(main())
        self.assertEqual(Counter.at("a").get("value"), 24)
        self.assertEqual(Order.objects.count(), 1)

    async def test_8_errors_of_the_way_reach_the_caller(self) -> None:
        with override_settings(JIDO_OBJECTS={"DATABAS": "default"}), self.assertRaisesRegex(ConfigurationError, "DATABAS"):
            await Counter.at("a").acall(Counter.add)


class Controls(TestCase):
    def test_a_crash_loses_memory_and_keeps_what_is_committed(self) -> None:
        counter = Counter.at("a")
        self.assertFalse(jido_host.crash(counter))
        self.assertFalse(jido_host.crash())
        counter.call(Counter.add)
        self.assertEqual((counter.call(Counter.look), counter.call(Counter.look)), (1, 2))
        self.assertTrue(jido_host.crash(counter))
        self.assertFalse(jido_host.crash(counter))
        self.assertEqual((counter.call(Counter.look), counter.get("value")), (1, 1))

    def test_a_crash_of_the_host_is_a_new_term(self) -> None:
        counter = Counter.at("a")
        counter.call(Counter.add)
        counter.call(Counter.look)
        before = Term.objects.get().pk
        with self.assertLogs("jido_objects.host", "WARNING"):
            self.assertTrue(jido_host.crash())
        self.assertNotEqual(Term.objects.get().pk, before)
        self.assertEqual((counter.call(Counter.look), counter.call(Counter.add)), (1, 2))
        self.assertEqual(Object.objects.get().owner, Term.objects.get().pk)

    def test_a_crash_under_a_call(self) -> None:
        Counter.at("a").call(Counter.add)
        Counter.at("a").cast(Counter.nap, 0.05)
        self.assertTrue(jido_host.crash(Counter.at("a")))
        jido_host.settle()
        self.assertEqual(Counter.at("a").get("value"), 2)

    def test_hibernating(self) -> None:
        counter = Counter.at("a")
        counter.call(Counter.add)
        counter.call(Counter.look)
        self.assertTrue(jido_host.hibernate(counter))
        self.assertFalse(jido_host.hibernate(counter))
        self.assertEqual((counter.get("value"), counter.call(Counter.look)), (1, 1))

    def test_settling_has_a_limit(self) -> None:
        Counter.at("a").cast(Counter.nap, 0.3)
        with self.assertRaisesRegex(TimeoutError, "Counter.'a'"):
            jido_host.settle(timeout=0.02)
        jido_host.settle()
        self.assertEqual(Counter.at("a").get("value"), 1)


class Clock(TestCase):
    def test_1_advancing(self) -> None:
        jido_clock.advance(timedelta(days=2))
        self.assertLess(abs(jido_clock.now() - Counter.at("a").call(Counter.moment)), timedelta(minutes=1))
        before = Counter.at("a").call(Counter.moment)
        jido_clock.advance(90)
        moved = Counter.at("a").call(Counter.moment) - before
        self.assertTrue(timedelta(seconds=90) <= moved < timedelta(seconds=150), moved)
        with self.assertRaises(ValueError):
            jido_clock.advance(-1)
        self.assertGreater(Counter.at("a").call(Counter.add), 0)
        self.assertLess(abs(Journal.objects.get(method="add").at - jido_clock.now()), timedelta(minutes=1))

    def test_2_another_test_begins_with_the_machine_s_time(self) -> None:
        self.assertLess(abs(jido_clock.now() - timezone.now()), timedelta(minutes=1))


class Threads(TestCase):
    def test_another_thread_is_told_what_to_use(self) -> None:
        Counter.at("a").call(Counter.add)
        raised: list[BaseException] = []

        def work() -> None:
            try:
                Counter.at("a").call(Counter.add)
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        self.assertRegex(str(raised[0]), "TransactionTestCase")
        self.assertIsInstance(raised[0], ConfigurationError)


class Settings(TestCase):
    def test_other_settings_are_another_host(self) -> None:
        Counter.at("a").call(Counter.add)
        with override_settings(JIDO_OBJECTS={"HOST": "never", "MAX_ACTIVATIONS": 7}):
            self.assertEqual(Counter.at("a").call(Counter.add), 2)
            self.assertEqual(process.current().settings.MAX_ACTIVATIONS, 7)
        self.assertEqual(Counter.at("a").call(Counter.add), 3)


class NoDatabase(SimpleTestCase):
    def test_a_test_without_a_database_reaches_none(self) -> None:
        with self.assertRaisesRegex(AssertionError, "not allowed"):
            Counter.at("a").call(Counter.add)
        self.assertIsNone(process.running())

    async def test_nor_does_an_async_one(self) -> None:
        with self.assertRaisesRegex(AssertionError, "not allowed"):
            await Counter.at("a").acall(Counter.add)
        with self.assertRaisesRegex(AssertionError, "not allowed"):
            await Counter.at("a").aexists()


class ClockAhead(TestCase):
    """The last plain test before those that commit."""

    def test_leaves_the_clock_ahead(self) -> None:
        jido_clock.advance(timedelta(days=3))


class Committed(TransactionTestCase):
    """The host of production, on its own thread; a new one for each test."""

    def setUp(self) -> None:
        if IN_MEMORY:
            self.skipTest("not applicable: in memory")

    def test_1_runs_on_its_own_thread(self) -> None:
        self.assertEqual(Counter.at("a").call(Counter.add, 2), 2)
        self.assertLess(abs(Counter.at("a").call(Counter.moment) - timezone.now()), timedelta(minutes=1))
        self.assertEqual(Counter.at("a").call(Counter.look), 1)
        running = process.running()
        assert running is not None
        self.assertNotEqual(running.thread_id, threading.get_ident())
        with transaction.atomic():
            if SQLITE:
                with self.assertRaises(BlockingCall):
                    Counter.at("a").call(Counter.add)
            else:
                self.assertEqual(Counter.at("a").call(Counter.add), 3)
        jido_clock.advance(7200)

    def test_2_sees_nothing_of_it(self) -> None:
        self.assertIsNone(process.running())
        self.assertEqual(Counter.at("a").get("value"), 0)
        self.assertEqual(Counter.at("a").call(Counter.look), 1)
        self.assertLess(abs(Counter.at("a").call(Counter.moment) - timezone.now()), timedelta(minutes=1))

    async def test_3_async(self) -> None:
        for n in range(20):
            await Counter.at("a").acast(Counter.add)
            self.assertEqual(await Counter.at("a").acall(Counter.add), 2 * n + 2)
        results = await asyncio.gather(*(Counter.at("b").acall(Counter.add) for _ in range(50)))
        self.assertEqual(sorted(results), list(range(1, 51)))
        self.assertTrue(await Counter.at("b").aexists())

    def test_4_controls(self) -> None:
        counter = Counter.at("a")
        counter.call(Counter.add)
        counter.call(Counter.look)
        self.assertTrue(jido_host.crash(counter))
        self.assertEqual(counter.call(Counter.look), 1)
        before = Term.objects.get().pk
        self.assertTrue(jido_host.crash())
        self.assertNotEqual(Term.objects.get().pk, before)
        self.assertEqual((counter.call(Counter.look), counter.call(Counter.add)), (1, 2))
        self.assertTrue(jido_host.hibernate(counter))
        self.assertEqual(counter.call(Counter.look), 1)
        for _ in range(20):
            counter.cast(Counter.add)
        jido_host.settle()
        self.assertEqual(Journal.objects.count(), 22)
        now = counter.call(Counter.moment)
        jido_clock.advance(7200)
        self.assertGreater(counter.call(Counter.moment) - now, timedelta(hours=1.9))

    def test_5_threads(self) -> None:
        done: list[int] = []
        threads = [threading.Thread(target=lambda: done.append(Counter.at("a").call(Counter.add))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(done), list(range(1, 9)))


class InMemory(TransactionTestCase):
    def test_a_committed_test_in_memory_is_told_what_to_do(self) -> None:
        if not IN_MEMORY:
            self.skipTest("not applicable: not in memory")
        with self.assertRaisesRegex(Exception, "TEST"):
            Counter.at("a").call(Counter.add)
