"""What a ``@transactional`` turn asks of its database connection beyond the ORM: the fence, the row, and what became of COMMIT.

The turn's thread works on a connection that Django has made; here is what each database needs on it. The invariant: the
fenced append is the last statement before COMMIT, so that a transaction which lasts holds up no burial, and one whose term
was buried meanwhile cannot commit.

Three outcomes. ``commit`` returns: applied. ``OutcomeUnknown``: COMMIT was sent, and nobody knows. Every other exception:
not applied, and the transaction has to be rolled back; ``Again`` says that running the whole turn again may succeed.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol
from uuid import UUID

from .protocol import Append

__all__ = ["Again", "Lane", "chain"]


class Again(Exception):
    """Nothing was applied, for a reason that has nothing to do with the turn: run it again. The argument says why."""


class Lane(Protocol):
    """How a turn's connection is fenced. Used by one thread; ``raw`` is the driver's connection under Django's."""

    threads: int | None
    """How many such transactions can be open at once; ``None`` where the database sets no bound."""

    def options(self, options: dict[str, Any], term: UUID, lane: UUID) -> dict[str, Any]:
        """The alias's ``OPTIONS`` as this connection needs them. Nothing of it reaches other connections of the alias."""

    def begin(self, raw: Any, term: UUID, lane: UUID, *, new: bool) -> None:
        """Make a fresh connection ours, and insert its lane if that is ``new``. Raises ``TermEnded``, ``Again``, ``StoreError``."""

    def limit(self, raw: Any, seconds: float) -> None:
        """How long the database itself waits for a statement, a lock, or for the next statement, at most."""

    def usable(self, raw: Any) -> bool:
        """Whether the connection can be used for another turn."""

    def open(self, raw: Any) -> str | None:
        """Why the transaction cannot be committed as it is; ``None`` if it can."""

    def append(self, raw: Any, term: UUID, lane: UUID, append: Append) -> int:
        """Write the turn's row, the last statement before COMMIT; returns the object's id.

        Raises ``TermEnded``, ``OwnershipLost`` (the belt), ``Unacceptable``, ``Again``.
        """

    def commit(self, raw: Any) -> None:
        """COMMIT. Raises ``OutcomeUnknown`` or, where the database has refused it, its error or ``Again``."""

    def again(self, raw: Any, error: BaseException) -> str | None:
        """Why a turn that raised this should be run again; ``None`` where the error is the turn's own."""

    def end(self, raw: Any, stuck: Any, term: UUID, lane: UUID, executing: AbstractContextManager[Any]) -> None:
        """End the transaction of another thread's connection ``stuck`` (whose lane this is), which nobody waits for any more.

        While ``executing`` is held, the other thread executes no statement; later ones it is refused.
        """


def chain(error: BaseException | None) -> list[BaseException]:
    """An error, what it was raised from, and what it was raised amid."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
