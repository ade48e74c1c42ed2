"""One PostgreSQL connection, driven by the event loop that opened it, without a thread hop.

psycopg connects; from then on libpq is driven directly: statements are prepared at first use, sent, and answered by the
loop's reader callback. A statement's cost in Python is one send, one read and one future, which is what keeps a lone
caller's commit within a few microseconds of a bare insert.

What the caller must know of a failure is told by its class: ``NotSent`` (nothing reached the server), ``ConnectionLost``
(the statement was sent and may be, or become, effective), ``ServerError`` (the server refused it: no effect).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGconn, PGresult

__all__ = ["ConnectionLost", "Link", "NotSent", "ServerError", "Statement", "connect", "refused"]

Parameters = Sequence[bytes | None]

_FORGOTTEN = ("26000", "0A000")
"""SQLSTATEs of a prepared statement that is gone, or whose tables have changed."""


class NotSent(Exception):
    """The connection was broken, or could not be made, before anything of the statement was sent."""


class ConnectionLost(Exception):
    """The connection broke with the statement under way."""


class ServerError(Exception):
    """The server refused the statement; ``args`` are its SQLSTATE and message."""

    @property
    def sqlstate(self) -> str:
        return str(self.args[0])


class Statement:
    """SQL that numbers its parameters (``$1``), prepared once per connection, or else planned at each use."""

    __slots__ = ("name", "prepare", "sql")
    _made = 0

    def __init__(self, sql: str, *, prepare: bool = True) -> None:
        Statement._made += 1
        self.name = f"jido{Statement._made}".encode()
        self.sql = sql.encode()
        self.prepare = prepare


class _Pending:
    __slots__ = ("answer", "deadline", "failed", "parameters", "preparing", "result", "statement", "timeout")

    def __init__(self, statement: Statement | bytes, parameters: Parameters, timeout: float, answer: asyncio.Future[PGresult]) -> None:
        self.statement = statement
        self.parameters = parameters
        self.timeout = timeout
        self.answer = answer
        self.deadline = 0.0
        self.preparing = False
        self.result: PGresult | None = None
        self.failed: PGresult | None = None


async def connect(parameters: Mapping[str, Any], name: str, setup: str, timeout: float) -> Link:
    """Open a connection with psycopg's ``parameters``, autocommitted, called ``name``, and run ``setup`` on it."""
    try:
        async with asyncio.timeout(timeout):
            connection = await psycopg.AsyncConnection.connect(**{**parameters, "autocommit": True, "application_name": name})
    except (psycopg.OperationalError, OSError) as error:
        raise NotSent(str(error).strip() or type(error).__name__) from error
    link = Link(connection, timeout)
    try:
        await link.script(setup)
    except ConnectionLost as error:
        raise NotSent(str(error)) from error
    except BaseException:
        link.close()
        raise
    return link


class Link:
    """A connection with at most one statement in flight; more wait here, in order."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._psycopg = connection
        self._connection: PGconn = connection.pgconn
        self._connection.nonblocking = 1
        self._socket = self._connection.socket
        self._timeout = timeout
        self._prepared: set[Statement] = set()
        self._current: _Pending | None = None
        self._waiting: deque[_Pending] = deque()
        self._writing = False
        self._watchdog: asyncio.TimerHandle | None = None
        self.broken: str | None = None
        """Why the connection can no longer be used."""
        self._loop.add_reader(self._socket, self._readable)

    @property
    def backend_pid(self) -> int:
        """Process id that the server announced when the connection started."""
        return self._connection.backend_pid

    @property
    def server_version(self) -> int:
        """As libpq gives it: 150004 is 15.4."""
        return self._connection.server_version

    def execute(self, statement: Statement, parameters: Parameters = (), timeout: float | None = None) -> asyncio.Future[PGresult]:
        """Send a statement, or queue it. The future's exceptions are this module's."""
        return self._submit(statement, parameters, timeout)

    def script(self, sql: str, timeout: float | None = None) -> asyncio.Future[PGresult]:
        """Send SQL without parameters, possibly several statements; the result is the last one's."""
        return self._submit(sql.encode(), (), timeout)

    def _submit(self, statement: Statement | bytes, parameters: Parameters, timeout: float | None) -> asyncio.Future[PGresult]:
        answer: asyncio.Future[PGresult] = self._loop.create_future()
        if self.broken is not None:
            answer.set_exception(NotSent(self.broken))
            return answer
        pending = _Pending(statement, parameters, self._timeout if timeout is None else timeout, answer)
        if self._current is None:
            self._start(pending)
        else:
            self._waiting.append(pending)
        return answer

    def _start(self, pending: _Pending) -> None:
        self._current = pending
        pending.deadline = self._loop.time() + pending.timeout
        self._watch(pending.deadline)
        statement = pending.statement
        try:
            if isinstance(statement, bytes):
                self._connection.send_query(statement)
            elif statement in self._prepared:
                self._connection.send_query_prepared(statement.name, pending.parameters)
            elif not statement.prepare:
                self._connection.send_query_params(statement.sql, pending.parameters)
            else:
                pending.preparing = True
                self._connection.send_prepare(statement.name, statement.sql)
            self._flush()
        except psycopg.OperationalError as error:
            self._break(str(error))

    def _flush(self) -> None:
        if self._connection.flush():
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._socket, self._writable)
        elif self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket)

    def _writable(self) -> None:
        try:
            self._flush()
        except psycopg.OperationalError as error:
            self._break(str(error))

    def _readable(self) -> None:
        connection = self._connection
        try:
            connection.consume_input()
            if self._writing:
                self._flush()
            # A result counts only when ReadyForQuery has followed it (get_result gives None): in the extended protocol the
            # commit comes after the command's own completion message, and can still fail.
            while not connection.is_busy():
                result = connection.get_result()
                if result is None:
                    break
                self._received(result)
            else:
                return
        except psycopg.OperationalError as error:
            self._break(str(error))
            return
        if connection.status == pq.ConnStatus.BAD:
            self._break(connection.error_message.decode(errors="replace"))
        elif self._current is not None:
            self._finished(self._current)

    def _received(self, result: PGresult) -> None:
        if self._current is None:
            return
        if result.status == pq.ExecStatus.FATAL_ERROR:
            self._current.failed = self._current.failed or result
        else:
            self._current.result = result

    def _finished(self, pending: _Pending) -> None:
        failed = pending.failed
        if failed is not None and failed.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) != b"ERROR":
            # FATAL: the server ends the connection. Whether the statement had committed by then is not said.
            self._break(failed.error_message.decode(errors="replace"))
            return
        if pending.preparing and failed is None and isinstance(pending.statement, Statement):
            self._prepared.add(pending.statement)
            pending.preparing = False
            self._start(pending)
            return
        self._current = None
        if not pending.answer.done():
            if failed is not None:
                pending.answer.set_exception(refused(failed))
            else:
                assert pending.result is not None
                pending.answer.set_result(pending.result)
        if failed is not None and refused(failed).sqlstate in _FORGOTTEN:
            self._break("its prepared statements are out of date")
        elif self._waiting:
            self._start(self._waiting.popleft())

    def _watch(self, deadline: float) -> None:
        # One timer per connection, not one per statement: it is armed again only when it fires early.
        if self._watchdog is not None:
            if self._watchdog.when() <= deadline:
                return
            self._watchdog.cancel()
        self._watchdog = self._loop.call_at(deadline, self._watched)

    def _watched(self) -> None:
        self._watchdog = None
        if self._current is None:
            return
        if self._current.deadline <= self._loop.time():
            self._break(f"no answer within {self._current.timeout:g} s")
        else:
            self._watch(self._current.deadline)

    def _break(self, reason: str) -> None:
        if self.broken is not None:
            return
        self.broken = " ".join(reason.split()) or "connection lost"
        self._loop.remove_reader(self._socket)
        if self._writing:
            self._loop.remove_writer(self._socket)
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._connection.finish()
        current, self._current = self._current, None
        waiting, self._waiting = self._waiting, deque()
        if current is not None and not current.answer.done():
            # Preparing has no effect: the statement itself had not been sent.
            current.answer.set_exception(NotSent(self.broken) if current.preparing else ConnectionLost(self.broken))
        for pending in waiting:
            if not pending.answer.done():
                pending.answer.set_exception(NotSent(self.broken))

    def close(self) -> None:
        """Drop the connection; a statement in flight ends as ``ConnectionLost``. Idempotent."""
        self._break("the connection was closed")


def refused(failed: PGresult) -> ServerError:
    """What the server said in an error result."""
    sqlstate = (failed.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    message = (failed.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or failed.error_message).decode(errors="replace")
    return ServerError(sqlstate, message)
