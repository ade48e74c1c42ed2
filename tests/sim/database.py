"""The simulated database: the memory server, which also keeps a log of its effects and can be restarted."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from jido_objects.clock import Clock
from jido_objects.stores.memory_server import MemoryServer, Transaction, _Object, _Term
from jido_objects.stores.protocol import Append, Claim, Entry, EntryKind

from .witness import Event, Row, SnapshotRow, Violation


class OrderedSet(dict[Any, None]):
    """A set whose order is that of insertion, so that a run does not depend on addresses in memory."""

    def add(self, item: Any) -> None:
        self[item] = None

    def discard(self, item: Any) -> None:
        self.pop(item, None)


class _Terms(dict[UUID, _Term]):
    """The table of terms; whatever is done to it is logged."""

    def __init__(self, events: list[Event]) -> None:
        super().__init__()
        self.events = events

    def __setitem__(self, term: UUID, row: _Term) -> None:
        self.events.append(Event("term", str(term)))
        super().__setitem__(term, row)

    def __delitem__(self, term: UUID) -> None:
        self.events.append(Event("buried", str(term)))
        super().__delitem__(term)


class Database(MemoryServer):
    """See the module."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.events: list[Event] = []
        self.terms = _Terms(self.events)
        self.tasks = OrderedSet()  # type: ignore[assignment]
        self.restarts = 0
        self.archive: dict[int, dict[int, tuple[int, Entry]]] = defaultdict(dict)
        """What was trimmed, so that the checkers see the whole history."""

    def restart(self) -> None:
        """``pg_ctl restart -m immediate``: what has not taken effect never will, what has stays, every connection is lost."""
        for task in list(self.tasks):
            task.cancel()
        self.started = self.clock.monotonic()
        self.restarts += 1

    # ---------------------------------------------------------------- the log

    def _append(self, term: UUID, append: Append, skew: float = 0.0) -> int | None:
        known = (append.type, append.key) in self.names
        object_id = super()._append(term, append, skew)
        if object_id is not None:
            name = self.objects[object_id].key
            if not known:
                self.events.append(Event("created", str(term), name, append.epoch))
            seqs = (append.entries[0].seq, append.entries[-1].seq)
            self.events.append(Event("appended", str(term), name, append.epoch, seqs))
        return object_id

    async def claim(self, transaction: Transaction, lane: UUID, claims: Sequence[Claim]) -> list[int | None]:
        term = self.lanes.get(lane)
        outcome = await super().claim(transaction, lane, claims)
        for claim, epoch in zip(claims, outcome, strict=True):
            if epoch is not None:
                self.events.append(Event("claimed", str(term), self.objects[claim.object_id].key, epoch))
        return outcome

    def drop(self, row: _Object, seq: int) -> Entry:
        self.archive[row.id][seq] = row.journal[seq]
        return super().drop(row, seq)

    # ---------------------------------------------------------------- what is in it

    def owner_of(self, name: tuple[str, str]) -> UUID | None:
        row = self.names.get(name)
        return row.owner if row is not None else None

    def rows(self) -> Iterator[Row]:
        """All that were ever committed."""
        for item in self.objects.values():
            for seq, (epoch, entry) in sorted({**self.archive[item.id], **item.journal}.items()):
                refusal = entry.kind is EntryKind.REFUSAL
                saw, result = split(json.loads(entry.result) if entry.result else None, refusal)
                yield Row(item.key, seq, epoch, entry.call_id, refusal, entry.own_id, entry.method, saw, result, entry.delta)

    def windows(self) -> Iterator[Violation]:
        """What is wrong with what trimming has left of the histories."""
        for item in self.objects.values():
            seqs = sorted(item.journal)
            if not seqs or seqs != list(range(seqs[0], seqs[-1] + 1)):
                yield Violation("gap", item.key, f"the journal holds {seqs}")
            elif seqs[0] > 1 and not {seqs[0] - 1, seqs[0]} & set(item.snapshots):
                yield Violation("gap", item.key, f"the journal begins at {seqs[0]}, the snapshots are {sorted(item.snapshots)}")

    def snapshots(self) -> Iterator[SnapshotRow]:
        for item in self.objects.values():
            for seq, snapshot in sorted(item.snapshots.items()):
                yield SnapshotRow(item.key, seq, snapshot.document)


def split(result: Any, refusal: bool) -> tuple[int | None, Any]:
    """What a recorded answer of a ``Ledger`` saw, and the rest of it."""
    values = result["args"] if refusal and isinstance(result, dict) else result
    if not isinstance(values, list) or not values or not isinstance(values[0], int):
        return None, values
    return values[0], values[1:]
