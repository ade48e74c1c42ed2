# ruff: noqa: PT012, RUF005, SIM300 — operators are tried from both sides, and refusals inside of loops and turns
"""State: who may change it and when, what the journal says of it, and what a rollback takes back."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import datetime as dt
import heapq
import itertools
import json
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from jido_objects import delta as deltas
from jido_objects import limits
from jido_objects.codec import CorruptValue, kind_of
from jido_objects.errors import DefinitionError, InvalidValue, StateError
from jido_objects.state import Field, State, TrackedDict, TrackedList, TrackedSet, current_turn
from jido_objects.tracked.nodes import SWAP
from tests.unit.test_codec import Mixed, Point

_MISSING = object()


def field(name: str, annotation: Any, default: Any = _MISSING) -> Field:
    kind = kind_of(annotation, where=f"Sale.{name}")
    return Field(name, kind) if default is _MISSING else Field(name, kind, default)


def new(document: str | None = None, **annotations: Any) -> State:
    state = State({name: field(name, annotation) for name, annotation in annotations.items()}, {}, "Sale")
    if document is None:
        state.reset()
        state.unset.clear()  # as after its first row
    else:
        state.restore(document)
    return state


@contextmanager
def turn(state: State, *, readonly: bool = False) -> Iterator[SimpleNamespace]:
    """A turn that the test ends by ``finish`` or ``rollback``."""
    this = SimpleNamespace(readonly=readonly, method="reserve")
    token = current_turn.set(this)
    state.begin(this)
    try:
        yield this
    finally:
        current_turn.reset(token)


class Self:
    """The attributes of an object, as its methods see them."""

    def __init__(self, state: State) -> None:
        object.__setattr__(self, "_state", state)

    def __getattr__(self, name: str) -> Any:
        return self._state.values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self._state.set(name, value)


def delta_of(state: State, program: Any) -> str:
    with turn(state):
        program(Self(state))
        return state.finish()


# ---------------------------------------------------------------- fields


def test_fields_without_a_default_begin_empty() -> None:
    state = new(
        a=int, b=float, c=str, d=bool, e=list[int], f=dict[str, int], g=set[int], h=int | None, i=Any, j=tuple[int, ...], k=frozenset[int]
    )
    assert state.plain() == {
        "a": 0, "b": 0.0, "c": "", "d": False, "e": [], "f": {}, "g": set(), "h": None, "i": None, "j": (), "k": frozenset(),
    }  # fmt: skip


@pytest.mark.parametrize("annotation", [Decimal, dt.datetime, Point, Mixed, tuple[int, str], bytes])
def test_other_types_need_a_default(annotation: Any) -> None:
    with pytest.raises(DefinitionError, match="needs a default: write `price: "):
        field("price", annotation)


def test_default_is_copied_for_each_object() -> None:
    default = {"a": [1]}
    shape = {"holds": field("holds", dict[str, list[int]], default)}
    one, other = State(shape, {}, "one"), State(shape, {}, "other")
    one.reset()
    other.reset()
    with turn(one):
        one.values["holds"]["a"].append(2)
        one.finish()
    assert default == {"a": [1]}
    assert other.plain() == {"holds": {"a": [1]}}
    made = Field("items", kind_of(list[int], where="x"), factory=lambda: [1])
    assert made.fresh() == [1]
    assert made.fresh() is not made.fresh()


def test_default_that_does_not_fit_is_an_error_of_the_class() -> None:
    with pytest.raises(DefinitionError, match="The default of stock: expected int, got 'a'"):
        field("stock", int, "a")


# ---------------------------------------------------------------- who may change state


def all_changes() -> list[Any]:
    return [
        lambda me: setattr(me, "stock", 1),
        lambda me: me.log.append(1),
        lambda me: me.log.extend([1]),
        lambda me: me.log.insert(0, 1),
        lambda me: me.log.__setitem__(0, 1),
        lambda me: me.log.__setitem__(slice(0, 1), [1]),
        lambda me: me.log.__delitem__(0),
        lambda me: me.log.__delitem__(slice(0, 1)),
        lambda me: me.log.pop(),
        lambda me: me.log.remove(1),
        lambda me: me.log.clear(),
        lambda me: me.log.reverse(),
        lambda me: me.log.sort(),
        lambda me: me.log.__iadd__([1]),
        lambda me: me.log.__imul__(2),
        lambda me: me.holds.__setitem__("a", 1),
        lambda me: me.holds.__delitem__("a"),
        lambda me: me.holds.pop("a"),
        lambda me: me.holds.pop("z", None),
        lambda me: me.holds.popitem(),
        lambda me: me.holds.clear(),
        lambda me: me.holds.update(a=2),
        lambda me: me.holds.setdefault("b", 1),
        lambda me: me.holds.__ior__({"a": 2}),
        lambda me: me.tags.add("b"),
        lambda me: me.tags.discard("a"),
        lambda me: me.tags.discard("z"),
        lambda me: me.tags.remove("a"),
        lambda me: me.tags.pop(),
        lambda me: me.tags.clear(),
        lambda me: me.tags.update(["b"]),
        lambda me: me.tags.__ior__({"b"}),
        lambda me: me.tags.__iand__({"b"}),
        lambda me: me.tags.__isub__({"a"}),
        lambda me: me.tags.__ixor__({"a"}),
        lambda me: me.rows[0]["a"].append(1),
    ]


def guarded() -> State:
    document = '{"stock":5,"log":[1,2],"holds":{"a":1},"tags":["a"],"rows":[{"a":[1]}]}'
    return new(document, stock=int, log=list[int], holds=dict[str, int], tags=set[str], rows=list[dict[str, list[int]]])


@pytest.mark.parametrize("change", all_changes())
def test_state_changes_only_inside_its_own_turn(change: Any) -> None:
    state = guarded()
    before = state.document()
    with pytest.raises(StateError, match="Sale: state changes only inside a method call"):
        change(Self(state))
    with turn(state), pytest.raises(StateError) as caught:
        thread_errors: list[BaseException] = []

        def elsewhere() -> None:
            try:
                change(Self(state))
            except StateError as error:
                thread_errors.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        raise thread_errors[0]
    assert "not part of the open turn" in str(caught.value)
    state.rollback()
    with turn(state, readonly=True), pytest.raises(StateError, match=r"Sale\.reserve is a @query and cannot change state; drop @query"):
        change(Self(state))
    assert not state.dirty
    assert state.finish() == "[]"
    assert state.document() == before
    with turn(state):
        change(Self(state))
        state.rollback()
        with pytest.raises(StateError, match="no turn is open"):
            change(Self(state))
    assert state.document() == before


def test_task_that_outlives_its_turn_changes_nothing() -> None:
    state = guarded()

    async def main() -> None:
        first_is_over = asyncio.Event()

        async def stray() -> None:
            Self(state).log.append(3)
            await first_is_over.wait()
            Self(state).log.append(4)

        with turn(state):
            task = asyncio.create_task(stray())
            await asyncio.sleep(0)
            assert state.finish() == '[["append","log",3]]'
        with turn(state):
            first_is_over.set()
            with pytest.raises(StateError):
                await task
            assert state.finish() == "[]"

    asyncio.run(main())
    assert state.values["log"] == [1, 2, 3]


def test_two_turns_are_never_open() -> None:
    state = guarded()
    with turn(state), pytest.raises(StateError, match=r"a turn \(reserve\) is already open"):
        state.begin(SimpleNamespace(readonly=False, method="m"))
    state.rollback()
    state.rollback()


def test_what_left_the_state_can_change_nothing() -> None:
    state = guarded()
    with turn(state):
        me = Self(state)
        row = me.rows[0]
        numbers = row["a"]
        old_log = me.log
        popped = me.rows.pop()
        assert type(popped) is dict
        popped["a"].append(9)
        me.log = [1]
        removed = me.rows
        me.rows = []
        for left in (row, numbers, old_log, removed):
            with pytest.raises(StateError, match="was removed or replaced"):
                left.clear()
        with pytest.raises(StateError, match="was removed or replaced"):
            row["a"] = []
        state.rollback()
    with turn(state):
        numbers.append(5)
        old_log.append(6)
        assert state.finish() == '[["append",["rows",0,"a"],5],["append","log",6]]'


@pytest.mark.parametrize(
    "leave",
    [
        lambda me: me.free.pop("a"),
        lambda me: me.free.__delitem__("a"),
        lambda me: me.free.__setitem__("a", [1]),
        lambda me: me.free.update(a=[1]),
        lambda me: me.free.clear(),
        lambda me: me.free.popitem(),
        lambda me: me.free.__setitem__("a", me.free.pop("a")),
        lambda me: setattr(me, "free", {"a": [1]}),
    ],
)
def test_child_of_a_dict_is_detached(leave: Any) -> None:
    state = new('{"free":{"a":[1]}}', free=dict[str, list[int]])
    with turn(state):
        child = Self(state).free["a"]
        leave(Self(state))
        with pytest.raises(StateError, match="was removed or replaced"):
            child.append(2)
        state.rollback()
    with turn(state):
        child.append(2)
        state.finish()
    assert state.plain() == {"free": {"a": [1, 2]}}


def test_child_of_a_list_follows_its_place() -> None:
    state = new('{"rows":[[0],[1],[2],[3]]}', rows=list[list[int]])
    with turn(state):
        me = Self(state)
        rows = list(me.rows)
        me.rows.pop(0)
        me.rows.reverse()
        rows[3].append(33)
        rows[1].append(11)
        with pytest.raises(StateError):
            rows[0].append(0)
        delta = state.finish()
    assert delta == '[["del","rows",0],["order","rows",[2,1,0]],["append",["rows",0],33],["append",["rows",2],11]]'
    assert state.plain() == {"rows": [[3, 33], [2], [1, 11]]}


# ---------------------------------------------------------------- what the journal says


@pytest.mark.parametrize(
    ("program", "delta"),
    [
        (lambda me: None, "[]"),
        (lambda me: setattr(me, "stock", 5), "[]"),
        (lambda me: [setattr(me, "stock", n) for n in (6, 7, 8)], '[["set","stock",8]]'),
        (lambda me: [setattr(me, "stock", n) for n in (6, 5)], "[]"),
        (lambda me: me.log.append(3), '[["append","log",3]]'),
        (lambda me: me.log.extend([3, 4]), '[["extend","log",[3,4]]]'),
        (lambda me: me.log.extend([]), "[]"),
        (lambda me: me.log.insert(-1, 3), '[["insert","log",1,3]]'),
        (lambda me: me.log.insert(99, 3), '[["insert","log",2,3]]'),
        (lambda me: me.log.__setitem__(-1, 3), '[["put","log",1,3]]'),
        (lambda me: me.log.__setitem__(1, 2), "[]"),
        (lambda me: me.log.__setitem__(slice(0, 1), [7, 8]), '[["splice","log",0,1,[7,8]]]'),
        (lambda me: me.log.__setitem__(slice(None, None, -1), [7, 8]), '[["put","log",1,7],["put","log",0,8]]'),
        (lambda me: me.log.__delitem__(slice(None, None, 2)), '[["order","log",[1]]]'),
        (lambda me: me.log.__delitem__(slice(5, 2)), "[]"),
        (lambda me: me.log.__setitem__(slice(2, 0), [7]), '[["splice","log",2,2,[7]]]'),
        (lambda me: me.log.__delitem__(slice(1, 0)), "[]"),
        (lambda me: me.log.pop(), '[["del","log",1]]'),
        (lambda me: me.log.clear(), '[["clear","log"]]'),
        (lambda me: me.log.sort(), "[]"),
        (lambda me: me.log.sort(reverse=True), '[["order","log",[1,0]]]'),
        (lambda me: me.holds.__setitem__("b", 2), '[["put","holds","b",2]]'),
        (lambda me: me.holds.__setitem__("a", 1), "[]"),
        (lambda me: me.holds.pop("a"), '[["del","holds","a"]]'),
        (lambda me: me.holds.popitem(), '[["del","holds","a"]]'),
        (lambda me: me.holds.clear(), '[["clear","holds"]]'),
        (lambda me: me.holds.update(b=2, c=3), '[["put","holds","b",2],["put","holds","c",3]]'),
        (lambda me: me.tags.add("b"), '[["add","tags","b"]]'),
        (lambda me: me.tags.add("a"), "[]"),
        (lambda me: me.tags.discard("a"), '[["discard","tags","a"]]'),
        (lambda me: me.tags.clear(), '[["empty","tags"]]'),
        (lambda me: me.rows[0]["a"].append(2), '[["append",["rows",0,"a"],2]]'),
        (lambda me: setattr(me, "holds", {"z": 1}), '[["set","holds",{"z":1}]]'),
        (lambda me: setattr(me, "tags", {"z"}), '[["set","tags",["z"]]]'),
    ],
)
def test_delta_reads_like_the_code(program: Any, delta: str) -> None:
    assert delta_of(guarded(), program) == delta


def test_container_put_in_is_journaled_as_it_was_then() -> None:
    state = new(rows=dict[str, list[list[int]]])

    def program(me: Self) -> None:
        me.rows["a"] = [[1]]
        me.rows["a"][0].append(2)
        me.rows["a"].append([])
        me.rows["a"][1].extend([3])

    assert delta_of(state, program) == (
        '[["put","rows","a",[[1]]],["append",["rows","a",0],2],["append",["rows","a"],[]],["extend",["rows","a",1],[3]]]'
    )


def test_assigned_container_is_journaled_once_as_it_became() -> None:
    state = new(holds=dict[str, int], log=list[Any])

    def program(me: Self) -> None:
        me.log.append(1)
        me.holds["before"] = 1
        me.holds = {}
        me.holds["a"] = 1
        me.holds["b"] = me.holds.pop("a")

    assert delta_of(state, program) == '[["set","holds",{"b":1}],["append","log",1]]'
    assert state.plain() == {"holds": {"b": 1}, "log": [1]}


def test_augmented_assignment_journals_the_change() -> None:
    state = guarded()

    def program(me: Self) -> None:
        me.stock -= 1
        me.log += [3]
        me.tags |= {"b"}
        me.tags -= {"a"}
        me.holds |= {"b": 2}
        me.rows[0]["a"] += [2]
        me.rows += [{}]
        me.rows[1] |= {"b": []}

    assert json.loads(delta_of(state, program)) == [
        ["set", "stock", 4],
        ["extend", "log", [3]],
        ["add", "tags", "b"],
        ["discard", "tags", "a"],
        ["put", "holds", "b", 2],
        ["extend", ["rows", 0, "a"], [2]],
        ["extend", "rows", [{}]],
        ["put", ["rows", 1], "b", []],
    ]


def test_assigned_node_is_copied() -> None:
    state = guarded()

    def program(me: Self) -> None:
        me.rows.append(me.rows[0])
        me.rows[1]["a"].append(2)
        me.rows[0] = me.rows[1]
        me.rows[1]["a"].append(3)
        me.log = me.rows[0]["a"]
        me.log.append(9)

    delta = delta_of(state, program)
    assert state.plain()["rows"] == [{"a": [1, 2]}, {"a": [1, 2, 3]}]
    assert state.plain()["log"] == [1, 2, 9]
    replica = guarded()
    replica.replay(delta)
    assert replica.document() == state.document()


@pytest.mark.parametrize(
    ("annotation", "key", "step"),
    [
        (int, 5, '"5"'),
        (dt.date, dt.date(2027, 1, 1), '"2027-01-01"'),
        (Mixed, Mixed.PAIR, '"PAIR"'),
        (tuple[int, str], (1, "a"), '[[1,"a"]]'),
        (Point, Point(1), '[{"x":1,"y":0}]'),
        (bool, True, "[true]"),
        (Decimal, Decimal("1.0"), '"1.0"'),
    ],
)
def test_keys_of_every_type_stand_in_paths(annotation: Any, key: Any, step: str) -> None:
    types: dict[str, Any] = {"rows": dict[annotation, list[int]]}
    state, replica, stranger = new(**types), new(**types), new()
    stranger.restore(state.document())
    for program, delta in (
        (lambda me: me.rows.__setitem__(key, []), f'[["put","rows",{step},[]]]'),
        (lambda me: me.rows[key].append(1), f'[["append",["rows",{step}],1]]'),
        (lambda me: me.rows.__setitem__(key, [2]), f'[["put","rows",{step},[2]]]'),
        (lambda me: me.rows.pop(key), f'[["del","rows",{step}]]'),
    ):
        assert delta_of(state, program) == delta
        replica.replay(delta)
        stranger.replay(delta)
        assert replica.document() == state.document() == stranger.document()


def test_journal_names_the_key_that_is_stored() -> None:
    """``Decimal("1.00")`` finds what was stored under ``Decimal("1.0")``; without the types, their texts are two keys."""
    types: dict[str, Any] = {"rows": dict[Decimal, list[int]], "prices": set[Decimal]}
    state, stranger = new(**types), new()
    stranger.restore(state.document())

    def first(me: Self) -> None:
        me.rows[Decimal("1.0")] = []
        me.prices.add(Decimal("2.0"))

    def then(me: Self) -> None:
        me.rows[Decimal("1.00")].append(1)
        me.rows[Decimal(1)] = [2]
        me.prices.discard(Decimal("2.00"))

    def again(me: Self) -> None:
        me.rows.pop(Decimal("1.000"))
        me.rows[Decimal("1.00")] = []

    for program in (first, then, again, lambda me: me.rows.pop(Decimal("1.000"))):
        delta = delta_of(state, program)
        stranger.replay(delta)
        assert stranger.document() == state.document()


def test_equal_but_not_the_same_is_a_change() -> None:
    state = new('{"price":"1.0","ratio":0.0,"free":1}', price=Decimal | None, ratio=float, free=Any)
    for program, delta in (
        (lambda me: setattr(me, "price", Decimal("1.00")), '[["set","price","1.00"]]'),
        (lambda me: setattr(me, "price", Decimal("1.00")), "[]"),
        (lambda me: setattr(me, "ratio", -0.0), '[["set","ratio",-0.0]]'),
        (lambda me: setattr(me, "free", True), '[["set","free",true]]'),
        (lambda me: setattr(me, "free", 1.0), '[["set","free",1.0]]'),
        (lambda me: setattr(me, "free", (1, 1.0)), '[["set","free",{"$tuple":[1,1.0]}]]'),
        (lambda me: setattr(me, "free", (1.0, 1)), '[["set","free",{"$tuple":[1.0,1]}]]'),
        (lambda me: setattr(me, "free", (1.0, 1)), "[]"),
    ):
        assert delta_of(state, program) == delta


def test_field_may_change_its_form() -> None:
    state, replica = new(free=Any), new(free=Any)
    for value in ([1], 5, {"a": [1]}, None, {1, 2}, "x", [[]]):
        replica.replay(delta_of(state, lambda me, value=value: setattr(me, "free", value)))
        assert replica.plain() == state.plain() == {"free": value}
    with turn(state):
        me = Self(state)
        me.free[0].append(1)
        me.free = 5
        me.free = {"a": []}
        me.free["a"].append(1)
        state.rollback()
    assert state.plain() == {"free": [[]]}


# ---------------------------------------------------------------- rolling back


def test_what_is_popped_is_plain() -> None:
    state = new('{"a":[[1],[2]],"b":{"x":[1],"y":[2]}}', a=list[list[int]], b=dict[str, list[int]])
    with turn(state):
        me = Self(state)
        list(me.a)
        list(me.b.values())
        popped = [me.a.pop(), me.a.pop(0), me.b.pop("x"), me.b.popitem()[1]]
        assert [type(value) for value in popped] == [list] * 4
        for value in popped:
            value.append(9)
        state.rollback()
    assert state.plain() == {"a": [[1], [2]], "b": {"x": [1], "y": [2]}}


def test_rollback_restores_the_order_of_keys() -> None:
    state = new('{"holds":{"a":1,"b":2,"c":3,"d":4}}', holds=dict[str, int])
    with turn(state):
        holds = Self(state).holds
        del holds["b"]
        holds["e"] = 5
        assert list(holds) == ["a", "c", "d", "e"]
        assert (len(holds), "b" in holds, holds.get("b", 0)) == (4, False, 0)
        with pytest.raises(KeyError):
            holds["b"]
        with pytest.raises(KeyError):
            del holds["b"]
        assert holds.popitem() == ("e", 5)
        del holds["d"]
        assert holds.popitem() == ("c", 3)
        holds["b"] = 9
        del holds["a"]
        holds["a"] = holds.pop("b")
        assert dict(holds) == {"a": 9}
        assert repr(holds) == "{'a': 9}"
        assert state.document() == '{"holds":{"a":9}}'
        holds.clear()
        holds["z"] = 1
        state.rollback()
    assert state.document() == '{"holds":{"a":1,"b":2,"c":3,"d":4}}'
    with turn(state):
        holds.clear()
        holds["a"] = 1
        state.finish()
    with turn(state):
        holds.pop("a")
        holds["a"] = 2
        holds.pop("a")
        state.rollback()
    assert state.document() == '{"holds":{"a":1}}'


@pytest.mark.parametrize(
    ("annotation", "value", "shuffle"),
    [
        (dict[str, list[list[int]]], {"a": [[1]], "b": [[2]]}, lambda rows: rows.__setitem__("b", rows.pop("b"))),
        (list[list[list[int]]], [[[1]], [[2]]], lambda rows: rows.reverse()),
        (list[list[list[int]]], [[[1]], [[2]]], lambda rows: rows.__delitem__(slice(1, None, -1))),
    ],
)
def test_what_was_first_read_in_a_turn_belongs_to_the_state_after_its_rollback(annotation: Any, value: Any, shuffle: Any) -> None:
    types: dict[str, Any] = {"rows": annotation}
    state = new(json.dumps({"rows": value}), **types)
    first = next(iter(value)) if isinstance(value, dict) else 0
    with turn(state):
        rows = Self(state).rows
        shuffle(rows)
        place = first if isinstance(rows, TrackedDict) else len(rows) - 1
        if len(rows) > 1:
            rows[place][0].append(9)
        state.rollback()
    with turn(state):
        Self(state).rows[first][0].append(3)
        state.finish()
    value[first][0].append(3)
    assert state.plain() == {"rows": value}


def test_rollback_of_every_sequence_of_changes_to_one_dict() -> None:
    """Tombstones, keys that come back, and keys that leave at the end: all sequences of four."""
    changes: list[Any] = [
        lambda d: d.pop("a", 0),
        lambda d: d.pop("b", 0),
        lambda d: d.__setitem__("a", 9),
        lambda d: d.__setitem__("b", 9),
        lambda d: d.__setitem__("d", 9),
        lambda d: d and d.popitem(),
        lambda d: d.clear(),
    ]
    before = {"a": 1, "b": 2, "c": 3}
    state = new(json.dumps({"holds": before}), holds=dict[str, int])
    for sequence in itertools.product(changes, repeat=4):
        model = before.copy()
        for end in (state.rollback, state.finish):
            with turn(state):
                holds = Self(state).holds
                model = before.copy()
                for change in sequence:
                    change(holds)
                    change(model)
                    assert (list(holds.items()), len(holds)) == (list(model.items()), len(model))
                end()
            expected = model if end == state.finish else before
            assert (list(holds.items()), len(holds), holds._raw) == (list(expected.items()), len(expected), expected)
        state.restore(json.dumps({"holds": before}))


def test_deleted_keys_do_not_pile_up() -> None:
    state = new(holds=dict[int, int])
    for number in range(50):
        with turn(state):
            holds = Self(state).holds
            holds[number] = number
            if number:
                del holds[number - 1]
            state.finish()
        assert len(state.values["holds"]._raw) == 1


def test_loop_over_a_dict_that_changes_is_stopped() -> None:
    state = new('{"holds":{"a":1,"b":2}}', holds=dict[str, int])
    for view in (lambda holds: holds, lambda holds: holds.keys(), lambda holds: holds.values(), lambda holds: holds.items()):
        for change in (lambda holds: holds.pop("a", 0), lambda holds: holds.clear(), lambda holds: holds.update(z=1)):
            with turn(state):
                holds = Self(state).holds
                with pytest.raises(RuntimeError, match="changed size during iteration"):
                    for _ in view(holds):
                        change(holds)
                state.rollback()
    with turn(state):
        for key in Self(state).holds:
            Self(state).holds[key] = 7
        state.finish()
    assert state.plain() == {"holds": {"a": 7, "b": 7}}


def test_loop_over_a_list_sees_what_it_becomes() -> None:
    for annotation in (list[int], list[Any]):
        state = new('{"log":[1,2,3]}', log=annotation)
        with turn(state):
            log = Self(state).log
            seen: dict[int, list[int]] = {}
            for target in ([1, 2, 3], log):
                for element in target:
                    seen.setdefault(id(target), []).append(element)
                    if element < 3:
                        target.append(element + 10)
                    target.remove(element)
            assert list(seen.values()) == [[1, 3], [1, 3]]
            for _ in log:
                log.clear()
            assert log == []
            state.rollback()
        assert state.plain() == {"log": [1, 2, 3]}


# ---------------------------------------------------------------- documents


def test_unknown_fields_are_kept_and_follow_the_journal() -> None:
    new_types: dict[str, Any] = {"stock": int, "rows": list[dict[str, int]], "tags": set[str], "free": Any, "when": dt.date | None}
    newer = new('{"stock":1,"rows":[{"a":1}],"tags":["x"],"free":{"s":{"$set":[1]}},"when":"2027-01-01"}', **new_types)
    older = new(newer.document(), stock=int)

    def program(me: Self) -> None:
        me.stock = 2
        me.rows[0]["b"] = 2
        me.rows.append({})
        me.tags.add("y")
        me.tags.discard("x")
        me.free["s"].add(2)
        me.free["s"].discard(1)
        me.free["$x"] = {"$y": 1}
        me.free["$x"]["z"] = (1,)
        me.when = dt.date(2027, 1, 2)

    delta = delta_of(newer, program)
    older.replay(delta)
    assert older.document() == newer.document()
    assert older.plain() == {"stock": 2}
    assert json.loads(older.canonical()) == json.loads(newer.canonical())
    again = new(older.document(), **new_types)
    assert again.plain() == newer.plain()
    document = json.loads('{"stock":1,"rows":[{"a":1}],"tags":["x"],"free":{"s":{"$set":[1]}},"when":"2027-01-01"}')
    deltas.apply(document, delta)
    assert document == json.loads(newer.document())


def test_missing_fields_get_their_defaults() -> None:
    assert new('{"stock":5}', stock=int, holds=dict[str, int]).plain() == {"stock": 5, "holds": {}}


@pytest.mark.parametrize("document", ["", "[]", "null", '{"stock":"a"}', '{"stock":1,"log":[1,"a"]}', "[" * 9999, '{"stock":1}x'])
def test_corrupt_document_changes_nothing(document: str) -> None:
    state = guarded()
    before = state.document()
    with pytest.raises(CorruptValue):
        state.restore(document)
    assert state.document() == before


def test_corrupt_document_names_the_field() -> None:
    with pytest.raises(CorruptValue, match="field 'stock': Expected `int`, got `str`"):
        new('{"stock":"a"}', stock=int)


@pytest.mark.parametrize(
    "delta",
    [
        "",
        "{}1",
        "5",
        "[5]",
        '[["set"]]',
        '[["set","stock","a"]]',
        '[["put","stock",1]]',
        '[["append","log"]]',
        '[["append","log","a"]]',
        '[["put","log",9,1]]',
        '[["spell","log",9,1]]',
        '[["spell","holds",9,1]]',
        '[["spell","tags",9,1]]',
        '[["del","holds","z"]]',
        '[["discard","tags","z"]]',
        '[["append",["rows",5],1]]',
        '[["put",["rows",0,"a"],0,"x"]]',
        '[["append","nowhere",1]]',
        '[["put",["nowhere","a"],1,1]]',
    ],
)
def test_delta_that_does_not_fit_is_corrupt(delta: str) -> None:
    with pytest.raises(CorruptValue):
        guarded().replay(delta)


@pytest.mark.parametrize(
    "delta",
    ['[["put","u",9,1]]', '[["del","u",[5]]]', '[["append",["u",[5]],1]]', '[["discard","u",7]]', '[["spell","u"]]', '[["put","u"]]'],
)
def test_delta_of_an_unknown_field_is_checked_too(delta: str) -> None:
    with pytest.raises(CorruptValue, match="does not fit the state"):
        new('{"u":[1]}').replay(delta)


# ---------------------------------------------------------------- the containers as containers


def test_containers_behave_like_plain_ones() -> None:
    state = guarded()
    log, holds, tags, rows = (state.values[name] for name in ("log", "holds", "tags", "rows"))
    assert (type(log), type(holds), type(tags)) == (TrackedList, TrackedDict, TrackedSet)
    assert not isinstance(log, list)
    assert log == [1, 2] != [1]
    assert [1, 2] == log
    assert log != (1, 2)
    assert log < [2] <= [2] > log
    assert log >= [1]
    assert log <= log
    assert not log > log
    assert log + [3] == [1, 2, 3] == log + [3]
    assert [0] + log == [0, 1, 2]
    assert log + log == log * 2 == 2 * log
    assert log[::-1] == [2, 1] == list(reversed(log))
    assert log.index(2) == 1 == log.index(2, 1, 2)
    assert (log.count(1), 2 in log, len(log), bool(log)) == (1, True, 2, True)
    assert repr(rows) == "[{'a': [1]}]"
    assert rows[0:1][0]["a"] is rows[0]["a"]
    assert rows == [{"a": [1]}]
    assert [{"a": [1]}] == rows
    assert {"a": [1]} in rows
    assert holds == {"a": 1}
    assert {"a": 1} == holds
    assert holds != [("a", 1)]
    assert holds | {"b": 2} == {"a": 1, "b": 2}
    assert {"b": 2} | holds == {"b": 2, "a": 1}
    assert holds | holds == {"a": 1}
    assert {**holds} == dict(holds) == {"a": 1}
    assert list(holds.keys()) == list(reversed(holds)) == list(reversed(holds.keys())) == ["a"]
    assert list(holds.values()) == list(reversed(holds.values())) == [1]
    assert list(holds.items()) == list(reversed(holds.items())) == [("a", 1)]
    assert 1 in holds.values()
    assert ("a", 1) in holds.items()
    assert holds.keys() & {"a", "b"} == {"a"}
    views = (holds.keys(), holds.values(), holds.items())
    assert [repr(view) for view in views] == ["dict_keys(['a'])", "dict_values([1])", "dict_items([('a', 1)])"]
    assert tags == {"a"}
    assert {"a"} == tags == frozenset("a")
    assert tags != ["a"]
    assert tags | {"b"} == {"a", "b"} == {"b"} | tags
    assert (tags & {"a"}, tags - {"a"}, tags ^ {"b"}) == ({"a"}, set(), {"a", "b"})
    assert {type(result) for result in (tags | {"b"}, tags & tags, {"a"} - tags, tags.union(["b"]), tags.copy())} == {set}
    assert tags <= {"a", "b"}
    assert tags.issubset(["a", "b"])
    assert tags.issuperset([])
    assert tags.isdisjoint(["b"])
    assert (tags.intersection("ab"), tags.difference("a"), tags.symmetric_difference("ab")) == ({"a"}, set(), {"b"})
    for container in (log, holds, tags, rows):
        with pytest.raises(TypeError, match="unhashable"):
            hash(container)
        for plain in (container.copy(), copy.copy(container), copy.deepcopy(container), pickle.loads(pickle.dumps(container))):
            assert type(plain) in (list, dict, set)
            assert plain == container
    assert type(rows.copy()[0]["a"]) is list
    with pytest.raises(TypeError):
        heapq.heappush(log, 1)
    with pytest.raises(TypeError):
        log + (1,)
    with pytest.raises(TypeError):
        holds | [1]
    with pytest.raises(TypeError):
        log < (1,)  # noqa: B015
    match holds:
        case {"a": number}:
            assert number == 1


def test_errors_are_those_of_plain_containers() -> None:
    state = guarded()
    with turn(state):
        me = Self(state)
        for program, error in (
            (lambda: me.log[9], IndexError),
            (lambda: me.log.__setitem__(9, 1), IndexError),
            (lambda: me.log.pop(9), IndexError),
            (lambda: me.log.remove(9), ValueError),
            (lambda: me.log.index(9), ValueError),
            (lambda: me.log.__setitem__(slice(0, 2, 2), [1, 2, 3]), ValueError),
            (lambda: me.log.sort(key=lambda _: me.log.append(1) or 0), ValueError),
            (lambda: me.holds["z"], KeyError),
            (lambda: me.holds.pop("z"), KeyError),
            (lambda: me.holds.__delitem__("z"), KeyError),
            (lambda: me.holds[[]], TypeError),
            (lambda: me.tags.remove("z"), KeyError),
            (lambda: new(a=list[int], b=dict[str, int]).values["a"][0], IndexError),
        ):
            with pytest.raises(error):
                program()
        me.log.clear()
        me.holds.clear()
        me.tags.clear()
        for program, error in ((me.log.pop, IndexError), (me.holds.popitem, KeyError), (me.tags.pop, KeyError)):
            with pytest.raises(error):
                program()
        me.log.clear()
        me.holds.clear()
        me.tags.clear()
        assert state.finish().count("clear") == 2


def test_refusal_names_the_place_in_the_state() -> None:
    state = guarded()
    with turn(state):
        me = Self(state)
        for program, where in (
            (lambda: setattr(me, "stock", "a"), "Sale.stock: expected int, got 'a' (str)"),
            (lambda: me.log.append("a"), "Sale.log[2]: expected int"),
            (lambda: me.log.extend([1, "a"]), "Sale.log[1]: expected int"),
            (lambda: me.holds.__setitem__("ann", "a"), "Sale.holds['ann']: expected int"),
            (lambda: me.holds.__setitem__(1, 1), "Sale.holds key: expected str"),
            (lambda: me.holds.update(ann="a"), "Sale.holds['ann']: expected int"),
            (lambda: me.tags.add(1), "Sale.tags element: expected str"),
            (lambda: me.tags.update([1]), "Sale.tags element: expected str"),
            (lambda: me.rows[0].__setitem__("b", [1, None]), "Sale.rows[0]['b'][1]: expected int"),
            (lambda: me.rows[0]["a"].append(None), "Sale.rows[0]['a'][1]: expected int"),
        ):
            with pytest.raises(InvalidValue) as caught:
                program()
            assert str(caught.value).startswith(where)
        assert state.finish() == "[]"


def test_nesting_is_bounded_across_changes() -> None:
    state = new(free=list[Any])
    with turn(state):
        inner = Self(state).free
        for _ in range(limits.NESTING - 1):
            inner.append([])
            inner = inner[0]
        with pytest.raises(InvalidValue, match="nested deeper than 64"):
            inner.append([])
        for program in (lambda: inner.extend([[]]), lambda: inner.__setitem__(slice(0, 0), [{}])):
            with pytest.raises(InvalidValue, match="nested deeper than 64"):
                program()
        inner.append(1)
        delta = state.finish()
    replica = new(free=list[Any])
    replica.replay(delta)
    assert replica.document() == state.document()
    again = new(state.document(), free=list[Any])
    assert again.document() == state.document()


def test_union_and_frozen_values_inside_containers() -> None:
    @dataclasses.dataclass(frozen=True)
    class Line:
        price: Decimal
        tags: tuple[str, ...] = ()

    types: dict[str, Any] = {"lines": dict[str, Line | list[int] | None]}
    state, replica = new(**types), new(**types)

    def program(me: Self) -> None:
        me.lines["a"] = Line(Decimal("1.50"))
        me.lines["b"] = None
        me.lines["c"] = []
        me.lines["c"].append(1)

    replica.replay(delta_of(state, program))
    assert replica.plain() == state.plain() == {"lines": {"a": Line(Decimal("1.50")), "b": None, "c": [1]}}
    with turn(state), pytest.raises(InvalidValue):
        state.values["lines"]["d"] = {}


# ---------------------------------------------------------------- cost


def test_change_costs_what_it_touches() -> None:
    """Counted in work, not in time: a large neighbour is neither walked nor encoded."""
    size = 20_000
    state = new(holds=dict[int, int], log=list[int], rows=list[list[int]])
    delta_of(state, lambda me: [setattr(me, "holds", dict.fromkeys(range(size), 1)), setattr(me, "log", list(range(size)))])

    class Counting(dict[Any, Any]):
        walked = 0

        def items(self) -> Any:
            Counting.walked += 1
            return super().items()

        def copy(self) -> Any:
            Counting.walked += 1
            return super().copy()

    holds = state.values["holds"]
    holds._raw = Counting(holds._raw)

    def program(me: Self, key: int) -> None:
        me.holds[5] = key
        me.holds[size] = 1
        del me.holds[key]
        me.holds.popitem()
        me.log.append(1)
        me.log.pop()
        me.log[7] = 0

    with turn(state):
        program(Self(state), 6)
        assert len(state.finish()) < 250
        assert Counting.walked == 0
    with turn(state):
        program(Self(state), 7)
        state.rollback()
        assert Counting.walked == 0


def test_many_keys_that_come_back_keep_the_order_once() -> None:
    state = new(json.dumps({"holds": dict.fromkeys("abcdefgh", 1)}), holds=dict[str, int])
    with turn(state):
        holds = Self(state).holds
        for key in list(holds):
            holds[key] = holds.pop(key)
        assert sum(entry[2] is SWAP for entry in state.log) == 1
        state.finish()
    with turn(state):
        del Self(state).holds["a"]
        assert list(state.values["holds"]._raw) == list("abcdefgh")
        state.finish()
