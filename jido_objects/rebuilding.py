"""What the journal says, made into memory again: state from a snapshot and its tail, answers from their rows."""

from __future__ import annotations

from typing import Any

from . import refusals
from .definition import Definition
from .errors import CorruptObject, NewerVersion, UnreadableResult
from .limits import encoded_size
from .methods import Method
from .state import State
from .stores.protocol import EntryKind, Loaded
from .turns import Name, describe

UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What reading a row that nobody of ours can have written may raise."""


def rebuild(state: State, definition: Definition, name: Name, loaded: Loaded) -> int:
    """Fill ``state`` from a snapshot and its tail; returns a bound on its encoded size."""
    version = max([entry.version for entry in loaded.tail] + ([loaded.snapshot.version] if loaded.snapshot else []), default=0)
    if version > definition.options.version:
        raise NewerVersion(describe(name), version, definition.options.version)
    seq = 0
    where = "its snapshot"
    try:
        if loaded.snapshot is None:
            state.reset()
            size = 0
        else:
            state.restore(loaded.snapshot.document)
            seq = loaded.snapshot.seq
            size = encoded_size(loaded.snapshot.document)
        for entry in loaded.tail:
            where = f"journal row {entry.seq}"
            if entry.seq != seq + 1:
                raise CorruptObject(describe(name), f"its journal has row {entry.seq} after {seq}")
            seq = entry.seq
            if entry.kind is EntryKind.UNKNOWN:
                raise CorruptObject(describe(name), f"journal row {seq} is of a kind that this code does not know: newer code wrote it")
            if entry.delta != "[]":
                state.replay(entry.delta)
                size += encoded_size(entry.delta)
    except UNREADABLE as error:
        raise CorruptObject(describe(name), f"{where} cannot be read: {str(error).removesuffix('.')}") from error
    if seq != loaded.head_seq:
        raise CorruptObject(describe(name), f"its journal ends at {loaded.head_seq}, what was read of it at {seq}")
    return size


def replayed(method: Method, kind: EntryKind, encoded: str | None) -> tuple[Any, BaseException | None]:
    """The answer that a journal row recorded. What cannot be read any more is said so: the call was applied, once."""
    try:
        if kind is EntryKind.REFUSAL:
            return None, refusals.rebuild(encoded or "")
        if kind is EntryKind.UNKNOWN:
            raise ValueError("its row is of a kind that this code does not know")
        return (None if encoded is None else method.result.decode(encoded)), None
    except UNREADABLE as error:
        return None, UnreadableResult(method.label, str(error).removesuffix("."))
