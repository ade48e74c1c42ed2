"""Durable messages as a store keeps them: alarms and sends, one row each, from the commit that made them to the one that
applies them.

A row is *due* at ``not_before`` by the store's clock. The host that owns the target *takes* it, which counts the attempt in a
commit of its own before anything runs, and puts ``not_before`` off: should the host forget it, it comes back. The turn that
applies it deletes it in the same commit as its journal row, or, an alarm that recurs, puts it off to its next time. Who has a
name is an alarm: its truth is in its object's state, and the row only says when to look.

``due`` is a time by the clock of whoever set it, ``not_before`` the same moment by the store's. Whatever moves one moves the
other, so that a taker learns from the row what the setter's clock would say now, and no two machines' clocks are compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

VISIBILITY = 30.0
"""Seconds after which a message that was taken, and of which nothing came, is due again though its taker lives."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that leaves with a turn's row. ``args`` and ``kwargs`` are JSON text, a list and an object."""

    type: str
    key: str
    method: str
    args: str
    kwargs: str
    call_id: str
    user: str | None
    seq: int
    """Of the row it leaves with; with ``index`` its place among its sender's messages."""
    index: int


@dataclass(frozen=True, slots=True)
class Armed:
    """What the row of a named alarm shall say."""

    due: datetime
    delay: float
    """Seconds from now until then: the store adds them to its own clock."""
    method: str
    args: str
    kwargs: str
    call_id: str
    recurrence: str | None = None
    zone: str | None = None
    user: str | None = None


@dataclass(slots=True)
class InboxChanges:
    """What the rows of one object in one batch do to messages, in the same commit. All or nothing with the rows."""

    applied: list[int] = field(default_factory=list)
    """Messages that these rows apply: they must still be there, else nothing of the object is written."""
    alarms: dict[str, Armed | None] = field(default_factory=dict)
    """By name, the last change of each; ``None`` takes the row away."""
    sent: list[Sent] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Taken:
    """A message to be applied now. ``attempts`` counts this one."""

    id: int
    type: str
    key: str
    name: str | None
    now: datetime
    """When it was taken, by the clock that its time was given by."""
    method: str
    args: str
    kwargs: str
    attempts: int
    sender: int | None
    call_id: str | None
    user: str | None
    recurrence: str | None = None
    late: float = 0.0
    """Seconds since it could have been taken."""


@dataclass(frozen=True, slots=True)
class Revised:
    """What becomes of a message that was taken and not applied. It holds only while the row is still the taker's."""

    id: int
    delay: float | None = None
    """Seconds until it is due again; ``None`` deletes it."""
    error: str | None = None
    dead: bool = False
    """Not to be tried again until somebody says so."""
    attempts: int | None = None
    """What the count is set to: an attempt that was not one."""


@dataclass(slots=True)
class Overdue:
    """What waits. ``wait``: seconds until the next message is due, ``None`` if there is none."""

    ready: bool
    wait: float | None
    owners: list[tuple[str, str]] = field(default_factory=list)
    """Objects that have due messages, and an owner that has not been buried."""
