"""An append to PostgreSQL: which statement, with which parameters, and what its result says.

One place for whoever sends it: a lane's writer over its own link, and a ``@transactional`` turn as the last statement of
its transaction. Neither knows the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from . import arrays, message_statements, postgresql_messages, statements
from .link import Statement
from .protocol import FORMAT, Append, Appended, Entry

__all__ = ["NAMED", "Prepared", "Result", "ended", "named", "outcomes", "prepare", "still_there"]

FORMAT_VALUE = str(FORMAT).encode()
NAMED = ":orm"
"""Ends the ``application_name`` of a lane that shares its connection with the ORM."""


class Result(Protocol):
    """What is read of libpq's result, whoever has asked for it."""

    @property
    def ntuples(self) -> int: ...

    @property
    def command_tuples(self) -> int | None: ...

    def get_value(self, row_number: int, column_number: int) -> bytes | None: ...


class Prepared(NamedTuple):
    """One statement, ready to be sent."""

    statement: Statement
    parameters: list[bytes | None]
    rows: int
    """How many rows it inserts where nothing is refused."""
    placed: bool = False
    """Whether the result says the place of each object that was written."""


def named(term: str, lane: str) -> str:
    """The ``application_name`` of a lane's connection; term and lane in hexadecimal."""
    return f"jido:{term}:{lane[:16]}"


def prepare(lane: bytes, batch: Sequence[Append], skew: float = 0.0) -> Prepared:
    """The statement that appends a batch under the lane's lock; ``skew`` is the store's. Raises ``ValueError`` for what
    PostgreSQL cannot hold."""
    rows = sum(len(append.entries) for append in batch)
    if any(append.inbox is not None for append in batch):
        return Prepared(message_statements.APPEND_WITH_MESSAGES, _with_messages(lane, batch, skew), rows, True)
    if any(append.object_id is None or append.destroyed is not None for append in batch):
        return Prepared(statements.APPEND_AND_CREATE, _create(lane, batch), rows, True)
    if len(batch) == 1 and rows == 1 and batch[0].head_seq > 0:
        return Prepared(statements.APPEND_ONE, _one(lane, batch[0]), rows)
    return Prepared(statements.APPEND, _many(lane, batch), rows)


def outcomes(batch: Sequence[Append], prepared: Prepared, result: Result) -> list[Appended] | None:
    """What became of each object; ``None`` where fewer rows were written than asked, and ``still_there`` must tell which."""
    if prepared.placed:
        made: list[Appended] = [None] * len(batch)
        for row in range(result.ntuples):
            place = int(result.get_value(row, 0) or 0)
            if place >= 0:
                made[place] = int(result.get_value(row, 1) or 0)
        return made
    return [append.object_id for append in batch] if result.command_tuples == prepared.rows else None


def ended(prepared: Prepared, result: Result) -> bool:
    """Whether the result itself says that the lane is gone. It says nothing where ``outcomes`` is ``None``."""
    return prepared.placed and not result.ntuples


def still_there(lane: bytes, batch: Sequence[Append]) -> list[bytes | None]:
    """Parameters of ``statements.WRITTEN``: which of these rows are there, and whether the lane is."""
    return [
        lane,
        arrays.plain([append.object_id for append in batch]),
        arrays.plain([append.entries[-1].seq for append in batch]),
        arrays.plain([append.epoch for append in batch]),
    ]


def _many(lane: bytes, batch: Sequence[Append]) -> list[bytes | None]:
    return [
        lane,
        FORMAT_VALUE,
        arrays.plain([append.object_id for append in batch]),
        arrays.plain([append.head_seq for append in batch]),
        arrays.plain([append.head_epoch for append in batch]),
        arrays.plain([append.object_id for append in batch for _ in append.entries]),
        *_rows(batch),
    ]


def _one(lane: bytes, append: Append) -> list[bytes | None]:
    row = append.entries[0]
    assert append.object_id is not None
    return [
        lane,
        FORMAT_VALUE,
        b"%d" % append.object_id,
        b"%d" % append.head_seq,
        b"%d" % append.head_epoch,
        b"%d" % row.seq,
        b"%d" % append.epoch,
        b"%d" % row.digest,
        row.at.isoformat().encode(),
        b"%d" % row.version,
        b"%d" % row.kind,
        b"t" if row.own_id else b"f",
        *map(_text, (row.call_id, row.method, row.user, row.delta, row.result, row.extra)),
    ]


def _create(lane: bytes, batch: Sequence[Append]) -> list[bytes | None]:
    return [lane, FORMAT_VALUE, *_places(batch), *_placed_rows(batch)]


def _with_messages(lane: bytes, batch: Sequence[Append], skew: float) -> list[bytes | None]:
    return [lane, FORMAT_VALUE, str(skew).encode(), *_places(batch), *postgresql_messages.changes(batch), *_placed_rows(batch)]


def _places(batch: Sequence[Append]) -> list[bytes]:
    heads = [(place, append) for place, append in enumerate(batch) if append.object_id is not None]
    wanted = [(place, append) for place, append in enumerate(batch) if append.object_id is None]
    return [
        arrays.plain([place for place, _ in heads]),
        arrays.plain([append.object_id for _, append in heads]),
        arrays.plain([append.head_seq for _, append in heads]),
        arrays.plain([append.head_epoch for _, append in heads]),
        arrays.plain(["NULL" if append.destroyed is None else append.destroyed for _, append in heads]),
        arrays.plain([place for place, _ in wanted]),
        arrays.texts([append.type for _, append in wanted]),
        arrays.texts([append.key for _, append in wanted]),
        arrays.plain([append.epoch for _, append in wanted]),
        arrays.plain([bool(append.destroyed) for _, append in wanted]),
    ]


def _placed_rows(batch: Sequence[Append]) -> list[bytes]:
    return [arrays.plain([place for place, append in enumerate(batch) for _ in append.entries]), *_rows(batch)]


def _text(value: str | None) -> bytes | None:
    if value is None:
        return None
    if "\0" in value:
        raise ValueError("text with a NUL character")
    return value.encode()


def _rows(batch: Sequence[Append]) -> list[bytes]:
    """The journal's columns after the one that names the object."""
    entries: list[Entry] = [entry for append in batch for entry in append.entries]
    return [
        arrays.plain([e.seq for e in entries]),
        arrays.plain([append.epoch for append in batch for _ in append.entries]),
        arrays.plain([e.digest for e in entries]),
        arrays.plain([e.at.isoformat() for e in entries]),
        arrays.plain([e.version for e in entries]),
        arrays.plain([int(e.kind) for e in entries]),
        arrays.plain(["t" if e.own_id else "f" for e in entries]),
        arrays.texts([e.call_id for e in entries]),
        arrays.texts([e.method for e in entries]),
        arrays.texts([e.user for e in entries]),
        arrays.texts([e.delta for e in entries]),
        arrays.texts([e.result for e in entries]),
        arrays.texts([e.extra for e in entries]),
    ]
