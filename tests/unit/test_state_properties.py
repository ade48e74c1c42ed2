"""Random programs against live state and against plain Python: same values, same order, same errors; and the journal agrees."""

from __future__ import annotations

import copy
import typing
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jido_objects import delta as deltas
from jido_objects.codec import Tracked, kind_of
from jido_objects.errors import InvalidValue, StateError
from jido_objects.state import Field, State, current_turn
from tests.unit.test_codec import Mixed, Point, same

ANNOTATIONS: dict[str, Any] = {
    "count": int,
    "ratio": float,
    "amount": Decimal,
    "maybe": list[int] | None,
    "numbers": list[int],
    "rows": list[dict[str, list[int]]],
    "table": dict[int, dict[str, int]],
    "grid": dict[tuple[int, int], list[str]],
    "points": dict[Point, list[list[Mixed]]],
    "prices": dict[Decimal, list[Decimal]],
    "tags": set[str],
    "sets": list[set[Decimal]],
    "marks": dict[str, Mixed | list[int] | None],
    "deep": dict[str, dict[str, dict[str, int]]],
    "free": Any,
    "frees": dict[str, Any],
}
SMALL = st.integers(0, 4)
LETTERS = st.sampled_from(["a", "b", "$", "$set", "é"])
FREE = st.recursive(
    st.none() | SMALL | st.sampled_from([0.0, -0.0]) | LETTERS | st.just(Decimal("1.0")) | st.just((1, "a")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LETTERS, inner, max_size=3) | st.sets(SMALL | LETTERS, max_size=3),
    max_leaves=5,
)


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Few values of a type, so that programs meet them again."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is list:
        return st.lists(values(args[0]), max_size=4)
    if origin is dict:
        return st.dictionaries(values(args[0]), values(args[1]), max_size=4)
    if origin is set:
        return st.sets(values(args[0]), max_size=4)
    if origin is tuple:
        return st.tuples(*map(values, args))
    if args:
        return st.one_of(*map(values, args))
    simple: dict[Any, st.SearchStrategy[Any]] = {
        int: SMALL,
        str: LETTERS,
        float: st.sampled_from([0.0, -0.0, 1.5]),
        # Equal, and not the same: a set holds the first that came.
        Decimal: st.sampled_from([Decimal("1"), Decimal("1.0"), Decimal("1.00"), Decimal("2")]),
        Point: st.builds(Point, st.integers(0, 1)),
        Mixed: st.sampled_from(Mixed),
        type(None): st.none(),
        Any: FREE,
    }
    return simple[annotation]


def new_state(names: Any = ANNOTATIONS) -> State:
    shape = {name: Field(name, kind_of(ANNOTATIONS[name], where=name), *([Decimal(0)] if name == "amount" else [])) for name in names}
    state = State(shape, {}, "Thing('x')")
    state.reset()
    return state


def annotation_of(annotation: Any, value: Any) -> Any:
    """The annotation under which ``value``, a container, is changed."""
    if annotation is Any:
        return {list: list[Any], dict: dict[str, Any], set: set[typing.Union[int, str]]}[type(value)]  # noqa: UP007
    if typing.get_origin(annotation) in (list, dict, set):
        return annotation
    return next(arg for arg in typing.get_args(annotation) if typing.get_origin(arg) is type(value))


Draw = Callable[[st.SearchStrategy[Any]], Any]


def change_list(draw: Draw, model: list[Any], live: Any, item: Any) -> None:
    value = copy.deepcopy(draw(values(item)))
    several = draw(st.lists(values(item), max_size=4))
    index = draw(st.integers(-6, 6))
    step = draw(st.sampled_from([None, None, None, 1, 2, -1, -2]))
    part = slice(draw(st.none() | st.integers(-6, 6)), draw(st.none() | st.integers(-6, 6)), step)
    key = draw(st.sampled_from([repr, lambda element: len(repr(element)) % 3]))
    reverse = draw(st.booleans())
    programs: dict[str, Callable[[Any], Any]] = {
        "append": lambda target: target.append(value),
        "append again": lambda target: target.append(value),
        "extend": lambda target: target.extend(several),
        "extend by itself": lambda target: target.extend(target),
        "insert": lambda target: target.insert(index, value),
        "put": lambda target: target.__setitem__(index, value),
        "put slice": lambda target: target.__setitem__(part, several),
        "del": lambda target: target.__delitem__(index),
        "del slice": lambda target: target.__delitem__(part),
        "pop": lambda target: target.pop(),
        "pop at": lambda target: target.pop(index),
        "remove": lambda target: target.remove(value),
        "clear": lambda target: target.clear(),
        "reverse": lambda target: target.reverse(),
        "sort": lambda target: target.sort(key=key, reverse=reverse),
        "iadd": lambda target: target.__iadd__(several),
        "imul": lambda target: target.__imul__(index % 3),
        "copy an element": lambda target: target.append(copy.deepcopy(target[index])),
        "assign an element": lambda target: target.__setitem__(index, target[index]),
    }
    both(draw(st.sampled_from(sorted(programs))), programs, model, live)


def change_dict(draw: Draw, model: dict[Any, Any], live: Any, key_type: Any, item: Any) -> None:
    key = draw(values(key_type) | st.sampled_from(list(model))) if model else draw(values(key_type))
    value = copy.deepcopy(draw(values(item)))
    several = draw(st.dictionaries(values(key_type), values(item), max_size=4))

    def move(target: Any) -> None:
        target[key] = target.pop(key)

    def empty(target: Any) -> None:
        for _ in range(len(target)):
            target.popitem()

    programs: dict[str, Callable[[Any], Any]] = {
        "put": lambda target: target.__setitem__(key, value),
        "put again": lambda target: target.__setitem__(key, value),
        "del": lambda target: target.__delitem__(key),
        "pop": lambda target: target.pop(key),
        "pop or": lambda target: target.pop(key, 7),
        "popitem": lambda target: target.popitem(),
        "empty": empty,
        "clear": lambda target: target.clear(),
        "setdefault": lambda target: target.setdefault(key, value),
        "update": lambda target: target.update(several),
        "ior": lambda target: target.__ior__(several),
        "move": move,
        "assign a value": lambda target: target.__setitem__(key, target[key]),
    }
    both(draw(st.sampled_from(sorted(programs))), programs, model, live)


def change_set(draw: Draw, model: set[Any], live: Any, item: Any) -> None:
    value = draw(values(item))
    several = draw(st.sets(values(item), max_size=4))
    name = draw(st.sampled_from(["add", "discard", "remove", "pop", "clear", "|=", "-=", "&=", "^="]))
    if name == "pop":
        if model:
            model.remove(live.pop())
        return
    programs: dict[str, Callable[[Any], Any]] = {
        "add": lambda target: target.add(value),
        "discard": lambda target: target.discard(value),
        "remove": lambda target: target.remove(value),
        "clear": lambda target: target.clear(),
        "|=": lambda target: target.__ior__(several),
        "-=": lambda target: target.__isub__(several),
        "&=": lambda target: target.__iand__(several),
        "^=": lambda target: target.__ixor__(several),
    }
    both(name, programs, model, live)


def both(name: str, programs: dict[str, Callable[[Any], Any]], model: Any, live: Any) -> None:
    outcomes = []
    for target in (model, live):
        try:
            result = programs[name](target)
            outcomes.append(None if result is target else result)
        except (IndexError, KeyError, ValueError, TypeError) as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1], name
    if name.startswith("pop"):
        assert not isinstance(outcomes[1], Tracked)


def change(draw: Draw, model: dict[str, Any], state: State) -> None:
    name = draw(st.sampled_from(list(ANNOTATIONS)))
    annotation = ANNOTATIONS[name]
    target, live = model[name], state.values[name]
    if not isinstance(target, list | dict | set) or draw(st.integers(0, 9)) == 0:
        value = draw(values(annotation))
        model[name] = copy.deepcopy(value)
        state.set(name, value)
        return
    while True:
        annotation = annotation_of(annotation, target)
        args = typing.get_args(annotation)
        places = list(target) if isinstance(target, dict) else range(len(target)) if isinstance(target, list) else ()
        inside = [place for place in places if isinstance(target[place], list | dict | set)]
        if not inside or draw(st.booleans()):
            break
        place = draw(st.sampled_from(inside))
        target, live, annotation = target[place], live[place], args[-1]
    assert live == target
    if isinstance(target, list):
        change_list(draw, target, live, *args)
    elif isinstance(target, dict):
        change_dict(draw, target, live, *args)
    else:
        change_set(draw, target, live, *args)


@settings(max_examples=4000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_live_state_is_what_its_journal_says(data: st.DataObject) -> None:
    state, replica, stranger = new_state(), new_state(), new_state(["count", "numbers", "rows"])
    json: dict[str, Any] = msgspec.json.decode(state.document())
    stranger.restore(state.document())
    model = state.plain()
    for _ in range(data.draw(st.integers(1, 4), "turns")):
        before, document = copy.deepcopy(model), state.canonical()
        turn = SimpleNamespace(readonly=False, method="m")
        token = current_turn.set(turn)
        state.begin(turn)
        for _ in range(data.draw(st.integers(0, 6), "changes")):
            change(data.draw, model, state)
        assert same(state.plain(), model)
        inside = new_state()
        inside.restore(state.document())
        assert same(inside.plain(), model)
        if data.draw(st.integers(0, 3), "end") == 0:
            state.rollback()
            model = before
            assert state.canonical() == document
        else:
            delta = state.finish()
            if not same(before, model):
                assert delta != "[]"
            replica.replay(delta)
            stranger.replay(delta)
            deltas.apply(json, delta)
        current_turn.reset(token)
        assert not state.dirty
        for text in (None, state.document(), stranger.document(), msgspec.json.encode(json)):
            if text is not None:
                replica = new_state()
                replica.restore(text)
            assert same(replica.plain(), model)
            assert replica.canonical() == state.canonical()
        assert same(state.plain(), model)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_refused_value_changes_nothing(data: st.DataObject) -> None:
    state = new_state()
    turn = SimpleNamespace(readonly=False, method="m")
    token = current_turn.set(turn)
    state.begin(turn)
    for name, annotation in ANNOTATIONS.items():
        state.set(name, data.draw(values(annotation), name))
    state.finish()
    before = state.plain()
    name = data.draw(st.sampled_from([name for name, value in before.items() if isinstance(value, list | dict | set)]))
    live: Any = state.values[name]
    good = data.draw(st.lists(values(typing.get_args(annotation_of(ANNOTATIONS[name], before[name]))[-1]), max_size=2))
    state.begin(turn)
    bad = object()
    with pytest.raises(InvalidValue):
        if isinstance(before[name], list):
            data.draw(
                st.sampled_from(
                    [
                        lambda: live.append(bad),
                        lambda: live.extend([*good, bad]),
                        lambda: live.insert(0, bad),
                        lambda: live.__setitem__(slice(0, 1), [*good, bad]),
                        lambda: live.__iadd__([*good, bad]),
                    ]
                )
            )()
        elif isinstance(before[name], dict):
            keys = list(before[name])[:1]
            data.draw(
                st.sampled_from(
                    [
                        lambda: live.__setitem__(bad, *good[:1] or [1]),
                        lambda: live.update({**dict.fromkeys(keys, good[0] if good else bad), bad: bad}),
                        lambda: live.__ior__({**dict.fromkeys(keys, good[0] if good else bad), bad: bad}),
                        lambda: live.setdefault(bad, bad),
                    ]
                )
            )()
        else:
            data.draw(
                st.sampled_from(
                    [
                        lambda: live.add(bad),
                        lambda: live.update(good, [bad]),
                        lambda: live.__ior__({*good, bad}),
                        lambda: live.__ixor__({*good, bad}),
                    ]
                )
            )()
    assert not state.dirty
    assert state.finish() == "[]"
    assert same(state.plain(), before)
    current_turn.reset(token)
    with pytest.raises(StateError):
        state.set("count", 1)
