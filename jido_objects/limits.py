"""The bounds that hold everywhere; what a type may change is in its ``Meta``. Bytes, seconds and counts."""

from __future__ import annotations

from typing import Final

KEY_BYTES: Final = 200
CALL_ID_BYTES: Final = 200
METHOD_BYTES: Final = 100
NAME_BYTES: Final = 200
"""An alarm's name."""
MESSAGE_BYTES: Final = 1024 * 1024
"""Encoded arguments of one call."""
RESULT_BYTES: Final = 64 * 1024
"""A result that is recorded in the journal. A @query's result follows the state's limit."""
STATE_BYTES: Final = 8 * 1024 * 1024
NESTING: Final = 64
"""Depth of containers in one value."""
MAILBOX: Final = 1024
ACTIVATIONS: Final = 100_000
BATCH_ROWS: Final = 512
BATCH_BYTES: Final = 4 * 1024 * 1024
SNAPSHOT_EVERY: Final = 64
SNAPSHOT_SECONDS: Final = 0.25
"""Least time between two snapshots of one busy object."""
IDLE_SECONDS: Final = 300.0
TURN_TIMEOUT: Final = 10.0
CANCEL_GRACE: Final = 1.0
"""What a cancelled turn has to end in before its activation is dropped under it."""
TRANSACTION_THREADS: Final = 4
"""``@transactional`` turns that a process runs at once; one on SQLite, where a file has one writer."""
TRANSACTIONS_ABANDONED: Final = 8
"""Threads whose turn took too long and that have not come back; with so many, no more are replaced."""
TRANSACTION_ATTEMPTS: Final = 8
"""How often a ``@transactional`` turn is run until it meets no deadlock and no broken connection."""
ON_COMMIT_WAITING: Final = 10_000
"""Actions given to ``self.on_commit`` that may wait for the thread that runs them."""
MESSAGE_ATTEMPTS: Final = 10
"""After so many a durable message that still fails is kept as a dead letter."""
CALL_TIMEOUT: Final = 30.0
PATIENCE: Final = 5.0
"""For how long a database that does not answer is asked again before waiting calls are told."""
LEASE_SECONDS: Final = 3.0
STALL_SECONDS: Final = 10.0
LOOP_HELD_SECONDS: Final = 0.05
"""A synchronous turn that holds the host's loop longer is logged with its stack."""
RETENTION: Final = 24 * 3600.0
CALL_ID_SECONDS: Final = 7 * 24 * 3600.0
RETENTION_ROWS: Final = 100_000
RETENTION_BYTES: Final = 64 * 1024 * 1024
"""What one object's history may hold, rows and bytes, before its window has passed."""
RETENTION_LEAST: Final = 120.0
"""For so long a row stays even then: somebody may be about to ask again for what it answers."""


def encoded_size(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def is_positive(value: object) -> bool:
    """Whether a setting is a finite number above zero."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
