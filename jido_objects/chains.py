"""Calls that could never start, refused at once with their chains printed.

A turn that calls other objects holds its own object until they answer. Two shapes of waiting can never end by themselves: a
call back into an object that its own chain holds (A → B → A), and two chains that wait for each other (A → B while B → A).
Longer cycles of several chains end by their deadlines. Of two chains the one with the greater root id loses; which of them
that is does not depend on any clock, so that every host would decide the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .errors import ReentrantCall
from .turns import Call, Name, describe

if TYPE_CHECKING:
    from .activation import Activation


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
    caller = activations.get(call.chain[-1])
    if caller is None:
        return None
    for waiting in caller.mailbox:
        if waiting.chain and waiting.chain[-1] == call.name and not waiting.started:
            victim, other = (call, waiting) if call.root > waiting.root else (waiting, call)
            return victim, ReentrantCall(
                f"{printed(victim)} and {printed(other)} wait for each other, so neither could ever start; this one was refused. "
                f"Let both call the objects in the same order, or use cast."
            )
    return None
