"""What the journal says, made into memory again: state from a snapshot and its tail, answers from their rows."""

from __future__ import annotations

from typing import Any

from . import refusals, upcasting
from .definition import Definition
from .errors import CorruptObject, MigrationFailed, NewerVersion, UnreadableResult
from .limits import encoded_size
from .methods import Method
from .state import State
from .stores.protocol import EntryKind, Loaded, TailEntry
from .turns import Name, describe

UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What reading a row that nobody of ours can have written may raise."""


def rebuild(state: State, definition: Definition, name: Name, loaded: Loaded) -> int:
    """Fill ``state`` from a snapshot and its tail; returns a bound on its encoded size."""
    document, seq, tail = "{}", 0, loaded.tail
    if loaded.snapshot is not None:
        document, seq = loaded.snapshot.document, loaded.snapshot.seq
    today = upcasting.is_of(definition.options.version, loaded)
    if not today:
        document, seq, tail = _brought_forward(definition, name, loaded)
    where = "its snapshot"
    try:
        state.restore(document)
        size = encoded_size(document)
        for entry in tail:
            where = f"journal row {entry.seq}"
            if seq == 0 and entry.kind is EntryKind.DESTROY:
                # The history before it was trimmed: an object begins anew with its destruction.
                seq = entry.seq - 1
            if entry.seq != seq + 1:
                raise CorruptObject(describe(name), f"its journal has row {entry.seq} after {seq}")
            seq = entry.seq
            if entry.kind is EntryKind.UNKNOWN:
                raise CorruptObject(describe(name), f"journal row {seq} is of a kind that this code does not know: newer code wrote it")
            if entry.kind is EntryKind.DESTROY:
                state.restore("{}")
            elif entry.delta != "[]":
                state.replay(entry.delta)
                size += encoded_size(entry.delta)
    except UNREADABLE as error:
        if not today and where == "its snapshot":
            step = definition.options.version - 1
            raise MigrationFailed(describe(name), step, step + 1, f"today's fields cannot read what it returned: {error}") from error
        raise CorruptObject(describe(name), f"{where} cannot be read: {str(error).removesuffix('.')}") from error
    if seq != loaded.head_seq:
        raise CorruptObject(describe(name), f"its journal ends at {loaded.head_seq}, what was read of it at {seq}")
    return size


def _brought_forward(definition: Definition, name: Name, loaded: Loaded) -> tuple[str, int, list[TailEntry]]:
    check_version(definition, name, upcasting.newest(loaded))
    try:
        return upcasting.bring_forward(definition, name, loaded)
    except (ValueError, TypeError, LookupError) as error:
        raise CorruptObject(describe(name), f"what older code wrote cannot be read: {error}") from error


def check_version(definition: Definition, name: Name, version: int) -> None:
    """Raise ``NewerVersion`` where newer code has written the object."""
    if version > definition.options.version:
        raise NewerVersion(describe(name), version, definition.options.version)


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
