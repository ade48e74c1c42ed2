"""Chains of calls that wait for each other: which are found, and that nothing else is refused."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from jido_objects import chains
from jido_objects.turns import Call

METHOD: Any = SimpleNamespace(name="f", recorded=True)


def call(target: str, *chain: str, root: str = "r") -> Call:
    made = Call(("t", target), METHOD, (), {}, b"", 0, f"{root}/{target}", 0.0, None)
    made.chain = tuple(("t", name) for name in chain)
    made.root = root
    return made


class World(dict[Any, Any]):
    """Objects with an open turn each, and what waits for them."""

    def open(self, key: str, root: str) -> None:
        self[("t", key)] = SimpleNamespace(turn=SimpleNamespace(call=call(key, root=root)), mailbox=deque())

    def wait(self, one: Call) -> Call:
        self[one.name].mailbox.append(one)
        return one


def test_a_call_back_into_its_own_chain() -> None:
    world = World()
    world.open("a", "r")
    world.open("b", "r")
    lost = chains.loser(call("a", "a", "b"), world)
    assert lost is not None
    assert "is waiting for this very chain" in str(lost[1])


def test_an_object_without_an_open_turn_waits_for_nobody() -> None:
    world = World()
    world.open("a", "1")
    world.open("b", "2")
    world.wait(call("a", "b", root="2"))
    assert chains.loser(call("b", "a", root="1"), world) is not None
    world[("t", "b")].turn = None
    assert chains.loser(call("b", "a", root="1"), world) is None
    assert chains.loser(call("nobody", "a", root="1"), world) is None


def test_a_turn_that_has_ended_waits_no_more() -> None:
    """A call of a turn that was rolled back stays in the mailbox for a moment."""
    world = World()
    world.open("a", "1")
    world.open("b", "another")
    world.wait(call("a", "b", root="2"))
    assert chains.loser(call("b", "a", root="1"), world) is None


def test_many_that_wait_for_one_are_no_ring() -> None:
    world = World()
    world.open("counter", "0")
    for n in range(100):
        world.open(str(n), str(n))
        assert chains.loser(call("counter", str(n), root=str(n)), world) is None
        world.wait(call("counter", str(n), root=str(n)))


@pytest.mark.parametrize("length", [2, 3, 10])
@pytest.mark.parametrize("greatest", [0, 1, -1])
def test_of_a_ring_the_chain_with_the_greatest_root_loses(length: int, greatest: int) -> None:
    world = World()
    roots = [f"{n:03}" for n in range(length)]
    roots[greatest] = "999"
    for n in range(length):
        world.open(str(n), roots[n])
    waiting = [world.wait(call(str(n + 1), str(n), root=roots[n])) for n in range(length - 1)]
    last = call("0", str(length - 1), root=roots[-1])
    lost = chains.loser(last, world)
    assert lost is not None
    assert lost[0] is [*waiting, last][greatest]
    for one in [*waiting, last]:
        assert chains.printed(one) in str(lost[1])


def test_a_call_that_closes_two_rings_is_refused_itself() -> None:
    """To refuse one of the others would leave the other ring."""
    world = World()
    world.open("a", "1")
    world.open("b", "2")
    world.open("c", "3")
    world.wait(call("b", "a", root="1"))
    world.wait(call("c", "a", root="1"))
    last = call("a", "b", root="0")
    lost = chains.loser(last, world)
    assert lost is not None
    assert lost[0].root == "1"
    world.open("b", "0")
    world.wait(call("b", "a", root="1"))
    world.wait(call("b", "c", root="3"))
    world.wait(call("c", "a", root="1"))
    lost = chains.loser(last, world)
    assert lost is not None
    assert lost[0] is last


def test_the_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "LOOKED_AT", 50)
    world = World()
    world.open("a", "1")
    world.open("b", "2")
    for n in range(100):
        world.wait(call("a", root=f"plain-{n}"))
    world.wait(call("a", "b", root="2"))
    assert chains.loser(call("b", "a", root="1"), world) is None


def test_whoever_waits_for_the_outer_objects_of_a_chain_is_found_too() -> None:
    """d waits for a, which waits with b for c: c may not call d."""
    world = World()
    for key, root in (("a", "1"), ("b", "1"), ("c", "2"), ("d", "3")):
        world.open(key, root)
    waiting = [world.wait(call("c", "a", "b", root="1")), world.wait(call("a", "d", root="3"))]
    last = call("d", "c", root="2")
    lost = chains.loser(last, world)
    assert lost is not None
    assert lost[0] is waiting[1]
    for one in [*waiting, last]:
        assert chains.printed(one) in str(lost[1])
    # The same for whoever waits for the outer objects of the call's own chain.
    world[("t", "c")].mailbox.clear()
    assert chains.loser(call("d", "a", "b", root="1"), world) is not None


def test_the_work_is_bounded_over_all_mailboxes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    for n in range(20):
        world.open(str(n), str(n))
        world[("t", str(n))].mailbox.extend(call(str(n), root=f"plain-{m}") for m in range(10))
        if n:
            world.wait(call(str(n), str(n - 1), root=str(n - 1)))
    last = call("0", "19", root="last")
    assert chains.loser(last, world) is not None
    monkeypatch.setattr(chains, "LOOKED_AT", 100)
    assert chains.loser(last, world) is None
