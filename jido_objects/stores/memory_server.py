"""A database of objects in memory that keeps and breaks promises the way PostgreSQL does.

It is the simulator's database, so it models what matters to the fence: a statement takes row locks, may hold them for a
while, and then takes effect at once and whole; a burial deletes the term's row and then its lanes, and waits for whoever
holds them; what waited for a deleted row finds it gone. Leases pass by the server's own clock.

Several stores may share one server, also from different event loops: effects run under a mutex, and waits for row locks
are woken on the waiter's own loop.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from uuid import UUID

from ..clock import Clock, SystemClock
from ..errors import StoreError, StoreUnavailable, Unacceptable
from ..limits import RETENTION_ROWS
from . import memory_windows
from .memory_messages import Messages, Mine
from .messages import Overdue, Revised, Taken
from .protocol import (
    FORGOTTEN,
    Append,
    Appended,
    Claim,
    Entry,
    Forgotten,
    Found,
    Loaded,
    Owner,
    Recorded,
    Snapshot,
    TailEntry,
    TermEnded,
    TermInfo,
    TermRow,
)
from .windows import droppable, forgotten

LOCK_SECONDS = 0.3
"""How long a burial waits for a row before it ends the statements that hold it."""
BURIAL_ATTEMPTS = 5


class Mode(Enum):
    """The row locks that statements take; the names are PostgreSQL's."""

    KEY_SHARE = 1
    NO_KEY_UPDATE = 2
    UPDATE = 3


_CONFLICTS = {
    Mode.KEY_SHARE: {Mode.UPDATE},
    Mode.NO_KEY_UPDATE: {Mode.NO_KEY_UPDATE, Mode.UPDATE},
    Mode.UPDATE: {Mode.KEY_SHARE, Mode.NO_KEY_UPDATE, Mode.UPDATE},
}


class Transaction:
    """One statement, or one burial, as the server executes it."""

    def __init__(self, server: MemoryServer, executing: Callable[[], Awaitable[None]]) -> None:
        self.server = server
        self.executing = executing
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()

    async def lock(self, row: UUID, mode: Mode) -> None:
        """Take a row lock; like a new PostgreSQL share lock it does not queue behind whoever waits for an exclusive one."""
        locks = self.server.locks
        while True:
            with self.server.mutex:
                if not self.blockers(row, mode):
                    locks.setdefault(row, []).append((mode, self))
                    return
                waiter = self._loop.create_future()
                self.server.waiters.append((self._loop, waiter))
            await waiter

    def blockers(self, row: UUID, mode: Mode) -> list[Transaction]:
        return [holder for held, holder in self.server.locks.get(row, ()) if holder is not self and held in _CONFLICTS[mode]]

    def release(self) -> None:
        """End the transaction: give its locks back and wake who waits."""
        with self.server.mutex:
            for row, holders in list(self.server.locks.items()):
                left = [held for held in holders if held[1] is not self]
                if left:
                    self.server.locks[row] = left
                else:
                    del self.server.locks[row]
            waiters, self.server.waiters = self.server.waiters, []
        for loop, waiter in waiters:
            _on(loop, _wake, waiter)

    def terminate(self) -> None:
        """``pg_terminate_backend``: the transaction ends without effect and its connection is lost."""
        if self._task is not None:
            _on(self._loop, self._task.cancel)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _on(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object) -> None:
    if loop is asyncio.get_running_loop():
        function(*args)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(function, *args)


@dataclass(slots=True)
class _Term:
    info: TermInfo
    started: datetime
    lease_until: float
    lease_seconds: float


@dataclass(slots=True)
class _Object:
    id: int
    type: str
    key: str
    owner: UUID | None
    epoch: int
    destroyed: bool = False
    paused: bool = False
    journal: dict[int, tuple[int, Entry]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    snapshots_at: dict[int, float] = field(default_factory=dict)
    remembered: dict[str, Recorded] = field(default_factory=dict)
    horizon: datetime | None = None


class MemoryServer:
    """The tables, and each statement as the server executes it. ``clock`` is the server's own."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.mutex = threading.RLock()
        self.locks: dict[UUID, list[tuple[Mode, Transaction]]] = {}
        self.waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        """What is being executed, also for clients that have gone. A simulation may wait for it, or cancel it: a crash."""
        self.started = self.clock.monotonic()
        self.terms: dict[UUID, _Term] = {}
        self.lanes: dict[UUID, UUID] = {}
        self.objects: dict[int, _Object] = {}
        self.names: dict[tuple[str, str], _Object] = {}
        self.walks: dict[float, tuple[str, datetime]] = {}
        self.retention_rows = RETENTION_ROWS
        self.messages = Messages()
        self._ids = itertools.count(1)
        self.trim = partial(memory_windows.trim, self)
        self.walk = partial(memory_windows.walk, self)
        self.walked = partial(memory_windows.walked, self)
        self.forget = partial(memory_windows.forget, self)

    # ---------------------------------------------------------------- terms

    async def begin_term(self, transaction: Transaction, term: UUID, info: TermInfo, seconds: float) -> None:
        await transaction.executing()
        with self.mutex:
            if term in self.terms:
                raise StoreError(f"the term {term} exists: an id is never used twice")
            self.terms[term] = _Term(info, self.clock.now(), self.clock.monotonic() + seconds, seconds)

    async def renew(self, transaction: Transaction, term: UUID, seconds: float) -> bool:
        await transaction.lock(term, Mode.NO_KEY_UPDATE)
        if term in self.terms:
            # The new value is computed when the row is found, not when the change commits.
            until = self.clock.monotonic() + seconds
            await transaction.executing()
            with self.mutex:
                self.terms[term].lease_until, self.terms[term].lease_seconds = until, seconds
            return True
        return False

    async def alive(self, transaction: Transaction, terms: Sequence[UUID]) -> list[bool]:
        await transaction.executing()
        with self.mutex:
            return [term in self.terms for term in terms]

    async def bury(self, transaction: Transaction, term: UUID, *, proven: bool) -> bool:
        for attempt in range(BURIAL_ATTEMPTS):
            if attempt:
                transaction.release()
            if not await self._lock_or_terminate(transaction, term):
                continue
            row = self.terms.get(term)
            if row is None:
                return True
            if not proven and self._lease_left(row) >= 0:
                return False
            # Lanes are read after the term's row is ours: a lane that was being inserted is among them.
            with self.mutex:
                lanes = [lane for lane, of in self.lanes.items() if of == term]
            for lane in lanes:
                if not await self._lock_or_terminate(transaction, lane):
                    break
            else:
                await transaction.executing()
                with self.mutex:
                    del self.terms[term]
                    for lane in lanes:
                        self.lanes.pop(lane, None)
                return True
        raise StoreUnavailable(f"the term {term} could not be buried: its rows stayed locked")

    async def _lock_or_terminate(self, transaction: Transaction, row: UUID) -> bool:
        try:
            async with asyncio.timeout(LOCK_SECONDS):
                await transaction.lock(row, Mode.UPDATE)
        except TimeoutError:
            with self.mutex:
                blockers = transaction.blockers(row, Mode.UPDATE)
            for blocker in blockers:
                blocker.terminate()
            return False
        return True

    def _lease_left(self, row: _Term) -> float:
        # After a start of the server nobody could renew for a while: everyone has one lease to come back.
        return max(row.lease_until, self.started + row.lease_seconds) - self.clock.monotonic()

    async def term_rows(self, transaction: Transaction) -> list[TermRow]:
        await transaction.executing()
        with self.mutex:
            return [TermRow(term, row.info, self._lease_left(row), row.started) for term, row in self.terms.items()]

    # ---------------------------------------------------------------- lanes

    async def begin_lane(self, transaction: Transaction, term: UUID, lane: UUID) -> None:
        await transaction.lock(term, Mode.KEY_SHARE)
        if term not in self.terms:
            raise TermEnded(term)
        await transaction.executing()
        with self.mutex:
            self.lanes[lane] = term

    async def end_lane(self, transaction: Transaction, lane: UUID) -> None:
        await transaction.lock(lane, Mode.UPDATE)
        await transaction.executing()
        with self.mutex:
            self.lanes.pop(lane, None)

    async def _hold(self, transaction: Transaction, lane: UUID) -> UUID:
        await transaction.lock(lane, Mode.KEY_SHARE)
        if lane not in self.lanes:
            raise TermEnded
        await transaction.executing()
        return self.lanes[lane]

    # ---------------------------------------------------------------- writes through a lane

    async def append(self, transaction: Transaction, lane: UUID, batch: Sequence[Append], skew: float = 0.0) -> list[Appended]:
        term = await self._hold(transaction, lane)
        with self.mutex:
            return [_unacceptable(append) or self._append(term, append, skew) for append in batch]

    def _append(self, term: UUID, append: Append, skew: float = 0.0) -> int | None:
        if append.inbox is not None and self.messages.missing(append.inbox):
            return None
        if append.object_id is None:
            if (append.type, append.key) in self.names:
                return None
            row = _Object(next(self._ids), append.type, append.key, term, append.epoch)
            self.objects[row.id] = self.names[append.type, append.key] = row
        else:
            found = self.objects.get(append.object_id)
            if found is None:
                return None
            row = found
            head = row.journal.get(append.head_seq)
            epoch = head[0] if head else row.epoch if append.head_seq == 0 else None
            if epoch != append.head_epoch or any(entry.seq in row.journal for entry in append.entries):
                return None
        for entry in append.entries:
            row.journal[entry.seq] = (append.epoch, copy.copy(entry))
            row.calls.setdefault(entry.call_id, entry.seq)
        if append.destroyed is not None:
            row.destroyed = append.destroyed
        if append.inbox is not None:
            now = self.clock.monotonic() + skew
            self.messages.change((append.type, append.key), row.id, append.inbox, now, self.clock.now() + timedelta(seconds=skew))
        return row.id

    # ---------------------------------------------------------------- messages

    async def take(self, transaction: Transaction, lane: UUID, limit: int, *, adopt: bool, skew: float) -> list[Taken]:
        term = await self._hold(transaction, lane)
        with self.mutex:
            return self.messages.take(term, limit, self.clock.monotonic() + skew, self.terms.__contains__, self._mine(term, adopt))

    async def revise(self, transaction: Transaction, lane: UUID, revised: Sequence[Revised], skew: float) -> None:
        term = await self._hold(transaction, lane)
        with self.mutex:
            self.messages.revise(term, revised, self.clock.monotonic() + skew)

    async def overdue(self, transaction: Transaction, term: UUID | None, *, adopt: bool, skew: float) -> Overdue:
        await transaction.executing()
        with self.mutex:
            now = self.clock.monotonic() + skew
            return self.messages.overdue(term, now, self.terms.__contains__, self._mine(term, adopt), self._others(term, adopt))

    def _mine(self, term: UUID | None, adopt: bool) -> Mine:
        def mine(type_: str, key: str) -> bool:
            row = self.names.get((type_, key))
            owner = row.owner if row is not None else None
            if row is not None and row.paused:
                return False
            return (owner == term and owner is not None) or (adopt and owner not in self.terms)

        return mine

    def _others(self, term: UUID | None, adopt: bool) -> Mine:
        def others(type_: str, key: str) -> bool:
            row = self.names.get((type_, key))
            return adopt and row is not None and row.owner in self.terms and row.owner != term

        return others

    async def claim(self, transaction: Transaction, lane: UUID, claims: Sequence[Claim]) -> list[int | None]:
        term = await self._hold(transaction, lane)
        outcome: list[int | None] = []
        with self.mutex:
            for claim in claims:
                row = self.objects.get(claim.object_id)
                if row is None or row.epoch != claim.epoch or (row.owner != term and (claim.again or row.owner in self.terms)):
                    outcome.append(None)
                else:
                    row.owner, row.epoch = term, row.epoch + 1
                    outcome.append(row.epoch)
        return outcome

    async def snapshot(self, transaction: Transaction, lane: UUID, snapshots: Sequence[Snapshot]) -> list[bool]:
        await self._hold(transaction, lane)
        with self.mutex:
            return [self._snapshot(snapshot) for snapshot in snapshots]

    def _snapshot(self, snapshot: Snapshot) -> bool:
        row = self.objects.get(snapshot.object_id)
        head = row.journal.get(snapshot.seq) if row else None
        if row is None or head is None or head[0] != snapshot.epoch:
            return False
        row.snapshots[snapshot.seq] = snapshot
        row.snapshots_at.setdefault(snapshot.seq, self.clock.now().timestamp())
        at = {seq: row.snapshots_at[seq] for seq in row.snapshots}
        for seq in droppable(at, min(row.journal), snapshot.seq, snapshot.retention, self.retention_rows):
            del row.snapshots[seq]
        return True

    def drop(self, row: _Object, seq: int) -> Entry:
        """Take a row out of the journal."""
        return row.journal.pop(seq)[1]

    # ---------------------------------------------------------------- reads

    async def find(self, transaction: Transaction, names: Sequence[tuple[str, str]]) -> list[Found | None]:
        await transaction.executing()
        with self.mutex:
            return [self._found(self.names.get(name)) for name in names]

    def _found(self, row: _Object | None) -> Found | None:
        if row is None:
            return None
        owner = None
        if row.owner is not None:
            term = self.terms.get(row.owner)
            owner = Owner(row.owner, True, self._lease_left(term), term.info) if term else Owner(row.owner, False)
        version = next(reversed(row.journal.values()))[1].version if row.journal else 0
        return Found(row.id, row.epoch, owner, row.destroyed, version)

    async def load(self, transaction: Transaction, object_ids: Sequence[int]) -> list[Loaded]:
        await transaction.executing()
        with self.mutex:
            return [self._load(self.objects.get(object_id)) for object_id in object_ids]

    def _load(self, row: _Object | None) -> Loaded:
        if row is None:
            return Loaded(None, [], 0, 0)
        snapshot = row.snapshots[max(row.snapshots)] if row.snapshots else None
        after = snapshot.seq if snapshot else 0
        head = max(row.journal, default=0)
        tail = [
            TailEntry(seq, epoch, entry.kind, entry.delta, entry.version)
            for seq, (epoch, entry) in sorted(row.journal.items())
            if seq > after
        ]
        return Loaded(snapshot, tail, head, row.journal[head][0] if head else row.epoch)

    async def recall(self, transaction: Transaction, calls: Sequence[tuple[int, str]]) -> list[Recorded | Forgotten | None]:
        await transaction.executing()
        with self.mutex:
            return [self._recall(*call) for call in calls]

    def _recall(self, object_id: int, call_id: str) -> Recorded | Forgotten | None:
        row = self.objects.get(object_id)
        if row is None:
            return None
        seq = row.calls.get(call_id)
        if seq is None:
            return row.remembered.get(call_id) or (FORGOTTEN if forgotten(call_id, row.horizon) else None)
        entry = row.journal[seq][1]
        return Recorded(seq, entry.kind, entry.method, entry.digest, entry.result, entry.at)

    async def history(self, transaction: Transaction, object_id: int, after: int, limit: int) -> list[tuple[int, Entry]]:
        await transaction.executing()
        with self.mutex:
            row = self.objects.get(object_id)
            rows = sorted(row.journal.items()) if row else []
            return [(epoch, copy.copy(entry)) for seq, (epoch, entry) in rows if seq > after][:limit]


def _unacceptable(append: Append) -> Unacceptable | None:
    """What no database could hold."""
    for entry in append.entries:
        try:
            for required in (entry.call_id, entry.method, entry.delta):
                required.encode()
            for optional in (entry.result, entry.user, entry.extra):
                (optional or "").encode()
        except (AttributeError, UnicodeEncodeError) as error:
            return Unacceptable(str(error))
        if not -(2**63) <= entry.digest < 2**63:
            return Unacceptable("a digest of more than 64 bits")
    return None
