"""What must be true when all is quiet, asked of the tables and of what callers were told."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

from jido_objects import delta as deltas
from tests.sim.witness import Operation, Outcome, Row, SnapshotRow, Violation, check, check_journal, rows_by_object

from .clients import MODEL, History
from .databases import Database
from .model import cast_id

REFUSAL = 2


def read_journal(database: Database) -> list[Row]:
    rows = []
    for key, seq, epoch, call_id, kind, own_id, method, result, delta in database.ask(
        """SELECT o.key, j.seq, j.epoch, j.call_id, j.kind, j.own_id, j.method, j.result, j.delta
        FROM jido_journal j LEFT JOIN jido_object o ON o.id = j.object_id ORDER BY j.object_id, j.seq"""
    ):
        recorded = json.loads(result)
        answer = recorded["args"] if kind == REFUSAL else recorded
        rows.append(Row(key or "?", seq, epoch, call_id, kind == REFUSAL, bool(own_id), method, answer[0], answer[1:], delta))
    return rows


def check_all(database: Database, history: History, *, checked: dict[str, int] | None = None) -> list[Violation]:
    """Every promise that tables and answers can show."""
    rows = read_journal(database)
    by_object = rows_by_object(rows)
    snapshots = defaultdict(list)
    for key, seq, document in database.ask(
        "SELECT o.key, s.seq, s.document FROM jido_snapshot s LEFT JOIN jido_object o ON o.id = s.object_id ORDER BY s.object_id, s.seq"
    ):
        snapshots[key].append(SnapshotRow(key, seq, document))
    found = list(check(history.operations, rows, MODEL))
    for key in sorted({*by_object, *snapshots}):
        found.extend(check_journal(by_object.get(key, []), snapshots[key], MODEL))
    found.extend(check_tables(database))
    found.extend(check_casts(history.operations, rows))
    orders = database.orders()
    found.extend(check_orders(orders, rows))
    if checked is not None:
        known = [one for one in history.operations if one.outcome in (Outcome.OK, Outcome.REFUSED)]
        # Reads leave no row, nor does a refusal on an absent key: neither counts as a call that is in the journal.
        acknowledged = {(one.object, one.id) for one in known if MODEL.recorded(one.method) and not _left_nothing(one)}
        reads = sum(not MODEL.recorded(one.method) for one in known)
        checked.update(
            rows=len(rows),
            objects=len(by_object),
            snapshots=sum(map(len, snapshots.values())),
            orders=len(orders),
            acknowledged=len(acknowledged),
            reads=reads,
            answers=history.counts["answers"],
        )
    return found


def _left_nothing(one: Operation) -> bool:
    return one.outcome is Outcome.REFUSED and one.saw == 0


def check_tables(database: Database) -> list[Violation]:
    """What SQL alone can say."""
    questions = {
        "gap": """SELECT o.key, 'has ' || count(*) || ' rows up to ' || max(j.seq) FROM jido_journal j
            JOIN jido_object o ON o.id = j.object_id GROUP BY o.id, o.key HAVING count(*) <> max(j.seq) OR min(j.seq) <> 1""",
        "epoch": """SELECT o.key, 'is of epoch ' || o.epoch || ', its journal of ' || max(j.epoch) FROM jido_journal j
            JOIN jido_object o ON o.id = j.object_id GROUP BY o.id, o.key, o.epoch HAVING max(j.epoch) > o.epoch""",
        "phantom": """SELECT CAST(object_id AS varchar), 'rows of no object' FROM jido_journal
            WHERE object_id NOT IN (SELECT id FROM jido_object)
            UNION ALL SELECT key, 'an object without rows' FROM jido_object WHERE id NOT IN (SELECT object_id FROM jido_journal)""",
        "snapshot": """SELECT o.key, 'snapshot at ' || s.seq || ' of another epoch than its row' FROM jido_snapshot s
            JOIN jido_object o ON o.id = s.object_id
            WHERE NOT EXISTS (SELECT 1 FROM jido_journal j WHERE j.object_id = s.object_id AND j.seq = s.seq AND j.epoch = s.epoch)
            UNION ALL SELECT o.key, count(*) || ' snapshots' FROM jido_snapshot s JOIN jido_object o ON o.id = s.object_id
            GROUP BY o.id, o.key HAVING count(*) > 24""",
        "buried": "SELECT CAST(id AS varchar), 'a lane without its term' FROM jido_lane WHERE term NOT IN (SELECT id FROM jido_term)",
    }
    return [Violation(kind, key, text) for kind, sql in questions.items() for key, text in database.ask(sql)]


def check_casts(operations: list[Operation], rows: list[Row]) -> list[Violation]:
    """P5: the effect of a cast is there only if the row of the turn that made it is."""
    told = {row.call_id for row in rows}
    casts = {row.call_id: row for row in rows if row.method == "hear"}
    found = []
    for operation in operations:
        if operation.method == "tell":
            nested = cast_id(operation.id, operation.object, operation.args[1])
            if nested in casts and operation.id not in told:
                found.append(
                    Violation(
                        "applied",
                        operation.object,
                        f"the cast of {operation.id} took effect in row {casts[nested].seq}, its own turn has no row",
                    )
                )
    return found


def check_orders(orders: list[tuple[Any, ...]], rows: list[Row]) -> list[Violation]:
    """The rows that transactions wrote are those of the turns in the journal, each once, with the value of that turn."""
    wanted = Counter((row.call_id, row.object, row.result[0]) for row in rows if row.method == "order" and not row.refusal)
    there = Counter(orders)
    missing = [
        Violation("apart", key, f"the turn {id_} is in the journal {times} times more than its order")
        for (id_, key, _), times in (wanted - there).items()
    ]
    alone = [
        Violation("apart", key, f"the order of {id_} is there {times} times more than its turn")
        for (id_, key, _), times in (there - wanted).items()
    ]
    return missing + alone


def check_states(database: Database, states: dict[str, dict[str, object] | None]) -> list[Violation]:
    """The state that a host gives equals what the model makes of the whole journal."""
    found = []
    by_object = rows_by_object(read_journal(database))
    for key, given in states.items():
        document = MODEL.initial()
        for row in by_object.get(key, []):
            deltas.apply(document, row.delta)
        if (given or MODEL.initial()) != document:
            found.append(Violation("replay", key, f"a host gives {given}, replay from the first row {document}"))
    return found
