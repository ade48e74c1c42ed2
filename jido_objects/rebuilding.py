"""What the journal says, made into memory again: state from a snapshot and its tail, answers from their rows."""

from __future__ import annotations

from typing import Any

from . import refusals
from .definition import Definition
from .errors import CorruptObject, InvalidValue, NewerVersion
from .methods import Method
from .state import State
from .stores.protocol import EntryKind, Loaded
from .turns import Name, describe


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
            size = len(loaded.snapshot.document)
        for entry in loaded.tail:
            where = f"journal row {entry.seq}"
            if seq == 0 and entry.kind is EntryKind.DESTROY:
                # The history before it was trimmed: an object begins anew with its destruction.
                seq = entry.seq - 1
            if entry.seq != seq + 1:
                raise CorruptObject(describe(name), f"its journal has row {entry.seq} after {seq}")
            seq = entry.seq
            if entry.delta != "[]":
                state.replay(entry.delta)
                size += len(entry.delta)
    except (ValueError, TypeError, LookupError, InvalidValue) as error:
        raise CorruptObject(describe(name), f"{where} cannot be read: {error}") from error
    if seq != loaded.head_seq:
        raise CorruptObject(describe(name), f"its journal ends at {loaded.head_seq}, what was read of it at {seq}")
    return size


def replayed(method: Method, kind: EntryKind, encoded: str | None) -> tuple[Any, BaseException | None]:
    """The answer that a journal row recorded."""
    if kind is EntryKind.REFUSAL:
        return None, refusals.rebuild(encoded or "")
    return (None if encoded is None else method.result.decode(encoded)), None
