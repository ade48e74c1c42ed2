"""History and call ids end with their windows, beside a running host; what is remembered, and for how long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jido_objects import DurableObject, ids, process
from jido_objects.errors import BlockingCall, CallExpired, CallIdReused, DefinitionError, UnknownCall, UnknownMethod
from jido_objects.models import Journal, Object, RememberedCall, Snapshot, Walk
from jido_objects.stores.protocol import Trim
from tests.app.objects import Chain, Counter, Sale, Small, SoldOut


def _await(probe: Callable[[], Any], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def busy() -> Iterator[type[DurableObject]]:
    class Busy(DurableObject):
        """Snapshots often, and remembers for half a second."""

        n: int = 0
        log: list[int] = []

        def add(self, by: int = 1) -> int:
            self.n += by
            self.log.append(self.n)
            if len(self.log) > 5:
                del self.log[0]
            return self.n

        class Meta:
            label = "tests.Busy"
            snapshot_every = 4
            retention = 0.5

    yield Busy
    type(Busy._jido_definition).registry.pop("tests.Busy")


def seqs(database: str, key: str) -> list[int]:
    return list(Journal.objects.using(database).filter(object__key=key).order_by("seq").values_list("seq", flat=True))


def trim(key: str, database: str, **fields: Any) -> int:
    """Trim one object now, as its host would."""
    row = Object.objects.using(database).get(key=key)
    asked = Trim(row.pk, **({"retention": 0.0} | fields))

    async def ask(host: Any) -> int:
        (trimmed,) = await host.store.trim([asked], call_id_seconds=3600.0, limit=1000)
        return int(trimmed.rows)

    return process.current().ask_blocking(ask, 10.0)


def test_history_is_trimmed_while_the_object_works(busy: Any, database: str) -> None:
    ref = busy.at("a")
    own = ref.using(call_id="order-1")
    assert own.call("add", 7) == 7
    calls = 1

    def trimmed() -> bool:
        nonlocal calls
        ref.call("add")
        calls += 1
        rows = seqs(database, "a")
        # It is whole and has a base, at every moment.
        assert rows == list(range(rows[0], rows[-1] + 1))
        return rows[0] > 40

    _await(trimmed)
    assert RememberedCall.objects.using(database).get().call_id == "order-1"
    assert own.call("add", 7) == 7
    with pytest.raises(CallIdReused):
        own.call("add", 8)
    before = ref.peek()
    process.stop()
    assert ref.peek() == before
    assert ref.call("add") == before["n"] + 1
    assert own.call("add", 7) == ref.result("order-1") == 7
    assert ref.peek()["n"] == before["n"] + 1 == 7 + calls
    first = seqs(database, "a")[0]
    kept = Snapshot.objects.using(database).filter(object__key="a").values_list("seq", flat=True)
    assert {first - 1, first} & set(kept)
    assert len(kept) <= 22


def test_history_at_rest_is_found_by_the_walk(busy: Any, database: str) -> None:
    keys = [f"k{n}" for n in range(70)]
    for key in keys:
        for _ in range(4):
            busy.at(key).call("add")
    process.stop()
    # Somebody hosts, though none of these.
    Counter.at("other").call(Counter.add)
    _await(lambda: all(len(seqs(database, key)) == 1 for key in keys))
    assert all(busy.at(key).peek() == {"n": 4, "log": [1, 2, 3, 4]} for key in keys)
    _await(lambda: Walk.objects.using(database).filter(milliseconds=500).exists())
    assert seqs(database, "other") == [1]


def test_a_generated_id_is_expired_once_its_row_may_have_been_trimmed(database: str) -> None:
    counter = Counter.at("a")
    first, second = counter.cast(Counter.add, 1), ""
    for _ in range(20):
        second = counter.cast(Counter.add, 1)
    assert counter.call(Counter.add, 1) == 22
    assert counter.using(call_id=first).call(Counter.add, 1) == 1
    never = f"{first[:13]}{'0' * 20}"
    assert counter.using(call_id=never).call(Counter.add, 1) == 23
    process.stop()
    assert counter.get("value") == 23
    assert trim("a", database) == 22
    for gone in (first, second):
        with pytest.raises(CallExpired) as caught:
            counter.using(call_id=gone).call(Counter.add, 1)
        assert caught.value.applied is None
        assert caught.value.call_id == gone
        with pytest.raises(CallExpired):
            counter.result(gone)
    assert counter.get("value") == 23
    # What is newer than all that went was not among it.
    fresh = ids.generate()
    assert counter.using(call_id=fresh).call(Counter.add, 1) == 24
    assert counter.using(call_id=fresh).call(Counter.add, 1) == 24


def test_a_types_own_window_is_what_its_callers_meet(busy: Any, database: str, settings: Any) -> None:
    old = f"{ids.prefix(time.time() - 2)}{'0' * 20}"
    with pytest.raises(CallExpired, match=r"for 0\.5 s"):
        busy.at("a").using(call_id=old).call("add")
    assert Counter.at("a").using(call_id=old).call(Counter.add) == 1
    with pytest.raises(DefinitionError, match="retention"):
        type("Bad", (DurableObject,), {"__module__": "tests.objects", "Meta": type("Meta", (), {"retention": 0})})


def test_an_id_from_the_future_is_its_callers_own(database: str) -> None:
    future = f"{ids.prefix(time.time() + 7200)}{'0' * 20}"
    assert Counter.at("a").using(call_id=future).call(Counter.add) == 1
    assert Counter.at("a").using(call_id=future).call(Counter.add) == 1
    assert Journal.objects.using(database).get(call_id=future).own_id


def test_ids_that_derive_from_a_callers_own_are_remembered_like_it(database: str) -> None:
    assert Chain.at("a").using(call_id="order").call(Chain.walk, ["b"]) == 1
    assert Chain.at("a").call(Chain.walk, ["b"]) == 1
    own = dict(Journal.objects.using(database).values_list("call_id", "own_id"))
    assert own
    assert all(flag == (not ids.is_generated(call_id)) for call_id, flag in own.items())
    assert any(call_id.startswith("order/") for call_id in own)


# ---------------------------------------------------------------- results


@pytest.mark.usefixtures("database")
class TestResult:
    def test_what_was_recorded_is_told_without_waking_the_object(self) -> None:
        sale = Sale.at("tour")
        assert sale.using(call_id="one").call(Sale.reserve, "ann", n=2) == 98
        with pytest.raises(SoldOut):
            sale.using(call_id="two").call(Sale.reserve, "bob", n=99)
        generated = sale.cast(Sale.reserve, "cy")
        assert sale.get("stock") == 97
        process.stop()
        assert sale.result("one") == 98
        assert sale.result(generated) == 97
        with pytest.raises(SoldOut, match=r"Only 98 left\.") as caught:
            sale.result("two")
        assert caught.value.call_id == "two"
        running = process.running()
        assert running is not None
        assert running.host is not None
        assert not running.host.activations
        assert running.host.lease is None

    def test_from_async_code(self) -> None:
        Sale.at("tour").using(call_id="one").call(Sale.reserve, "ann")

        async def main() -> None:
            assert await Sale.at("tour").aresult("one") == 99
            with pytest.raises(BlockingCall, match="aresult"):
                Sale.at("tour").result("one")
            with pytest.raises(UnknownCall):
                await Sale.at("tour").aresult("two")

        asyncio.run(main())

    def test_what_is_not_recorded_is_unknown(self) -> None:
        for ref in (Sale.at("nobody"), Sale.at("tour")):
            for call_id in ("one", ids.generate()):
                with pytest.raises(UnknownCall) as caught:
                    ref.result(call_id)
                assert (caught.value.applied, caught.value.retryable, caught.value.call_id) == (None, False, call_id)
            Sale.at("tour").call(Sale.reserve, "ann")

    def test_a_result_of_a_method_that_is_gone(self, database: str) -> None:
        Sale.at("tour").using(call_id="one").call(Sale.reserve, "ann")
        Journal.objects.using(database).update(method="formerly")
        with pytest.raises(UnknownMethod, match="formerly"):
            Sale.at("tour").result("one")

    def test_none_is_a_result(self) -> None:
        Small.at("a").using(call_id="one").call(Small.linger, 0)
        assert Small.at("a").result("one") is None


# ---------------------------------------------------------------- what the trimmer is told


def test_objects_that_grow_are_asked_about_and_others_are_not(database: str) -> None:
    Counter.at("a").call(Counter.add)
    running = process.running()
    assert running is not None
    assert running.host is not None
    trimmer = running.host.trimmer
    for object_id in range(30_000):
        trimmer.wrote(object_id + 10**12, "app.Counter", 1, 100)
    assert len(trimmer._grown) <= 10_000
    assert not trimmer._due
    wanted: dict[int, tuple[str, bool]] = {}
    for n in range(25):
        trimmer.wrote(1, "app.Counter", 1000, 100)
        trimmer.wrote(2, "app.Counter", 1, 700_000)
        wanted |= trimmer._due
        if n == 10:
            assert not wanted
    assert wanted == {1: ("app.Counter", False), 2: ("app.Counter", True)}
