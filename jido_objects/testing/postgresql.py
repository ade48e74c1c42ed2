"""The PostgreSQL store on a connection of Django's, inside the transaction that is open there.

Statements are the store's own, executed at once on the thread that asks, each in a savepoint: an error leaves the test's
transaction usable. What a statement sets for its own transaction is set back, since that is the test's here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import pq
from psycopg.pq.abc import PGconn, PGresult

from ..stores.link import Link, NotSent, Parameters, ServerError, Statement, refused
from ..stores.postgresql import PostgresStore

_ABORTED = (
    "25P02",
    "an earlier query of this test has failed, and its transaction takes no more: put a query that may fail into an atomic() block",
)
_LOCAL = "SELECT current_setting('lock_timeout'), current_setting('synchronous_commit')"
_LOCAL_AGAIN = b"SELECT set_config('lock_timeout', $1, true), set_config('synchronous_commit', $2, true)"


class BorrowedLink(Link):
    """Django's connection as a ``Link``: answers are there when a call returns."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._django = connection
        self.broken: str | None = None

    @property
    def _pgconn(self) -> PGconn:
        return cast(PGconn, self._django.connection.pgconn)

    @property
    def backend_pid(self) -> int:
        return self._pgconn.backend_pid

    @property
    def server_version(self) -> int:
        return self._pgconn.server_version

    def execute(self, statement: Statement, parameters: Parameters = (), timeout: float | None = None) -> asyncio.Future[PGresult]:
        return self._answer(lambda pgconn: pgconn.exec_params(statement.sql, parameters), sets=b"set_config" in statement.sql)

    def script(self, sql: str, timeout: float | None = None) -> asyncio.Future[PGresult]:
        return self._answer(lambda pgconn: pgconn.exec_(sql.encode()), sets="SET LOCAL" in sql)

    def _answer(self, run: Callable[[PGconn], PGresult], *, sets: bool) -> asyncio.Future[PGresult]:
        answer: asyncio.Future[PGresult] = asyncio.get_running_loop().create_future()
        try:
            if self.broken is not None:
                raise NotSent(self.broken)
            answer.set_result(self._apart(run, sets=sets))
        except (NotSent, ServerError) as error:
            answer.set_exception(error)
        except psycopg.OperationalError as error:
            answer.set_exception(ServerError("08006", str(error).strip()))
        return answer

    def _apart(self, run: Callable[[PGconn], PGresult], *, sets: bool) -> PGresult:
        pgconn = self._pgconn
        if pgconn.transaction_status == pq.TransactionStatus.INERROR:
            raise ServerError(*_ABORTED)
        if pgconn.transaction_status == pq.TransactionStatus.IDLE:
            # psycopg begins a transaction with its first statement, and there was none yet.
            with self._django.connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        _done(pgconn.exec_(b"SAVEPOINT jido"))
        before = _done(pgconn.exec_(_LOCAL.encode())) if sets else None
        try:
            result = _done(run(pgconn))
        except ServerError:
            _done(pgconn.exec_(b"ROLLBACK TO SAVEPOINT jido"))
            _done(pgconn.exec_(b"RELEASE SAVEPOINT jido"))
            raise
        _done(pgconn.exec_(b"RELEASE SAVEPOINT jido"))
        if before is not None:
            _done(pgconn.exec_params(_LOCAL_AGAIN, [before.get_value(0, 0), before.get_value(0, 1)]))
        return result

    def close(self) -> None:
        """Stop using the connection, which stays Django's."""
        self.broken = "the connection was closed"


def _done(result: PGresult) -> PGresult:
    if result.status == pq.ExecStatus.FATAL_ERROR:
        raise refused(result)
    return result


class BorrowedPostgresStore(PostgresStore):
    """``Store`` on Django's connection."""

    liveness_by_lease = False
    """A term lives as long as its test: nobody else can see it."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        super().__init__({}, alias=connection.alias)
        self._django = connection

    async def connect(self, name: str) -> Link:
        return BorrowedLink(self._django)

    async def _probe_pooler(self, link: Link) -> None:
        # Inside one transaction every pooler keeps one server process.
        pass
