"""Long histories and many objects by bulk SQL, written as the library writes them.

A million turns through the API take a minute and prove nothing more: the rows differ from its own only in who sent the
INSERT. What follows them (the last hundred turns, snapshots, claims) the library does itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from jido_objects import DurableObject
from jido_objects.bench.stage import Stage
from jido_objects.stores.protocol import FORMAT, EntryKind

_COLUMNS = "object_id, seq, epoch, digest, at, version, format, kind, own_id, call_id, method, user_id, delta, result, extra"


def lengthen(stage: Stage, object_id: int, first: int, last: int, digest: int, field: str = "value") -> None:
    """Journal rows ``first`` … ``last`` of a counter: calls of ``add(1)`` that were answered."""
    if stage.vendor == "postgresql":
        stage.rows(
            f"""INSERT INTO jido_journal ({_COLUMNS}) SELECT %s, n, 1, %s, clock_timestamp(), 1, %s, %s, false,
            '~' || lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || lpad(to_hex(n), 20, '0'),
            'add', NULL, '[["set","' || %s || '",' || n || ']]', n::text, NULL FROM generate_series(%s::bigint, %s::bigint) AS n""",
            [object_id, digest, FORMAT, int(EntryKind.TURN), field, first, last],
        )
        return
    at = _stamp(stage)

    def rows() -> Iterator[tuple[Any, ...]]:
        for n in range(first, last + 1):
            delta = f'[["set","{field}",{n}]]'
            yield object_id, n, 1, digest, at, 1, FORMAT, int(EntryKind.TURN), False, f"~{n:032x}", "add", None, delta, str(n), None

    _insert(stage, f"INSERT INTO jido_journal ({_COLUMNS})", rows(), 15)


def snapshot(stage: Stage, object_id: int, seq: int, document: dict[str, Any]) -> None:
    """The snapshot that the library would have written at ``seq``."""
    stage.rows(
        "INSERT INTO jido_snapshot (object_id, seq, epoch, at, version, format, document) VALUES (%s, %s, 1, %s, 1, %s, %s)",
        [object_id, seq, _stamp(stage), FORMAT, json.dumps(document, separators=(",", ":"))],
    )


def populate(stage: Stage, type_: type[DurableObject], name: str, count: int, delta: str, method: str, result: str) -> list[str]:
    """So many objects at rest, each with one committed turn and owned by nobody; returns their keys."""
    keys = [f"{stage.run}/{name}/{n}" for n in range(count)]
    label = type_.at("x").label
    at = _stamp(stage)
    prefix = f"{stage.run}/{name}/"
    if stage.vendor == "postgresql":
        stage.rows(
            "INSERT INTO jido_object (type, key, owner, epoch, destroyed, paused, created_at) "
            "SELECT %s, %s || n, NULL, 1, false, false, clock_timestamp() FROM generate_series(0, %s) AS n",
            [label, prefix, count - 1],
        )
    else:
        rows = ((label, key, None, 1, False, False, at) for key in keys)
        _insert(stage, "INSERT INTO jido_object (type, key, owner, epoch, destroyed, paused, created_at)", rows, 7)
    # Ids that are drawn for the calls need only be distinct per object.
    stage.rows(
        f"""INSERT INTO jido_journal ({_COLUMNS}) SELECT id, 1, 1, 0, %s, 1, {FORMAT}, {int(EntryKind.TURN)}, {"false" if
        stage.vendor == "postgresql" else 0}, %s, %s, NULL, %s, %s, NULL FROM jido_object WHERE type = %s AND key LIKE %s""",
        [at, f"~{1:032x}", method, delta, result, label, f"{prefix}%"],
    )
    settle(stage)
    return keys


def repeat(stage: Stage, like: str, turns: int) -> None:
    """Objects of ``populate`` have so many turns, and a snapshot at the last."""
    one = "SELECT 2 AS n" + "".join(f" UNION ALL SELECT {n}" for n in range(3, turns + 1))
    number = "lpad(n.n::text, 31, '0')" if stage.vendor == "postgresql" else "printf('%%031d', n.n)"
    stage.rows(
        f"""INSERT INTO jido_journal ({_COLUMNS}) SELECT j.object_id, n.n, j.epoch, j.digest, j.at, j.version, j.format, j.kind, j.own_id,
        '~1' || {number}, j.method, j.user_id, j.delta, j.result, j.extra
        FROM jido_journal j JOIN jido_object o ON o.id = j.object_id CROSS JOIN ({one}) n WHERE o.key LIKE %s AND j.seq = 1""",
        [like],
    )
    stage.rows(
        f"""INSERT INTO jido_snapshot (object_id, seq, epoch, at, version, format, document)
        SELECT id, {turns}, 1, %s, 1, {FORMAT}, '{{"value":1}}' FROM jido_object WHERE key LIKE %s""",
        [_stamp(stage), like],
    )
    settle(stage)


def settle(stage: Stage) -> None:
    """What the load left to be done is done now, and not in the next measurement."""
    if stage.vendor == "postgresql":
        stage.rows("VACUUM ANALYZE jido_journal, jido_object, jido_snapshot")
        stage.rows("CHECKPOINT")
    else:
        stage.rows("PRAGMA wal_checkpoint(TRUNCATE)")


def _insert(stage: Stage, into: str, rows: Iterator[tuple[Any, ...]], width: int) -> None:
    with stage.connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.executemany(f"{into} VALUES ({', '.join(['%s'] * width)})", rows)
        cursor.execute("COMMIT")


def _stamp(stage: Stage) -> Any:
    now = datetime.now(UTC)
    return now if stage.vendor == "postgresql" else str(now.replace(tzinfo=None))
