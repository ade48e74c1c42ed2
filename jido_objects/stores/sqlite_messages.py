"""Durable messages in SQLite. Writers exclude each other, so what is looked at here stays as it is until the commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from .messages import VISIBILITY, InboxChanges, Overdue, Revised, Taken
from .sqlite_connection import moment, stamp

_MINE = """NOT EXISTS (SELECT 1 FROM jido_object o LEFT JOIN jido_term t ON t.id = o.owner
        WHERE o.type = i.type AND o.key = i.key AND (o.paused OR t.id IS NOT NULL AND t.id IS NOT :term))
    AND (:adopt OR EXISTS (SELECT 1 FROM jido_object o WHERE o.type = i.type AND o.key = i.key AND o.owner = :term))
    AND NOT EXISTS (SELECT 1 FROM jido_deployment d WHERE d.paused)"""
_LEFT_BEHIND = """NOT i.dead AND i.taker IS NOT NULL AND i.taker IS NOT :term
    AND NOT EXISTS (SELECT 1 FROM jido_term t WHERE t.id = i.taker)"""
_CANDIDATES = f"""SELECT id, sender, type, key, sender_seq, sender_index, not_before, due FROM (
        SELECT * FROM jido_inbox i WHERE NOT i.dead AND i.not_before <= :now AND {_MINE} ORDER BY i.not_before, i.id LIMIT :limit)
    UNION SELECT id, sender, type, key, sender_seq, sender_index, not_before, due FROM (
        SELECT * FROM jido_inbox i WHERE {_LEFT_BEHIND} AND {_MINE} LIMIT :limit)"""
_EARLIER = """SELECT id FROM jido_inbox WHERE sender = ? AND type = ? AND key = ? AND NOT dead AND (sender_seq, sender_index) < (?, ?)"""
_TAKE = """UPDATE jido_inbox SET attempts = attempts + 1, taker = ?, due = ?, not_before = ? WHERE id = ?
    RETURNING id, type, key, name, method, args, kwargs, attempts, sender, call_id, user_id, recurrence"""
_TAKEN = ("id", "type", "key", "name", "method", "args", "kwargs", "attempts", "sender", "call_id", "user", "recurrence")
_ARM = """INSERT INTO jido_inbox (type, key, object_id, name, due, not_before, method, args, kwargs, recurrence, zone, user_id,
        call_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (type, key, name) WHERE name IS NOT NULL DO UPDATE SET object_id = excluded.object_id, due = excluded.due,
        not_before = excluded.not_before, method = excluded.method, args = excluded.args, kwargs = excluded.kwargs,
        recurrence = excluded.recurrence, zone = excluded.zone, user_id = excluded.user_id,
        call_id = excluded.call_id, attempts = 0, taker = NULL,
        dead = false, last_error = NULL"""
_SEND = """INSERT INTO jido_inbox (type, key, due, not_before, method, args, kwargs, call_id, user_id, sender, sender_seq, sender_index)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


def now(skew: float, later: float = 0.0) -> str:
    """The store's clock, as a row has it."""
    return stamp(datetime.now(UTC) + timedelta(seconds=skew + later))


def missing(connection: sqlite3.Connection, changes: InboxChanges) -> bool:
    """Whether a message that the rows apply is no longer there."""
    return any(connection.execute("SELECT 1 FROM jido_inbox WHERE id = ?", (id_,)).fetchone() is None for id_ in changes.applied)


def change(connection: sqlite3.Connection, name: tuple[str, str], object_id: int, changes: InboxChanges, skew: float) -> None:
    """Do to messages what an object's rows say."""
    for id_ in changes.applied:
        connection.execute("DELETE FROM jido_inbox WHERE id = ?", (id_,))
    for alarm, a in changes.alarms.items():
        if a is None:
            connection.execute("DELETE FROM jido_inbox WHERE type = ? AND key = ? AND name = ?", (*name, alarm))
        else:
            values = (*name, object_id, alarm, stamp(a.due), now(skew, a.delay), a.method, a.args, a.kwargs, a.recurrence, a.zone, a.user)
            connection.execute(_ARM, (*values, a.call_id))
    at = now(skew)
    connection.executemany(
        _SEND,
        [(s.type, s.key, at, at, s.method, s.args, s.kwargs, s.call_id, s.user, object_id, s.seq, s.index) for s in changes.sent],
    )


def take(connection: sqlite3.Connection, term: UUID, limit: int, *, adopt: bool, skew: float) -> list[Taken]:
    """See ``Writer.take``."""
    at = datetime.now(UTC) + timedelta(seconds=skew)
    values = {"term": term.hex, "adopt": adopt, "now": stamp(at), "limit": limit}
    candidates = connection.execute(_CANDIDATES, values).fetchall()
    ids = {candidate[0] for candidate in candidates}
    taken = []
    for id_, sender, type_, key, seq, index, not_before, due in sorted(candidates, key=lambda c: (c[4] or 0, c[5] or 0, c[6], c[0])):
        if sender is not None and any(id_ not in ids for (id_,) in connection.execute(_EARLIER, (sender, type_, key, seq, index))):
            continue
        # By the clock that its time was given by.
        its_now = moment(due) + (at - moment(not_before))
        off = timedelta(seconds=VISIBILITY)
        row = connection.execute(_TAKE, (term.hex, stamp(its_now + off), stamp(at + off), id_)).fetchone()
        late = (at - moment(not_before)).total_seconds()
        values_of: dict[str, Any] = {**dict(zip(_TAKEN, row, strict=True)), "now": its_now, "late": late}
        taken.append(Taken(**values_of))
    return taken


def revise(connection: sqlite3.Connection, term: UUID, revised: Sequence[Revised], skew: float) -> None:
    """See ``Writer.revise``."""
    for one in revised:
        if one.delay is None and not one.dead:
            connection.execute("DELETE FROM jido_inbox WHERE id = ? AND taker = ?", (one.id, term.hex))
            continue
        row = connection.execute("SELECT due, not_before FROM jido_inbox WHERE id = ? AND taker = ?", (one.id, term.hex)).fetchone()
        if row is not None:
            at = now(skew, one.delay or 0.0)
            due = stamp(moment(row[0]) + (moment(at) - moment(row[1])))
            connection.execute(
                """UPDATE jido_inbox SET taker = NULL, dead = ?, last_error = coalesce(?, last_error), due = ?,
                    attempts = coalesce(?, attempts), not_before = ? WHERE id = ?""",
                (one.dead, one.error, due, one.attempts, at, one.id),
            )


def overdue(connection: sqlite3.Connection, term: UUID | None, *, adopt: bool, skew: float) -> Overdue:
    """See ``Store.overdue``."""
    at = datetime.now(UTC) + timedelta(seconds=skew)
    values = {"term": term.hex if term else None, "adopt": adopt, "now": stamp(at), "limit": 1}
    ready = connection.execute(f"SELECT 1 FROM ({_CANDIDATES}) LIMIT 1", values).fetchone() is not None
    (first,) = connection.execute("SELECT min(not_before) FROM jido_inbox WHERE NOT dead AND not_before > :now", values).fetchone()
    owners = connection.execute(
        """SELECT DISTINCT i.type, i.key FROM jido_inbox i JOIN jido_object o ON o.type = i.type AND o.key = i.key
            JOIN jido_term t ON t.id = o.owner
            WHERE NOT i.dead AND i.not_before <= :now AND t.id IS NOT :term AND :adopt LIMIT 8""",
        values,
    ).fetchall()
    return Overdue(ready, None if first is None else (moment(first) - at).total_seconds(), [(type_, key) for type_, key in owners])
