"""Each run of a call has arguments of its own: what a run that came to nothing did to them does not reach the next."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import pytest
from django.db import connections, transaction

from jido_objects import DurableObject, Ref, ids
from jido_objects.errors import CallFailed
from tests.integration.strikes import on_host, struck, wait_for

pytestmark = pytest.mark.usefixtures("database")


@dataclass(frozen=True)
class Order:
    items: list[str]
    notes: tuple[list[str], ...] = ()


class Pair(NamedTuple):
    left: list[str]
    right: str


class Packet(msgspec.Struct, frozen=True):
    items: list[str]


class Knot(DurableObject):
    """Consumes what it is given, in every form in which something that can be changed can be given."""

    got: list[str] = []

    def _take(self, items: list[str]) -> int:
        while items:
            self.got.append(items.pop(0))
        return len(self.got)

    def listed(self, items: list[str]) -> int:
        return self._take(items)

    async def slowly(self, items: list[str]) -> int:
        await asyncio.sleep(0)
        return self._take(items)

    def mapped(self, by_name: dict[str, list[str]]) -> int:
        for name in list(by_name):
            self._take(by_name.pop(name))
        return len(self.got)

    def collected(self, items: set[str]) -> int:
        self._take(sorted(items))
        items.clear()
        return len(self.got)

    def loose(self, value: Any) -> int:
        return self._take(value["items"])

    def optional(self, items: list[str] | None) -> int:
        return self._take(items or [])

    def ordered(self, order: Order) -> int:
        for note in order.notes:
            self._take(note)
        return self._take(order.items)

    async def ordered_slowly(self, order: Order) -> int:
        return self.ordered(order)

    def paired(self, pair: Pair) -> int:
        return self._take(pair.left)

    def packed(self, packets: tuple[Packet | None, ...]) -> int:
        for packet in packets:
            if packet is not None:
                self._take(packet.items)
        return len(self.got)

    def named(self, *, items: list[str], more: list[str]) -> int:
        self._take(items)
        return self._take(more)

    def variadic(self, *items: list[str]) -> int:
        for one in items:
            self._take(one)
        return len(self.got)

    def variadic_named(self, **items: list[str]) -> int:
        for name in sorted(items):
            self._take(items[name])
        return len(self.got)

    def defaulted(self, items: list[str] = ["a", "b", "c"]) -> int:  # noqa: B006 — a default is a value here, too
        return self._take(items)

    def defaulted_deep(self, pair: Pair = Pair(["a", "b"], "c"), rest: tuple[list[str], ...] = (["c"],)) -> int:  # noqa: B008
        self._take(pair.left)
        return self._take(rest[0])

    def unset(self, items: list[str] = None, *, more: list[str] = None, rest: str = None) -> int:  # type: ignore[assignment]  # noqa: RUF013
        assert (items, more, rest) == (None, None, None)
        return self._take(["a", "b", "c"])


ABC = ["a", "b", "c"]
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "listed": ((ABC,), {}),
    "slowly": ((ABC,), {}),
    "mapped": (({"x": ["a", "b"], "y": ["c"]},), {}),
    "collected": (({"a", "b", "c"},), {}),
    "loose": (({"items": ABC},), {}),
    "optional": ((ABC,), {}),
    "ordered": ((Order(["c"], (["a"], ["b"])),), {}),
    "ordered_slowly": ((Order(["c"], (["a"], ["b"])),), {}),
    "paired": ((Pair(ABC, "x"),), {}),
    "packed": (((Packet(["a"]), None, Packet(["b", "c"])),), {}),
    "named": ((), {"items": ["a"], "more": ["b", "c"]}),
    "variadic": ((["a"], ["b"], ["c"]), {}),
    "variadic_named": ((), {"x": ["a", "b"], "y": ["c"]}),
    "defaulted": ((), {}),
    "defaulted_deep": ((), {}),
    "unset": ((), {}),
}


@pytest.mark.parametrize("how", ["refused", "lost", "landed"])
def test_a_run_after_one_that_was_lost_has_all_its_arguments(how: str) -> None:
    answers, states = {}, {}
    for method, (args, kwargs) in CALLS.items():
        knot = Knot.at(method)
        knot.call(Knot.listed, ["0"])
        one = knot.using(call_id="one")
        with struck(knot.label, how, times=3) as strikes:
            answers[method] = [knot.call(method, *args, **kwargs), one.call(method, *args, **kwargs)]
        assert len(strikes) == (2 if how == "landed" else 3)
        answers[method].append(one.call(method, *args, **kwargs))
        states[method] = knot.get("got")
    assert answers == {method: [4, 7, 7] for method in CALLS}
    assert states == {method: ["0", *ABC, *ABC] for method in CALLS}


def test_one_call_takes_nothing_from_the_next() -> None:
    """Not from what the caller holds, and not from a default."""
    answers = {method: [Knot.at(method).call(method, *args, **kwargs) for _ in range(3)] for method, (args, kwargs) in CALLS.items()}
    assert answers == {method: [3, 6, 9] for method in CALLS}
    assert {method: Knot.at(method).get("got") for method in CALLS} == dict.fromkeys(CALLS, ABC * 3)


class Moody(DurableObject):
    got: list[str] = []

    def take(self, items: list[str], fail: bool = False) -> int:
        while items:
            self.got.append(items.pop())
        if fail:
            raise ValueError("with its hands in the list")
        return len(self.got)


def test_a_run_that_failed_takes_nothing_from_its_retry() -> None:
    moody = Moody.at("m").using(call_id="one")
    items = ["a", "b"]
    for _ in range(2):
        with pytest.raises(CallFailed, match="hands"):
            moody.call(Moody.take, items, True)
    assert items == ["a", "b"]
    assert Moody.at("m").call(Moody.take, items) == 2


def calling(ref: Ref[Any], *args: Any) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(ref.call(*args)))
    thread.start()
    return thread, answers


BLOCKED = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'jido%%'"


@pytest.mark.parametrize("own", [True, False], ids=["own id", "generated id"])
@pytest.mark.parametrize("method", ["listed", "slowly", "ordered"])
def test_a_connection_that_breaks_under_a_held_append(database: str, own: bool, method: str) -> None:
    """The same with a real statement, which is ended while it waits for a lock."""
    if connections[database].vendor == "sqlite":
        pytest.skip("not applicable: PostgreSQL only")
    args, _ = CALLS[method]
    knot = Knot.at("k")
    knot.call(Knot.listed, ["0"])
    with transaction.atomic(using=database), connections[database].cursor() as cursor:
        cursor.execute("LOCK TABLE jido_journal IN SHARE MODE")
        thread, answers = calling(knot.using(call_id="one" if own else ids.generate()), method, *args)

        def blocked() -> bool:
            cursor.execute(BLOCKED)
            return bool(cursor.fetchall())

        wait_for(blocked)
        cursor.execute(f"SELECT pg_terminate_backend(pid) FROM ({BLOCKED}) AS waiting")
    thread.join(20)
    assert answers == [4]
    assert knot.get("got") == ["0", *ABC]


def test_a_write_lock_held_elsewhere(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if connections[database].vendor != "sqlite":
        pytest.skip("not applicable: SQLite only")
    shared: dict[str, Any] = connections[database].settings_dict
    monkeypatch.setitem(shared, "OPTIONS", {**shared["OPTIONS"], "timeout": 0.05})
    knot = Knot.at("k")
    knot.call(Knot.listed, ["0"])
    other = sqlite3.connect(shared["NAME"], isolation_level=None, uri=str(shared["NAME"]).startswith("file:"))
    try:
        other.execute("BEGIN IMMEDIATE")
        thread, answers = calling(knot.using(call_id="one"), "listed", ABC)
        generated, others = calling(knot, "slowly", ABC)
        # Until an append has failed: the object has left memory, and the calls wait to run again.
        wait_for(lambda: any(on_host(lambda host: [call.redone for each in host.activations.values() for call in each.mailbox])))
        other.execute("ROLLBACK")
    finally:
        other.close()
    thread.join(20)
    generated.join(20)
    assert sorted([*answers, *others]) == [4, 7]
    assert knot.get("got") == ["0", *ABC, *ABC]
