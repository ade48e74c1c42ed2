"""State that changes from one deploy to the next, on real databases; and types that change their names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jido_objects import DurableObject, Ref, migrates, models
from jido_objects.definition import Definition
from jido_objects.errors import CorruptObject, MigrationFailed, MigrationGap, NewerVersion, OwnedElsewhere, UnreadableResult
from jido_objects.host import Host
from jido_objects.stores.opening import open_store
from tests.deploys import deployed, hosting, send

LABEL = "versions.Cart"


@pytest.fixture(autouse=True)
def _registry() -> Any:
    before = dict(Definition.registry)
    yield
    Definition.registry.clear()
    Definition.registry.update(before)


def cart_1(default: int = 5, every: int = 64) -> type[DurableObject]:
    class Cart(DurableObject):
        holds: dict[str, int] = {}
        limit: int = default
        noted: list[str] = []

        def hold(self, buyer: str, n: int) -> int:
            self.holds[buyer] = n
            return sum(self.holds.values())

        def touch(self) -> str:
            return "touched"

        class Meta:
            label = LABEL
            snapshot_every = every

    return Cart


def cart_2(every: int = 64) -> type[DurableObject]:
    class Cart(DurableObject):
        lines: dict[str, list[int]] = {}
        maximum: int = 99
        noted: list[str] = []

        @migrates(from_version=1)
        @staticmethod
        def to_2(state: dict[str, Any]) -> dict[str, Any]:
            state["lines"] = {buyer: [n] for buyer, n in state.pop("holds").items()}
            state["maximum"] = state.pop("limit")
            return state

        def hold(self, buyer: str, n: int) -> int:
            self.lines.setdefault(buyer, []).append(n)
            return sum(map(sum, self.lines.values()))

        def touch(self) -> int:
            return 7

        class Meta:
            label = LABEL
            version = 2
            snapshot_every = every

    return Cart


def cart_3(upcast: Callable[[dict[str, Any]], Any] | None, *, oldest: int = 1) -> type[DurableObject]:
    namespace: dict[str, Any] = {"__module__": __name__, "__qualname__": "cart_3.<locals>.Cart", "__annotations__": {"total": int}}
    namespace["total"] = 0
    namespace["Meta"] = type("Meta", (), {"label": LABEL, "version": 3})
    if upcast is not None:
        namespace["to_3"] = migrates(from_version=2)(upcast)
        if oldest == 1:
            namespace["to_2"] = cart_2().__dict__["to_2"]
    return type("Cart", (DurableObject,), namespace)


def to_3(state: dict[str, Any]) -> dict[str, Any]:
    return {"total": sum(sum(numbers) for numbers in state["lines"].values())}


def play(alias: str, *acts: tuple[tuple[type[DurableObject], ...], Callable[[Host], Awaitable[None]]]) -> None:
    """Each act is a deploy: its types, in a host of its own that ends with it."""

    async def main() -> None:
        for types, act in acts:
            with deployed(*types):
                async with asyncio.timeout(30), hosting(open_store(alias)) as host:
                    await act(host)

    asyncio.run(main())


def rows(alias: str, key: str = "k") -> list[tuple[int, str]]:
    found = models.Journal.objects.using(alias).filter(object__key=key).order_by("object_id", "seq")
    return [(row.version, row.delta) for row in found]


def test_state_is_brought_forward(database: str) -> None:
    one, two = cart_1(), cart_2()

    async def write(host: Host) -> None:
        assert await send(host, one.at("k"), "hold", "ann", 2) == 2

    async def read(host: Host) -> None:
        assert await send(host, two.at("k"), "lines", get=True) == {"ann": [2]}
        assert await send(host, two.at("k"), "maximum", get=True) == 5

    async def change(host: Host) -> None:
        assert await send(host, two.at("k"), "hold", "ann", 3) == 5
        assert await host.read(two._jido_definition, (LABEL, "k")) == {"lines": {"ann": [2, 3]}, "maximum": 5, "noted": []}

    play(database, ((one,), write), ((two,), read))
    # To read it has written nothing: the code before can have it back.
    assert [version for version, _ in rows(database)] == [1]
    assert not models.Snapshot.objects.using(database).exists()
    play(database, ((one,), write), ((two,), change), ((two,), read_only(two, "lines", {"ann": [2, 3]})))
    assert [version for version, _ in rows(database)] == [1, 2]
    # From its first row on it rests in today's version: the migration is not needed for it any more.
    assert models.Snapshot.objects.using(database).get().version == 2


def read_only(cls: type[DurableObject], field: str, value: Any) -> Callable[[Host], Awaitable[None]]:
    async def act(host: Host) -> None:
        assert await send(host, cls.at("k"), field, get=True) == value

    return act


def test_two_steps_at_once_from_a_snapshot_and_its_tail(database: str) -> None:
    one, three = cart_1(every=2), cart_3(to_3)

    async def write(host: Host) -> None:
        for n in range(5):
            await send(host, one.at("k"), "hold", f"b{n}", n)
            host.activations[LABEL, "k"].last_snapshot = -1.0

    play(database, ((one,), write))
    assert models.Snapshot.objects.using(database).exists()
    play(database, ((three,), read_only(three, "total", 10)))


def test_rows_of_two_versions_in_one_tail(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = cart_1(), cart_2(), cart_3(to_3)
    # Snapshots are lost.
    monkeypatch.setattr("jido_objects.pipeline.Pipeline.keep", lambda *_: None)

    async def first(host: Host) -> None:
        await send(host, one.at("k"), "hold", "ann", 2)
        await send(host, one.at("k"), "hold", "bob", 1)

    async def second(host: Host) -> None:
        assert await send(host, two.at("k"), "hold", "ann", 4) == 7
        assert await send(host, two.at("k"), "hold", "cy", 1) == 8

    play(database, ((one,), first), ((two,), second))
    assert [version for version, _ in rows(database)] == [1, 1, 2, 2]
    play(database, ((two,), read_only(two, "lines", {"ann": [2, 4], "bob": [1], "cy": [1]})), ((three,), read_only(three, "total", 8)))


def test_what_is_stored_does_not_depend_on_later_defaults(database: str) -> None:
    one, other = cart_1(default=5), cart_1(default=50)

    async def write(host: Host) -> None:
        await send(host, one.at("k"), "hold", "ann", 1)
        await send(host, one.at("empty"), "touch", call_id="mine")

    async def read(host: Host) -> None:
        assert await send(host, other.at("k"), "limit", get=True) == 5
        assert await send(host, other.at("empty"), "limit", get=True) == 5
        assert await send(host, other.at("new"), "limit", get=True) == 50

    play(database, ((one,), write), ((other,), read))
    assert rows(database) == [(1, '[["set","holds",{"ann":1}],["set","limit",5],["set","noted",[]]]')]


def test_a_field_that_only_newer_code_has_survives_the_code_before_and_an_upcast(database: str) -> None:
    one, two = cart_1(), cart_2()

    class Cart(DurableObject):
        """One with a field more, under the same version."""

        holds: dict[str, int] = {}
        limit: int = 5
        noted: list[str] = []
        wishes: list[str] = ["a bell"]

        def wish(self, what: str) -> None:
            self.wishes.append(what)

        class Meta:
            label = LABEL

    more = Cart

    async def write(host: Host) -> None:
        await send(host, one.at("k"), "hold", "ann", 1)

    async def wish(host: Host) -> None:
        await send(host, more.at("k"), "wish", "a hat")

    async def back(host: Host) -> None:
        await send(host, one.at("k"), "hold", "bob", 1)
        host.activations[LABEL, "k"].tail = 64
        assert host.hibernate(host.activations[LABEL, "k"])
        await host.pipeline.quiet()

    play(database, ((one,), write), ((more,), wish), ((one,), back), ((more,), read_only(more, "wishes", ["a bell", "a hat"])))
    assert models.Snapshot.objects.using(database).exists()

    async def forward(host: Host) -> None:
        await send(host, two.at("k"), "hold", "cy", 1)
        state = host.activations[LABEL, "k"].state.document()
        assert '"wishes":["a bell","a hat"]' in state

    play(database, ((two,), forward), ((two,), read_only(two, "lines", {"ann": [1], "bob": [1], "cy": [1]})))


@pytest.mark.parametrize(
    ("upcast", "says"),
    [
        (lambda state: state["nothing"], "raised KeyError: 'nothing'"),
        (lambda state: None, "returned nothing instead of the document: end it with `return state`"),
        (lambda state: [state], "returned a list"),
        (lambda state: {"total": {1, 2}}, r"state\['total'\] is \{1, 2\} \(set\)"),
        (lambda state: {"total": float("nan")}, r"state\['total'\] is nan"),
        (lambda state: {"deep": [{1: 2}]}, r"state\['deep'\]\[0\] has the key 1"),
        (lambda state: state.update(it=state) or state, "contains itself"),
        (lambda state: {"total": "many"}, "today's fields cannot read what it returned: field 'total'"),
    ],
)
def test_an_upcaster_that_fails_refuses_its_object_alone(database: str, upcast: Any, says: str) -> None:
    two, three = cart_2(), cart_3(upcast)

    async def write(host: Host) -> None:
        await send(host, two.at("k"), "hold", "ann", 2)

    async def refuse(host: Host) -> None:
        for _ in range(2):
            with pytest.raises(MigrationFailed, match=says) as caught:
                await send(host, three.at("k"), "total", get=True)
            assert (caught.value.applied, caught.value.retryable) == (False, False)
            assert "versions.Cart('k') cannot be brought from state version 2 to 3" in str(caught.value)
        with pytest.raises(MigrationFailed):
            await host.read(three._jido_definition, (LABEL, "k"))
        assert await send(host, three.at("other"), "total", get=True) == 0

    play(database, ((two,), write), ((three,), refuse))
    assert len(rows(database)) == 1
    # Corrected and deployed again: nothing is lost.
    good = cart_3(to_3)
    play(database, ((good,), read_only(good, "total", 2)))


def test_a_gap_names_the_migration_to_write(database: str) -> None:
    one, gap = cart_1(), cart_3(to_3, oldest=2)

    async def write(host: Host) -> None:
        await send(host, one.at("k"), "hold", "ann", 2)

    async def refuse(host: Host) -> None:
        with pytest.raises(MigrationGap, match=r"Write @migrates\(from_version=1\) in Cart") as caught:
            await send(host, gap.at("k"), "total", get=True)
        assert not caught.value.retryable
        assert await send(host, gap.at("other"), "total", get=True) == 0

    play(database, ((one,), write), ((gap,), refuse), ((cart_3(to_3),), read_only(cart_3(to_3), "total", 2)))


def test_rows_whose_version_falls_are_corrupt(database: str) -> None:
    one, two, three = cart_1(), cart_2(), cart_3(to_3)

    async def write(host: Host) -> None:
        await send(host, two.at("k"), "hold", "ann", 2)
        await send(host, two.at("k"), "hold", "ann", 2)

    play(database, ((two,), write))
    models.Snapshot.objects.using(database).all().delete()
    models.Journal.objects.using(database).filter(seq=2).update(version=1)

    async def refuse(host: Host) -> None:
        with pytest.raises(CorruptObject, match="row 2 is of state version 1, after rows of version 2"):
            await send(host, three.at("k"), "total", get=True)

    play(database, ((three,), refuse))
    assert one


def test_older_code_leaves_a_newer_object_to_newer_code(database: str) -> None:
    one, two = cart_1(), cart_2()

    async def write(host: Host) -> None:
        await send(host, two.at("k"), "hold", "ann", 2)

    async def both() -> None:
        async with hosting(open_store(database)) as old, hosting(open_store(database)) as new:
            with deployed(one):
                assert await send(old, one.at("mine"), "hold", "ann", 1) == 1
                for _ in range(2):
                    with pytest.raises(NewerVersion) as caught:
                        await send(old, one.at("k"), "hold", "bob", 1)
                    assert (caught.value.applied, caught.value.retryable) == (False, True)
                with pytest.raises(NewerVersion):
                    await old.read(one._jido_definition, (LABEL, "k"))
            with deployed(two):
                # The old host still lives, and has not taken it.
                assert await send(new, two.at("k"), "hold", "bob", 1) == 3
                with pytest.raises(OwnedElsewhere):
                    await send(new, two.at("mine"), "hold", "bob", 1)
            with deployed(one):
                assert await send(old, one.at("mine"), "hold", "ann", 2) == 2

    play(database, ((two,), write))
    asyncio.run(asyncio.wait_for(both(), 30))


def test_a_result_that_today_s_code_cannot_read(database: str) -> None:
    one, two = cart_1(), cart_2()

    async def write(host: Host) -> None:
        assert await send(host, one.at("k"), "touch", call_id="order-1") == "touched"

    async def retry(host: Host) -> None:
        with pytest.raises(UnreadableResult, match="was applied") as caught:
            await send(host, two.at("k"), "touch", call_id="order-1")
        assert (caught.value.applied, caught.value.retryable) == (True, False)
        # Whoever comes after it is served.
        assert await send(host, two.at("k"), "hold", "ann", 1) == 1

    play(database, ((one,), write), ((two,), retry))


# ---------------------------------------------------------------- renamed types


def renamed(new: str, *old: str, limit: int = 5) -> type[DurableObject]:
    class Basket(DurableObject):
        n: int = 0
        friend: Ref[Any] | None = None
        seen: list[Ref[Any]] = []

        def add(self, n: int = 1) -> int:
            self.n += n
            return self.n

        def befriend(self) -> None:
            self.friend = self.ref
            self.seen.append(self.ref)

        class Meta:
            label = new
            aliases = old

    return Basket


def stored(alias: str) -> list[tuple[str, str]]:
    return list(models.Object.objects.using(alias).order_by("id").values_list("type", "key"))


def test_an_object_is_found_under_the_labels_its_type_had(database: str) -> None:
    old, new, newest = renamed("a.Old"), renamed("a.New", "a.Old"), renamed("b.Newest", "a.Old", "a.New")

    async def write(host: Host) -> None:
        await send(host, old.at("k"), "add")
        await send(host, old.at("k"), "befriend")

    async def go_on(host: Host) -> None:
        assert await host.exists(("a.New", "k"))
        assert await send(host, new.at("k"), "add") == 2
        friend = await send(host, new.at("k"), "friend", get=True)
        assert (friend.label, friend.key) == ("a.New", "k")
        assert await host.read(new._jido_definition, ("a.New", "k")) == {"n": 2, "friend": friend, "seen": [friend]}
        assert await send(host, friend, "add") == 3

    play(database, ((old,), write), ((new,), go_on), ((newest,), read_only(newest, "n", 3)))
    assert stored(database) == [("a.Old", "k")]
    # And back.
    play(database, ((old,), read_only(old, "n", 3)))


def test_old_and_new_code_that_create_one_object_make_one_row(database: str) -> None:
    old, new = renamed("a.Old"), renamed("a.New", "a.Old")

    async def both() -> None:
        async with hosting(open_store(database)) as one, hosting(open_store(database)) as two:
            with deployed(new, old):
                first, second = send(two, new.at("k"), "add"), send(one, old.at("k"), "add")
                outcomes = await asyncio.gather(first, second, return_exceptions=True)
        # One of them made it; the other found its row, and its owner.
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["OwnedElsewhere", "int"]

    asyncio.run(asyncio.wait_for(both(), 30))
    assert len(stored(database)) == 1


def test_what_new_code_creates_old_code_finds(database: str) -> None:
    old, new = renamed("a.Old"), renamed("a.New", "a.Old")

    async def write(host: Host) -> None:
        assert await send(host, new.at("k"), "add") == 1

    play(database, ((new,), write), ((old,), read_only(old, "n", 1)), ((new,), read_only(new, "n", 1)))
    assert stored(database) == [("a.Old", "k")]


def test_of_two_rows_the_one_under_today_s_label_counts(database: str, caplog: pytest.LogCaptureFixture) -> None:
    old, alone, new = renamed("a.Old"), renamed("a.New"), renamed("a.New", "a.Old")

    async def write_old(host: Host) -> None:
        await send(host, old.at("k"), "add", 5)

    async def write_new(host: Host) -> None:
        await send(host, alone.at("k"), "add", 1)

    async def go_on(host: Host) -> None:
        assert await send(host, new.at("k"), "add", 1) == 2

    play(database, ((old,), write_old), ((alone,), write_new))
    with caplog.at_level(logging.ERROR, "jido_objects.host"):
        play(database, ((new,), go_on))
    assert "a.New('k') is stored under 'a.New', which counts, and under 'a.Old', which is not seen" in caplog.text
    play(database, ((old,), read_only(old, "n", 5)))
