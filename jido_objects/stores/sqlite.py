"""Objects in SQLite: one machine, one file, the same promises.

Writers exclude each other (``BEGIN IMMEDIATE``), so the fence is a look at the term's row at the start of each write: a
burial is a write too. A term lives by a lock on a file beside the database (``oslock``), not by a lease; what is committed
is on the disk (``synchronous`` FULL). Reads and terms use one connection, each writer another, each in a thread of its own.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from ..errors import OutcomeUnknown, StoreUnavailable, UnsupportedDatabase
from . import oslock, sqlite_messages
from .messages import Overdue
from .protocol import (
    FORGOTTEN,
    Entry,
    EntryKind,
    Forgotten,
    Found,
    Loaded,
    Owner,
    Recorded,
    Snapshot,
    TailEntry,
    TermEnded,
    TermInfo,
    TermRow,
    as_mapping,
)
from .sqlite_connection import moment, refusals, stamp, transaction
from .sqlite_windows import SqliteWindows
from .sqlite_writer import SqliteWriter
from .windows import forgotten
from .worker import Worker

T = TypeVar("T")

_INFO = ", ".join(TermInfo.__slots__)
_ENTRY = "seq, epoch, digest, at, version, kind, own_id, call_id, method, user_id, delta, result, extra"
_TABLES = (
    "SELECT id, type, key, owner, epoch, destroyed, horizon FROM jido_object LIMIT 0",
    f"SELECT id, started, lease_until, lease_seconds, {_INFO} FROM jido_term LIMIT 0",
    f"SELECT object_id, {_ENTRY}, format FROM jido_journal LIMIT 0",
    "SELECT object_id, seq, epoch, at, version, format, document FROM jido_snapshot LIMIT 0",
    "SELECT object_id, call_id, seq, kind, method, digest, result, at FROM jido_call LIMIT 0",
    "SELECT milliseconds, call_id, at FROM jido_walk LIMIT 0",
    "SELECT id, taker, not_before FROM jido_inbox LIMIT 0",
    "SELECT paused FROM jido_deployment LIMIT 0",
)


class SqliteStore(SqliteWindows):
    """One loop's view of a SQLite file; implements ``Store``.

    ``parameters`` are Django's connection parameters for the alias, ``commands`` its ``init_command``s. ``timeout`` bounds
    the wait for the file's lock, in seconds, unless the alias sets its own.
    """

    liveness_by_lease = False

    def __init__(
        self, parameters: Mapping[str, Any], *, alias: str = "default", commands: Sequence[str] = (), timeout: float = 10.0
    ) -> None:
        super().__init__()
        self.name = alias
        self.skew = 0.0
        self._parameters = {"timeout": timeout, **parameters, "isolation_level": None, "check_same_thread": False, "detect_types": 0}
        self._commands = [command for command in commands if command.strip()]
        self._worker: Worker | None = None
        self._locks = Path()
        self._begun: set[UUID] = set()

    # ---------------------------------------------------------------- connections

    def connect(self) -> sqlite3.Connection:
        """A new connection, durable and in WAL mode; in the thread that will use it."""
        connection: sqlite3.Connection = sqlite3.connect(**self._parameters)
        try:
            for command in self._commands:
                connection.execute(command)
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise UnsupportedDatabase(
                    f"Database {self.name!r} cannot use a write-ahead log (journal_mode {mode}): put its file on a local disk."
                )
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def worker(self, name: str) -> Worker:
        return Worker(self.connect, f"jido {name} {self.name}")

    async def open(self) -> None:
        if sqlite3.sqlite_version_info < (3, 37):
            raise UnsupportedDatabase(f"This Python has SQLite {sqlite3.sqlite_version}; objects need 3.37 or newer.")
        if self._worker is not None:
            return
        worker = self.worker("store")
        try:
            with refusals(self.name):
                file = await worker.run(_probe)
        except BaseException:
            await worker.close()
            raise
        self._locks = Path(f"{file}.jido")
        self._worker = worker

    async def close(self) -> None:
        await self.end_trimming()
        if self._worker is not None:
            worker, self._worker = self._worker, None
            await worker.close()
        while self._begun:
            oslock.release(self._locks, self._begun.pop())

    async def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        if self._worker is None:
            raise StoreUnavailable("the store is closed")
        with refusals(self.name):
            return await self._worker.run(job)

    async def _write(self, what: str, job: Callable[[sqlite3.Connection], T]) -> T:
        return await self._read(lambda connection: transaction(connection, what, job))

    # ---------------------------------------------------------------- terms

    async def begin_term(self, term: UUID, info: TermInfo, lease_seconds: float) -> None:
        values = as_mapping(info)
        values["endpoints"] = json.dumps(values["endpoints"])
        until = stamp(datetime.now(UTC) + timedelta(seconds=lease_seconds))
        row = (term.hex, until, lease_seconds, *(values[name] for name in TermInfo.__slots__))
        sql = f"INSERT INTO jido_term (id, lease_until, lease_seconds, {_INFO}) VALUES ({', '.join('?' * len(row))})"

        def begin(connection: sqlite3.Connection) -> None:
            # Alive first, visible then: nobody ever sees the row of a term whose lock is free though it lives.
            self._live(term)
            try:
                transaction(connection, "a term", lambda connection: connection.execute(sql, row))
            except OutcomeUnknown:
                raise
            except BaseException:
                self._rest(term)
                raise

        self._begun.add(term)
        await self._read(begin)

    async def renew(self, term: UUID, lease_seconds: float) -> bool:
        (alive,) = await self.alive([term])
        return alive

    async def alive(self, terms: Sequence[UUID]) -> list[bool]:
        sql = "SELECT 1 FROM jido_term WHERE id = ?"
        return await self._read(lambda connection: [connection.execute(sql, (term.hex,)).fetchone() is not None for term in terms])

    async def bury(self, term: UUID, *, proven: bool = False) -> bool:
        def bury(connection: sqlite3.Connection) -> bool:
            exists = connection.execute("SELECT 1 FROM jido_term WHERE id = ?", (term.hex,)).fetchone()
            if exists and not proven and self._lives(term):
                return False
            transaction(connection, "a burial", lambda connection: connection.execute("DELETE FROM jido_term WHERE id = ?", (term.hex,)))
            self._rest(term)
            return True

        buried = await self._read(bury)
        if buried:
            self._begun.discard(term)
        return buried

    async def terms(self) -> list[TermRow]:
        rows = await self._read(lambda connection: connection.execute(f"SELECT id, started, {_INFO} FROM jido_term").fetchall())
        return [TermRow(UUID(id_), _info(info), self._lease_left(UUID(id_)), moment(started)) for id_, started, *info in rows]

    def _lease_left(self, term: UUID) -> float:
        return 1.0 if self._lives(term) else -1.0

    def _live(self, term: UUID) -> None:
        oslock.hold(self._locks, term)

    def _rest(self, term: UUID) -> None:
        oslock.remove(self._locks, term)

    def _lives(self, term: UUID) -> bool:
        return oslock.alive(self._locks, term)

    async def writer(self, term: UUID) -> SqliteWriter:
        if not await self.renew(term, 0):
            raise TermEnded(term)
        return SqliteWriter(self.worker("writer"), self.name, term, lambda: self.skew)

    # ---------------------------------------------------------------- messages

    async def overdue(self, term: UUID | None, *, adopt: bool = True) -> Overdue:
        return await self._read(lambda connection: sqlite_messages.overdue(connection, term, adopt=adopt, skew=self.skew))

    async def end_lane(self, term: UUID, lane: UUID) -> None:
        # The lane's thread has returned from its COMMIT. Another commit makes the outcome of that one final: it overwrites
        # what a failed fsync may have left at the end of the log.
        try:
            await self._write("settling", lambda connection: connection.execute("UPDATE jido_term SET pid = pid WHERE id = ?", (term.hex,)))
        except OutcomeUnknown as error:
            raise StoreUnavailable(str(error)) from error

    # ---------------------------------------------------------------- objects

    async def find(self, names: Sequence[tuple[str, str]]) -> list[Found | None]:
        sql = f"""SELECT o.id, o.epoch, o.destroyed,
            (SELECT j.version FROM jido_journal j WHERE j.object_id = o.id ORDER BY j.seq DESC LIMIT 1),
            o.owner, t.id, {", ".join(f"t.{name}" for name in TermInfo.__slots__)}
            FROM jido_object o LEFT JOIN jido_term t ON t.id = o.owner WHERE o.type = ? AND o.key = ?"""

        def find(connection: sqlite3.Connection) -> list[Found | None]:
            found: list[Found | None] = []
            for name in names:
                row = connection.execute(sql, name).fetchone()
                if row is None:
                    found.append(None)
                    continue
                id_, epoch, destroyed, version, owner, present, *info = row
                of = None if owner is None else Owner(UUID(owner), present is not None)
                if of is not None and of.present:
                    of.lease_left, of.info = self._lease_left(of.term), _info(info)
                found.append(Found(id_, epoch, of, bool(destroyed), version or 0))
            return found

        return await self._read(find)

    async def load(self, object_ids: Sequence[int]) -> list[Loaded]:
        def load(connection: sqlite3.Connection) -> list[Loaded]:
            # One read transaction: an object's snapshot and its tail are of the same moment.
            connection.execute("BEGIN")
            try:
                return [_load(connection, object_id) for object_id in object_ids]
            finally:
                connection.execute("ROLLBACK")

        return await self._read(load)

    async def recall(self, calls: Sequence[tuple[int, str]]) -> list[Recorded | Forgotten | None]:
        def recall(connection: sqlite3.Connection) -> list[Recorded | Forgotten | None]:
            # One read transaction: what is being trimmed is seen in the one place or the other.
            connection.execute("BEGIN")
            try:
                return [_recall(connection, call) for call in calls]
            finally:
                connection.execute("ROLLBACK")

        return await self._read(recall)

    async def history(self, object_id: int, after: int = 0, limit: int = 1000) -> list[tuple[int, Entry]]:
        sql = f"SELECT {_ENTRY} FROM jido_journal WHERE object_id = ? AND seq > ? ORDER BY seq LIMIT ?"
        return [_entry(row) for row in await self._read(lambda connection: connection.execute(sql, (object_id, after, limit)).fetchall())]


def probe_tables(connection: sqlite3.Connection) -> None:
    """Raises what says that our tables are not there."""
    for table in _TABLES:
        connection.execute(table)


def _probe(connection: sqlite3.Connection) -> str:
    probe_tables(connection)
    _refuse_read_only(connection)
    files = {name: file for _, name, file in connection.execute("PRAGMA database_list")}
    if not files["main"]:
        raise UnsupportedDatabase("objects need a SQLite file: a database in memory is invisible to other connections")
    return str(files["main"])


def _refuse_read_only(connection: sqlite3.Connection) -> None:
    """Ask for the write lock without waiting for it: whoever has it now, perhaps the caller's own transaction, proves enough.

    It takes a write, though one of nothing: on a file that only reads, ``BEGIN IMMEDIATE`` quietly begins to read.
    """
    (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute("UPDATE jido_term SET pid = pid WHERE false")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")


def _load(connection: sqlite3.Connection, object_id: int) -> Loaded:
    newest = "SELECT seq, epoch, version, document FROM jido_snapshot WHERE object_id = ? ORDER BY seq DESC LIMIT 1"
    row = connection.execute(newest, (object_id,)).fetchone()
    snapshot = row and Snapshot(object_id, row[0], row[1], row[3], row[2])
    after = snapshot.seq if snapshot else 0
    sql = """SELECT seq, epoch, kind, CASE WHEN seq > ? THEN delta END, version FROM jido_journal
        WHERE object_id = ? AND seq >= ? ORDER BY seq"""
    rows = connection.execute(sql, (after, object_id, max(after, 1))).fetchall()
    tail = [TailEntry(seq, epoch, EntryKind(kind), delta, version) for seq, epoch, kind, delta, version in rows if seq > after]
    if rows:
        return Loaded(snapshot, tail, rows[-1][0], rows[-1][1])
    if snapshot:
        return Loaded(snapshot, tail, snapshot.seq, snapshot.epoch)
    found = connection.execute("SELECT epoch FROM jido_object WHERE id = ?", (object_id,)).fetchone()
    return Loaded(None, [], 0, found[0] if found else 0)


def _recall(connection: sqlite3.Connection, call: tuple[int, str]) -> Recorded | Forgotten | None:
    for table in ("jido_journal", "jido_call"):
        sql = f"SELECT seq, kind, method, digest, result, at FROM {table} WHERE object_id = ? AND call_id = ? ORDER BY seq"
        row = connection.execute(sql, call).fetchone()
        if row is not None:
            return Recorded(row[0], EntryKind(row[1]), row[2], row[3], row[4], moment(row[5]))
    found = connection.execute("SELECT horizon FROM jido_object WHERE id = ?", call[:1]).fetchone()
    return FORGOTTEN if found and found[0] and forgotten(call[1], moment(found[0])) else None


def _info(values: Sequence[Any]) -> TermInfo:
    fields = dict(zip(TermInfo.__slots__, values, strict=True))
    return TermInfo(**{**fields, "endpoints": json.loads(fields["endpoints"]), "draining": bool(fields["draining"])})


def _entry(row: Sequence[Any]) -> tuple[int, Entry]:
    seq, epoch, digest, at, version, kind, own_id, call_id, method, user, delta, result, extra = row
    return epoch, Entry(seq, EntryKind(kind), moment(at), call_id, bool(own_id), method, digest, delta, result, version, user, extra)
