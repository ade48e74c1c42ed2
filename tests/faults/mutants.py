"""Hosts that break a promise on purpose. The supervisor must catch each of them, else its silence proves nothing."""

from __future__ import annotations

from typing import Any


def early_answer() -> None:
    """Answers, and lets casts go, when the turn has returned instead of when its row is committed."""
    from jido_objects.activation import Activation

    queue = Activation.queue

    def early(self: Activation, *args: Any) -> None:
        queue(self, *args)
        assert self.last is not None
        self.let_out(self.last.answer)
        self.last.answer.after = None

    Activation.queue = early  # type: ignore[method-assign,assignment]


def no_fence() -> None:
    """Appends without asking whether its lane is still there."""
    from jido_objects.stores import statements

    asked = b"SELECT id, term FROM jido_lane WHERE id = $1::uuid FOR KEY SHARE"
    for statement in (statements.APPEND, statements.APPEND_ONE):
        assert asked in statement.sql
        statement.sql = statement.sql.replace(asked, b"SELECT $1::uuid AS id")


def forgotten_ids() -> None:
    """Runs a call that is sent again as if it were the first time."""
    from jido_objects.host import Host

    Host.look_up = lambda self, activation, call: None  # type: ignore[method-assign]


def blind_trust() -> None:
    """Answers reads from memory whether or not the lease was renewed."""
    from jido_objects.lease import Lease

    Lease.trusted = lambda self: True  # type: ignore[method-assign]


def two_transactions() -> None:
    """Commits the rows of a transaction before its turn's own."""
    from jido_objects.stores.postgresql_transactions import PostgresLane

    append = PostgresLane.append

    def apart(self: PostgresLane, raw: Any, *args: Any) -> int:
        raw.commit()
        return append(self, raw, *args)

    PostgresLane.append = apart  # type: ignore[method-assign]


MUTANTS = {function.__name__: function for function in (early_answer, no_fence, forgotten_ids, blind_trust, two_transactions)}


def strangers() -> None:
    """No mutant: hosts on machines of their own, where only its lease tells that another one is dead."""
    from jido_objects import process

    process.proven_dead = lambda info: False


VARIANTS = {strangers.__name__: strangers}
"""Hosts that keep every promise, in another world."""
