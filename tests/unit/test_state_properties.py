"""Random programs against live state and against plain Python: same values, same order, same errors; and the journal agrees."""

from __future__ import annotations

import copy
import typing
from collections.abc import Callable
from decimal import Decimal
from random import Random
from types import SimpleNamespace
from typing import Any, Union

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jido_objects import delta as deltas
from jido_objects.codec import kind_of
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
    "sets": list[set[int]],
    "sums": set[Decimal],
    "ratios": dict[str, float],
    "flags": list[float],
    "marks": dict[str, Mixed | list[int] | None],
    "deep": dict[str, dict[str, dict[str, int]]],
    "free": Any,
    "frees": dict[str, Any],
}
LETTERS = ["a", "b", "c", "$", "$set", "é"]
SIMPLE: dict[Any, list[Any]] = {
    int: [0, 1, 2, 3, 10**20],
    str: LETTERS,
    float: [0.0, -0.0, 1.5],
    # Equal, and not the same: a set holds the first that came.
    Decimal: [Decimal("1"), Decimal("1.0"), Decimal("1.00"), Decimal("2")],
    Point: [Point(0), Point(1)],
    Mixed: list(Mixed),
    type(None): [None],
}
DYNAMIC: list[Any] = [int, str, float, Decimal, type(None), tuple[int, str], set[Union[int, str]], list[Any], dict[str, Any]]  # noqa: UP007


def value_of(rng: Random, annotation: Any, depth: int = 0) -> Any:
    """One of few values of a type, so that programs meet them again."""
    if annotation is Any:
        return value_of(rng, rng.choice(DYNAMIC[: 9 if depth < 3 else 6]), depth)
    if annotation in SIMPLE:
        return rng.choice(SIMPLE[annotation])
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return tuple(value_of(rng, arg) for arg in args)
    if origin not in (list, dict, set):
        return value_of(rng, rng.choice(args), depth)
    items = [value_of(rng, args[-1], depth + 1) for _ in range(rng.randrange(4))]
    return {value_of(rng, args[0]): item for item in items} if origin is dict else origin(items)


def new_state(names: Any = ANNOTATIONS) -> State:
    defaults = {"amount": [Decimal(0)]}
    shape = {name: Field(name, kind_of(ANNOTATIONS[name], where=name), *defaults.get(name, [])) for name in names}
    state = State(shape, {}, "Thing('x')")
    state.reset()
    return state


def annotation_of(annotation: Any, value: Any) -> Any:
    """The annotation under which ``value``, a container, is changed."""
    if annotation is Any:
        return {list: list[Any], dict: dict[str, Any], set: set[Union[int, str]]}[type(value)]  # noqa: UP007
    if typing.get_origin(annotation) in (list, dict, set):
        return annotation
    return next(arg for arg in typing.get_args(annotation) if typing.get_origin(arg) is type(value))


def change_list(rng: Random, model: list[Any], live: Any, item: Any) -> None:
    value = value_of(rng, item)
    several = value_of(rng, list[item])
    index = rng.randrange(-6, 6)
    part = slice(*(rng.choice([None, *range(-6, 7)]) for _ in range(2)), rng.choice([None, None, None, 1, 2, -1, -2]))
    # Not by what a set is printed as: that depends on how it came about.
    modulus = rng.choice([3, 1000])

    def key(element: Any) -> Any:
        return len(repr(element)) % modulus, str(element) * isinstance(element, int)

    reverse = rng.random() < 0.5

    def repeat(target: Any) -> None:
        target.__imul__(index % 3)
        if type(target) is list:
            # Plain lists repeat the same elements, live ones copies of them.
            target[:] = [copy.deepcopy(element) for element in target]

    programs: dict[str, Callable[[Any], Any]] = {
        "append": lambda target: target.append(value),
        "append again": lambda target: target.append(value),
        "extend": lambda target: target.extend(several),
        "extend by itself": lambda target: target.extend(copy.deepcopy(list(target))),
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
        "imul": repeat,
        "copy an element": lambda target: target.append(copy.deepcopy(target[index])),
        "assign an element": lambda target: target.__setitem__(index, target[index]),
    }
    both(rng.choice(sorted(programs)), programs, model, live)


def change_dict(rng: Random, model: dict[Any, Any], live: Any, key_type: Any, item: Any) -> None:
    key = rng.choice(list(model)) if model and rng.random() < 0.5 else value_of(rng, key_type)
    value = value_of(rng, item)
    several = value_of(rng, dict[key_type, item])

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
    both(rng.choice(sorted(programs)), programs, model, live)


def change_set(rng: Random, model: set[Any], live: Any, item: Any) -> None:
    value = value_of(rng, item)
    several = value_of(rng, set[item])
    name = rng.choice(["add", "discard", "remove", "pop", "clear", "|=", "-=", "&=", "^="])
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
        assert same(*outcomes)


def change(rng: Random, model: dict[str, Any], state: State) -> None:
    name = rng.choice(list(ANNOTATIONS))
    annotation = ANNOTATIONS[name]
    target, live = model[name], state.values[name]
    if not isinstance(target, list | dict | set) or rng.random() < 0.1:
        value = value_of(rng, annotation)
        model[name] = copy.deepcopy(value)
        state.set(name, value)
        return
    while True:
        annotation = annotation_of(annotation, target)
        args = typing.get_args(annotation)
        places = list(target) if isinstance(target, dict) else range(len(target)) if isinstance(target, list) else ()
        inside = [place for place in places if isinstance(target[place], list | dict | set)]
        if not inside or rng.random() < 0.4:
            break
        place = rng.choice(inside)
        target, live, annotation = target[place], live[place], args[-1]
    assert live == target
    if isinstance(target, list):
        change_list(rng, target, live, *args)
    elif isinstance(target, dict):
        change_dict(rng, target, live, *args)
    else:
        change_set(rng, target, live, *args)


def run(rng: Random, turns: int, changes: int) -> None:
    """Some turns, each checked against the model, a replica that replays, and a stranger that knows few of the fields."""
    state, replica, stranger = new_state(), new_state(), new_state(["count", "numbers", "rows"])
    document: dict[str, Any] = msgspec.json.decode(state.document())
    stranger.restore(state.document())
    model = state.plain()
    for _ in range(turns):
        before, canonical = copy.deepcopy(model), state.canonical()
        turn = SimpleNamespace(readonly=False, method="m")
        token = current_turn.set(turn)
        state.begin(turn)
        for _ in range(rng.randrange(changes)):
            change(rng, model, state)
        assert same(state.plain(), model)
        inside = new_state()
        inside.restore(state.document())
        assert same(inside.plain(), model)
        if rng.random() < 0.3:
            state.rollback()
            model = before
            assert state.canonical() == canonical
        else:
            delta = state.finish()
            assert same(before, model) or delta != "[]"
            replica.replay(delta)
            stranger.replay(delta)
            deltas.apply(document, delta)
        current_turn.reset(token)
        assert not state.dirty
        assert same(state.plain(), model)
        for text in (None, state.document(), stranger.document(), msgspec.json.encode(document)):
            if text is not None:
                replica = new_state()
                replica.restore(text)
            assert same(replica.plain(), model)
            assert replica.canonical() == state.canonical()


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=True))
def test_live_state_is_what_its_journal_says(rng: Random) -> None:
    run(rng, turns=12, changes=12)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_live_state_is_what_its_journal_says_in_small_programs(rng: Random) -> None:
    """The same, where Hypothesis can make a failing program smaller."""
    run(rng, turns=3, changes=4)


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=True))
def test_refused_value_changes_nothing(rng: Random) -> None:
    state = new_state()
    turn = SimpleNamespace(readonly=False, method="m")
    token = current_turn.set(turn)
    state.begin(turn)
    for name, annotation in ANNOTATIONS.items():
        state.set(name, value_of(rng, annotation))
    state.finish()
    before = state.plain()
    name = rng.choice([name for name, value in before.items() if isinstance(value, list | dict | set)])
    live: Any = state.values[name]
    good = value_of(rng, list[typing.get_args(annotation_of(ANNOTATIONS[name], before[name]))[-1]])  # type: ignore[misc]
    bad = object()
    pairs = {**dict.fromkeys(list(before[name])[:1], good[0] if good else bad), bad: bad} if isinstance(before[name], dict) else {}
    programs: dict[type, list[Callable[[], Any]]] = {
        list: [
            lambda: live.append(bad),
            lambda: live.extend([*good, bad]),
            lambda: live.insert(0, bad),
            lambda: live.__setitem__(slice(0, 1), [*good, bad]),
            lambda: live.__iadd__([*good, bad]),
        ],
        dict: [
            lambda: live.__setitem__(bad, *good[:1] or [1]),
            lambda: live.update(pairs),
            lambda: live.__ior__(pairs),
            lambda: live.setdefault(bad, bad),
        ],
        set: [
            lambda: live.add(bad),
            lambda: live.update(good, [bad]),
            lambda: live.__ior__([*good, bad]),
            lambda: live.__ixor__([*good, bad]),
        ],
    }
    program = rng.choice(programs[type(before[name])])
    state.begin(turn)
    with pytest.raises(InvalidValue):
        program()
    assert not state.dirty
    assert state.finish() == "[]"
    assert same(state.plain(), before)
    current_turn.reset(token)
    with pytest.raises(StateError):
        state.set("count", 1)
