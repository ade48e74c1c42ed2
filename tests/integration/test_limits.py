"""Bounds, each with its error; nothing is lost when one is met."""

from __future__ import annotations

import asyncio
import json
import logging
import time

import pytest
from django.db import connections, transaction

from jido_objects import process
from jido_objects.errors import (
    BlockingCall,
    CallExpired,
    CallFailed,
    CallTimeout,
    CorruptObject,
    DeadlineExceeded,
    InvalidArguments,
    MessageTooLarge,
    NewerVersion,
    Overloaded,
    ResultTooLarge,
    StateTooLarge,
    TurnTimeout,
)
from jido_objects.models import Journal, Object, Snapshot
from tests.app.objects import Counter, Sale, Slow, Small

pytestmark = pytest.mark.usefixtures("database")


def test_a_full_mailbox_refuses_at_once_and_others_are_served() -> None:
    async def main() -> None:
        small = Small.at("a")
        first = asyncio.ensure_future(small.acall(Small.linger, 0.4))
        rest = [asyncio.ensure_future(small.acall(Small.put, str(n), "x")) for n in range(20)]
        began = time.monotonic()
        refused = 0
        for task in asyncio.as_completed(rest):
            try:
                await task
            except Overloaded as error:
                refused += bool(error.retryable and error.applied is False)
                assert not first.done()
            else:
                break
        assert refused == 13
        assert time.monotonic() - began < 5
        assert await Counter.at("other").acall(Counter.add) == 1
        await asyncio.gather(first, *rest, return_exceptions=True)
        assert len((await small.apeek() or {})["data"]) == 7

    asyncio.run(main())


def test_a_state_over_its_limit_is_rolled_back() -> None:
    small = Small.at("a")
    small.call(Small.put, "a", "x" * 2000)
    with pytest.raises(StateTooLarge, match="4096") as caught:
        small.call(Small.put, "b", "x" * 3000)
    assert caught.value.applied is False
    assert small.call(Small.put, "c", "x") == 2
    # Deltas add up to more than the limit while the state stays small.
    for _ in range(10):
        small.call(Small.put, "a", "y" * 1500)
    assert small.get("data") == {"a": "y" * 1500, "c": "x"}


def test_a_result_over_its_limit_is_rolled_back() -> None:
    small = Small.at("a")
    with pytest.raises(ResultTooLarge, match="65536"):
        small.call(Small.big, 70_000)
    assert not small.exists()
    assert len(small.call(Small.big, 1000)) == 1000


def test_limits_count_bytes_where_there_are_fewer_characters() -> None:
    small = Small.at("a")
    assert small.call(Small.put, "a", "é" * 1900) == 1
    # 2,100 characters in all, and over 4,096 bytes.
    with pytest.raises(StateTooLarge, match="4096") as caught:
        small.call(Small.put, "b", "é" * 200)
    assert caught.value.args[1] > 4096
    with pytest.raises(StateTooLarge):
        Small.at("b").call(Small.put, "a", "😀" * 1100)
    assert not Small.at("b").exists()
    assert small.call(Small.put, "b", "e" * 200) == 2
    with pytest.raises(ResultTooLarge, match="80002") as too_large:
        small.call(Small.smile, 20_000)
    assert too_large.value.applied is False
    assert len(small.call(Small.smile, 16_000)) == 16_000
    with pytest.raises(MessageTooLarge):
        small.call(Small.put, "c", "😀" * 300_000)


@pytest.mark.parametrize("puts", [1, 2, 4, 5, 12], ids=lambda puts: f"{puts} rows")
@pytest.mark.parametrize("thawed", [False, True], ids=["in memory", "thawed"])
def test_what_is_there_already_is_counted_in_bytes(puts: int, thawed: bool) -> None:
    small = Small.at("a")
    for n in range(puts):
        # Each replaces the last: the state stays under its limit, whatever the deltas add up to.
        assert small.call(Small.put, "a", "😀" * (900 + n)) == 1
    if thawed:
        process.stop()
    with pytest.raises(StateTooLarge):
        small.call(Small.put, "b", "e" * 500)
    assert small.call(Small.put, "b", "") == 2


def test_a_message_over_its_limit() -> None:
    with pytest.raises(MessageTooLarge):
        Small.at("a").call(Small.put, "a", "x" * 1_100_000)


def test_a_turn_that_awaits_too_long_is_rolled_back() -> None:
    slow = Slow.at("a")
    with pytest.raises(TurnTimeout, match=r"0\.5 s") as caught:
        slow.call(Slow.wait, 5)
    assert caught.value.applied is False
    assert slow.call(Slow.wait, 0) == 1


def test_a_deadline_that_passes_while_waiting_is_known_not_applied() -> None:
    async def main() -> None:
        slow = Slow.at("a")
        first = asyncio.ensure_future(slow.acall(Slow.wait, 0.4))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded) as caught:
            await slow.using(timeout=0.1).acall(Slow.wait, 0)
        assert caught.value.applied is False
        assert await first == 1
        assert await slow.aget("done") == 1

    asyncio.run(main())


def test_a_deadline_that_passes_in_the_turn_is_unknown_and_its_retry_learns_the_result() -> None:
    slow = Slow.at("a").using(call_id="one", timeout=0.1)
    with pytest.raises(CallTimeout) as caught:
        slow.call(Slow.wait, 0.45)
    assert caught.value.applied is None
    assert caught.value.call_id == "one"
    assert slow.using(timeout=5).call(Slow.wait, 0.45) == 1
    assert Slow.at("a").get("done") == 1


def test_a_turn_that_holds_the_loop_is_logged_with_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    Slow.at("a").call(Slow.wait, 0)
    with caplog.at_level(logging.WARNING, "jido_objects.host"):
        Slow.at("a").call(Slow.hold, 0.2)
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "app.Slow('a').hold held the host's loop" in text
    assert "time.sleep(seconds)" in text


def test_generated_ids_expire_callers_own_do_not() -> None:
    old = "~" + f"{int((time.time() - 90_000) * 1000):012x}" + "0" * 20
    with pytest.raises(CallExpired) as caught:
        Counter.at("a").using(call_id=old).call(Counter.add)
    assert caught.value.applied is None
    assert Counter.at("a").using(call_id="order-1999").call(Counter.add) == 1


@pytest.mark.parametrize("bad", ["", "x" * 201, "a\nb"])
def test_bad_call_ids(bad: str) -> None:
    with pytest.raises(InvalidArguments):
        Counter.at("a").using(call_id=bad)


@pytest.mark.parametrize("bad", [0, -1, float("inf"), float("nan"), True, "5"])
def test_bad_timeouts(bad: object) -> None:
    with pytest.raises(InvalidArguments):
        Counter.at("a").using(timeout=bad)  # type: ignore[arg-type]


def test_a_corrupt_row_stops_its_object_and_no_other(database: str) -> None:
    Sale.at("bad").call(Sale.reserve, "ann")
    Sale.at("good").call(Sale.reserve, "ann")
    process.stop()
    row = Object.objects.using(database).get(key="bad")
    Snapshot.objects.using(database).filter(object_id=row.pk).delete()
    Journal.objects.using(database).filter(object_id=row.pk).update(delta='[["put","nowhere')
    with pytest.raises(CorruptObject, match="journal row 1") as caught:
        Sale.at("bad").call(Sale.reserve, "bob")
    assert caught.value.applied is False
    with pytest.raises(CorruptObject):
        Sale.at("bad").peek()
    assert Sale.at("good").call(Sale.reserve, "bob") == 98
    assert Journal.objects.using(database).filter(object_id=row.pk).count() == 1


def test_a_journal_with_a_hole_is_refused(database: str) -> None:
    for n in range(3):
        Counter.at("a").call(Counter.add, n + 1)
    process.stop()
    row = Object.objects.using(database).get(key="a")
    Journal.objects.using(database).filter(object_id=row.pk, seq=2).delete()
    with pytest.raises(CorruptObject, match="row 3 after 1"):
        Counter.at("a").call(Counter.add)


def test_state_of_newer_code_is_refused_until_that_code_runs(database: str) -> None:
    Counter.at("a").call(Counter.add)
    process.stop()
    Journal.objects.using(database).update(version=2)
    with pytest.raises(NewerVersion, match="version 2") as caught:
        Counter.at("a").call(Counter.add)
    assert caught.value.retryable


def test_snapshots_are_written_and_the_last_two_and_the_first_are_kept(database: str) -> None:
    small = Small.at("a")
    for n in range(40):
        small.call(Small.put, str(n % 3), str(n))
        if n in (10, 20, 30):
            process.stop()
    process.stop()
    row = Object.objects.using(database).get(key="a")
    snapshots = Snapshot.objects.using(database).filter(object_id=row.pk).order_by("-seq")
    assert 1 <= len(snapshots) <= 3
    assert snapshots[0].seq == 40
    assert json.loads(snapshots[0].document) == {"data": {"0": "39", "1": "37", "2": "38"}}
    assert small.get("data") == {"0": "39", "1": "37", "2": "38"}


def test_inside_a_transaction(database: str) -> None:
    with transaction.atomic(using=database):
        if connections[database].vendor == "sqlite":
            with pytest.raises(BlockingCall, match=r"cast .* ATOMIC_REQUESTS .*@transaction\.non_atomic_requests"):
                Counter.at("a").call(Counter.add)
        else:
            assert Counter.at("a").call(Counter.add) == 1
        Counter.at("b").cast(Counter.add, 5)
        assert Counter.at("b").peek() is None
    assert Counter.at("b").call(Counter.add) == 6
    with transaction.atomic(using=database):
        Counter.at("b").cast(Counter.add, 5)
        transaction.set_rollback(True, using=database)
    assert Counter.at("b").call(Counter.add) == 7


def test_orm_in_a_plain_turn_says_what_to_do() -> None:
    from jido_objects import DurableObject

    class Careless(DurableObject):
        n: int = 0

        def count(self) -> int:
            return Object.objects.count()

        async def acount(self) -> int:
            self.n = await Object.objects.acount()
            return self.n

    with pytest.raises(CallFailed, match="@transactional"):
        Careless.at("a").call(Careless.count)
    assert Careless.at("a").call(Careless.acount) >= 0
