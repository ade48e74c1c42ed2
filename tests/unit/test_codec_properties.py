"""P12 at its root: whatever a kind takes, it gives back, type for type, for types and values that nobody chose."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jido_objects.codec import Kind, kind_of
from tests.unit.test_codec import (
    Arrow,
    Box,
    Cat,
    Color,
    Computed,
    Dog,
    Level,
    Mixed,
    Pair,
    Point,
    Price,
    Right,
    Row,
    Size,
    Token,
    Tree,
    same,
)

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
MINUTES = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
ZONES = st.one_of(st.none(), st.just(dt.UTC), MINUTES)

Typed = tuple[Any, st.SearchStrategy[Any]]
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers() | st.integers(-(10**60), 10**60),
    float: FLOATS,
    str: TEXT,
    bytes: st.binary(max_size=8),
    UUID: st.uuids(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    dt.datetime: st.datetimes(timezones=ZONES, allow_imaginary=False),
    dt.date: st.dates(),
    dt.time: st.times(timezones=ZONES),
    dt.timedelta: st.timedeltas(),
    bool: st.booleans(),
    Color: st.sampled_from(Color),
    Size: st.sampled_from(Size),
    Level: st.sampled_from(Level),
    Mixed: st.sampled_from(Mixed),
    Right: st.sampled_from([Right(0), *Right, Right.READ | Right.WRITE]),
    Point: st.builds(Point, st.integers(), st.integers()),
    Pair: st.builds(Pair, st.integers(), TEXT),
    Cat: st.builds(Cat, st.integers()),
    Dog: st.builds(Dog, TEXT, st.lists(st.sampled_from(Mixed)).map(tuple)),
    Row: st.builds(Row, TEXT, st.sampled_from(Mixed)),
    Computed: st.builds(Computed, st.integers(min_value=0), FLOATS),
    Tree: st.recursive(st.builds(Tree, TEXT), lambda trees: st.builds(Tree, TEXT, st.lists(trees, max_size=3).map(tuple)), max_leaves=5),
    Box[Mixed]: st.builds(Box, st.sampled_from(Mixed), st.lists(st.sampled_from(Mixed)).map(tuple)),
    Token: TEXT.filter(bool).map(Token),
    Arrow[int]: st.lists(TEXT).map(lambda ends: Arrow(*ends)),
}
JSONISH = st.none() | st.booleans() | st.integers() | FLOATS | TEXT | st.sampled_from(["$set", "$", "$$tuple"])
TAGGED = JSONISH | st.dates() | st.timedeltas() | st.uuids() | st.binary(max_size=4) | SCALARS[Token] | SCALARS[Decimal] | st.datetimes()
FROZEN = st.recursive(TAGGED, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3), max_leaves=5)
DYNAMIC = st.recursive(
    FROZEN,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(TEXT | st.sampled_from(["$set", "$dict", "$decimal", "$", "$$"]), inner, max_size=3)
    | st.sets(FROZEN, max_size=3),
    max_leaves=8,
)
SCALARS[Price] = st.builds(Price, SCALARS[Decimal], st.frozensets(TEXT), st.sampled_from(Mixed), FROZEN)


def frozen_types() -> st.SearchStrategy[Typed]:
    scalars = st.sampled_from(list(SCALARS.items()))
    return st.recursive(
        scalars,
        lambda inner: inner.map(lambda t: (tuple[t[0], ...], st.lists(t[1], max_size=3).map(tuple)))
        | inner.map(lambda t: (frozenset[t[0]], st.frozensets(t[1], max_size=3)))
        | inner.map(lambda t: (t[0] | None, st.none() | t[1]))
        | st.tuples(inner, inner).map(lambda p: (tuple[p[0][0], p[1][0]], st.tuples(p[0][1], p[1][1]))),
        max_leaves=3,
    )


def types() -> st.SearchStrategy[Typed]:
    return st.recursive(
        frozen_types() | st.just((Any, DYNAMIC)),
        lambda inner: inner.map(lambda t: (list[t[0]], st.lists(t[1], max_size=3)))
        | inner.map(lambda t: (t[0] | None, st.none() | t[1]))
        | frozen_types().map(lambda t: (set[t[0]], st.sets(t[1], max_size=3)))
        | st.tuples(frozen_types(), inner).map(lambda p: (dict[p[0][0], p[1][0]], st.dictionaries(p[0][1], p[1][1], max_size=3))),
        max_leaves=4,
    )


def check(kind: Kind, value: Any) -> None:
    taken = kind.copy(value, "here")
    assert same(taken, value)
    text = kind.encode(taken)
    decoded = kind.decode(text)
    assert same(decoded, value), text
    assert same(kind.load(msgspec.json.decode(text)), value), text
    assert same(kind.copy(decoded, "here"), decoded)
    canonical = kind.encode_canonical(taken)
    assert kind.encode_canonical(decoded) == canonical
    assert kind.decode(canonical) == value
    assert kind.encode_canonical(kind.decode(canonical)) == canonical


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_every_kind_gives_back_what_it_takes(data: st.DataObject) -> None:
    annotation, values = data.draw(types(), "annotation")
    check(kind_of(annotation, where="here"), data.draw(values, "value"))


@settings(max_examples=300, deadline=None)
@given(DYNAMIC)
def test_value_without_annotation_comes_back(value: Any) -> None:
    check(kind_of(Any, where="here"), value)
    check(kind_of(Any, where="here", state=False), value)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_text_of_a_key_is_the_key_in_json(data: st.DataObject) -> None:
    """Deltas name a key by the text that the document has for it."""
    annotation, values = data.draw(frozen_types(), "annotation")
    key = data.draw(values, "key")
    kind: Any = kind_of(dict[annotation, int], where="here")  # type: ignore[valid-type]
    document = msgspec.json.decode(kind.encode({key: 1}))
    step = msgspec.json.decode(msgspec.json.encode(kind.step(key), enc_hook=_tokens))
    assert document == ([[step[0], 1]] if kind.pairs else {step: 1})
    assert same(kind.from_step(step), key)


def _tokens(value: Any) -> Any:
    return value.text if isinstance(value, Token) else list(value.ends)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_decodes_encodes_to_itself(data: st.DataObject) -> None:
    """JSON from outside is either refused or a value like any other."""
    annotation, _ = data.draw(types(), "annotation")
    kind = kind_of(annotation, where="here")
    json = st.recursive(
        JSONISH,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.sampled_from(["$set", "$tuple", "x"]), inner, max_size=3),
        max_leaves=6,
    )
    try:
        value = kind.decode(msgspec.json.encode(data.draw(json, "json")))
    except ValueError:
        return
    check(kind, value)
