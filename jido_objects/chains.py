"""Calls that could never start, refused at once with their chains printed.

A turn that calls other objects holds its own object until they answer. Two shapes of waiting can never end by themselves: a
call back into an object that its own chain holds (A → B → A), and chains that wait for each other (A → B → C while C → A),
two or more of them, directly or through objects between. Of the chains in such a ring the one with the greatest root id
loses; which of them that is does not depend on any clock, so that every host would decide the same.

A ring is closed by a call that a turn makes, never by a turn that begins, so only such calls are looked at, when they come
in. The edges are followed backwards, from the objects that the call's chain holds to whoever waits in their mailboxes, to
the objects that those chains hold, and so on: what no turn waits for is never visited.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from .errors import ReentrantCall
from .turns import Call, Name, describe

if TYPE_CHECKING:
    from .activation import Activation

LOOKED_AT = 4096
"""Waiting calls that are looked at for one call at most: a ring behind more of them ends by its deadlines."""


def printed(call: Call) -> str:
    """A call with the chain that leads to it."""
    return " → ".join([*(describe(name) for name in call.chain), str(call)])


def loser(call: Call, activations: Mapping[Name, Activation]) -> tuple[Call, ReentrantCall] | None:
    """The call that must be refused so that ``call`` cannot wait for ever, and why; ``None`` where it can start."""
    if call.name in call.chain:
        return call, ReentrantCall(
            f"{printed(call)}: {describe(call.name)} is waiting for this very chain, so the call could never start. "
            f"Use `self`'s methods directly, return first and call then, or use cast."
        )
    target = activations.get(call.name)
    if target is None or target.turn is None:
        return None
    ring = _ring(call, activations, ())
    if ring is None:
        return None
    victim = max(ring, key=_rank)
    if victim is not call:
        second = _ring(call, activations, (victim,))
        if second is not None:
            # Only this call is in all the rings that it closes.
            ring, victim = second, call
    others = " and ".join(printed(one) for one in ring if one is not victim)
    return victim, ReentrantCall(
        f"{printed(victim)} and {others} wait for each other, so {'neither' if len(ring) == 2 else 'none'} could ever start; "
        f"this one was refused. Let all call the objects in the same order, or use cast."
    )


def _rank(call: Call) -> tuple[str, str]:
    return call.root, call.call_id


def _ring(call: Call, activations: Mapping[Name, Activation], without: Collection[Call]) -> list[Call] | None:
    """The calls of the shortest ring that ``call`` closes, itself the last; ``None`` if it closes none."""
    because: dict[Name, Call] = dict.fromkeys(call.chain, call)
    """Objects that could not go on before ``call`` is answered, each with the call that says so."""
    reached = deque(because)
    left = LOOKED_AT
    while reached and left > 0:
        activation = activations.get(reached.popleft())
        if activation is None:
            continue
        for waiting in _from_turns(activation, left):
            if waiting in without or not _still_waited_for(waiting, activations):
                continue
            if call.name in waiting.chain:
                ring = [waiting]
                while ring[-1] is not call:
                    ring.append(because[ring[-1].name])
                return ring
            for name in waiting.chain:
                if name not in because:
                    because[name] = waiting
                    reached.append(name)
        left -= len(activation.mailbox)
    return None


def _from_turns(activation: Activation, most: int) -> Iterator[Call]:
    """Calls that wait for an object and were made by a turn, among the first ``most`` of its mailbox."""
    for waiting in activation.mailbox:
        most -= 1
        if most < 0:
            return
        if waiting.chain and not waiting.started:
            yield waiting


def _still_waited_for(call: Call, activations: Mapping[Name, Activation]) -> bool:
    """Whether the turn that made a call is still open: the calls of one that was rolled back stay for a moment."""
    maker = activations.get(call.chain[-1])
    return maker is None or (maker.turn is not None and maker.turn.call.root == call.root)
