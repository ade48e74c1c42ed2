"""Shapes of state: what encodes alike is alike, and what is called readable is read."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from random import Random
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jido_objects import DurableObject, Ref, Transient, migrates
from jido_objects.codec import kind_of
from jido_objects.definition import Definition
from jido_objects.shapes import changes, described, reads, shape_of
from jido_objects.state import Field, State, current_turn
from tests.unit import test_state_properties as programs
from tests.unit.test_codec import same


@pytest.fixture(autouse=True)
def _registry() -> Any:
    before = dict(Definition.registry)
    yield
    Definition.registry.clear()
    Definition.registry.update(before)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Weather(enum.StrEnum):
    HOT = "red"
    COLD = "blue"


class Named(enum.Enum):
    red = 1.5
    blue = 2.5


@dataclass(frozen=True)
class Seat:
    row: int
    name: str = ""


class Place(msgspec.Struct, frozen=True):
    row: int
    name: str = "x"


class Pair(NamedTuple):
    row: int
    name: str


@dataclass(frozen=True)
class Node:
    value: int
    below: tuple[Node, ...] = ()


@dataclass(frozen=True)
class More:
    row: int
    name: str
    level: int = field(default=1)


@dataclass(frozen=True)
class Demanding:
    row: int
    name: str
    level: int


class Shop(msgspec.Struct, frozen=True, tag="shop"):
    row: int


class Web(msgspec.Struct, frozen=True, tag="web"):
    row: int


def shape(annotation: Any) -> Any:
    return shape_of(kind_of(annotation, where="it"))


@pytest.mark.parametrize(
    ("annotation", "is_"),
    [
        (int, "int"),
        (None, "null"),
        (Decimal, "Decimal"),
        (bytes, "bytes"),
        (Any, "any"),
        (Ref[Any], "Ref"),
        (int | None, {"any of": ["int", "null"]}),
        (dict[UUID, list[set[str]]], {"dict": ["UUID", {"list": {"set": "str"}}]}),
        (tuple[int, ...], {"tuple": ["int", "…"]}),
        (Literal["b", "a", None], {"one of": ["a", "b", None]}),
        (Colour, {"one of": ["blue", "red"]}),
        (Seat, {"object": {"row": {"type": "int", "required": True}, "name": {"type": "str"}}}),
        (Node, {"object": {"value": {"type": "int", "required": True}, "below": {"type": {"tuple": [{"again": 1}, "…"]}}}}),
        (Shop, {"object": {"row": {"type": "int", "required": True}}, "tag": ["type", "shop"]}),
    ],
)
def test_shapes(annotation: Any, is_: Any) -> None:
    assert shape(annotation) == is_


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Colour, Weather),
        (Colour, Literal["red", "blue"]),
        (Colour, Named),
        (Seat, Place),
        (Pair, tuple[int, str]),
        (int | None, None | int),
        (list, list[Any]),
    ],
)
def test_what_encodes_alike_is_one_shape(one: Any, other: Any) -> None:
    assert shape(one) == shape(other)


READ = [
    (int, float),
    (int, int | None),
    (int | None, float | None),
    (UUID, str),
    (Decimal, str),
    (datetime | None, str | int | None),
    (Literal["a"], Literal["a", "b"]),
    (Colour, str),
    (Literal[1, 2], int),
    (list[int], list[int | str]),
    (list[int], Any),
    (dict[str, int], dict[str, float]),
    (dict[str, set[int]], dict[str, set[float]]),
    (frozenset[int], set[int]),
    (tuple[int, ...], list[int]),
    (tuple[int, str], list[int | str]),
    (tuple[int, int], tuple[int, ...]),
    (tuple[int, str], tuple[int | None, str]),
    (Seat, More),
    (list[Seat], list[More]),
    (Shop, Shop | Web),
    (int, int | list[int]),
    (str, Any),
]
UNREAD = [
    (float, int),
    (int | None, int),
    (str, UUID),
    (int, str),
    (int, Decimal),
    (Decimal, Any),
    (dict[str, int], Any),
    (Literal["a", "b"], Literal["a"]),
    (Literal[1], Literal[True]),
    (list[int], tuple[int, ...]),
    (list[int], set[int]),
    (set[int], list[int]),
    (set[int], frozenset[int]),
    (dict[int, str], dict[str, str]),
    (tuple[int, ...], tuple[int, int]),
    (tuple[int, int], tuple[int, int, int]),
    (More, Seat),
    (Seat, Demanding),
    (Shop, Web),
    (Seat, dict[str, Any]),
    (Any, int),
    (bool, int),
]


@pytest.mark.parametrize(("old", "new"), READ)
def test_what_is_read(old: Any, new: Any) -> None:
    assert reads(shape(new), shape(old))


@pytest.mark.parametrize(("old", "new"), UNREAD)
def test_what_is_not_read(old: Any, new: Any) -> None:
    assert not reads(shape(new), shape(old))


VALUES: dict[Any, list[Any]] = {
    UUID: [UUID(int=1)],
    datetime | None: [None, datetime(2026, 1, 1)],
    Colour: list(Colour),
    Literal["a"]: ["a"],
    Literal[1, 2]: [1, 2],
    Seat: [Seat(1), Seat(2, "b")],
    Shop: [Shop(1)],
    frozenset[int]: [frozenset(), frozenset({1, 2})],
    tuple[int, ...]: [(), (1, 2)],
    list[Seat]: [[], [Seat(1)]],
}
CHANGED = [pair for pair in READ if pair[0] not in VALUES]


@pytest.mark.parametrize(("old", "new"), READ)
def test_what_is_called_readable_can_be_read(old: Any, new: Any) -> None:
    before, now = kind_of(old, where="old"), kind_of(new, where="new")
    rng = Random(1)
    for value in VALUES.get(old) or [programs.value_of(rng, old) for _ in range(30)]:
        text = before.encode(before.copy(value, "it"))
        # As a document, and as the value of an operation.
        assert now.encode_canonical(now.decode(text)) == now.encode_canonical(now.load(msgspec.json.decode(text)))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CHANGED), st.randoms(use_true_random=True))
def test_deltas_of_what_is_called_readable_can_be_replayed(pair: tuple[Any, Any], rng: Random) -> None:
    def state(annotation: Any) -> State:
        kind = kind_of(annotation, where="f")
        made = State({"f": Field("f", kind) if kind.blank else Field("f", kind, programs.value_of(Random(1), annotation))}, {}, "T('x')")
        made.restore("{}")
        return made

    old, new = (state(annotation) for annotation in pair)
    model = old.plain()
    before, programs.ANNOTATIONS = programs.ANNOTATIONS, {"f": pair[0]}
    try:
        for _ in range(6):
            turn = SimpleNamespace(readonly=False, method="m")
            token = current_turn.set(turn)
            old.begin(turn)
            programs.change(rng, model, old)
            delta = old.finish()
            current_turn.reset(token)
            if delta != "[]":
                new.replay(delta)
                other = state(pair[1])
                other.restore(old.document())
                assert same(other.plain(), new.plain())
    finally:
        programs.ANNOTATIONS = before


# ---------------------------------------------------------------- changes of a type


def make(version: int = 1, aliases: tuple[str, ...] = (), label: str = "a.Thing", up: tuple[int, ...] = (), **fields: Any) -> Definition:
    def to_next(state: dict[str, Any]) -> dict[str, Any]:
        return state

    namespace = {f"to_{step + 1}": migrates(from_version=step)(to_next) for step in up}
    annotations = {name: value[0] for name, value in fields.items()}
    defaults = {name: value[1] for name, value in fields.items()}
    meta = type("Meta", (), {"version": version, "aliases": aliases, "label": label})
    namespace |= {"__module__": __name__, "__qualname__": "make.<locals>.Thing", "Meta": meta, "__annotations__": annotations, **defaults}
    return type("Thing", (DurableObject,), namespace)._jido_definition


def told(before: Definition, now: Definition | None) -> list[tuple[bool, str]]:
    found = changes({before.label: described(before)}, {} if now is None else {now.label: now})
    return [(change.breaks, str(change)) for change in found]


def test_a_description() -> None:
    definition = make(2, ("a.Old",), n=(int, 5), tags=(set[str], {"b", "a"}), cache=(Transient[int], 0), when=(datetime | None, None))
    assert described(definition) == {
        "version": 2,
        "aliases": ["a.Old"],
        "fields": {
            "n": {"type": "int", "default": 5},
            "tags": {"type": {"set": "str"}, "default": ["a", "b"]},
            "when": {"type": {"any of": ["datetime", "null"]}, "default": None},
        },
    }


N = (int, 0)


@pytest.mark.parametrize(
    ("before", "now", "breaks", "says"),
    [
        ({"n": N}, {"n": N}, None, ""),
        ({"n": N}, {"n": N, "m": N}, False, "a.Thing.m was added; stored objects have its default"),
        ({"n": N}, {"n": (int, 1)}, False, "a.Thing.n has the default 1, was 0; stored objects keep the value they have"),
        ({"n": N}, {"n": (int | None, 0)}, False, 'a.Thing.n is {"any of":["int","null"]}, was int, which it still reads'),
        ({"n": N, "m": N}, {"n": N}, True, "be read by nothing: set Meta.version = 2 and write @migrates(from_version=1): state.pop('m')"),
        ({"n": N}, {"count": N}, True, "state['count'] = state.pop('n'), if it was renamed"),
        ({"n": N}, {"n": (str, "")}, True, "a.Thing.n is str, was int: stored values may not be readable: set Meta.version = 2"),
        ({"version": 1, "n": N}, {"version": 2, "n": (str, ""), "up": (1,)}, False, "version 2, was 1; stored objects are brought forward"),
        ({"version": 1, "n": N}, {"version": 2, "n": N}, True, "nothing brings stored objects there: write @migrates(from_version=1)"),
        ({"version": 1, "n": N}, {"version": 3, "n": N, "up": (2,)}, True, "write @migrates(from_version=1)"),
        ({"version": 2, "n": N}, {"version": 1, "n": N}, True, "it never falls"),
        ({"n": N}, {"n": N, "aliases": ("a.Old",)}, False, "Meta.aliases is ('a.Old',), was ()"),
        ({"n": N, "aliases": ("a.Old",)}, {"n": N}, True, "Meta.aliases has lost 'a.Old'"),
        ({"n": N, "aliases": ("a.Old",)}, {"n": N, "aliases": ("a.Older", "a.Old")}, True, "must begin with 'a.Old'"),
        ({"n": N}, {"n": N, "label": "b.Thing", "aliases": ("a.Thing",)}, False, "b.Thing: was a.Thing, whose objects it finds"),
        ({"n": N}, {"n": (str, ""), "label": "b.Thing", "aliases": ("a.Thing",)}, True, "b.Thing.n is str, was int"),
        ({"n": N}, {"n": N, "label": "b.Thing"}, True, "a.Thing is gone"),
        ({"n": N}, None, True, "give that type Meta.aliases = ('a.Thing',)"),
    ],
)  # fmt: skip
def test_changes(before: dict[str, Any], now: dict[str, Any] | None, breaks: bool | None, says: str) -> None:
    first = make(**before)
    found = told(first, None if now is None else make(**now))
    assert any(change[0] for change in found) == bool(breaks)
    assert (breaks is None) == (not found)
    assert breaks is None or any(says in text and broken == breaks for broken, text in found), found
