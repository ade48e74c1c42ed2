"""Trimming in SQLite: in a thread and on a connection of its own, in transactions so short that owners hardly wait."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from .. import ids
from ..limits import RETENTION_ROWS
from .protocol import EntryKind, Snapshot, Trim, Trimmed, Walk
from .sqlite_connection import moment, refusals, stamp, transaction
from .windows import START, Cut, cut, droppable, horizon, stretch
from .worker import Worker

T = TypeVar("T")


class SqliteWindows(ABC):
    """The part of ``SqliteStore`` that keeps the windows."""

    name: str

    def __init__(self) -> None:
        self._trimming: Worker | None = None

    @abstractmethod
    def worker(self, name: str) -> Worker: ...

    @abstractmethod
    async def _read(self, job: Callable[[sqlite3.Connection], T]) -> T: ...

    async def trim(self, trims: Sequence[Trim], *, call_id_seconds: float, limit: int) -> list[Trimmed | None]:
        if not trims:
            return []
        alone = len(trims) == 1

        def trim(connection: sqlite3.Connection) -> list[Trimmed | None]:
            return [_trim(connection, one, call_id_seconds, limit, alone=alone) for one in trims]

        return await self._apart(trim)

    async def walk(self, retention: float, slack: float, limit: int) -> Walk:
        def walk(connection: sqlite3.Connection) -> Walk:
            row = connection.execute("SELECT call_id, at FROM jido_walk WHERE milliseconds = ?", (round(retention * 1000),)).fetchone()
            since = (row[0], moment(row[1])) if row else START
            past = datetime.now(UTC) - timedelta(seconds=min(retention + slack, _AGES))
            generated = connection.execute(
                "SELECT j.call_id, j.object_id, (SELECT o.type FROM jido_object o WHERE o.id = j.object_id) FROM jido_journal j "
                "WHERE j.call_id > ? AND j.call_id < ? ORDER BY j.call_id LIMIT ?",
                (since[0], ids.prefix(max(0.0, past.timestamp())), limit),
            ).fetchall()
            own = connection.execute(
                "SELECT j.at, j.object_id, (SELECT o.type FROM jido_object o WHERE o.id = j.object_id) FROM jido_journal j "
                "WHERE j.own_id AND j.at > ? AND j.at < ? ORDER BY j.at LIMIT ?",
                (stamp(since[1]), stamp(past), limit),
            ).fetchall()
            own = [(moment(at), object_id, label) for at, object_id, label in own]
            return stretch(retention, since, generated, own, limit)

        return await self._read(walk)

    async def walked(self, walk: Walk) -> bool:
        sql = """INSERT INTO jido_walk AS w (milliseconds, call_id, at) VALUES (?, ?, ?)
            ON CONFLICT (milliseconds) DO UPDATE SET call_id = excluded.call_id, at = excluded.at WHERE w.call_id = ? AND w.at = ?"""
        values = (round(walk.retention * 1000), walk.until[0], stamp(walk.until[1]), walk.since[0], stamp(walk.since[1]))
        return await self._apart(lambda connection: connection.execute(sql, values).rowcount == 1)

    async def forget(self, call_id_seconds: float, limit: int) -> int:
        sql = "DELETE FROM jido_call WHERE (object_id, call_id) IN (SELECT object_id, call_id FROM jido_call WHERE at < ? LIMIT ?)"
        values = (stamp(datetime.now(UTC) - timedelta(seconds=min(call_id_seconds, _AGES))), limit)
        return await self._apart(lambda connection: connection.execute(sql, values).rowcount)

    async def _apart(self, job: Callable[[sqlite3.Connection], T]) -> T:
        if self._trimming is None:
            self._trimming = self.worker("trimming")
        with refusals(self.name):
            return await self._trimming.run(lambda connection: transaction(connection, "trimming", job))

    async def end_trimming(self) -> None:
        """Close the connection and its thread. Idempotent."""
        if self._trimming is not None:
            worker, self._trimming = self._trimming, None
            await worker.close()


_AGES = 1000 * 365 * 86400.0
"""A window longer than this is as good as this: what is before the calendar cannot be written down."""


def _trim(connection: sqlite3.Connection, trim: Trim, call_id_seconds: float, limit: int, *, alone: bool) -> Trimmed:
    what = _cut(connection, trim, limit, alone=alone)
    if what is None or what.until < what.first:
        return Trimmed(0, what is not None and what.more)
    rows = (trim.object_id, what.first, what.until)
    where = "object_id = ? AND seq BETWEEN ? AND ?"
    connection.execute(
        f"""INSERT INTO jido_call (object_id, call_id, seq, kind, method, digest, result, at)
        SELECT object_id, call_id, seq, kind, method, digest, result, at FROM jido_journal
        WHERE {where} AND own_id AND at > ? ORDER BY seq ON CONFLICT (object_id, call_id) DO NOTHING""",
        (*rows, stamp(datetime.now(UTC) - timedelta(seconds=min(call_id_seconds, _AGES)))),
    )
    sql = f"SELECT call_id FROM jido_journal WHERE {where} AND NOT own_id"
    latest = horizon(call_id for (call_id,) in connection.execute(sql, rows))
    if latest is not None:
        connection.execute(
            "UPDATE jido_object SET horizon = ? WHERE id = ? AND (horizon IS NULL OR horizon < ?)",
            (stamp(latest), trim.object_id, stamp(latest)),
        )
    count = connection.execute(f"DELETE FROM jido_journal WHERE {where}", rows).rowcount
    (head,) = connection.execute("SELECT max(seq) FROM jido_journal WHERE object_id = ?", (trim.object_id,)).fetchone()
    if what.until == min(what.base, head - 1):
        connection.execute("DELETE FROM jido_snapshot WHERE object_id = ? AND seq < ?", (trim.object_id, what.base))
    return Trimmed(count, what.more)


def _cut(connection: sqlite3.Connection, trim: Trim, limit: int, *, alone: bool) -> Cut | None:
    object_id, now = trim.object_id, datetime.now(UTC)
    sql = "SELECT seq, kind, at FROM jido_journal WHERE object_id = ? ORDER BY seq"
    oldest = connection.execute(f"{sql} LIMIT 1", (object_id,)).fetchone()
    if oldest is None:
        return None
    head, kind, at = connection.execute(f"{sql} DESC LIMIT 1", (object_id,)).fetchone()
    line = _line(connection, trim)
    snapshots = [
        (seq, moment(of))
        for seq, of in connection.execute(
            """SELECT s.seq, j.at FROM jido_snapshot s JOIN jido_journal j ON j.object_id = s.object_id AND j.seq = s.seq
            WHERE s.object_id = :id AND s.seq IS NOT (SELECT x.seq FROM jido_snapshot x WHERE x.object_id = :id
                ORDER BY x.seq DESC LIMIT 1 OFFSET 1)""",
            {"id": object_id},
        )
    ]
    bases = [seq for seq, of in snapshots if now - of > timedelta(seconds=min(trim.window(head, seq, line), _AGES))]
    destroyed = kind == EntryKind.DESTROY and now - moment(at) > timedelta(seconds=min(trim.retention, _AGES))
    return cut(oldest[0], head, bases, limit, alone=alone, destroyed=destroyed)


def _line(connection: sqlite3.Connection, trim: Trim) -> int | None:
    """The row from which on there are as many bytes as may stay."""
    if trim.size is not None:
        size = 0
        texts = " + ".join(f"coalesce(length(CAST({column} AS BLOB)), 0)" for column in ("delta", "result", "extra"))
        sql = f"SELECT seq, {texts} FROM jido_journal WHERE object_id = ? ORDER BY seq DESC"
        for seq, one in connection.execute(sql, (trim.object_id,)):
            size += one
            if size >= trim.size:
                return int(seq)
    return None


def thin(connection: sqlite3.Connection, s: Snapshot) -> None:
    """Drop the snapshots that need not stay, now that this one has been written."""
    rows = connection.execute("SELECT seq, at FROM jido_snapshot WHERE object_id = ?", (s.object_id,)).fetchall()
    at = {seq: moment(when).timestamp() for seq, when in rows}
    (oldest,) = connection.execute("SELECT min(seq) FROM jido_journal WHERE object_id = ?", (s.object_id,)).fetchone()
    for seq in droppable(at, oldest, s.seq, s.retention, RETENTION_ROWS):
        connection.execute("DELETE FROM jido_snapshot WHERE object_id = ? AND seq = ?", (s.object_id, seq))
