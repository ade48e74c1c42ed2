"""Lists, dicts and sets of live state: they journal what changed, and refuse change outside a turn.

A tracked container holds a plain one. What is nested in that stays plain until it is first read, and is wrapped then, in
place; so to thaw an object costs no Python per element. A container knows its parent and finds its own place in it when it
changes, checking by identity that it is still there: one that was popped, replaced or cleared away can write nowhere.

Every change appends one entry ``(op, container, …)`` to the state's log: the op for the journal, the rest to undo it. The cost
of a change does not depend on the size of the container. A key deleted from a dict leaves a tombstone until the turn ends,
so that a rollback finds the order of the keys as it was.

They do not subclass ``list``, ``dict`` and ``set``: C code such as ``heapq`` would change them unseen. What they hand out for
good (``pop``, ``copy``, ``a + b``) is plain.
"""

from __future__ import annotations

from .dicts import TrackedDict
from .lists import TrackedList
from .nodes import WRAPPERS, Node, current_turn, plain, running_turn
from .sets import TrackedSet

WRAPPERS.update({list: TrackedList, dict: TrackedDict, set: TrackedSet})

__all__ = ["WRAPPERS", "Node", "TrackedDict", "TrackedList", "TrackedSet", "current_turn", "plain", "running_turn"]
