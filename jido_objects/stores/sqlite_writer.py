"""What a term writes into SQLite. Its thread runs one job at a time, so it needs no lane: the term's row is the fence."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

from ..errors import OutcomeUnknown, StoreUnavailable, Unacceptable
from . import sqlite_messages
from .messages import Revised, Taken
from .protocol import FORMAT, Append, Appended, Claim, Entry, Snapshot, TermEnded
from .sqlite_connection import refusals, stamp, transaction
from .sqlite_windows import thin
from .worker import Worker

T = TypeVar("T")

_INSERT = f"""INSERT INTO jido_journal (object_id, seq, epoch, digest, at, version, kind, own_id, call_id, method, user_id, delta,
    result, extra, format) VALUES ({", ".join("?" * 14)}, {FORMAT})"""
_CREATE = """INSERT INTO jido_object (type, key, owner, epoch, destroyed) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (type, key) DO NOTHING RETURNING id"""
_CLAIM = """UPDATE jido_object SET owner = :term, epoch = epoch + 1 WHERE id = :id AND epoch = :epoch
    AND (owner = :term OR NOT :again AND (owner IS NULL OR NOT EXISTS (SELECT 1 FROM jido_term t WHERE t.id = owner)))"""
UNSTORABLE = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError, OverflowError, ValueError)
DUPLICATE = (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE)


class SqliteWriter:
    """A connection in its own thread; implements ``Writer``."""

    def __init__(self, worker: Worker, alias: str, term: UUID, skew: Callable[[], float]) -> None:
        self._skew = skew
        self._worker = worker
        self._alias = alias
        self._term = term
        self._unsettled = False

    async def settle(self) -> None:
        # The thread takes this job only when the one before has ended. Its commit makes the outcome of that one final: it
        # overwrites what a failed fsync may have left at the end of the log.
        self._unsettled = False
        try:
            await self._execute(
                "settling", lambda connection: connection.execute("UPDATE jido_term SET pid = pid WHERE id = ?", (self._term.hex,))
            )
        except OutcomeUnknown as error:
            raise StoreUnavailable(str(error)) from error
        except BaseException:
            self._unsettled = True
            raise

    async def close(self) -> None:
        await self._worker.close()

    async def _execute(self, what: str, job: Callable[[sqlite3.Connection], T]) -> T:
        if self._unsettled:
            raise RuntimeError("the outcome of the last statement is unknown: settle first")

        def fenced(connection: sqlite3.Connection) -> T:
            fence(connection, self._term)
            return job(connection)

        try:
            with refusals(self._alias):
                return await self._worker.run(lambda connection: transaction(connection, what, fenced))
        except (OutcomeUnknown, asyncio.CancelledError):
            self._unsettled = True
            raise

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        def rows(connection: sqlite3.Connection) -> list[Appended]:
            return [append_rows(connection, self._term, append, self._skew()) for append in batch]

        try:
            return await self._execute("a batch", rows)
        except (Unacceptable, *UNSTORABLE):
            # One object's rows cannot be stored: take them one by one, still in one transaction.
            return await self._execute("a batch", lambda connection: [self._append_alone(connection, append) for append in batch])

    def _append_alone(self, connection: sqlite3.Connection, append: Append) -> Appended:
        connection.execute("SAVEPOINT one")
        try:
            outcome: Appended = append_rows(connection, self._term, append, self._skew())
        except UNSTORABLE as error:
            connection.execute("ROLLBACK TO one")
            outcome = None if getattr(error, "sqlite_errorcode", None) in DUPLICATE else Unacceptable(str(error))
        connection.execute("RELEASE one")
        return outcome

    async def claim(self, claims: Sequence[Claim]) -> list[int | None]:
        def claim(connection: sqlite3.Connection) -> list[int | None]:
            return [
                c.epoch + 1
                if connection.execute(_CLAIM, {"term": self._term.hex, "id": c.object_id, "epoch": c.epoch, "again": c.again}).rowcount == 1
                else None
                for c in claims
            ]

        return await self._execute("a claim", claim)

    async def take(self, limit: int, *, adopt: bool = True) -> list[Taken]:
        return await self._execute(
            "taking messages",
            lambda connection: sqlite_messages.take(connection, self._term, limit, adopt=adopt, skew=self._skew()),
        )

    async def revise(self, revised: Sequence[Revised]) -> None:
        await self._execute("revising messages", lambda connection: sqlite_messages.revise(connection, self._term, revised, self._skew()))

    async def snapshot(self, snapshots: Sequence[Snapshot]) -> list[bool]:
        return await self._execute("a snapshot", lambda connection: [_snapshot(connection, snapshot) for snapshot in snapshots])


def fence(connection: sqlite3.Connection, term: UUID) -> None:
    """Raises ``TermEnded`` where the term was buried. Inside of an immediate transaction that holds until its end."""
    if connection.execute("SELECT 1 FROM jido_term WHERE id = ?", (term.hex,)).fetchone() is None:
        raise TermEnded(term)


def append_rows(connection: sqlite3.Connection, term: UUID, append: Append, skew: float = 0.0) -> int | None:
    """Append the rows of one object in the open transaction; ``None`` where the belt refuses them. ``skew`` is the store's."""
    object_id = append.object_id
    if append.inbox is not None and sqlite_messages.missing(connection, append.inbox):
        return None
    if object_id is None:
        values = (append.type, append.key, term.hex, append.epoch, bool(append.destroyed))
        made = connection.execute(_CREATE, values).fetchone()
        if made is None:
            return None
        object_id = int(made[0])
    else:
        if append.head_seq > 0:
            head = connection.execute("SELECT epoch FROM jido_journal WHERE object_id = ? AND seq = ?", (object_id, append.head_seq))
        else:
            head = connection.execute("SELECT epoch FROM jido_object WHERE id = ?", (object_id,))
        if head.fetchone() != (append.head_epoch,):
            return None
        if append.destroyed is not None:
            connection.execute("UPDATE jido_object SET destroyed = ? WHERE id = ?", (append.destroyed, object_id))
    connection.executemany(_INSERT, [_row(object_id, append.epoch, entry) for entry in append.entries])
    if append.inbox is not None:
        sqlite_messages.change(connection, (append.type, append.key), object_id, append.inbox, skew)
    return object_id


def _row(object_id: int, epoch: int, e: Entry) -> tuple[object, ...]:
    values = (e.seq, epoch, e.digest, stamp(e.at), e.version, int(e.kind), e.own_id)
    return object_id, *values, e.call_id, e.method, e.user, e.delta, e.result, e.extra


def _snapshot(connection: sqlite3.Connection, s: Snapshot) -> bool:
    head = connection.execute("SELECT epoch FROM jido_journal WHERE object_id = ? AND seq = ?", (s.object_id, s.seq)).fetchone()
    if head != (s.epoch,):
        return False
    connection.execute(
        f"""INSERT INTO jido_snapshot (object_id, seq, epoch, version, document, format) VALUES (?, ?, ?, ?, ?, {FORMAT})
        ON CONFLICT (object_id, seq) DO UPDATE SET epoch = excluded.epoch, version = excluded.version, document = excluded.document""",
        (s.object_id, s.seq, s.epoch, s.version, s.document),
    )
    thin(connection, s)
    return True
