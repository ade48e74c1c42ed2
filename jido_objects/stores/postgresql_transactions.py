"""``@transactional`` on PostgreSQL: a lane whose connection the ORM uses too."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

import psycopg
from psycopg import pq

from ..errors import OutcomeUnknown, OwnershipLost, StoreUnavailable, Unacceptable
from . import statements
from .link import Statement
from .postgresql import bounded
from .postgresql_append import NAMED, Result, ended, named, outcomes, prepare, still_there
from .protocol import Append, TermEnded
from .sqlstates import refused
from .transactions import Again, chain

_AGAIN = ("40001", "40P01")
"""Serialization failure, deadlock: the database chose this transaction to give way."""
_SESSION = "SET synchronous_commit = on; SET default_transaction_isolation = 'read committed'"
_LIMITS = """SET idle_in_transaction_session_timeout = {milliseconds}; SET statement_timeout = {milliseconds};
SET lock_timeout = {milliseconds}"""


class PostgresLane:
    """Implements ``Lane``."""

    threads: int | None = None

    def __init__(self, alias: str, timeout: float = 10.0) -> None:
        self._alias = alias
        self._timeout = timeout

    def options(self, options: dict[str, Any], term: UUID, lane: UUID) -> dict[str, Any]:
        unwanted = ("pool", "isolation_level")
        kept = {name: value for name, value in options.items() if name not in unwanted}
        return {**bounded(self._timeout), **kept, "application_name": named(term.hex, lane.hex) + NAMED}

    def begin(self, raw: Any, term: UUID, lane: UUID, *, new: bool) -> None:
        try:
            raw.execute(_SESSION)
            if new and self._execute(raw, statements.BEGIN_LANE, [lane.hex.encode(), term.hex.encode()]).command_tuples != 1:
                raise TermEnded(term)
        except psycopg.Error as error:
            raise self._refusal(raw, error) from error

    def limit(self, raw: Any, seconds: float) -> None:
        try:
            raw.execute(_LIMITS.format(milliseconds=max(1, int(seconds * 1000))))
        except psycopg.Error as error:
            raise self._refusal(raw, error) from error

    def usable(self, raw: Any) -> bool:
        return not raw.closed and raw.info.transaction_status == pq.TransactionStatus.IDLE

    def open(self, raw: Any) -> str | None:
        if raw.closed:
            return "its connection was closed"
        if raw.info.transaction_status == pq.TransactionStatus.INERROR:
            return "a database error was caught in it; where an error is expected, put the query into its own transaction.atomic()"
        return None

    def append(self, raw: Any, term: UUID, lane: UUID, append: Append) -> int:
        try:
            outcome = self._append(raw, term, lane.hex.encode(), append)
        except psycopg.Error as error:
            raise self._refusal(raw, error) from error
        except ValueError as error:
            raise Unacceptable(str(error)) from error
        if outcome is None:
            raise OwnershipLost(f"{append.type}({append.key!r})")
        return outcome

    def _append(self, raw: Any, term: UUID, lane: bytes, append: Append) -> int | None:
        prepared = prepare(lane, [append])
        result = self._execute(raw, *prepared[:2])
        if ended(prepared, result):
            raise TermEnded(term)
        found = outcomes([append], prepared, result)
        if found is None:
            there = self._execute(raw, statements.WRITTEN, still_there(lane, [append]))
            if not there.ntuples:
                raise TermEnded(term)
            return None
        return found[0]  # type: ignore[return-value]  # an error per object is only made by who isolates them

    def _execute(self, raw: Any, statement: Statement, parameters: list[bytes | None]) -> Result:
        cursor = psycopg.RawCursor(raw)
        # Never prepared: a plan that was made while the tables were empty would stay. See ``statements``.
        values = [None if value is None else value.decode() for value in parameters]
        cursor.execute(statement.sql, values, prepare=False)
        result = cursor.pgresult
        assert result is not None
        return result

    def _refusal(self, raw: Any, error: psycopg.Error) -> Exception:
        text = str(error).strip()
        if raw.closed or error.sqlstate is None:
            # COMMIT was not sent, so whatever the server still does with this transaction, it ends in a rollback.
            return Again(f"the connection broke before COMMIT: {text}")
        if error.sqlstate == "23505":
            return OwnershipLost("The object")  # somebody's row stands where ours would: the fence's business
        found = refused(error.sqlstate, error.diag.message_primary or text, self._alias)
        return Again(str(found)) if isinstance(found, StoreUnavailable) else found

    def commit(self, raw: Any) -> None:
        try:
            raw.commit()
        except psycopg.Error as error:
            # An error that leaves the connection usable is the server's word: rolled back. All else is silence.
            if raw.closed or error.diag.severity_nonlocalized != "ERROR":
                raise OutcomeUnknown("a transaction", str(error).strip()) from error
            if error.sqlstate in _AGAIN:
                raise Again(str(error).strip()) from error
            raise

    def again(self, raw: Any, error: BaseException) -> str | None:
        for one in chain(error):
            if isinstance(one, psycopg.Error) and one.sqlstate in _AGAIN:
                return str(one).strip()
            if isinstance(one, psycopg.OperationalError | psycopg.InterfaceError) and (raw is None or raw.closed):
                return f"the connection broke: {str(one).strip()}"
        return None

    def end(self, raw: Any, stuck: Any, term: UUID, lane: UUID, executing: AbstractContextManager[Any]) -> None:
        try:
            self._execute(raw, statements.END_CONNECTIONS, [(named(term.hex, lane.hex) + NAMED).encode()])
            raw.execute("DELETE FROM jido_lane WHERE id = %s", [lane])
        except psycopg.Error as error:
            raise self._refusal(raw, error) from error
