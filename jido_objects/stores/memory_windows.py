"""Trimming as the server in memory executes it: each statement takes effect at once and whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from .. import ids
from .protocol import EntryKind, Recorded, Trim, Trimmed, Walk
from .windows import START, cut, horizon, stretch

if TYPE_CHECKING:
    from .memory_server import MemoryServer, Transaction, _Object


async def trim(server: MemoryServer, transaction: Transaction, trims: Sequence[Trim], seconds: float, limit: int) -> list[Trimmed | None]:
    await transaction.executing()
    with server.mutex:
        return [_trim(server, one, seconds, limit, alone=len(trims) == 1) for one in trims]


def _trim(server: MemoryServer, trim: Trim, seconds: float, limit: int, *, alone: bool) -> Trimmed | None:
    row = server.objects.get(trim.object_id)
    if row is None or not row.journal:
        return Trimmed(0, False)
    now, first, head = server.clock.now(), min(row.journal), max(row.journal)
    line = _line(row, trim.size)
    usable = sorted(row.snapshots)
    del usable[-2:-1]
    bases = [
        seq
        for seq in usable
        if seq in row.journal and now - row.journal[seq][1].at > timedelta(seconds=trim.window(head, seq, line))
    ]
    last = row.journal[head][1]
    destroyed = last.kind is EntryKind.DESTROY and now - last.at > timedelta(seconds=trim.retention)
    what = cut(first, head, bases, limit, alone=alone, destroyed=destroyed)
    if what is None or what.until < what.first:
        return Trimmed(0, what is not None and what.more)
    gone = [server.drop(row, seq) for seq in range(what.first, what.until + 1)]
    for entry in gone:
        if row.calls.get(entry.call_id) == entry.seq:
            del row.calls[entry.call_id]
        if entry.own_id and now - entry.at < timedelta(seconds=seconds):
            recorded = Recorded(entry.seq, entry.kind, entry.method, entry.digest, entry.result, entry.at)
            row.remembered.setdefault(entry.call_id, recorded)
    latest = horizon(entry.call_id for entry in gone if not entry.own_id)
    if latest is not None:
        row.horizon = max(row.horizon or latest, latest)
    if what.until == min(what.base, head - 1):
        for seq in [seq for seq in row.snapshots if seq < what.base]:
            del row.snapshots[seq]
    return Trimmed(len(gone), what.more)


def _line(row: _Object, limit: int | None) -> int | None:
    size = 0
    for seq in sorted(row.journal, reverse=True) if limit is not None else ():
        entry = row.journal[seq][1]
        size += sum(len((text or "").encode()) for text in (entry.delta, entry.result, entry.extra))
        if limit is not None and size >= limit:
            return seq
    return None


async def walk(server: MemoryServer, transaction: Transaction, retention: float, slack: float, limit: int) -> Walk:
    await transaction.executing()
    with server.mutex:
        since = server.walks.get(retention, START)
        past = server.clock.now() - timedelta(seconds=retention + slack)
        prefix = ids.prefix(past.timestamp())
        entries = [(entry, row.id, row.type) for row in server.objects.values() for _, entry in row.journal.values()]
        generated = sorted((entry.call_id, id_, type_) for entry, id_, type_ in entries if since[0] < entry.call_id < prefix)
        own = sorted((entry.at, id_, type_) for entry, id_, type_ in entries if entry.own_id and since[1] < entry.at < past)
        return stretch(retention, since, generated[:limit], own[:limit], limit)


async def walked(server: MemoryServer, transaction: Transaction, walk: Walk) -> bool:
    await transaction.executing()
    with server.mutex:
        if server.walks.get(walk.retention, walk.since) != walk.since:
            return False
        server.walks[walk.retention] = walk.until
        return True


async def forget(server: MemoryServer, transaction: Transaction, seconds: float, limit: int) -> int:
    await transaction.executing()
    with server.mutex:
        now = server.clock.now()
        old = [
            (row, call_id)
            for row in server.objects.values()
            for call_id, recorded in row.remembered.items()
            if now - recorded.at > timedelta(seconds=seconds)
        ][:limit]
        for row, call_id in old:
            del row.remembered[call_id]
        return len(old)
