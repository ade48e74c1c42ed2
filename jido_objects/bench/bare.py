"""The driver alone: what one connection does when nothing stands between the program and the database.

The same driver, server and session settings as the library's writer has; statements prepared, autocommitted, nothing queued.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from .. import ids

_INSERT = "INSERT INTO jido_bench_bare (counter, call_id, method, result, at)"
_ROWS = "SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::timestamptz[])"
_SELECT = "SELECT id, value FROM jido_bench_counter WHERE id ="


class Bare(ABC):
    """One connection."""

    @abstractmethod
    def insert(self, counter: int, count: int) -> None:
        """Insert so many history rows by one committed statement."""

    @abstractmethod
    def select(self, pk: int) -> Any:
        """Read one row by its primary key."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect."""


class Psycopg(Bare):
    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        import psycopg

        from ..stores.postgresql import _OURS
        from ..stores.statements import SESSION

        parameters = {name: value for name, value in connection.get_connection_params().items() if name not in _OURS}
        self._connection = psycopg.connect(**parameters, autocommit=True)
        self._connection.execute(SESSION.format(milliseconds=60_000))
        self._cursor = self._connection.cursor(binary=True)

    def insert(self, counter: int, count: int) -> None:
        now = datetime.now(UTC)
        if count == 1:
            row = (counter, ids.generate(), "add", "1", now)
            self._cursor.execute(f"{_INSERT} VALUES (%s, %s, %s, %s, %s)", row, prepare=True)
        else:
            columns = ([counter] * count, [ids.generate() for _ in range(count)], ["add"] * count, ["1"] * count, [now] * count)
            self._cursor.execute(f"{_INSERT} {_ROWS}", columns, prepare=True)

    def select(self, pk: int) -> Any:
        return self._cursor.execute(f"{_SELECT} %s", (pk,), prepare=True).fetchone()

    def close(self) -> None:
        self._connection.close()


class Sqlite(Bare):
    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        name = connection.get_connection_params()["database"]
        self._connection = sqlite3.connect(name, isolation_level=None, timeout=60, uri=str(name).startswith("file:"))
        self._connection.execute("PRAGMA journal_mode = WAL").fetchall()
        self._connection.execute("PRAGMA synchronous = FULL")

    def insert(self, counter: int, count: int) -> None:
        now = str(datetime.now(UTC).replace(tzinfo=None))
        rows = [(counter, ids.generate(), "add", "1", now) for _ in range(count)]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(f"{_INSERT} VALUES (?, ?, ?, ?, ?)", rows)
        self._connection.execute("COMMIT")

    def select(self, pk: int) -> Any:
        return self._connection.execute(f"{_SELECT} ?", (pk,)).fetchone()

    def close(self) -> None:
        self._connection.close()


def connect(connection: BaseDatabaseWrapper) -> Bare:
    """A bare connection to the database that Django's ``connection`` goes to."""
    return Psycopg(connection) if connection.vendor == "postgresql" else Sqlite(connection)
