"""What the database says, in the words of ``jido_objects.errors``: definitely not applied, and what to do about it."""

from __future__ import annotations

from ..errors import NotMigrated, ReadOnlyDatabase, StoreError, StoreUnavailable, Unacceptable
from .link import ServerError


class Duplicate(Unacceptable):
    """A row of that key is there already: {0}"""


def refusal(error: ServerError, alias: str) -> StoreError:
    """The error for what PostgreSQL refused; nothing of the statement was applied."""
    sqlstate, message = error.args
    return refused(sqlstate, message, alias)


def refused(sqlstate: str, message: str, alias: str) -> StoreError:
    """``refusal``, of an error that came by another way."""
    described = f"{message} (SQLSTATE {sqlstate})"
    match sqlstate[:2]:
        case "22" | "23":
            return Duplicate(described) if sqlstate == "23505" else Unacceptable(described)
        case "25" if sqlstate == "25006":
            return ReadOnlyDatabase(alias, message)
        case "42" if sqlstate in ("42P01", "42703"):
            return NotMigrated(alias, message)
        case "0A" | "26" | "40" | "53" | "55" | "57" | "58":
            # Forgotten plans, deadlocks, resources, locks, an operator's intervention: the same statement can succeed.
            return StoreUnavailable(described)
    return StoreError(described)


def pooler(alias: str, evidence: str) -> str:
    """What to do about a pooler that gives every transaction another server connection."""
    return (
        f"Database {alias!r} is reached through a pooler in transaction mode ({evidence}). Objects need connections of their own: "
        f"add an alias that leads to PostgreSQL directly (or through the pooler's session mode) and name it in JIDO_OBJECTS['DATABASE']."
    )
