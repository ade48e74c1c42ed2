"""What every SQLite connection of ours does the same way: commit, fail, and write moments."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar

from ..errors import NotMigrated, OutcomeUnknown, ReadOnlyDatabase, StoreError, StoreUnavailable, Unacceptable

T = TypeVar("T")


def transaction(connection: sqlite3.Connection, what: str, job: Callable[[sqlite3.Connection], T]) -> T:
    """Run a job that excludes all other writers, and commit."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = job(connection)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    try:
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL):
            raise
        # The commit's last page may have reached the disk though its fsync failed: a recovery would find it there.
        raise OutcomeUnknown(what, str(error)) from error
    return result


@contextmanager
def refusals(alias: str) -> Iterator[None]:
    """SQLite's errors in the words of ``jido_objects.errors``: nothing was applied."""
    try:
        yield
    except sqlite3.Error as error:
        if str(error).startswith("Could not decode to UTF-8"):
            # Nothing is wrong with the database: one row holds bytes that are no text.
            raise ValueError(str(error)) from error
        raise _refusal(error, alias) from error
    except OSError as error:
        raise StoreUnavailable(f"the lock file of a term: {error}") from error


def code(error: sqlite3.Error) -> int:
    """SQLite's primary error code, 0 where the driver itself complains."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _refusal(error: sqlite3.Error, alias: str) -> StoreError:
    text = f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
    match code(error):
        case sqlite3.SQLITE_READONLY:
            return ReadOnlyDatabase(alias, text)
        case sqlite3.SQLITE_CONSTRAINT | sqlite3.SQLITE_TOOBIG | sqlite3.SQLITE_MISMATCH:
            return Unacceptable(text)
        case sqlite3.SQLITE_ERROR if "no such table" in text or "no such column" in text or "has no column" in text:
            return NotMigrated(alias, text)
        case sqlite3.SQLITE_ERROR | sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreError(text)
    # Busy, full, out of memory, an input or output error before the commit: the same write can succeed.
    return StoreUnavailable(text)


def stamp(moment: datetime) -> str:
    """A moment as Django writes it into SQLite."""
    return str(moment.astimezone(UTC).replace(tzinfo=None))


def moment(value: str | datetime) -> datetime:
    """The moment that ``stamp`` was given; Django's own connections have read its text already."""
    naive = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return naive.replace(tzinfo=UTC)
