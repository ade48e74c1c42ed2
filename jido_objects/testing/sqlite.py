"""The SQLite store on a connection of Django's, inside the transaction that is open there.

Jobs run at once, on the thread that asks. What they do as a transaction of their own is a savepoint here, so that an error
takes back what it would have taken back. A term needs no lock to live by: nobody else can see it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar, cast
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper

from ..stores.sqlite import SqliteStore, probe_tables
from ..stores.sqlite_connection import refusals
from ..stores.worker import Worker

T = TypeVar("T")

_PARTS = {
    "BEGIN": ("SAVEPOINT jido",),
    "BEGIN IMMEDIATE": ("SAVEPOINT jido",),
    "COMMIT": ("RELEASE jido",),
    "ROLLBACK": ("ROLLBACK TO jido", "RELEASE jido"),
}
"""What begins and ends a transaction, as a part of the one that is open."""


class PartOfTransaction:
    """A ``sqlite3.Connection`` as the store's jobs use it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.in_transaction = False

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        parts = _PARTS.get(sql)
        if parts is None:
            return self._connection.execute(sql, parameters)
        for part in parts:
            cursor = self._connection.execute(part)
        self.in_transaction = sql.startswith("BEGIN")
        return cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class InlineWorker(Worker):
    """Runs a job when it is given, on the thread that gives it."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._django = connection
        self.closed = False

    def run(self, job: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            answer.set_result(job(cast(sqlite3.Connection, PartOfTransaction(self._django.connection))))
        except Exception as error:
            answer.set_exception(error)
        return answer

    async def close(self) -> None:
        self.closed = True


class BorrowedSqliteStore(SqliteStore):
    """``Store`` on Django's connection; file or memory."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        super().__init__({}, alias=connection.alias)
        self._django = connection

    def worker(self, name: str) -> Worker:
        return InlineWorker(self._django)

    async def open(self) -> None:
        if self._worker is None:
            worker = self.worker("store")
            with refusals(self.name):
                await worker.run(probe_tables)
            self._worker = worker

    def _live(self, term: UUID) -> None:
        pass

    def _rest(self, term: UUID) -> None:
        pass

    def _lives(self, term: UUID) -> bool:
        return True
