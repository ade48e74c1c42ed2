"""Calls from everywhere Django code runs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from jido_objects import process
from jido_objects.errors import (
    BlockingCall,
    CallFailed,
    CallIdReused,
    InvalidArguments,
    InvalidKey,
    InvalidValue,
    ObjectException,
    UnknownField,
    UnknownMethod,
)
from tests.app.objects import Born, Chain, Counter, Everything, Only, Sale, Slow, SoldOut


@pytest.mark.usefixtures("database")
class TestCalls:
    def test_a_call_by_name_and_by_function(self) -> None:
        counter = Counter.at("a")
        assert counter.call("add", 2) == 2
        assert counter.call(Counter.add, n=3) == 5
        assert counter.get("value") == 5
        assert counter.get("doubled", plus=1) == 11

    def test_the_same_from_an_event_loop(self) -> None:
        async def main() -> list[int]:
            counter = Counter.at("a")
            results = await asyncio.gather(*(counter.acall(Counter.add) for _ in range(50)))
            assert await counter.aget("value") == 50
            assert await counter.apeek() == {"value": 50}
            assert await counter.aexists()
            return sorted(results)

        assert asyncio.run(main()) == list(range(1, 51))

    def test_from_many_threads(self) -> None:
        results: list[int] = []

        def work() -> None:
            results.extend(Counter.at("t").call(Counter.add) for _ in range(10))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == list(range(1, 81))

    def test_state_survives_the_host(self) -> None:
        sale = Sale.at("tour", 2027)
        assert sale.key == "tour/2027"
        assert sale.call(Sale.reserve, "ann", n=2) == 98
        process.stop()
        assert sale.peek() == {"stock": 98, "holds": {"ann": 2}, "log": ["ann"]}
        assert sale.call(Sale.reserve, "bob") == 97
        assert sale.get("holds") == {"ann": 2, "bob": 1}

    def test_every_state_type_survives_the_host(self) -> None:
        thing = Everything.at("e")
        when = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
        uid = UUID(int=5)
        thing.call(Everything.fill, when, uid, Counter.at("friend"))
        thing.call(Everything.put, "a", "b", 1)
        before = thing.peek()
        process.stop()
        assert thing.call(Everything.put, "a", "b", 2) == 2
        after = thing.peek()
        assert before is not None
        assert after is not None
        assert after.pop("nested") == {"a": {"b": [1, 2]}}
        assert before.pop("nested") == {"a": {"b": [1]}}
        assert after == before
        assert after["when"] == when
        assert after["uid"] == uid
        assert after["friend"] == Counter.at("friend")

    def test_a_read_never_creates(self) -> None:
        sale = Sale.at("nobody")
        assert sale.get("stock") == 100
        assert sale.get("left") == 100
        assert sale.peek() is None
        assert not sale.exists()
        with pytest.raises(SoldOut):
            sale.call(Sale.reserve, "ann", 1000)
        assert not sale.exists()
        sale.call(Sale.reserve, "ann")
        assert sale.exists()

    def test_a_refusal_arrives_as_itself(self) -> None:
        with pytest.raises(SoldOut, match=r"Only 100 left\.") as caught:
            Sale.at("s").call(Sale.reserve, "ann", 101)
        assert caught.value.args == (100,)
        assert isinstance(caught.value, ObjectException)
        assert caught.value.applied is False

    def test_any_other_exception_arrives_as_call_failed(self) -> None:
        counter = Counter.at("f")
        counter.call(Counter.add, 1)
        with pytest.raises(CallFailed, match="ValueError: out of cheese") as caught:
            counter.call(Counter.fail)
        assert caught.value.type_name == "ValueError"
        assert caught.value.message == "out of cheese"
        assert caught.value.call_id
        assert counter.get("value") == 1

    def test_a_query_cannot_write(self) -> None:
        sale = Sale.at("q")
        sale.call(Sale.reserve, "ann")
        with pytest.raises(CallFailed, match="is a @query and cannot change state"):
            sale.get("cheat")
        assert sale.get("stock") == 99

    def test_a_cast_is_accepted_and_applied(self) -> None:
        counter = Counter.at("c")
        call_id = counter.cast(Counter.add, 5)
        assert isinstance(call_id, str)
        assert counter.call(Counter.add, 1) == 6

    def test_a_singleton(self) -> None:
        assert Only.at().call(Only.add) == 1
        assert Only.at().call("add") == 2

    def test_hooks(self) -> None:
        born = Born.at("b")
        assert born.get("story") == (0, 1)
        assert born.call(Born.set_limit, 5) == 1
        assert born.get("story") == (1, 1)
        with pytest.raises(CallFailed, match="limit over 100"):
            born.call(Born.set_limit, 101)
        assert born.get("limit") == 5
        process.stop()
        assert born.get("story") == (1, 1)

    def test_transient_state_lives_as_long_as_the_activation(self) -> None:
        sale = Sale.at("x")
        sale.call(Sale.reserve, "a")
        assert sale.call(Sale.look) == 1
        assert sale.call(Sale.look) == 2
        process.stop()
        assert sale.call(Sale.look) == 1


@pytest.mark.usefixtures("database")
class TestGarbage:
    """An error leaves by the frames that hold its call. Were they a cycle, every refusal of an overloaded object would feed the
    collector of cycles, whose long pauses stop all other objects of the process."""

    COUNT = 200

    def test_errors_of_blocking_calls_are_no_cycles(self) -> None:
        sale = Sale.at("a")
        sale.call(Sale.reserve, "bob")

        def refused() -> None:
            for _ in range(self.COUNT):
                with contextlib.suppress(SoldOut):
                    sale.call(Sale.reserve, "ann", 101)

        assert _garbage_of(refused) < self.COUNT

    def test_errors_of_awaited_calls_are_no_cycles(self) -> None:
        sale = Sale.at("a")
        sale.call(Sale.reserve, "bob")

        async def once() -> None:
            with contextlib.suppress(SoldOut):
                await sale.acall(Sale.reserve, "ann", 101)

        async def refused() -> None:
            for _ in range(self.COUNT):
                await once()
            await asyncio.gather(*(once() for _ in range(self.COUNT)))

        assert _garbage_of(lambda: asyncio.run(refused())) < self.COUNT


def _garbage_of(work: Callable[[], None]) -> int:
    """How many objects only the collector of cycles could free."""
    work()
    gc.collect()
    gc.disable()
    try:
        work()
        return gc.collect()
    finally:
        gc.enable()


@pytest.mark.usefixtures("database")
class TestIds:
    def test_the_same_id_runs_once(self) -> None:
        counter = Counter.at("a").using(call_id="order-42")
        assert counter.call(Counter.add, 5) == 5
        assert counter.call(Counter.add, n=5) == 5
        process.stop()
        assert counter.call(Counter.add, 5) == 5
        assert Counter.at("a").get("value") == 5

    def test_a_refusal_is_recorded_on_an_object_that_exists(self) -> None:
        sale = Sale.at("a")
        sale.call(Sale.reserve, "ann", 60)
        with pytest.raises(SoldOut, match="Only 40 left"):
            sale.using(call_id="b").call(Sale.reserve, "bob", 50)
        sale.call(Sale.reserve, "cy", 30)
        with pytest.raises(SoldOut, match="Only 40 left"):
            sale.using(call_id="b").call(Sale.reserve, "bob", 50)

    def test_another_call_under_the_same_id_is_refused(self) -> None:
        Counter.at("a").using(call_id="x").call(Counter.add, 1)
        with pytest.raises(CallIdReused, match="'x'"):
            Counter.at("a").using(call_id="x").call(Counter.add, 2)
        assert Counter.at("b").using(call_id="x").call(Counter.add, 2) == 2

    def test_a_parameter_with_a_default_that_a_deploy_added_changes_no_call(self) -> None:
        counter = Counter.at("d").using(call_id="order-42")
        assert counter.call(Counter.add_seen, 5) == (1, 5)
        process.stop()

        def add_seen(self: Any, n: int = 1, note: str | None = None, *, tags: list[str] = []) -> tuple[int, int]:  # noqa: B006
            raise AssertionError("it runs again")

        definition = Counter._jido_definition
        old = definition._functions["add_seen"], definition._methods.pop("add_seen")
        definition._functions["add_seen"] = add_seen
        try:
            assert counter.call("add_seen", 5) == (1, 5)
            assert counter.call("add_seen", n=5, note=None, tags=[]) == (1, 5)
            with pytest.raises(CallIdReused):
                counter.call("add_seen", 5, note="x")
        finally:
            definition._functions["add_seen"], definition._methods["add_seen"] = old

    def test_a_concurrent_duplicate_waits_for_the_first(self) -> None:
        async def main() -> list[int]:
            counter = Counter.at("d")
            return await asyncio.gather(*(counter.using(call_id="same").acall(Counter.add) for _ in range(20)))

        assert asyncio.run(main()) == [1] * 20


@pytest.mark.usefixtures("database")
class TestRefused:
    def test_a_blocking_call_in_a_running_loop(self) -> None:
        async def main() -> None:
            Counter.at("a").call("add")

        with pytest.raises(BlockingCall, match=r"acall\('add'"):
            asyncio.run(main())

    def test_a_blocking_call_in_a_turn(self) -> None:
        with pytest.raises(CallFailed, match="acall") as caught:
            Chain.at("a").call(Chain.block)
        assert caught.value.type_name == "BlockingCall"

    def test_a_cycle_is_refused_with_its_chain(self) -> None:
        with pytest.raises(CallFailed) as caught:
            Chain.at("a").call(Chain.walk, ["b", "a"])
        assert "app.Chain('a') → app.Chain('b') → app.Chain('a').walk" in str(caught.value)
        assert Chain.at("a").peek() is None

    def test_of_two_chains_that_wait_for_each_other_one_is_refused_with_both_printed(self) -> None:
        async def main() -> list[str]:
            return await asyncio.gather(Chain.at("a").acall(Chain.meet, "b", 0.2), Chain.at("b").acall(Chain.meet, "a", 0.2))

        answers = sorted(asyncio.run(main()))
        assert answers[0] == "met"
        assert "app.Chain('a') → app.Chain('b').meet_back" in answers[1]
        assert "app.Chain('b') → app.Chain('a').meet_back" in answers[1]

    @pytest.mark.parametrize(("mine", "theirs"), [("z", "a"), ("a", "z")])
    def test_a_ring_through_several_objects_is_refused_at_once(self, mine: str, theirs: str) -> None:
        """a → b → c waits for c, and c calls a: of the two chains the one with the greater root id is refused."""

        async def main() -> tuple[Any, Any]:
            ring = asyncio.ensure_future(Chain.at("c").using(call_id=mine).acall(Chain.wait_and_meet, 1, "a"))
            while not _running("c"):
                await asyncio.sleep(0.001)
            path = asyncio.ensure_future(Chain.at("a").using(call_id=theirs).acall(Chain.pass_on, "b", "c"))
            async with asyncio.timeout(5):
                return tuple(await asyncio.gather(ring, path, return_exceptions=True))  # type: ignore[return-value]

        ring, path = asyncio.run(main())
        if mine > theirs:
            assert path == "met"
            refused = ring[0]
        else:
            assert ring == ["met"]
            assert isinstance(path, CallFailed)
            refused = str(path)
        assert "app.Chain('c') → app.Chain('a').meet_back" in refused
        assert "app.Chain('a') → app.Chain('b') → app.Chain('c').pass_on" in refused
        assert "wait for each other" in refused

    def test_a_ring_of_three_chains_is_refused_at_once(self) -> None:
        async def main() -> list[Any]:
            calls = []
            # Each waits to be called by the one after it; the last begins.
            for key, waiting, other, root in (("c", 1, "a", "1"), ("b", 1, "c", "3"), ("a", 0, "b", "2")):
                calls.append(asyncio.ensure_future(Chain.at(key).using(call_id=root).acall(Chain.wait_and_meet, waiting, other)))
                while key != "a" and not _running(key):
                    await asyncio.sleep(0.001)
            async with asyncio.timeout(5):
                return await asyncio.gather(*calls)

        met = asyncio.run(main())
        assert met[0] == met[2] == ["met"]
        (refused,) = met[1]
        for chain in ("('b') → app.Chain('c').meet_back", "('a') → app.Chain('b').meet_back", "('c') → app.Chain('a').meet_back"):
            assert chain in refused, chain

    def test_a_chain_is_followed(self) -> None:
        assert Chain.at("a").call(Chain.walk, ["b", "c"]) == 2
        assert Chain.at("a").call(Chain.ask, Counter.at("n")) == 1

    def test_a_cast_from_a_turn_leaves_with_its_commit(self) -> None:
        Chain.at("a").call(Chain.tell, Counter.at("n"))
        assert Counter.at("n").call(Counter.add) == 6
        with pytest.raises(CallFailed):
            Chain.at("a").call(Chain.tell, Counter.at("n"), fail=True)
        assert Counter.at("n").call(Counter.add) == 7

    @pytest.mark.parametrize(
        ("name", "says"),
        [("ad", "did you mean 'add'"), ("_x", "no callable"), ("on_create", "hook"), ("value", "get"), ("__init__", "no callable")],
    )
    def test_unknown_and_private_methods(self, name: str, says: str) -> None:
        for cls in (Born, Counter) if name == "on_create" else (Counter,):
            with pytest.raises(UnknownMethod, match=says):
                cls.at("a").call(name)

    def test_a_decorator_that_hides_an_async_method(self, recwarn: pytest.WarningsRecorder) -> None:
        async def add(self: Counter) -> int:
            return self.value

        def hidden(self: Counter) -> Any:
            return add(self)

        definition = Counter._jido_definition
        definition._functions["hidden"] = hidden
        try:
            with pytest.raises(InvalidValue, match=r"what Counter\.hidden\(\) returned: .*nobody awaited it: .*functools\.wraps"):
                Counter.at("a").call("hidden")
        finally:
            del definition._functions["hidden"], definition._methods["hidden"]
        gc.collect()
        assert not recwarn.list

    def test_unknown_field(self) -> None:
        with pytest.raises(UnknownField, match="did you mean 'value'"):
            Counter.at("a").get("valu")

    def test_wrong_arguments(self) -> None:
        with pytest.raises(InvalidArguments, match="no parameter 'm'"):
            Counter.at("a").call("add", m=1)
        with pytest.raises(InvalidArguments, match="'buyer' is missing"):
            Sale.at("a").call("reserve")
        with pytest.raises(InvalidArguments, match=r"no parameter 'buyr' \(did you mean 'buyer'\?\)"):
            Sale.at("a").call("reserve", buyr="ann")
        with pytest.raises(InvalidArguments, match=r"\['buy'\] is no method: pass a method of Sale or its name"):
            Sale.at("a").call(["buy"])  # type: ignore[call-overload]
        with pytest.raises(InvalidArguments, match="42 is no method"):
            asyncio.run(Sale.at("a").acall(42))  # type: ignore[call-overload]
        with pytest.raises(InvalidValue, match=r"Counter\.add\(n\)"):
            Counter.at("a").call("add", "1")
        with pytest.raises(InvalidValue, match="nan cannot be stored"):
            Slow.at("a").call("wait", float("nan"))
        assert not Counter.at("a").exists()

    @pytest.mark.parametrize("parts", [("",), (None,), ("x" * 201,), ("e\u0301",), ("a\nb",), ()])
    def test_bad_keys(self, parts: tuple[object, ...]) -> None:
        with pytest.raises(InvalidKey):
            Counter.at(*parts)


def _activation(key: str) -> Any:
    host = process.own().host
    return host.activations.get(("app.Chain", key)) if host is not None else None


def _running(key: str) -> bool:
    """Whether a turn of that object is open."""
    found = _activation(key)
    return found is not None and found.turn is not None


def test_a_loop_that_has_called_can_be_forgotten(database: str) -> None:
    loops = []

    async def one() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await Counter.at("forgotten").acall(Counter.add)

    for _ in range(3):
        asyncio.run(one())
    gc.collect()
    assert [loop() for loop in loops[:-1]] == [None] * 2
