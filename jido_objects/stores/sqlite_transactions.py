"""``@transactional`` on SQLite: one immediate transaction at a time, which is fence enough."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, suppress
from typing import Any
from uuid import UUID

from ..errors import OutcomeUnknown, OwnershipLost, StoreUnavailable, Unacceptable
from .protocol import Append
from .sqlite_connection import code, refusals
from .sqlite_writer import DUPLICATE, UNSTORABLE, append_rows, fence
from .transactions import Again, chain

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class SqliteLane:
    """Implements ``Lane``. A file has one writer, so there is one thread, and no lane's row: the term's is the fence."""

    threads: int | None = 1

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def options(self, options: dict[str, Any], term: UUID, lane: UUID) -> dict[str, Any]:
        # Deferred, a transaction that reads and then writes would fail at once whenever another one had written.
        return {"timeout": 10.0, **options, "transaction_mode": "IMMEDIATE"}

    def begin(self, raw: Any, term: UUID, lane: UUID, *, new: bool) -> None:
        with refusals(self._alias):
            raw.execute("PRAGMA synchronous = FULL")

    def limit(self, raw: Any, seconds: float) -> None:
        raw.execute(f"PRAGMA busy_timeout = {max(1, int(seconds * 1000))}")

    def usable(self, raw: Any) -> bool:
        return not raw.in_transaction

    def open(self, raw: Any) -> str | None:
        return None if raw.in_transaction else "its transaction was ended in it"

    def append(self, raw: Any, term: UUID, lane: UUID, append: Append) -> int:
        fence(raw, term)
        try:
            with refusals(self._alias):
                outcome = append_rows(raw, term, append)
        except StoreUnavailable as error:
            raise Again(str(error)) from error
        except Unacceptable as error:
            if getattr(error.__cause__, "sqlite_errorcode", None) in DUPLICATE:
                raise OwnershipLost(f"{append.type}({append.key!r})") from error
            raise
        except UNSTORABLE as error:
            raise Unacceptable(str(error)) from error
        if outcome is None:
            raise OwnershipLost(f"{append.type}({append.key!r})")
        return outcome

    def commit(self, raw: Any) -> None:
        try:
            raw.commit()
        except sqlite3.Error as error:
            if code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL):
                raise Again(str(error)) from error
            if code(error) == sqlite3.SQLITE_CONSTRAINT:
                raise  # a deferred foreign key: the transaction is open still
            raise OutcomeUnknown("a transaction", str(error)) from error

    def again(self, raw: Any, error: BaseException) -> str | None:
        for one in chain(error):
            if isinstance(one, sqlite3.OperationalError) and code(one) in _BUSY:
                return str(one)
        return None

    def end(self, raw: Any, stuck: Any, term: UUID, lane: UUID, executing: AbstractContextManager[Any]) -> None:
        # The file has one writer: whoever keeps its lock keeps it from everybody.
        with suppress(sqlite3.ProgrammingError):  # closed meanwhile
            stuck.interrupt()
            with executing:
                stuck.rollback()
                stuck.close()
