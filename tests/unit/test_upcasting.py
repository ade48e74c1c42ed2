"""Upcasters: what may be one, and that state brought forward lazily is what an eager migration would have made."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jido_objects import DurableObject, migrates
from jido_objects.definition import Definition
from jido_objects.errors import DefinitionError, UnknownType
from jido_objects.rebuilding import rebuild
from jido_objects.state import State, current_turn
from jido_objects.stores.protocol import EntryKind, Loaded, Snapshot, TailEntry
from tests.unit.test_state_properties import change, new_state


@pytest.fixture(autouse=True)
def _registry() -> Any:
    before = dict(Definition.registry)
    yield
    Definition.registry.clear()
    Definition.registry.update(before)


def up(state: dict[str, Any]) -> dict[str, Any]:
    state["n"] = state.get("n", 0) + 1
    return state


def make(version: int, *steps: int, bases: tuple[type, ...] = (DurableObject,), **more: Any) -> Any:
    namespace: dict[str, Any] = {f"to_{step + 1}": migrates(from_version=step)(up) for step in steps}
    namespace |= {"__module__": __name__, "__qualname__": "make.<locals>.Thing", "Meta": type("Meta", (), {"version": version}), **more}
    return type("Thing", bases, namespace)


# ---------------------------------------------------------------- what may be one


def test_three_spellings_of_one_upcaster() -> None:
    class Thing(DurableObject):
        n: int = 0

        @migrates(from_version=1)
        def to_2(state: dict[str, Any]) -> dict[str, Any]:  # noqa: N805
            return {"n": state["n"] + 1}

        @migrates(from_version=2)
        @staticmethod
        def to_3(state: dict[str, Any]) -> dict[str, Any]:
            return {"n": state["n"] * 10}

        @staticmethod
        @migrates(from_version=3)
        def _to_4(state: dict[str, Any]) -> dict[str, Any]:
            return {"n": -state["n"]}

        class Meta:
            version = 4

    upcasters = Thing._jido_definition.upcasters
    assert sorted(upcasters) == [1, 2, 3]
    assert [upcasters[step]({"n": 2}) for step in (1, 2, 3)] == [{"n": 3}, {"n": 20}, {"n": -2}]
    # A test of the application calls it as what it is.
    assert Thing.to_2({"n": 1}) == {"n": 2}
    # And it is no method of the object.
    assert Thing._jido_definition.method_names() == []


@pytest.mark.parametrize(
    ("version", "steps", "says"),
    [
        (2, (2,), r"Thing\.to_3 migrates from version 2, and Meta\.version is 2: set Meta\.version = 3"),
        (1, (1,), r"set Meta\.version = 2"),
        (3, (1,), r"none from version 2.*write @migrates\(from_version=2\)"),
        (4, (1, 3), r"none from version 2"),
    ],
)
def test_steps_that_do_not_fit_the_version(version: int, steps: tuple[int, ...], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        make(version, *steps)


def test_ancient_steps_may_go() -> None:
    assert sorted(make(4, 3)._jido_definition.upcasters) == [3]
    assert make(4)._jido_definition.upcasters == {}


def test_two_migrations_from_one_version() -> None:
    with pytest.raises(DefinitionError, match="to_2 and again both migrate from version 1"):
        make(2, 1, again=migrates(from_version=1)(up))


def test_a_subclass_has_the_steps_of_its_base() -> None:
    base = make(2, 1)
    assert sorted(make(2, bases=(base,))._jido_definition.upcasters) == [1]
    assert sorted(make(3, 2, bases=(base,))._jido_definition.upcasters) == [1, 2]
    assert make(1, bases=(base,))._jido_definition.upcasters == {}
    with pytest.raises(DefinitionError, match="none from version 2"):
        make(3, bases=(base,))


async def _async(state: Any) -> Any: ...
def _generator(state: Any) -> Any:
    yield state


def _method(self: Any, state: Any) -> Any: ...
def _only_self(self: Any) -> Any: ...
def _nothing() -> Any: ...
def _by_name(*, state: Any) -> Any: ...
def _two(state: Any, apps: Any) -> Any: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (_async, "cannot be async"),
        (_generator, "cannot be async or a generator"),
        (_method, r"_method\(self, state\): .*one argument, the stored document, without self: def _method\(state"),
        (_only_self, "without self"),
        (_nothing, "one argument"),
        (_by_name, "one argument"),
        (_two, "one argument"),
        (classmethod(_two), "plain function"),
        (5, "plain function"),
    ],
)
def test_what_is_no_upcaster(function: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        migrates(from_version=1)(function)


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", True, None])
def test_versions_that_nothing_leads_from(version: Any) -> None:
    with pytest.raises(DefinitionError, match="an int from 1"):
        migrates(from_version=version)


def test_a_field_and_an_upcaster_of_one_name() -> None:
    with pytest.raises(DefinitionError, match="both a field and a method"):
        make(2, 1, __annotations__={"to_2": int})


# ---------------------------------------------------------------- aliases


def aliased(label: str, *aliases: str, module: str = "one") -> Any:
    meta = type("Meta", (), {"label": label, "aliases": aliases})
    return type("Thing", (DurableObject,), {"__module__": module, "__qualname__": "Thing", "Meta": meta})


def test_a_type_is_found_by_the_labels_it_had() -> None:
    new = aliased("a.New", "a.Oldest", "a.Old")._jido_definition
    assert Definition.of("a.New") is Definition.of("a.Old") is Definition.of("a.Oldest") is new
    assert (new.labels, new.stored_label) == (("a.New", "a.Oldest", "a.Old"), "a.Oldest")
    with pytest.raises(UnknownType):
        Definition.of("a.Older")


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (("a.A",), ("a.B", "a.A"), r"two\.Thing and one\.Thing both claim the label 'a\.A'"),
        (("a.B", "a.A"), ("a.A",), r"both claim the label 'a\.A'"),
        (("a.B", "a.A"), ("a.C", "a.A"), r"both claim the label 'a\.A'"),
        (("a.A",), ("a.A",), r"have the same label 'a\.A'"),
    ],
)
def test_two_types_that_claim_one_label(first: tuple[str, ...], second: tuple[str, ...], says: str) -> None:
    aliased(*first)
    with pytest.raises(DefinitionError, match=says):
        aliased(*second, module="two")
    # Made again, as a reload does, it is no other type.
    aliased(*first)


@pytest.mark.parametrize(
    ("aliases", "says"),
    [
        (("a.A",), r"holds 'a\.A', the label it has"),
        (("a.B", "a.B"), "different names"),
        (("",), "different names"),
        ((5,), "different names"),
        ("a.B", r"write \('a\.B',\)"),
    ],
)
def test_aliases_that_are_none(aliases: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        type("Thing", (DurableObject,), {"__module__": "one", "Meta": type("Meta", (), {"label": "a.A", "aliases": aliases})})


# ---------------------------------------------------------------- lazily as eagerly

CONSTANT = {"a": {"b": {"c": 1}}}
"""A part of it ends in every document that is given it: a row that changed it there would change it here."""


def _count(state: dict[str, Any]) -> dict[str, Any]:
    state["count"] += 1
    return state


def _reverse(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "numbers": state["numbers"][::-1], "rows": [*state["rows"], {}]}


def _rekey(state: dict[str, Any]) -> dict[str, Any]:
    state["table"] = {str(int(key) + 1): value for key, value in state["table"].items()}
    return state


def _forget(state: dict[str, Any]) -> dict[str, Any]:
    for name in ("ratios", "maybe", "free"):
        # Absent where no code of the version before wrote it since an earlier step took it away.
        state.pop(name, None)
    return state


def _share(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "deep": CONSTANT}


def _add(state: dict[str, Any]) -> dict[str, Any]:
    return {"told": state["count"], **state}


STEPS = [_count, _reverse, _rekey, _forget, _share, _add]


def _rebuilt(steps: list[Any], version: int, snapshot: Snapshot | None, rows: list[TailEntry], head: int) -> State:
    options = SimpleNamespace(version=version)
    definition: Any = SimpleNamespace(options=options, upcasters=dict(enumerate(steps, 1)), cls=Definition)
    tail = [row for row in rows if snapshot is None or row.seq > snapshot.seq]
    state = new_state()
    rebuild(state, definition, ("t.Thing", "k"), Loaded(snapshot, tail, head, 1))
    return state


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=True), st.lists(st.sampled_from(STEPS), max_size=4))
def test_lazy_is_eager(rng: Random, steps: list[Any]) -> None:
    rows: list[TailEntry] = []
    snapshots: list[Snapshot | None] = [None]
    state = new_state()
    state.restore("{}")
    for version in range(1, len(steps) + 2):
        for _ in range(rng.randrange(4)):
            turn = SimpleNamespace(readonly=False, method="m")
            token = current_turn.set(turn)
            state.begin(turn)
            model = state.plain()
            for _ in range(rng.randrange(1, 6)):
                change(rng, model, state)
            delta = state.delta()
            if not rows:
                delta = state.initial()
            state.commit()
            current_turn.reset(token)
            rows.append(TailEntry(len(rows) + 1, 1, EntryKind.TURN, delta, version))
            if rng.random() < 0.3:
                snapshots.append(Snapshot(1, len(rows), 1, state.document(), version))
        # Whatever was snapshotted: any of them, or none.
        for snapshot in snapshots:
            assert _rebuilt(steps, version, snapshot, rows, len(rows)).canonical() == state.canonical()
        if version <= len(steps):
            eager = new_state()
            document = msgspec.json.decode(state.document()) if rows else {}
            eager.restore(msgspec.json.encode(steps[version - 1](document)) if rows else "{}")
            for snapshot in snapshots:
                assert _rebuilt(steps, version + 1, snapshot, rows, len(rows)).canonical() == eager.canonical()
            # What goes on is what was thawed.
            state = _rebuilt(steps, version + 1, rng.choice(snapshots), rows, len(rows))
    assert CONSTANT == {"a": {"b": {"c": 1}}}


def test_a_part_that_upcasters_share_is_not_changed_by_rows() -> None:
    rows = [
        TailEntry(1, 1, EntryKind.TURN, '[["set","count",1]]', 1),
        TailEntry(2, 1, EntryKind.TURN, '[["put",["deep","a","b"],"c",9]]', 2),
        TailEntry(3, 1, EntryKind.TURN, '[["set","count",5]]', 3),
    ]
    state = _rebuilt([_share, _add], 3, None, rows, 3)
    assert state.values["deep"] == {"a": {"b": {"c": 9}}}
    assert CONSTANT == {"a": {"b": {"c": 1}}}


def test_a_destroyed_object_begins_anew_in_whatever_version() -> None:
    rows = [
        TailEntry(1, 1, EntryKind.TURN, '[["set","count",1]]', 2),
        TailEntry(2, 1, EntryKind.DESTROY, "[]", 2),
        TailEntry(3, 1, EntryKind.TURN, '[["set","numbers",[1,2]]]', 1),
    ]
    state = _rebuilt([_reverse_only, _reverse_only], 3, None, rows, 3)
    assert (state.values["count"], list(state.values["numbers"])) == (0, [1, 2])
    again = [*rows[:2], TailEntry(3, 1, EntryKind.TURN, rows[2].delta, 2)]
    assert list(_rebuilt([_reverse_only], 2, None, again, 3).values["numbers"]) == [1, 2]


def _reverse_only(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "numbers": state["numbers"][::-1]}
