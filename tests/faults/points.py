"""Named points in a host process at which it can be made to die, to freeze, or to tell.

A point is ``kind:when``. *Kinds* are what a host asks of its database: append, claim, snapshot, load, find, recall, settle,
bury, term, renew, and the commit of a transaction that an object shares with the ORM. *When*: ``before`` anything was sent;
in ``flight`` (PostgreSQL: the statement is on its way and no answer has been read; SQLite, and a shared transaction: the rows are
written, COMMIT is not); ``after`` the answer, before anybody was told. The points are wrapped around the library from outside:
nothing in it knows of them.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

_WRITES = ("append", "claim", "snapshot", "bury", "term")
_SHARED = tuple(f"transaction:{when}" for when in ("before", "flight", "after"))
_READS = ("load", "find", "recall", "renew")
POINTS = {
    "postgresql": tuple(f"{kind}:{when}" for kind in (*_WRITES, *_READS, "settle") for when in ("before", "flight", "after"))
    + _SHARED,
    # Reads are not under way for long in a file, and an outcome is unknown only when a disk fails.
    "sqlite": tuple(f"{kind}:{when}" for kind in _WRITES for when in ("before", "flight", "after"))
    + tuple(f"{kind}:{when}" for kind in _READS for when in ("before", "after"))
    + _SHARED,
}


class Points:
    """Counts what passes and strikes where it was armed; told from any thread."""

    def __init__(self, events: int) -> None:
        self._events = events
        self._armed: dict[str, tuple[int, str]] = {}

    def arm(self, point: str, count: int, action: str) -> None:
        """At the ``count``-th passage: ``kill``, ``freeze`` or ``tell``."""
        self._armed[point] = (count, action)

    def disarm(self) -> None:
        self._armed.clear()

    def reach(self, point: str) -> None:
        armed = self._armed.get(point)
        if armed is None:
            return
        count, action = armed
        if count > 1:
            self._armed[point] = (count - 1, action)
            return
        if self._armed.pop(point, None) is None:
            return  # another thread has just struck
        os.write(self._events, f"{point}\n".encode())
        if action != "tell":
            os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)


def wrap_transactions(points: Points, lane: type[Any]) -> None:
    """The two last steps of a shared transaction."""
    append, commit = lane.append, lane.commit

    def _append(self: Any, *args: Any) -> int:
        points.reach("transaction:before")
        return int(append(self, *args))

    def _commit(self: Any, raw: Any) -> None:
        points.reach("transaction:flight")
        commit(self, raw)
        points.reach("transaction:after")

    lane.append, lane.commit = _append, _commit


def wrap_postgresql(points: Points) -> None:
    """Every statement goes through ``Link``: there it is sent, and there its answer is read."""
    from jido_objects.stores.postgresql_transactions import PostgresLane

    wrap_transactions(points, PostgresLane)
    from jido_objects.stores import statements
    from jido_objects.stores.link import Link, Statement

    appends = [value for name, value in vars(statements).items() if name.startswith("APPEND") and isinstance(value, Statement)]
    kinds: dict[Any, str] = {
        **dict.fromkeys(appends, "append"),
        statements.CLAIM: "claim",
        statements.SNAPSHOT: "snapshot",
        statements.LOAD: "load",
        statements.FIND: "find",
        statements.RECALL: "recall",
        statements.BEGIN_TERM: "term",
        statements.RENEW: "renew",
    }

    def kind_of(statement: Any) -> str | None:
        if isinstance(statement, bytes):
            if b"DELETE FROM jido_term" in statement:
                return "bury"
            return "settle" if b"DELETE FROM jido_lane" in statement else None
        return kinds.get(statement)

    start, finished = Link._start, Link._finished

    def _start(self: Link, pending: Any) -> None:
        kind = kind_of(pending.statement)
        if kind is None:
            start(self, pending)
            return
        if not pending.deadline:  # else it comes again, prepared
            points.reach(f"{kind}:before")
        start(self, pending)
        if not pending.preparing:
            points.reach(f"{kind}:flight")

    def _finished(self: Link, pending: Any) -> None:
        kind = kind_of(pending.statement)
        if kind is not None and not pending.preparing:
            points.reach(f"{kind}:after")
        finished(self, pending)

    Link._start, Link._finished = _start, _finished  # type: ignore[method-assign]


def wrap_sqlite(points: Points) -> None:
    """Every job goes through a ``Worker``'s thread; what it is for, the coroutine that gave it knows."""
    from jido_objects.stores.sqlite_transactions import SqliteLane

    wrap_transactions(points, SqliteLane)
    from jido_objects.stores.sqlite import SqliteStore
    from jido_objects.stores.sqlite_writer import SqliteWriter
    from jido_objects.stores.worker import Worker

    given: ContextVar[str | None] = ContextVar("given", default=None)

    class Connection(sqlite3.Connection):
        kind: str | None = None

        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and self.kind is not None:
                points.reach(f"{self.kind}:flight")
            return super().execute(sql, *parameters)

    def named(owner: Any, name: str, kind: str) -> None:
        original = getattr(owner, name)

        async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            token = given.set(kind)
            try:
                return await original(self, *args, **kwargs)
            finally:
                given.reset(token)

        setattr(owner, name, method)

    for name in ("append", "claim", "snapshot", "settle"):
        named(SqliteWriter, name, name)
    for name, kind in (
        ("load", "load"),
        ("find", "find"),
        ("recall", "recall"),
        ("bury", "bury"),
        ("begin_term", "term"),
        ("renew", "renew"),
    ):
        named(SqliteStore, name, kind)

    init, run = SqliteStore.__init__, Worker.run

    def __init__(self: SqliteStore, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        init(self, *args, **kwargs)
        self._parameters["factory"] = Connection

    def _run(self: Worker, job: Callable[[sqlite3.Connection], Any]) -> Any:
        kind = given.get()
        if kind is None:
            return run(self, job)

        def pointed(connection: sqlite3.Connection) -> Any:
            assert isinstance(connection, Connection)
            points.reach(f"{kind}:before")
            connection.kind = kind
            try:
                result = job(connection)
            finally:
                connection.kind = None
            points.reach(f"{kind}:after")
            return result

        return run(self, pointed)

    SqliteStore.__init__, Worker.run = __init__, _run  # type: ignore[method-assign]
