"""A class that changes under its objects: defaults, fields that come and go, return annotations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jido_objects import DurableObject, process
from jido_objects.definition import Definition
from jido_objects.errors import UnreadableResult
from jido_objects.models import Journal, Object, Snapshot
from tests.integration.strikes import hibernate, on_host, struck

pytestmark = pytest.mark.usefixtures("database")

LABEL = "tests.Shop"


@pytest.fixture(autouse=True)
def forgotten(database: str) -> Iterator[None]:
    yield
    process.stop()
    Definition.registry.pop(LABEL, None)


def shop(returns: Any = int, snapshot_every: int = 100, **fields: tuple[Any, Any]) -> Any:
    """The class with these fields and defaults, as if the process had been started with it."""
    process.stop()

    def sell(self: Any, n: int = 1) -> Any:
        self.sold += n
        return self.sold

    def push(self: Any, name: str, value: int) -> int:
        getattr(self, name).append(value)
        return len(getattr(self, name))

    def assign(self: Any, name: str, value: Any) -> None:
        setattr(self, name, value)

    def answer(self: Any, value: Any) -> Any:
        return value

    answer.__annotations__["return"] = returns
    meta = type("Meta", (), {"label": LABEL, "snapshot_every": snapshot_every})
    fields = {"sold": (int, 0), **fields}
    body: dict[str, Any] = {"__annotations__": {name: annotation for name, (annotation, _) in fields.items()}}
    body |= {name: default for name, (_, default) in fields.items()}
    names = {"__module__": __name__, "__qualname__": "shop.<locals>.Shop", "Meta": meta}
    return type("Shop", (DurableObject,), {**body, **names, "sell": sell, "push": push, "assign": assign, "answer": answer})


@pytest.mark.parametrize("calls", [1, 5, 20], ids=["below", "at", "above"])
@pytest.mark.parametrize("sleeps", [False, True], ids=["stopped", "hibernated"])
def test_other_defaults_change_nothing_that_exists(database: str, calls: int, sleeps: bool) -> None:
    fields = {"stock": (int, 100), "tiers": (list[int], [10, 20]), "open": (bool, True), "prices": (dict[str, int], {"a": 1})}
    one = shop(snapshot_every=5, **fields).at("s")
    for n in range(1, calls + 1):
        assert one.call("sell") == n
    if sleeps:
        hibernate((LABEL, "s"))
    before = one.peek()
    others = {"stock": (int, 5), "tiers": (list[int], []), "open": (bool, False), "prices": (dict[str, int], {"b": 2})}
    one = shop(snapshot_every=5, **others).at("s")
    assert one.peek() == before
    assert [one.get(name) for name in fields] == [default for _, default in fields.values()]
    assert one.call("push", "tiers", 30) == 3
    if sleeps:
        hibernate((LABEL, "s"))
    assert shop(**fields).at("s").peek() == {**before, "tiers": [10, 20, 30]}
    assert shop(**others).at("new").get("stock") == 5


@pytest.mark.parametrize("how", [None, "refused", "lost", "landed"])
def test_the_first_row_sets_every_field_whatever_it_took_to_write_it(database: str, how: str | None) -> None:
    one = shop(stock=(int, 100), tiers=(list[int], [10])).at("s")
    with struck(LABEL, how or "lost", times=1 if how else 0):
        assert one.call("push", "tiers", 20) == 2
    row = Journal.objects.using(database).get(object__key="s")
    assert json.loads(row.delta) == [["set", "sold", 0], ["set", "stock", 100], ["set", "tiers", [10, 20]]]


def test_a_field_added_later_has_the_newest_default_until_it_is_written(database: str) -> None:
    shop().at("s").call("sell")
    one = shop(snapshot_every=1, tiers=(list[int], [1, 2]), price=(int, 5)).at("s")
    assert one.get("tiers") == [1, 2]
    for n in range(2, 12):
        one.call("sell", 1)
        assert one.get("sold") == n
    hibernate((LABEL, "s"))
    document = Snapshot.objects.using(database).filter(object__key="s").latest("seq").document
    assert json.loads(document) == {"sold": 11}
    one = shop(tiers=(list[int], [3]), price=(int, 6)).at("s")
    assert one.call("push", "tiers", 4) == 2
    assert json.loads(Journal.objects.using(database).filter(object__key="s").latest("seq").delta) == [["set", "tiers", [3, 4]]]
    assert one.call("push", "tiers", 5) == 3
    assert json.loads(Journal.objects.using(database).filter(object__key="s").latest("seq").delta) == [["append", "tiers", 5]]
    one = shop(tiers=(list[int], []), price=(int, 7)).at("s")
    assert one.peek() == {"sold": 11, "tiers": [3, 4, 5], "price": 7}


def test_what_a_method_assigned_stays_though_it_was_the_default(database: str) -> None:
    shop().at("s").call("sell")
    shop(price=(int, 5)).at("s").call("assign", "price", 5)
    assert shop(price=(int, 6)).at("s").get("price") == 5


def test_a_turn_that_failed_sets_nothing(database: str) -> None:
    shop().at("s").call("sell")
    one = shop(tiers=(list[int], [1])).at("s")
    with pytest.raises(Exception, match="nowhere"):
        one.call("assign", "nowhere", 1)
    with struck(LABEL, "lost"):
        assert one.call("push", "tiers", 2) == 2
    assert shop(tiers=(list[int], [])).at("s").get("tiers") == [1, 2]


@pytest.mark.parametrize("snapshot_every", [1, 100])
def test_fields_of_newer_code_survive_older_code(snapshot_every: int) -> None:
    shop(snapshot_every=snapshot_every).at("s").call("sell")
    newer: Callable[[int], Any] = lambda price: shop(price=(int, price), tiers=(list[int], [price]), snapshot_every=snapshot_every).at("s")  # noqa: E731
    newer(5).call("push", "tiers", 9)
    older = shop(snapshot_every=snapshot_every).at("s")
    for _ in range(10):
        older.call("sell")
    hibernate((LABEL, "s"))
    older.call("sell")
    assert newer(6).peek() == {"sold": 12, "price": 6, "tiers": [5, 9]}
    assert newer(7).call("push", "tiers", 8) == 3


def test_rows_of_before_this_rule_load_and_keep_what_they_changed(database: str) -> None:
    one = shop(stock=(int, 100), tiers=(list[int], [10])).at("s")
    one.call("push", "tiers", 20)
    one.call("push", "tiers", 30)
    process.stop()
    rows = Journal.objects.using(database).filter(object__key="s")
    rows.filter(seq=1).update(delta='[["append","tiers",20]]')
    Snapshot.objects.using(database).filter(object__key="s").delete()
    one = shop(snapshot_every=1, stock=(int, 50), tiers=(list[int], [10])).at("s")
    assert one.peek() == {"sold": 0, "stock": 50, "tiers": [10, 20, 30]}
    for n in range(1, 10):
        assert one.call("sell") == n
    hibernate((LABEL, "s"))
    assert Snapshot.objects.using(database).filter(object__key="s").exists()
    # Deltas on top of a default: the snapshot has it all.
    assert shop(stock=(int, 5), tiers=(list[int], [])).at("s").peek() == {"sold": 9, "stock": 5, "tiers": [10, 20, 30]}


# ---------------------------------------------------------------- answers that no longer fit


@pytest.mark.parametrize(("before", "value", "after"), [(int, 5, dict[str, int]), (str, "x", int), (int | None, None, int)])
def test_a_recorded_answer_that_no_longer_fits_its_method(before: Any, value: Any, after: Any) -> None:
    one = shop(returns=before).at("s")
    assert one.using(call_id="one").call("answer", value) == value
    one = shop(returns=after).at("s")
    for _ in range(2):
        with pytest.raises(UnreadableResult, match="applied, once") as caught:
            one.using(call_id="one", timeout=3).call("answer", value)
        assert caught.value.applied is True
        assert not caught.value.retryable
        assert caught.value.call_id == "one"
        assert one.using(timeout=3).call("sell") > 0
    assert on_host(lambda host: host.activations[LABEL, "s"].idle)
    assert shop(returns=before).at("s").using(call_id="one").call("answer", value) == value


def test_one_row_of_an_object_that_no_call_has_changed(database: str) -> None:
    shop(price=(int, 5)).at("s").using(call_id="one").call("answer", 1)
    row = Journal.objects.using(database).get(object__key="s")
    assert json.loads(row.delta) == [["set", "sold", 0], ["set", "price", 5]]
    assert Object.objects.using(database).filter(key="s").count() == 1
    assert shop(price=(int, 6)).at("s").get("price") == 5
