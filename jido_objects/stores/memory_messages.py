"""The table of durable messages in a ``MemoryServer``, whose mutex its caller holds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from .messages import VISIBILITY, InboxChanges, Overdue, Revised, Taken

Mine = Callable[[str, str], bool]
"""Whether the messages of that object are a term's business."""


@dataclass(slots=True)
class _Message:
    id: int
    type: str
    key: str
    name: str | None
    due: datetime
    not_before: float
    method: str
    args: str
    kwargs: str
    user: str | None
    call_id: str | None = None
    recurrence: str | None = None
    place: tuple[int, int, int] | None = None
    """Sender, its seq, and the index within it."""
    attempts: int = 0
    taker: UUID | None = None
    dead: bool = False
    last_error: str | None = None

    @property
    def chain(self) -> tuple[int, str, str] | None:
        return (self.place[0], self.type, self.key) if self.place else None


class Messages:
    """Rows by id. Times are those of the server's monotonic clock."""

    def __init__(self) -> None:
        self.rows: dict[int, _Message] = {}
        self.paused = False
        self._ids = itertools.count(1)

    def missing(self, changes: InboxChanges) -> bool:
        return any(id_ not in self.rows for id_ in changes.applied)

    def change(self, name: tuple[str, str], object_id: int, changes: InboxChanges, now: float, wall: datetime) -> None:
        for id_ in changes.applied:
            del self.rows[id_]
        for alarm, armed in changes.alarms.items():
            for row in [row for row in self.rows.values() if (row.type, row.key, row.name) == (*name, alarm)]:
                del self.rows[row.id]
            if armed is not None:
                self._add(*name, alarm, armed.due, now + armed.delay, armed.method, armed.args, armed.kwargs, armed.user,
                          armed.call_id, armed.recurrence)  # fmt: skip
        for s in changes.sent:
            place = (object_id, s.seq, s.index)
            self._add(s.type, s.key, None, wall, now, s.method, s.args, s.kwargs, s.user, s.call_id, None, place)

    def send(self, type_: str, key: str, method: str, args: str, kwargs: str, call_id: str, now: float, wall: datetime) -> int:
        """A message that no object sent."""
        return self._add(type_, key, None, wall, now, method, args, kwargs, None, call_id)

    def _add(self, *values: object) -> int:
        row = _Message(next(self._ids), *values)  # type: ignore[arg-type]
        self.rows[row.id] = row
        return row.id

    def _candidates(self, now: float, term: UUID | None, alive: Callable[[UUID], bool], mine: Mine) -> list[_Message]:
        if self.paused:
            return []
        return sorted(
            (
                row
                for row in self.rows.values()
                if not row.dead
                and (row.not_before <= now or (row.taker is not None and row.taker != term and not alive(row.taker)))
                and mine(row.type, row.key)
            ),
            key=lambda row: (row.not_before, row.id),
        )

    def take(self, term: UUID, limit: int, now: float, alive: Callable[[UUID], bool], mine: Mine) -> list[Taken]:
        chosen = self._candidates(now, term, alive, mine)[:limit]
        ids = {row.id for row in chosen}
        taken = []
        for row in sorted(chosen, key=lambda row: (*(row.place or (0, 0, 0))[1:], row.not_before, row.id)):
            if row.chain is not None and any(
                other.chain == row.chain and not other.dead and (other.place or ()) < (row.place or ()) and other.id not in ids
                for other in self.rows.values()
            ):
                continue
            its_now = row.due + timedelta(seconds=now - row.not_before)
            row.attempts, row.taker = row.attempts + 1, term
            late = now - row.not_before
            row.due, row.not_before = its_now + timedelta(seconds=VISIBILITY), now + VISIBILITY
            sender = row.place[0] if row.place else None
            taken.append(
                Taken(row.id, row.type, row.key, row.name, its_now, row.method, row.args, row.kwargs, row.attempts, sender,
                      row.call_id, row.user, row.recurrence, late)
            )  # fmt: skip
        return taken

    def revise(self, term: UUID, revised: Sequence[Revised], now: float) -> None:
        for one in revised:
            row = self.rows.get(one.id)
            if row is None or row.taker != term:
                continue
            if one.delay is None and not one.dead:
                del self.rows[one.id]
                continue
            row.taker, row.dead = None, one.dead
            at = now + (one.delay or 0.0)
            row.due, row.not_before = row.due + timedelta(seconds=at - row.not_before), at
            row.last_error = one.error or row.last_error
            row.attempts = row.attempts if one.attempts is None else one.attempts

    def overdue(self, term: UUID | None, now: float, alive: Callable[[UUID], bool], mine: Mine, others: Mine) -> Overdue:
        waits = [row.not_before - now for row in self.rows.values() if not row.dead and row.not_before > now]
        late = {(row.type, row.key) for row in self.rows.values() if not row.dead and row.not_before <= now}
        owners = sorted(name for name in late if others(*name))[:8]
        return Overdue(bool(self._candidates(now, term, alive, mine)), min(waits, default=None), owners)
