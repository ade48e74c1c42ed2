"""What a default says today decides nothing about what exists: classes change, objects stay.

An object lives through several editions of its class, which differ in their defaults and in the fields they have. A field has
the value that was written last, by whichever edition, the one that created the object included; only a field that no row has
written has the default of the edition that reads it.
"""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jido_objects import DurableObject
from jido_objects.definition import Definition
from jido_objects.errors import JidoError
from jido_objects.state import State
from tests.sim.bench import Bench, Process

LABEL = "sim.Edition"
FIELDS: dict[str, Any] = {
    "count": int,
    "name": str,
    "maybe": int | None,
    "row": list[int],
    "rows": list[list[int]],
    "table": dict[str, int],
    "tags": set[int],
}
WAYS = ["assign", "change", "assign what it is"]

small = st.integers(0, 2)
DEFAULTS: dict[str, st.SearchStrategy[Any]] = {
    "count": small,
    "name": st.sampled_from(["", "a", "😀"]),
    "maybe": st.none() | small,
    "row": st.lists(small, max_size=2),
    "rows": st.lists(st.lists(small, max_size=1), max_size=2),
    "table": st.dictionaries(st.sampled_from(["x", "y"]), small, max_size=2),
    "tags": st.sets(small, max_size=2),
}


def made(name: str, n: int) -> Any:
    return {"name": str(n), "row": [n], "rows": [[n]], "table": {str(n): n}, "tags": {n}}.get(name, n)


def changed(values: dict[str, Any], name: str, n: int) -> None:
    """Change a value where it is; with a new ``n`` it differs afterwards."""
    value = values[name]
    if name == "row":
        value.append(n)
    elif name == "rows":
        (value[0] if value else value).append(n if value else [n])
    elif name == "table":
        value[str(n)] = n
    elif name == "tags":
        value.add(n)
    else:
        values[name] = made(name, n)


@dataclass
class Era:
    """One edition of the class, and what happens under it."""

    defaults: dict[str, Any]
    snapshot_every: int
    steps: list[tuple[str, str]]
    """Field and way of each call; a field that this edition does not have makes it a call that changes nothing."""
    naps: set[int] = field(default_factory=set)
    """Before which steps it leaves memory."""
    crashes: bool = False


class _Values:
    """The attributes of an instance as the items of a mapping."""

    def __init__(self, instance: Any) -> None:
        self.instance = instance

    def __getitem__(self, name: str) -> Any:
        return getattr(self.instance, name)

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self.instance, name, value)


def edition(era: Era) -> None:
    """Define the class as this era has it."""

    def step(self: Any, name: str, way: str, n: int) -> None:
        if name not in era.defaults:
            return
        if way == "assign":
            setattr(self, name, made(name, n))
        elif way == "change":
            changed(_Values(self), name, n)  # type: ignore[arg-type]
        else:
            setattr(self, name, copy.deepcopy(getattr(self, name)))

    def keep(self: Any) -> None:
        """Changes nothing."""

    meta = type("Meta", (), {"label": LABEL, "snapshot_every": era.snapshot_every})
    annotations = {name: FIELDS[name] for name in era.defaults}
    body = {"__annotations__": annotations, "__module__": __name__, "__qualname__": "edition.<locals>.Edition"}
    type("Edition", (DurableObject,), {**body, **copy.deepcopy(era.defaults), "step": step, "keep": keep, "Meta": meta})


eras = st.lists(
    st.builds(
        Era,
        st.sets(st.sampled_from(sorted(FIELDS)), min_size=1).flatmap(
            lambda names: st.fixed_dictionaries({name: DEFAULTS[name] for name in sorted(names)})
        ),
        st.sampled_from([1, 2, 8, 100]),
        st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), st.sampled_from(WAYS)), max_size=5),
        st.sets(st.integers(0, 4), max_size=3),
        st.booleans(),
    ),
    min_size=2,
    max_size=4,
)


async def live(bench: Bench, through: list[Era], *, kept: bool) -> None:
    """Go through the eras and compare the object with what it must be after every step."""
    bench.label = LABEL
    written: dict[str, Any] = {}
    exists = False
    n = 1000
    owner: Process | None = None
    for number, era in enumerate(through):
        if owner is not None:
            if era.crashes:
                assert owner.keeping is not None
                owner.keeping.cancel()
                bench.dead.add(owner.pid)
            else:
                await owner.host.stop()
        edition(era)
        owner = await bench.process(keeper=True)

        def expected(era: Era = era, written: dict[str, Any] = written) -> dict[str, Any]:
            return {name: written.get(name, default) for name, default in era.defaults.items()}

        if exists:
            assert await owner.host.read(Definition.of(LABEL), (LABEL, "k")) == expected(), number
        if kept and not exists:
            await owner.send("k", "keep", call_id="first")
            exists = True
            written.update(copy.deepcopy(era.defaults))
        for position, (name, way) in enumerate(era.steps):
            n += 1
            if position in era.naps:
                await asyncio.sleep(0.5)
                activation = owner.host.activations.get((LABEL, "k"))
                if activation is not None:
                    owner.host.hibernate(activation)
            await owner.send("k", "step", name, way, n)
            if name in era.defaults:
                if not exists:
                    exists = True
                    written.update(copy.deepcopy(era.defaults))
                if way != "assign what it is":
                    values = copy.deepcopy(expected())
                    if way == "assign":
                        values[name] = made(name, n)
                    else:
                        changed(values, name, n)
                    written[name] = values[name]
                else:
                    written.setdefault(name, copy.deepcopy(era.defaults[name]))
            if exists:
                assert await owner.host.read(Definition.of(LABEL), (LABEL, "k")) == expected(), (number, position)
    assert owner is not None
    await owner.host.stop()


@given(eras, st.booleans())
def test_what_was_created_stays_through_all_editions_of_its_class(through: list[Era], kept: bool) -> None:
    bench = Bench()
    bench.run(live(bench, through, kept=kept))


# ---------------------------------------------------------------- what the property is there to notice


STORY = [
    Era({"count": 1, "row": [1], "table": {"x": 1}}, 1, [("count", "assign")]),
    Era({"count": 2, "row": [2], "table": {}, "tags": {1}, "maybe": 1}, 1, [("tags", "change"), ("count", "change"), ("row", "change")]),
    Era({"count": 0, "row": []}, 1, [("row", "change"), ("count", "change")], {1}),
    Era({"count": 3, "row": [0], "table": {"y": 2}, "tags": {2}, "maybe": 2}, 100, [("tags", "change")]),
]


def old_first_row(self: State) -> str:
    return self.delta()


def nothing_touched(self: State) -> frozenset[str]:
    return frozenset()


def whole_document(self: State) -> str:
    unset, self.unset = self.unset, set()
    try:
        return document(self)
    finally:
        self.unset = unset


document = State.document


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(
    ("name", "broken"), [("initial", old_first_row), ("_touched", nothing_touched), ("document", whole_document), (None, None)]
)
def test_a_rule_taken_out_is_missed(name: str | None, broken: Any, kept: bool) -> None:
    def story() -> None:
        bench = Bench()
        bench.run(live(bench, copy.deepcopy(STORY), kept=kept))

    if name is None:
        story()
        return
    with mock.patch.object(State, name, broken), pytest.raises((AssertionError, JidoError)):
        story()
